package databases

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"tongban/replication"
)

// watchPeer is how soon it is noticed that the node to which a request was forwarded is
// gone.
const watchPeer = 250 * time.Millisecond

// atLeader runs do if this node leads the database, or else forwards the request to the node
// that does. Without a leader it waits for one, for a short time. do answers unless it returns
// an error.
func (c *call) atLeader(do func(ctx context.Context) error) {
	ctx, cancel := context.WithDeadline(c.r.Context(), c.deadline)
	defer cancel()
	patience := c.began.Add(leaderPatience)
	for {
		err := error(replication.ErrNotLeader)
		if c.db.IsLeader() {
			err = do(ctx)
		} else if leader, ok := c.db.Leader(); ok && leader != c.server.o.Self && !c.within && c.server.o.Neighbours.Up(leader) {
			err = c.forward(ctx, leader)
		}
		switch {
		case err == nil:
			return
		case !errors.Is(err, replication.ErrNotLeader), c.within, time.Now().After(patience):
			c.fail(err)
			return
		}
		select {
		case <-time.After(leaderPause):
		case <-ctx.Done():
			c.fail(replication.ErrNotLeader)
			return
		}
	}
}

// passed are the headers that go with a request that is forwarded.
var passed = []string{"Authorization", "Content-Type", HeaderIndex}

// forward sends the request to the leader and passes its answer on. ErrNotLeader: certainly
// nothing was done there.
func (c *call) forward(ctx context.Context, leader replication.NodeID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.watch(leader, cancel)()
	target := "https://node" + ForwardPath + strings.TrimPrefix(c.r.URL.RequestURI(), "/")
	r, err := http.NewRequestWithContext(ctx, c.r.Method, target, bytes.NewReader(c.in))
	if err != nil {
		return err
	}
	for _, name := range passed {
		if v := c.r.Header[name]; len(v) > 0 {
			r.Header[name] = v
		}
	}
	response, err := c.server.o.Neighbours.Forward(ctx, leader, r)
	if err != nil {
		return c.broken(err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get(HeaderOutcome) == outcomeNone {
		return replication.ErrNotLeader
	}
	body, err := c.take(response.Body)
	if err != nil {
		return c.broken(err)
	}
	h := c.w.Header()
	for _, name := range []string{"Content-Type", "Retry-After", "Www-Authenticate", HeaderIndex, HeaderOutcome} {
		if v := response.Header[name]; len(v) > 0 {
			h[name] = v
		}
	}
	c.w.WriteHeader(response.StatusCode)
	_, _ = c.w.Write(body) // The client went away: nobody to tell.
	return nil
}

// take reads the leader's answer into c.out.
func (c *call) take(r io.Reader) ([]byte, error) {
	b := bytes.NewBuffer(c.out[:0])
	_, err := b.ReadFrom(r)
	c.out = b.Bytes()
	return c.out, err
}

// broken is what is known when a forwarded request ends with an error.
func (c *call) broken(err error) error {
	if c.server.o.Neighbours.Unreached(err) || c.reads() {
		return replication.ErrNotLeader
	}
	return errors.Join(replication.ErrUnknownOutcome, err)
}

// reads reports whether the request changes nothing, whatever its statements are.
func (c *call) reads() bool {
	return c.grant.readOnly || strings.HasSuffix(strings.TrimSuffix(c.r.URL.Path, "/"), "/query")
}

// watch ends a forwarded request when the node that has it is gone.
func (c *call) watch(n replication.NodeID, cancel context.CancelFunc) (stop func()) {
	var timer *time.Timer
	timer = time.AfterFunc(time.Hour, func() {
		if !c.server.o.Neighbours.Up(n) {
			cancel()
			return
		}
		timer.Reset(watchPeer)
	})
	timer.Reset(watchPeer)
	return func() { timer.Stop() }
}
