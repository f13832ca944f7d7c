package replicationtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"tongban/replication"
)

// Lines is a network in memory between engines, for a bubble of testing/synctest. What it
// carries is a stream, as TCP is: bytes arrive in order or not at all, and yet late, in
// bursts, or never noticed by one side. Its chances are drawn from a seed.
type Lines struct {
	mu      sync.Mutex
	rng     *rand.Rand
	ways    map[[2]replication.NodeID]*way
	engines map[replication.NodeID]*replication.Engine
	dark    map[replication.NodeID]bool // Without power: nobody hears that it is gone.
	conns   map[*conn]bool              // The dialers' ends.
	serving sync.WaitGroup
}

// way is one direction between two nodes.
type way struct {
	delay, jitter time.Duration
	hole          bool // Nothing arrives.
}

// usualDelay and usualJitter are those of a town's fibre; a retransmission costs retransmit.
const (
	usualDelay  = 300 * time.Microsecond
	usualJitter = 700 * time.Microsecond
	retransmit  = 200 * time.Millisecond
	// oneIn so many writes is retransmitted.
	oneIn = 500
	// window is how much a direction holds before its writer waits.
	window = 256 << 10
)

// errReset is what both ends of a broken connection read.
var errReset = errors.New("connection reset")

// NewLines makes a network without faults.
func NewLines(seed uint64) *Lines {
	return &Lines{
		rng: rand.New(rand.NewPCG(seed, 2)), ways: map[[2]replication.NodeID]*way{},
		engines: map[replication.NodeID]*replication.Engine{}, dark: map[replication.NodeID]bool{}, conns: map[*conn]bool{},
	}
}

// way returns a direction. The caller holds mu.
func (n *Lines) way(from, to replication.NodeID) *way {
	key := [2]replication.NodeID{from, to}
	w := n.ways[key]
	if w == nil {
		w = &way{delay: usualDelay, jitter: usualJitter}
		n.ways[key] = w
	}
	return w
}

// transit draws how long the next bytes take.
func (n *Lines) transit(from, to replication.NodeID) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := n.way(from, to)
	d := w.delay + time.Duration(n.rng.Int64N(int64(w.jitter)+1))
	if n.rng.IntN(oneIn) == 0 {
		d += retransmit
	}
	return d
}

func (n *Lines) holed(from, to replication.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.way(from, to).hole || n.dark[from] || n.dark[to]
}

// Hole lets nothing through from one node to another; the sender does not notice. What it
// sent arrives after Open, as TCP sends again.
func (n *Lines) Hole(from, to replication.NodeID) { n.set(from, to, func(w *way) { w.hole = true }) }

// Slow makes everything from one node to another take so long.
func (n *Lines) Slow(from, to replication.NodeID, delay, jitter time.Duration) {
	n.set(from, to, func(w *way) { w.delay, w.jitter = delay, jitter })
}

// Open makes one direction as it usually is.
func (n *Lines) Open(from, to replication.NodeID) {
	n.set(from, to, func(w *way) { *w = way{delay: usualDelay, jitter: usualJitter} })
}

func (n *Lines) set(from, to replication.NodeID, change func(*way)) {
	n.mu.Lock()
	change(n.way(from, to))
	n.mu.Unlock()
	n.wake()
}

// wake makes every reader look again.
func (n *Lines) wake() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.in.notify()
		c.out.notify()
	}
}

// Break resets the connections between two nodes. If half, the side that accepted them
// hears nothing of it, and still reads what was under way.
func (n *Lines) Break(a, b replication.NodeID, half bool) {
	n.each(func(c *conn) bool { return pair(c.self, c.peer) == pair(a, b) }, func(c *conn) {
		c.in.reset()
		if half {
			c.out.finish(time.Hour)
			return
		}
		c.out.reset()
	})
}

func (n *Lines) each(which func(*conn) bool, do func(*conn)) {
	n.mu.Lock()
	var found []*conn
	for c := range n.conns {
		if which(c) {
			found = append(found, c)
		}
	}
	n.mu.Unlock()
	for _, c := range found {
		do(c)
	}
}

// Attach lets a node dial and be dialled. Connections that its last life left behind are
// reset: its machine does not know them.
func (n *Lines) Attach(id replication.NodeID, e *replication.Engine) {
	n.each(func(c *conn) bool { return c.self == id || c.peer == id }, func(c *conn) { c.in.reset(); c.out.reset() })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.engines[id] = e
	delete(n.dark, id)
}

// Detach ends a node's connections. If silent, as its power fails: the others are not
// told, until it is attached again; nothing of it reaches them any more.
func (n *Lines) Detach(id replication.NodeID, silent bool) {
	n.mu.Lock()
	delete(n.engines, id)
	n.dark[id] = n.dark[id] || silent
	n.mu.Unlock()
	n.each(func(c *conn) bool { return c.self == id || c.peer == id }, func(c *conn) {
		mine, others := c.in, c.out
		if c.peer == id {
			mine, others = c.out, c.in
		}
		if silent {
			mine.drop()
			others.finish(time.Hour)
			return
		}
		mine.reset()
		others.finish(n.transit(id, c.peer))
	})
}

// Dialer is the Options.Dial of a node.
func (n *Lines) Dialer(from replication.NodeID) func(context.Context, replication.NodeID, string) (net.Conn, error) {
	return func(ctx context.Context, to replication.NodeID, protocol string) (net.Conn, error) {
		if n.holed(from, to) || n.holed(to, from) {
			<-ctx.Done()
			return nil, fmt.Errorf("dial %s: %w", to, ctx.Err())
		}
		select {
		case <-time.After(n.transit(from, to) + n.transit(to, from)):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		e := n.engines[to]
		if e == nil || n.engines[from] == nil {
			return nil, fmt.Errorf("dial %s: connection refused", to)
		}
		out, in := newStream(n, from, to), newStream(n, to, from)
		near := &conn{self: from, peer: to, in: in, out: out}
		far := &conn{self: to, peer: from, in: out, out: in}
		n.conns[near] = true
		n.serving.Go(func() {
			_ = e.ServeConn(far, from, protocol)
			_ = far.Close()
		})
		return near, nil
	}
}

// forget is told that the dialer has closed its end. Until then it may wait for the other's
// end, which a hole or a power cut holds up.
func (n *Lines) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

// Wait waits until no connection is served any more.
func (n *Lines) Wait() { n.serving.Wait() }
