package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	dialTimeout  = 3 * time.Second // A poor line's round trips for TCP and TLS.
	helloTimeout = 5 * time.Second
	// After a failed dial calls fail at once until the next attempt. The wait doubles
	// from minRedial to maxRedial, each time by 0.5 to 1.5 of it, so that nodes that lost
	// each other together do not come back together.
	minRedial = 50 * time.Millisecond
	maxRedial = time.Second
	// steadyAfter is how long a connection must last to count as a success: two boxes of
	// one name take each other's place, for ever, and would do it without a pause.
	steadyAfter = 200 * time.Millisecond
	// maxInbound is how many bytes of requests may wait for raft on this node, over all
	// groups: some tens of full AppendEntries. More are refused, and sent again.
	maxInbound = 64 << 20
	// maxStreams is how many snapshots are received at once: each fills the disk's
	// bandwidth.
	maxStreams = 4
)

var (
	errAway     = errors.New("the node cannot be reached")
	errReplaced = errors.New("a newer connection took its place")
)

// transport carries the raft messages of all groups between this node and the others:
// one connection per direction and pair of nodes, made on first use. See
// transport_frame.go for what is on the wire.
//
// Every connection is authenticated before it comes here.
type transport struct {
	self  NodeID
	dial  func(ctx context.Context, to NodeID, protocol string) (net.Conn, error)
	hello []byte
	log   *slog.Logger

	mutants mutants

	ctx     context.Context // Ends with close.
	cancel  context.CancelFunc
	inbound atomic.Int64 // Bytes of requests that wait for raft.
	streams chan struct{}
	began   time.Time

	mu     sync.Mutex
	closed bool
	tasks  sync.WaitGroup
	groups map[DatabaseID]*groupTransport
	peers  map[NodeID]*peer
	from   map[NodeID]*link     // The accepted raft connection of each peer.
	ended  map[NodeID]time.Time // When it ended, of those that have none.
	hellos map[NodeID]*heard

	// Of the failure detector (detector.go) and the leases (lease.go); 0: there are none.
	silence, promise, lease time.Duration
	changed                 func(n NodeID)
	standing                func(from NodeID, q question) standing // Answers kindAsk.
	vows                    vows
}

// heard is what a peer said in its hello, while it has connections.
type heard struct {
	hello []byte
	links int
}

// newTransport makes the transport of one node. dial may be nil: there are no others.
func newTransport(self NodeID, dial func(ctx context.Context, to NodeID, protocol string) (net.Conn, error), hello []byte, log *slog.Logger) *transport {
	if log == nil {
		log = slog.Default()
	}
	t := &transport{
		self: self, dial: dial, hello: hello, log: log,
		streams: make(chan struct{}, maxStreams),
		began:   time.Now(),
		vows:    vows{closed: make(map[DatabaseID]time.Time)},
		groups:  make(map[DatabaseID]*groupTransport),
		peers:   make(map[NodeID]*peer),
		from:    make(map[NodeID]*link),
		ended:   make(map[NodeID]time.Time),
		hellos:  make(map[NodeID]*heard),
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// close ends every connection and call and waits for all goroutines.
func (t *transport) close() error {
	t.mu.Lock()
	t.closed = true
	groups := make([]*groupTransport, 0, len(t.groups))
	for _, g := range t.groups {
		groups = append(groups, g)
	}
	t.mu.Unlock()
	t.cancel()
	for _, g := range groups {
		_ = g.Close()
	}
	t.tasks.Wait()
	return nil
}

// begin counts a task that close waits for; false after close. The caller must call
// t.tasks.Done.
func (t *transport) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.tasks.Add(1)
	return true
}

// spawn runs f in a goroutine that close waits for; false after close.
func (t *transport) spawn(f func()) bool {
	if !t.begin() {
		return false
	}
	go func() {
		defer t.tasks.Done()
		f()
	}()
	return true
}

// peerHello is what n said when its newest live connection opened.
func (t *transport) peerHello(n NodeID) ([]byte, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hellos[n]
	if h == nil {
		return nil, false
	}
	return h.hello, true
}

// met notes a peer's hello until the returned function is called.
func (t *transport) met(n NodeID, hello []byte) (gone func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.hellos[n]
	if h == nil {
		h = &heard{}
		t.hellos[n] = h
	}
	h.hello = hello
	h.links++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if h.links--; h.links == 0 {
			delete(t.hellos, n)
		}
	}
}

