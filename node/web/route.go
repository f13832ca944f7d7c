package web

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"tongban/replication"
	"tongban/service"
)

const (
	// noLeaderWait is how long a write waits for somebody to lead before it is told to
	// come back: a node without a majority answers within two seconds (QUALITY.md R2).
	noLeaderWait = 1800 * time.Millisecond
	// retryFor is how long a write whose outcome is unknown is tried again with its key.
	retryFor = 10 * time.Second
	// retryPause lies between two attempts.
	retryPause = 50 * time.Millisecond
	// readWait bounds how long a read waits for what its client has already seen.
	readWait = 3 * time.Second
	// maxProxied bounds the response that a leader's node returns, in bytes.
	maxProxied = 8 << 20
)

// route returns the handler of one route at one door.
func (w *Web) route(d door, route service.Route) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !w.o.Databases.Serving() {
			w.refuse(rw, r, service.Principal{}, service.ErrUnavailable.With("retry_after", 1))
			return
		}
		c, err := newCall(d, route, r)
		if err != nil {
			w.refuse(rw, r, service.Principal{}, service.AsError(err))
			return
		}
		if who, err := w.mayBegin(c); err != nil {
			w.refuse(rw, r, who, service.AsError(err))
			return
		}
		raw, release, err := w.readBody(r, c.source, limit(route))
		defer release()
		if err != nil {
			w.refuse(rw, r, service.Principal{}, service.AsError(err))
			return
		}
		c.raw = raw
		if route.Writes() && d != internalDoor {
			w.onLeader(rw, c)
			return
		}
		a := w.here(r.Context(), c)
		if a.retry != "" {
			rw.Header().Set(retryHeader, a.retry)
		}
		a.write(rw)
	})
}

// mayBegin looks, before a body of more than the usual length is read, whether the caller
// may call the route at all: nobody fills the memory with imports that are refused then.
// The answer proper is still that of the leader.
func (w *Web) mayBegin(c *call) (service.Principal, error) {
	if c.door != publicDoor || limit(c.route) <= defaultBody {
		return service.Principal{}, nil
	}
	ctx, cancel := context.WithTimeout(c.http.Context(), readWait)
	defer cancel()
	who, err := w.principal(ctx, c, &service.Request{Division: w.o.Databases.Division(), Seen: c.seen})
	if errors.Is(err, context.DeadlineExceeded) {
		err = service.ErrUnavailable.With("retry_after", 2).Because(err)
	}
	if err != nil {
		return service.Principal{}, err
	}
	if err := w.authorise(c, who); err != nil {
		w.reportRefusal(c, who, err)
		return who, err
	}
	return who, nil
}

// onLeader brings the call to the leader of its database and repeats it, with its key,
// while leadership moves.
func (w *Web) onLeader(rw http.ResponseWriter, c *call) {
	// Read the form now: the key in it must be the same in every attempt.
	if _, err := c.request(c.http.Context()); err != nil {
		w.refuse(rw, c.http, service.Principal{}, service.AsError(err))
		return
	}
	ctx, cancel := context.WithTimeout(c.http.Context(), retryFor)
	defer cancel()
	refusal := service.ErrUnavailable
	leaderless := time.Now()
	for {
		a, retry := w.attempt(ctx, c)
		switch {
		case a != nil && retry == "":
			a.write(rw)
			return
		case retry == retryUnknown:
			refusal = service.ErrUnknownOutcome.With("key", c.key)
		case retry != retryNoLeader:
			leaderless = time.Now()
		case refusal == service.ErrUnavailable && time.Since(leaderless) > noLeaderWait:
			cancel()
		}
		select {
		case <-ctx.Done():
			w.refuse(rw, c.http, service.Principal{}, refusal.With("retry_after", 1))
			return
		case <-time.After(retryPause):
		}
	}
}

// Why an attempt is to be repeated.
const (
	retryNotApplied = "not-applied"
	retryUnknown    = "unknown"
	retryNoLeader   = "no-leader"
)

// attempt makes the call once, here or at the leader's node.
func (w *Web) attempt(ctx context.Context, c *call) (*answer, string) {
	db := w.database(c)
	if db == nil {
		return w.here(ctx, c), "" // Refuses, in the right words.
	}
	leader, ok := db.Leader()
	switch {
	case !ok:
		return nil, retryNoLeader
	case leader == w.o.Self:
		a := w.here(ctx, c)
		return a, a.retry
	case w.o.Forward == nil:
		return nil, retryNoLeader
	}
	return w.proxy(ctx, c, leader)
}

// database returns the call's database, nil when the tenant is not one of this node.
func (w *Web) database(c *call) *service.DB {
	if c.route.Scope == service.DivisionScope {
		return w.o.Databases.Division()
	}
	_, db, ok := w.o.Databases.Database(c.slug)
	if !ok {
		return nil
	}
	return db
}

