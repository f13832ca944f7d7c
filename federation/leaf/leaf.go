package leaf

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"tongban/division"
	"tongban/federation"
)

// Options are the parts of a Server. A zero field takes the default stated beside it.
type Options struct {
	Self division.Ref // Required.
	// Listen is the address for the leaf connections of children, "host:port"; "": no children.
	Listen string
	// Server is the configuration of the listener; it must ask for a client certificate and
	// verify it. Required with Listen.
	Server *tls.Config
	// Authorize says which child the peer of a verified connection is and what its line may
	// carry, or why it may not connect. It is called at each connect and must be quick: a
	// local read. Required with Listen.
	Authorize func(tls.ConnectionState) (Grant, error)
	// Handle answers a neighbour's request. Its context ends when the asking side gives up,
	// when the child is kicked and when the Server closes. A *service.Error crosses to the
	// caller with code, reason and params, any other error as opaque text. Required.
	Handle func(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error)
	Log    *slog.Logger // slog.Default().

	pace pace // Tests shorten it.
}

// Grant is what the line of a child may carry.
type Grant struct {
	Child division.Ref
	// Only is the one kind of request that the child may send; it is asked nothing, and the
	// line ends after two minutes. "": all kinds, both ways, until a certificate of those
	// that it has shown ends.
	Only string
}

// Parent is the neighbour above.
type Parent struct {
	Ref       division.Ref
	Addresses []string    // "host:port" of its nodes; tried in random order.
	TLS       *tls.Config // Must verify that the peer is the parent. Compared by pointer: keep one.
	Only      string      // The one kind of request that it takes from here, see Grant; "": all.
}

func (p *Parent) same(q *Parent) bool {
	return p == q || p != nil && q != nil && p.Ref == q.Ref && p.TLS == q.TLS && p.Only == q.Only && slices.Equal(p.Addresses, q.Addresses)
}

// ErrTooLarge: a request or an answer is larger than federation.MaxMessage. It is never sent.
var ErrTooLarge = errors.New("leaf: the message is larger than 1 MiB")

// Server is the wire of one node to its division's neighbours. It is safe for concurrent
// use.
type Server struct {
	o    Options
	down *down // Nil: no children.

	turn   sync.Mutex // Held while the parent is changed, which waits for handlers.
	mu     sync.Mutex // Never held while waiting: handlers Call.
	closed bool
	parent *Parent
	up     *up // Nil: no parent.

	states  sync.Mutex
	lines   map[division.Ref]bool // What Connected says.
	changed chan struct{}

	stop context.CancelFunc
	work sync.WaitGroup
}

// Open starts the hop down if there is an Options.Listen. Errors: a required option is
// missing, the address cannot be listened on.
func Open(o Options) (*Server, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Server{o: o, lines: map[division.Ref]bool{}, changed: make(chan struct{})}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	if o.Listen != "" {
		d, err := openDown(ctx, &s.o)
		if err != nil {
			stop()
			return nil, err
		}
		s.down = d
	}
	s.work.Go(func() { s.watch(ctx) })
	return s, nil
}

func (o *Options) check() error {
	if err := o.Self.Check(); err != nil {
		return fmt.Errorf("leaf: Options.Self: %w", err)
	}
	if o.Handle == nil {
		return errors.New("leaf: Options.Handle is missing")
	}
	if o.Listen != "" && (o.Server == nil || o.Authorize == nil) {
		return errors.New("leaf: Options.Listen needs Server and Authorize")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	o.pace = o.pace.withDefaults()
	return nil
}

// SetParent replaces the line up; nil: there is none. It returns when the old line is
// closed and its handlers have ended, so a handler must not call it; the new line is
// dialled in the background, again and again. Calls on the old line end with an error.
// Setting what is set already changes nothing.
func (s *Server) SetParent(p *Parent) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	if s.closed || p.same(s.parent) {
		s.mu.Unlock()
		return
	}
	old := s.up
	s.up, s.parent = nil, p
	s.mu.Unlock()
	if old != nil {
		old.close()
	}
	if p == nil {
		return
	}
	u := openUp(&s.o, *p)
	s.mu.Lock()
	s.up = u
	s.mu.Unlock()
}

// Call sends body to a neighbour and waits for the answer, at most federation.MaxMessage
// bytes each, until ctx ends, at most 5 minutes. Errors: federation.ErrUnreachable when
// there is no line, at once; ErrTooLarge; a *service.Error that the neighbour answered
// with; anything else means that nobody knows whether it arrived. kind is 1 to 32 of
// a-z, 0-9, '-' and '_'.
func (s *Server) Call(ctx context.Context, to division.Ref, kind string, body []byte) ([]byte, error) {
	if !validKind(kind) {
		return nil, fmt.Errorf("leaf: %q is no kind of a request", kind)
	}
	if len(body) > federation.MaxMessage {
		return nil, fmt.Errorf("%w: a request %s of %d bytes to %s", ErrTooLarge, kind, len(body), to)
	}
	ctx, cancel := context.WithTimeout(ctx, maxCall)
	defer cancel()
	if u := s.above(to); u != nil {
		return u.call(ctx, kind, body)
	}
	if s.down != nil {
		return s.down.call(ctx, to, kind, body)
	}
	return nil, federation.ErrUnreachable
}

// maxCall bounds a Call whose context has no earlier end: 1 MiB each way takes that long at
// 64 kbit/s.
const maxCall = 5 * time.Minute

// above returns the hop up if it leads to the division.
func (s *Server) above(to division.Ref) *up {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == nil || s.up.parent.Ref != to {
		return nil
	}
	return s.up
}

// Connected reports whether a line to the neighbour is up and it is not known to be dumb:
// a line on which a Call timed out and a question after it stayed unanswered counts as
// down until something is heard again.
func (s *Server) Connected(to division.Ref) bool {
	s.states.Lock()
	defer s.states.Unlock()
	return s.lines[to]
}

// Changed returns a channel that is closed when what Connected says next changes.
func (s *Server) Changed() <-chan struct{} {
	s.states.Lock()
	defer s.states.Unlock()
	return s.changed
}

// watch keeps what Connected says.
func (s *Server) watch(ctx context.Context) {
	tick := time.NewTicker(s.o.pace.watch)
	defer tick.Stop()
	for {
		now := map[division.Ref]bool{}
		if s.down != nil {
			s.down.look(now)
		}
		s.mu.Lock()
		u := s.up
		s.mu.Unlock()
		if u != nil && u.connected() {
			now[u.parent.Ref] = true
		}
		s.states.Lock()
		if !maps.Equal(now, s.lines) {
			s.lines = now
			close(s.changed)
			s.changed = make(chan struct{})
		}
		s.states.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Kick drops the lines of a child and what it has asked for, at once. It may come back if
// Authorize lets it.
func (s *Server) Kick(child division.Ref) {
	if s.down != nil {
		s.down.kick(child)
	}
}

// Addr is the address that children connect to; nil when there is none.
func (s *Server) Addr() net.Addr {
	if s.down == nil {
		return nil
	}
	return s.down.addr
}

// Close ends all lines, waits for the handlers, whose contexts are ended, and is final.
func (s *Server) Close() error {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	u := s.up
	s.up, s.parent = nil, nil
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	if u != nil {
		u.close()
	}
	if s.down != nil {
		s.down.close()
	}
	return nil
}

// Neighbours are those to which a line is up, as far as this node knows.
func (s *Server) Neighbours() []division.Ref {
	s.states.Lock()
	defer s.states.Unlock()
	var list []division.Ref
	for ref, up := range s.lines {
		if up {
			list = append(list, ref)
		}
	}
	return list
}
