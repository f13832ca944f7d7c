package leaf

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"tongban/division"
	"tongban/service"
)

// Limits of what one neighbour can have under way, per kind of request: feeds do not wait
// behind mails, one child's not behind another's.
const (
	maxRunning     = 8       // Handlers at once.
	maxQueued      = 64      // Requests that wait for one.
	maxQueuedBytes = 4 << 20 // Of them.
	maxKinds       = 8       // Kinds that are told apart; a further one is refused.
	maxRefusals    = 64      // Answers in a second that say that there is no room.
)

// request is one that was checked and waits for its turn.
type request struct {
	kind  string
	reply replyTo
	body  []byte
	until time.Time
}

// neighbour serves the requests of one neighbour.
type neighbour struct {
	ref    division.Ref
	handle func(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error)
	send   func(replyTo, []byte) // Publishes an answer.
	log    *slog.Logger

	ctx  context.Context // Ends with the neighbour: kicked, closed.
	stop context.CancelFunc
	work sync.WaitGroup // The running handlers.

	mu      sync.Mutex
	closed  bool
	lanes   map[string]*lane
	refused int // Requests that were refused since the second began.
	second  time.Time
}

// lane is the requests of one kind.
type lane struct {
	running int
	queue   []request
	bytes   int
}

func newNeighbour(ctx context.Context, o *Options, ref division.Ref, send func(replyTo, []byte)) *neighbour {
	n := &neighbour{ref: ref, handle: o.Handle, send: send, log: o.Log.With("division", ref.String()), lanes: map[string]*lane{}}
	n.ctx, n.stop = context.WithCancel(ctx)
	return n
}

// close ends the handlers' contexts, forgets what is queued and waits.
func (n *neighbour) close() {
	n.shut()
	n.work.Wait()
}

func (n *neighbour) shut() {
	n.stop()
	n.mu.Lock()
	n.closed = true
	clear(n.lanes)
	n.mu.Unlock()
}

// receive queues a request whose reply subject was checked. false: it was malformed, or
// there was no room. It never waits: the messages of all neighbours come through it.
func (n *neighbour) receive(kind string, reply replyTo, data []byte) bool {
	wait, body, err := unpackRequest(data)
	refusal := service.ErrTooMany.With("retry_after", 1)
	if err != nil || !validKind(kind) {
		refusal = service.ErrInvalid.With("detail", "a malformed request")
	} else if n.admit(request{kind, reply, body, time.Now().Add(wait)}) {
		return true
	}
	if n.mayRefuse(kind) {
		n.send(reply, packAnswer(nil, refusal))
	}
	return false
}

// mayRefuse limits the answers that a flood gets.
func (n *neighbour) mayRefuse(kind string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.second) > time.Second {
		if n.refused > 0 {
			n.log.Warn("requests of a neighbour were refused: malformed, or more than it may have under way", "kind", kind, "refused", n.refused)
		}
		n.second, n.refused = time.Now(), 0
	}
	n.refused++
	return n.refused <= maxRefusals && !n.closed
}

// admit starts a request or queues it; false: there is no room.
func (n *neighbour) admit(r request) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return true // Nobody is there to be answered.
	}
	l := n.lanes[r.kind]
	if l == nil {
		if len(n.lanes) >= maxKinds {
			return false
		}
		l = &lane{}
		n.lanes[r.kind] = l
	}
	if l.running < maxRunning {
		l.running++
		n.work.Go(func() { n.run(l, r) })
		return true
	}
	if len(l.queue) >= maxQueued || l.bytes+len(r.body) > maxQueuedBytes {
		return false
	}
	l.queue = append(l.queue, r)
	l.bytes += len(r.body)
	return true
}

// run serves a request and those queued after it.
func (n *neighbour) run(l *lane, r request) {
	for {
		n.serve(r)
		n.mu.Lock()
		if len(l.queue) == 0 || n.closed {
			l.running--
			n.mu.Unlock()
			return
		}
		r = l.queue[0]
		l.queue[0] = request{}
		l.queue = l.queue[1:]
		l.bytes -= len(r.body)
		n.mu.Unlock()
	}
}

// serve has one request answered, unless the asking side has given up meanwhile.
func (n *neighbour) serve(r request) {
	ctx, cancel := context.WithDeadline(n.ctx, r.until)
	defer cancel()
	if ctx.Err() != nil {
		return
	}
	body, err := n.guarded(ctx, r)
	if ctx.Err() != nil {
		return
	}
	n.send(r.reply, packAnswer(body, err))
}

// guarded makes a panic of a handler an error of its call.
func (n *neighbour) guarded(ctx context.Context, r request) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			n.log.Error("a handler of a neighbour's request panicked", "kind", r.kind, "panic", p, "stack", string(debug.Stack()))
			body, err = nil, fmt.Errorf("the handler of %s broke", r.kind)
		}
	}()
	return n.handle(ctx, n.ref, r.kind, r.body)
}
