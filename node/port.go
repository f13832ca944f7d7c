package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"tongban/node/enrol"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
)

const (
	// handshakeTimeout bounds a TLS handshake on the node port.
	handshakeTimeout = 10 * time.Second
	// maxHandshakes bounds connections that have not shown who they are, maxFrom those of
	// one address: who opens many keeps others out no longer.
	maxHandshakes = 256
	maxFrom       = 32
	// maxJoins bounds joining boxes and enrolling divisions that are served at once,
	// maxJoinsFrom those of one address: who asks and then says nothing must not keep the
	// others out.
	maxJoins     = 8
	maxJoinsFrom = 4
	// acceptPause follows a failed accept (no file descriptor left).
	acceptPause = 50 * time.Millisecond
)

// port is the node port: one TLS listener, divided by protocol.
type port struct {
	keys     *trust.Keys
	log      *slog.Logger
	now      func() time.Time
	config   *tls.Config
	knows    trust.Knows
	engine   func(conn net.Conn, from replication.NodeID, protocol string) error
	admit    join.Admit
	enrol    enrol.Consider
	requests *handOver // h2 connections, for the HTTP server.

	ctx    context.Context // Ends with close: of boxes that are joining.
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	shaking map[string]int                   // Handshakes under way, by address.
	joining map[string]int                   // Boxes that join and divisions that enrol, by address.
	conns   map[*portConn]replication.NodeID // "" while it is not known, or joins.
	heard   map[replication.NodeID]time.Time
}

func newPort(keys *trust.Keys, knows trust.Knows, log *slog.Logger, now func() time.Time, address net.Addr) *port {
	ctx, cancel := context.WithCancel(context.Background())
	return &port{
		ctx: ctx, cancel: cancel, keys: keys, log: log, now: now, config: keys.Listener(knows, now), knows: knows,
		requests: newHandOver(address),
		shaking:  map[string]int{}, joining: map[string]int{},
		conns: map[*portConn]replication.NodeID{}, heard: map[replication.NodeID]time.Time{},
	}
}

// portConn is an accepted connection; closing it takes it off the port's list.
type portConn struct {
	net.Conn
	port *port
	once sync.Once
}

// Close implements net.Conn.
func (c *portConn) Close() error {
	c.once.Do(func() { c.port.forget(c) })
	return c.Conn.Close()
}

// serve accepts until the listener is closed.
func (p *port) serve(l net.Listener) error {
	for {
		raw, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			p.log.Error("accept on the node port", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		from, _, _ := net.SplitHostPort(raw.RemoteAddr().String())
		if !p.begin(p.shaking, from, maxHandshakes, maxFrom) {
			_ = raw.Close()
			continue
		}
		conn := &portConn{Conn: raw, port: p}
		p.wg.Go(func() { p.meet(conn, tls.Server(conn, p.config), from) })
	}
}

// begin counts one more of an address in counts; false: there are too many.
func (p *port) begin(counts map[string]int, from string, most, mostFrom int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := 0
	for _, n := range counts {
		all += n
	}
	if all >= most || counts[from] >= mostFrom {
		return false
	}
	counts[from]++
	return true
}

func (p *port) end(counts map[string]int, from string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if counts[from]--; counts[from] <= 0 {
		delete(counts, from)
	}
}

// meet finds out who is there and hands the connection to whom its protocol belongs.
func (p *port) meet(raw *portConn, conn *tls.Conn, address string) {
	if !p.track(raw, "") {
		p.end(p.shaking, address)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTimeout)
	err := conn.HandshakeContext(ctx)
	cancel()
	p.end(p.shaking, address)
	if err != nil {
		p.log.Warn("refuse a connection to the node port", "address", raw.RemoteAddr().String(), "err", err)
		_ = raw.Close()
		return
	}
	state := conn.ConnectionState()
	switch state.NegotiatedProtocol {
	case trust.ProtocolJoin:
		p.serveStranger(conn, address, func() error { return join.Serve(p.ctx, conn, p.now, p.admit) })
		return
	case trust.ProtocolEnrol:
		p.serveStranger(conn, address, func() error { return enrol.Serve(p.ctx, conn, p.enrol) })
		return
	}
	from, err := p.keys.Peer(state)
	if err != nil || !p.track(raw, from) || !p.keys.Believed(state, p.knows, p.now()) { // Again: it was removed before it was on the list.
		_ = raw.Close()
		return
	}
	if state.NegotiatedProtocol == trust.ProtocolHTTP {
		p.requests.give(conn)
		return
	}
	defer raw.Close()
	if err := p.engine(conn, from, state.NegotiatedProtocol); err != nil && !errors.Is(err, net.ErrClosed) {
		p.log.Debug("a connection of a node ended", "node", from, "protocol", state.NegotiatedProtocol, "err", err)
	}
}

// serveStranger serves who has no certificate of this division: a box that joins, a
// division that enrols.
func (p *port) serveStranger(conn net.Conn, address string, serve func() error) {
	defer conn.Close()
	if !p.begin(p.joining, address, maxJoins, maxJoinsFrom) {
		p.log.Warn("too many boxes join or divisions enrol at once", "address", address)
		return
	}
	defer p.end(p.joining, address)
	if err := serve(); err != nil {
		p.log.Warn("refuse a box or a division", "address", conn.RemoteAddr().String(), "err", err)
	}
}

// track notes a connection, and whose it is once that is known; false, and the connection
// is closed, when the port is closed.
func (p *port) track(conn *portConn, from replication.NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = conn.Conn.Close()
		return false
	}
	p.conns[conn] = from
	if from != "" {
		p.heard[from] = p.now()
	}
	return true
}