// serve serves an accepted connection of a peer that was proven to be from, and closes
// it. It returns when the connection ends: nil when the peer or this node ended it, and
// otherwise what was wrong with it.
func (t *transport) serve(conn net.Conn, from NodeID, protocol string) error {
	defer func() { _ = conn.Close() }()
	if !t.begin() {
		return ErrClosed
	}
	defer t.tasks.Done()
	defer context.AfterFunc(t.ctx, func() { _ = conn.Close() })()
	if protocol != raftProtocol && protocol != streamProtocol {
		return fmt.Errorf("replication: connection from %s: unknown protocol %q", from, protocol)
	}
	r := bufio.NewReaderSize(conn, readBuffer)
	h, err := t.greeted(conn, r, from)
	if err == nil {
		defer t.met(from, h.hello)()
		if protocol == raftProtocol {
			err = t.serveRaft(conn, r, from)
		} else {
			err = t.serveStream(conn, r, from)
		}
	}
	if err == nil || errors.Is(err, io.EOF) || t.ctx.Err() != nil || errors.Is(err, errReplaced) {
		return nil
	}
	return fmt.Errorf("replication: connection from %s: %w", from, err)
}

// greeted exchanges hellos as the acceptor.
func (t *transport) greeted(conn net.Conn, r *bufio.Reader, from NodeID) (helloFrame, error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return helloFrame{}, err
	}
	h, err := readHello(r, t.self, from)
	if err != nil {
		return h, err
	}
	if _, err := conn.Write(appendHello(nil, helloFrame{from: t.self, to: from, hello: t.hello})); err != nil {
		return h, fmt.Errorf("send the hello: %w", err)
	}
	return h, conn.SetDeadline(time.Time{})
}

// greet exchanges hellos as the dialer.
func (t *transport) greet(conn net.Conn, r *bufio.Reader, to NodeID) (helloFrame, error) {
	if err := conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return helloFrame{}, err
	}
	if _, err := conn.Write(appendHello(nil, helloFrame{from: t.self, to: to, hello: t.hello})); err != nil {
		return helloFrame{}, fmt.Errorf("send the hello: %w", err)
	}
	h, err := readHello(r, t.self, to)
	if err != nil {
		return h, err
	}
	return h, conn.SetDeadline(time.Time{})
}

// serveRaft reads requests and hands them to their groups; it never waits for raft.
func (t *transport) serveRaft(conn net.Conn, r *bufio.Reader, from NodeID) error {
	l := newLink(t.ctx, conn, from)
	t.mu.Lock()
	old := t.from[from]
	t.from[from] = l
	delete(t.ended, from)
	t.mu.Unlock()
	if old != nil {
		old.close(errReplaced) // Its end may never be noticed: the peer's power failed.
	}
	defer t.unheard(l)
	if !t.spawn(l.write) {
		return nil
	}
	t.peer(from).back()
	err := t.readRequests(l, r)
	l.close(err)
	return context.Cause(l.ctx)
}

// unheard notes that a peer's connection has ended. If it makes no other in time, what it
// led is vacant, though it may answer: who leads and cannot send is of no use.
func (t *transport) unheard(l *link) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.peers[l.peer]; p != nil {
		p.nudge() // It may be that it was alive for its pings alone.
	}
	if t.from[l.peer] != l {
		return
	}
	delete(t.from, l.peer)
	ended := time.Now()
	t.ended[l.peer] = ended
	if t.changed == nil || t.closed {
		return
	}
	time.AfterFunc(t.silence, func() {
		t.mu.Lock()
		still := t.ended[l.peer].Equal(ended)
		t.mu.Unlock()
		if still {
			t.spawn(func() { t.changed(l.peer) })
		}
	})
}

func (t *transport) readRequests(l *link, r *bufio.Reader) error {
	for {
		f, err := readFrame(r, maxFrame)
		if err != nil {
			return err
		}
		switch f.kind {
		case kindPing:
			t.pinged(l, f.seq)
			continue
		case kindAsk, kindHints, kindRelease:
			if err := t.serveNode(l, f); err != nil {
				return fmt.Errorf("a malformed request of kind %d: %w", f.kind, err)
			}
			continue
		}
		in := inbound{link: l, size: len(f.payload), answer: func(response any, err error) { l.answer(f.seq, response, err) }}
		in.from = l.peer
		switch f.kind {
		case kindAppend:
			in.command, err = decodeAppendRequest(f.payload, l.peer)
		case kindVote:
			in.command, err = decodeVoteRequest(f.payload, l.peer)
		case kindPreVote:
			in.command, err = decodePreVoteRequest(f.payload, l.peer)
		case kindTimeoutNow:
			in.command, err = decodeTimeoutNow(f.payload, l.peer)
		default:
			return fmt.Errorf("a request of kind %d", f.kind)
		}
		if err != nil {
			return fmt.Errorf("a malformed request of kind %d for %q: %w", f.kind, f.group, err)
		}
		t.deliver(f.group, in)
	}
}

