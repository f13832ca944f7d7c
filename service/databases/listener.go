package databases

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Listener serves programs at one listener. Make it with Server.Listen.
type Listener struct {
	server *Server
	l      net.Listener
	http   *http.Server
	others *handed
	ctx    context.Context // Ends with Close: of the requests.
	cancel context.CancelFunc
	date   atomic.Pointer[dateText]
	work   sync.WaitGroup

	mu     sync.Mutex
	ending bool
	conns  map[*conn]struct{}
}

// Listen returns what serves programs at l; run it with Serve.
func (s *Server) Listen(l net.Listener, httpLog *log.Logger) *Listener {
	ctx, cancel := context.WithCancel(context.Background())
	return &Listener{server: s, l: l, ctx: ctx, cancel: cancel, conns: map[*conn]struct{}{},
		others: &handed{Listener: l, conns: make(chan net.Conn), done: make(chan struct{})},
		http: &http.Server{Handler: s.Public(), ReadHeaderTimeout: idleConn, ReadTimeout: idleConn, WriteTimeout: maxTimeout + idleConn,
			IdleTimeout: idleConn, MaxHeaderBytes: maxHead, ErrorLog: httpLog}}
}

// acceptPause follows a failed accept: no file descriptor is left.
const acceptPause = 50 * time.Millisecond

// Serve accepts until Shutdown.
func (n *Listener) Serve() error {
	n.work.Go(func() { _ = n.http.Serve(n.others) }) // It ends with others, whatever it says.
	for {
		raw, err := n.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		c := &conn{Conn: raw, listener: n, buf: make([]byte, firstBuffer)}
		if !n.enter(c) {
			_ = raw.Close()
			return nil
		}
		n.work.Go(c.serve)
	}
}

func (n *Listener) enter(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ending {
		return false
	}
	n.conns[c] = struct{}{}
	return true
}

func (n *Listener) leave(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
}

func (n *Listener) isEnding() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ending
}

// Shutdown accepts nothing more, lets the requests that are being answered end until ctx
// does, and closes all connections.
func (n *Listener) Shutdown(ctx context.Context) error {
	n.mu.Lock()
	n.ending = true
	for c := range n.conns {
		_ = c.SetReadDeadline(time.Unix(1, 0)) // Whoever says nothing ends; answers go out.
	}
	n.mu.Unlock()
	err := n.l.Close()
	n.others.end()
	err = errors.Join(err, n.http.Shutdown(ctx))
	ended := make(chan struct{})
	go func() { n.work.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		n.cancel()
		n.mu.Lock()
		for c := range n.conns {
			_ = c.Close()
		}
		n.mu.Unlock()
		err = errors.Join(err, n.http.Close())
		<-ended
	}
	n.cancel()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// dateText is the header Date of one second.
type dateText struct {
	second int64
	text   string
}

func (n *Listener) dateNow(now time.Time) string {
	if d := n.date.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dateText{now.Unix(), now.UTC().Format(http.TimeFormat)}
	n.date.Store(d)
	return d.text
}

// handed is a net.Listener of the connections that net/http gets.
type handed struct {
	net.Listener
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error { h.end(); return nil }

func (h *handed) end() { h.once.Do(func() { close(h.done) }) }

// replayed is a connection of which something was read already.
type replayed struct {
	net.Conn
	rest []byte
}

// Read implements io.Reader.
func (r *replayed) Read(p []byte) (int, error) {
	if len(r.rest) > 0 {
		n := copy(p, r.rest)
		r.rest = r.rest[n:]
		return n, nil
	}
	return r.Conn.Read(p)
}