// proxy sends the call to the leader's node. Whatever goes wrong once it is on its way
// leaves the outcome unknown.
func (w *Web) proxy(ctx context.Context, c *call, leader replication.NodeID) (*answer, string) {
	r, err := c.forwarded(ctx)
	if err != nil {
		return w.failed(c, err), ""
	}
	response, err := w.o.Forward(ctx, leader, r)
	if err != nil {
		w.log.Warn("proxy a request", "node", leader, "err", err)
		return nil, retryUnknown
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxProxied))
	if err != nil {
		return nil, retryUnknown
	}
	if retry := response.Header.Get(retryHeader); retry != "" {
		return nil, retry
	}
	a := &answer{status: response.StatusCode, header: response.Header}
	a.body.Write(body)
	for _, h := range []string{"Date", "Connection", "Content-Length"} {
		a.header.Del(h)
	}
	return a, ""
}

// here answers the call on this node.
func (w *Web) here(ctx context.Context, c *call) *answer {
	r, err := c.request(ctx)
	if err != nil {
		return w.failed(c, err)
	}
	if !c.route.Writes() {
		waiting, cancel := context.WithTimeout(ctx, readWait)
		defer cancel()
		ctx = waiting
	}
	a := newAnswer()
	response, err := w.handle(ctx, c, r)
	switch {
	case errors.Is(err, replication.ErrNotLeader),
		errors.Is(err, replication.ErrTooSlow), errors.Is(err, replication.ErrReplaced): // The machine was busy for a moment; nothing is applied.
		a.retry = retryNotApplied
	case errors.Is(err, replication.ErrUnknownOutcome):
		a.retry = retryUnknown
	case errors.Is(err, replication.ErrOverloaded):
		err = service.ErrUnavailable.With("retry_after", 1).Because(err)
	case errors.Is(err, replication.ErrDisk):
		err = service.ErrDiskFull.With("retry_after", 30).Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		err = service.ErrUnavailable.With("retry_after", 2).Because(err)
	}
	if a.retry != "" {
		err = service.ErrUnavailable.With("retry_after", 1).Because(err)
	}
	if err != nil {
		w.refuseRequest(a, r, response, service.AsError(err))
		return a
	}
	w.render(a, r, response)
	return a
}

// failed is the answer to a call that never became a request.
func (w *Web) failed(c *call, err error) *answer {
	a := newAnswer()
	w.refuse(a, c.http, service.Principal{}, service.AsError(err))
	return a
}

// handle finds out who calls, whether they may, and runs the handler.
func (w *Web) handle(ctx context.Context, c *call, r *service.Request) (service.Response, error) {
	division := w.o.Databases.Division()
	r.Site, r.Division, r.DB, r.Now, r.Log = w.o.Site, division, division, w.o.Now, w.log
	who, err := w.principal(ctx, c, r)
	if err != nil {
		return service.Response{}, err
	}
	r.Principal = who
	if err := w.authorise(c, who); err != nil {
		w.reportRefusal(c, who, err)
		return service.Response{}, err
	}
	if c.route.Scope == service.TenantScope {
		tenant, db, ok := w.o.Databases.Database(c.slug)
		if !ok || tenant.State != "active" {
			return service.Response{}, service.ErrNotFound
		}
		r.Tenant, r.DB = tenant, db
	}
	return w.protected(ctx, r)
}

// protected turns a handler's panic into an internal error: one request ends, no more.
func (w *Web) protected(ctx context.Context, r *service.Request) (response service.Response, err error) {
	defer func() {
		if p := recover(); p != nil {
			response, err = service.Response{}, service.ErrInternal.Because(panicError(p))
		}
	}()
	return r.Route.Handle(ctx, r)
}

// principal returns who makes the call.
func (w *Web) principal(ctx context.Context, c *call, r *service.Request) (service.Principal, error) {
	switch as := c.http.Header.Get(asHeader); {
	case c.door == adminDoor, c.door == internalDoor && as == service.Operator.String():
		return service.Principal{Kind: service.Operator, Account: "operator", Name: "operator"}, nil
	case c.door == systemDoor, c.door == internalDoor && as == service.System.String():
		return service.Principal{Kind: service.System, Account: "system", Name: "system"}, nil
	}
	cookie, err := c.http.Cookie(w.o.Cookie)
	if err != nil || cookie.Value == "" {
		return service.Principal{}, nil
	}
	if i, ok := r.Seen[r.Division.ID()]; ok {
		ctx = replication.WithIndex(ctx, i)
	}
	who, touch, err := w.o.Authenticate(ctx, r.Division, cookie.Value, w.o.Now())
	if err != nil {
		return service.Principal{}, err
	}
	if touch && w.o.TouchPath != "" {
		w.report(report{path: w.o.TouchPath, body: map[string]string{"session": who.Session}})
	}
	return who, nil
}

// authorise checks the route's permission. A tenant at which somebody holds nothing
// answers them as one that does not exist.
func (w *Web) authorise(c *call, who service.Principal) error {
	tenant := ""
	if c.route.Scope == service.TenantScope {
		tenant = c.slug
	}
	switch {
	case who.May(c.route.Need, tenant):
		return nil
	case who.Kind == service.Anonymous:
		return service.ErrNotSignedIn
	case tenant != "" && !who.Holds(tenant):
		return service.ErrNotFound
	}
	return service.ErrForbidden
}
