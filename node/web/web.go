package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"tongban/portal"
	"tongban/replication"
	"tongban/service"
)

// Options are the parts of a Web. A zero field takes the default stated beside it.
type Options struct {
	Site        service.Site
	Definitions []service.Definition
	Databases   Databases      // Required.
	Portal      *portal.Portal // Required.
	Self        replication.NodeID
	// Authenticate returns who holds the session token; touch asks for a call of
	// TouchPath with the session's id. Required.
	Authenticate func(ctx context.Context, division *service.DB, token string, now time.Time) (who service.Principal, touch bool, err error)
	// Forward sends a request to the node port of another node. Nil: a division of one.
	Forward   func(ctx context.Context, to replication.NodeID, r *http.Request) (*http.Response, error)
	Cookie    string        // Required: name of the session cookie.
	SignIn    string        // Path of the sign-in page.
	TouchPath string        // Route that keeps a session alive; "" : none.
	AuditPath string        // Route that records refused access; "" : none.
	Now       service.Clock // time.Now.
	Log       *slog.Logger  // slog.Default().
}

// Databases finds the databases that are open on this node.
type Databases interface {
	Serving() bool // Whether the directory is there; until then every call is told to come back.
	Division() *service.DB
	Database(slug string) (service.Tenant, *service.DB, bool)
}

// Web serves the routes. Its three doors are safe for concurrent use; Run must run for
// reports (touched sessions, refused access) to be written.
type Web struct {
	o        Options
	log      *slog.Logger
	throttle *throttle
	refused  *throttle // Refusals of one account that are reported.
	bodies   *bodies
	reports  chan report
	byPath   map[string]service.Route

	public, admin, internal http.Handler
}

// New checks the definitions and returns their Web.
func New(o Options) (*Web, error) {
	if err := service.Check(o.Definitions); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	w := &Web{o: o, log: o.Log, throttle: newThrottle(o.Now), refused: newThrottle(o.Now), bodies: newBodies(), reports: make(chan report, maxReports),
		byPath: map[string]service.Route{}}
	for _, d := range o.Definitions {
		for _, r := range d.Routes {
			w.byPath[r.FullPattern()] = r
		}
	}
	for _, path := range []string{o.TouchPath, o.AuditPath} {
		if _, ok := w.byPath["POST "+path]; path != "" && !ok {
			return nil, fmt.Errorf("there is no route POST %s to report to", path)
		}
	}
	w.public, w.admin, w.internal = w.publicHandler(), w.recovering(w.mux(adminDoor)), w.recovering(w.mux(internalDoor))
	return w, nil
}

// Routes returns every route by full pattern, in order: the list that the access test
// walks.
func (w *Web) Routes() []service.Route {
	var list []service.Route
	for _, d := range w.o.Definitions {
		list = append(list, d.Routes...)
	}
	slices.SortFunc(list, func(a, b service.Route) int { return strings.Compare(a.FullPattern(), b.FullPattern()) })
	return list
}

// door is where a request came in.
type door int

const (
	publicDoor door = iota
	adminDoor
	internalDoor
	systemDoor // The program's own calls.
)

// Public returns the handler of people's port.
func (w *Web) Public() http.Handler { return w.public }

func (w *Web) publicHandler() http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.refuse(rw, r, service.Principal{}, service.ErrCrossOrigin)
	}))
	mux := w.mux(publicDoor)
	mux.Handle("GET /assets/", w.o.Portal.Assets())
	mux.HandleFunc("GET /healthz", w.health)
	return w.o.Portal.SecurityHeaders(w.recovering(w.throttled(origin.Handler(mux))))
}

// Admin returns the handler of the admin socket.
func (w *Web) Admin() http.Handler { return w.admin }

// Internal returns the handler of requests that other nodes of the division proxied. Its
// caller has verified the peer.
func (w *Web) Internal() http.Handler { return w.internal }

func (w *Web) mux(d door) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range w.Routes() {
		mux.Handle(r.FullPattern(), w.route(d, r))
	}
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		if allowed := methodsAt(mux, r); len(allowed) > 0 {
			rw.Header().Set("Allow", strings.Join(allowed, ", "))
			w.refuse(rw, r, service.Principal{}, service.ErrWrongMethod.With("method", r.Method))
			return
		}
		w.refuse(rw, r, service.Principal{}, service.ErrNotFound)
	})
	return mux
}

// methodsAt returns the methods by which the request's path has a route.
func methodsAt(mux *http.ServeMux, r *http.Request) []string {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	return allowed
}

// recovering ends a request that panics, and only that.
func (w *Web) recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			w.refuse(rw, r, service.Principal{}, service.ErrInternal.Because(panicError(p)))
		}()
		next.ServeHTTP(rw, r)
	})
}

// health says whether this node can answer: it is up, and the division has a leader.
func (w *Web) health(rw http.ResponseWriter, _ *http.Request) {
	leader, ok := w.o.Databases.Division().Leader()
	rw.Header().Set("Content-Type", "application/json")
	if !ok {
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintf(rw, "{\"node\":%q,\"leader\":%q}\n", w.o.Self, leader)
}