// deliver queues a request at its group, or answers at once why not.
func (t *transport) deliver(id DatabaseID, in inbound) {
	t.mu.Lock()
	g := t.groups[id]
	t.mu.Unlock()
	if g == nil {
		in.answer(nil, fmt.Errorf("%s is not open on %s", id, t.self))
		return
	}
	if err := g.receive(in); err != nil {
		in.answer(nil, err)
	}
}

// peer is the way to another node.
func (t *transport) peer(id NodeID) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peers[id]
	if p == nil {
		p = &peer{t: t, id: id, nudged: make(chan struct{}, 1)}
		t.peers[id] = p
	}
	return p
}

// peer is the outgoing connection to one node.
type peer struct {
	t  *transport
	id NodeID

	mu       sync.Mutex
	link     *link
	dialing  chan struct{} // Closed when the dial under way has ended; nil: none is.
	failures int           // In a row: dials, and connections that did not last.
	err      error         // The last failure.
	retry    time.Time     // No dial before.

	pulse  pulse
	nudged chan struct{} // Holds one token when beat should look at once.
}

// connected returns the live connection. The first call after a connection was lost
// makes a new one and waits for it; while the node is away calls fail at once, and dial
// again in the background when it is time. done ends the wait.
func (p *peer) connected(done <-chan struct{}) (*link, error) {
	for {
		p.mu.Lock()
		if p.link != nil && p.link.ctx.Err() == nil {
			defer p.mu.Unlock()
			return p.link, nil
		}
		if p.dialing == nil && !time.Now().Before(p.retry) {
			if !p.dial() {
				defer p.mu.Unlock()
				return nil, ErrClosed
			}
		}
		dialing := p.dialing
		if p.failures > 0 {
			defer p.mu.Unlock()
			return nil, fmt.Errorf("replication: %s: %w: %w", p.id, errAway, p.err)
		}
		p.mu.Unlock()
		select {
		case <-dialing:
		case <-done:
			return nil, ErrClosed
		}
	}
}

// dial begins to connect. The caller holds mu.
func (p *peer) dial() bool {
	p.dialing = make(chan struct{})
	if !p.t.spawn(p.connect) {
		close(p.dialing)
		p.dialing = nil
		return false
	}
	return true
}

// back is called when the node has connected to us: it is there, so do not wait.
func (p *peer) back() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dialing == nil {
		p.failures, p.retry = 0, time.Time{}
		p.nudge()
	}
}

// connect dials once and then serves the connection until it ends.
func (p *peer) connect() {
	defer p.nudge()
	conn, r, h, err := p.open()
	p.mu.Lock()
	close(p.dialing)
	p.dialing = nil
	if err != nil {
		p.failed(err)
		first := p.failures == 1
		p.mu.Unlock()
		if first && p.t.ctx.Err() == nil { // Once, not at every attempt.
			p.t.log.Info("a node cannot be reached", "node", p.id, "err", err)
		}
		return
	}
	l := newLink(p.t.ctx, conn, p.id)
	p.link = l
	p.mu.Unlock()
	defer p.lasted(l, time.Now())
	defer p.t.met(p.id, h.hello)()
	defer context.AfterFunc(l.ctx, func() { _ = conn.Close() })()
	if !p.t.spawn(l.write) {
		l.close(ErrClosed)
		return
	}
	p.nudge()
	l.close(l.readAnswers(r))
	if p.t.ctx.Err() == nil {
		p.t.log.Info("a connection ended", "node", p.id, "err", context.Cause(l.ctx))
	}
}

// failed notes a failure and when to dial again. The caller holds mu.
func (p *peer) failed(err error) {
	wait := min(minRedial<<min(p.failures, 10), maxRedial)
	p.failures++
	p.err = err
	p.retry = time.Now().Add(wait/2 + rand.N(wait))
}

// lasted judges a connection that has ended.
func (p *peer) lasted(l *link, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(since) < steadyAfter {
		p.failed(context.Cause(l.ctx))
	} else {
		p.failures, p.err, p.retry = 0, nil, time.Time{}
	}
}

// open dials the raft protocol and exchanges hellos.
func (p *peer) open() (net.Conn, *bufio.Reader, helloFrame, error) {
	return p.t.connect(p.t.ctx, p.id, raftProtocol)
}

// connect dials a node and exchanges hellos.
func (t *transport) connect(ctx context.Context, to NodeID, protocol string) (net.Conn, *bufio.Reader, helloFrame, error) {
	if t.dial == nil {
		return nil, nil, helloFrame{}, errors.New("this division has one node")
	}
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	conn, err := t.dial(dialing, to, protocol)
	cancel()
	if err != nil {
		return nil, nil, helloFrame{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	r := bufio.NewReaderSize(conn, readBuffer)
	h, err := t.greet(conn, r, to)
	stop()
	if err != nil {
		_ = conn.Close()
		return nil, nil, h, err
	}
	return conn, r, h, nil
}
