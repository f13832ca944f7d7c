package databases

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
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
	ctx, cancel := context.WithDeadline(c.ctx, c.deadline)
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

// forward sends the request to the leader and passes its answer on. ErrNotLeader: certainly
// nothing was done there.
func (c *call) forward(ctx context.Context, leader replication.NodeID) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.watch(leader, cancel)()
	target := "https://node" + ForwardPath + strings.TrimPrefix(c.path, "/")
	if c.exchange.query != "" {
		target += "?" + c.exchange.query
	}
	r, err := http.NewRequestWithContext(ctx, c.exchange.method, target, bytes.NewReader(c.in))
	if err != nil {
		return err
	}
	for name, value := range map[string]string{"Authorization": c.authorization, "Content-Type": c.contentType, HeaderIndex: c.index} {
		if value != "" {
			r.Header[name] = []string{value}
		}
	}
	r.Header[headerDivision] = []string{strconv.FormatUint(uint64(c.server.o.Databases.Division().Applied()), 10)}
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
	h := response.Header
	index, _ := strconv.ParseUint(h.Get(HeaderIndex), 10, 64) // Absent: 0.
	c.reply = reply{status: response.StatusCode, contentType: h.Get("Content-Type"), outcome: h.Get(HeaderOutcome),
		retry: h.Get("Retry-After") != "", authenticate: h.Get("Www-Authenticate") != "", index: replication.Index(index), body: body}
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
	return c.grant.readOnly || strings.HasSuffix(strings.TrimSuffix(c.path, "/"), "/query")
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