func (p *port) forget(conn *portConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from := p.conns[conn]; from != "" {
		p.heard[from] = p.now()
	}
	delete(p.conns, conn)
}

// expel closes the connections of nodes that were removed.
func (p *port) expel(nodes []replication.NodeID) {
	for conn, from := range p.snapshot() {
		if slices.Contains(nodes, from) {
			p.log.Info("close a connection of a removed node", "node", from)
			_ = conn.Close()
		}
	}
}

func (p *port) snapshot() map[*portConn]replication.NodeID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.conns)
}

// lastHeard returns when a node was last connected.
func (p *port) lastHeard(n replication.NodeID) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, from := range p.conns {
		if from == n {
			return p.now()
		}
	}
	return p.heard[n]
}

// close ends every connection and waits for its goroutine.
func (p *port) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel()
	for conn := range p.snapshot() {
		_ = conn.Close()
	}
	_ = p.requests.Close()
	p.wg.Wait()
}

// handOver is a net.Listener whose connections were accepted elsewhere.
type handOver struct {
	address net.Addr
	conns   chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func newHandOver(address net.Addr) *handOver {
	return &handOver{address: address, conns: make(chan net.Conn), done: make(chan struct{})}
}

func (h *handOver) give(conn net.Conn) {
	select {
	case h.conns <- conn:
	case <-h.done:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (h *handOver) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handOver) Close() error { h.once.Do(func() { close(h.done) }); return nil }

// Addr implements net.Listener.
func (h *handOver) Addr() net.Addr { return h.address }

// peerKey is the context key of the verified peer of a request.
type peerKey struct{}

// peerOf is the node that sent a request of the node port.
func peerOf(r *http.Request) replication.NodeID {
	n, _ := r.Context().Value(peerKey{}).(replication.NodeID)
	return n
}

// withPeer notes the peer of each request from its certificate, which the handshake has
// verified.
func (p *port) withPeer(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.TLS == nil {
			http.Error(rw, "mutual TLS is required", http.StatusForbidden)
			return
		}
		from, err := p.keys.Peer(*r.TLS)
		if err != nil {
			http.Error(rw, fmt.Sprintf("who is there? %v", err), http.StatusForbidden)
			return
		}
		next.ServeHTTP(rw, r.WithContext(context.WithValue(r.Context(), peerKey{}, from)))
	})
}
