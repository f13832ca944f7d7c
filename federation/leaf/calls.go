package leaf

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"tongban/federation"
)

// maxMessage is what the embedded servers let through, bytes.
const maxMessage = federation.MaxMessage + maxEnvelope

// errBroken ends the calls of a line that went down.
var errBroken = errors.New("leaf: the line broke before the answer came")

// peer is a line to one node of a neighbour, as seen by the calls over it.
type peer struct {
	heard  atomic.Int64 // When something came from it last, by clock.
	silent atomic.Bool  // A call timed out, so did the question after it, and nothing was heard since.
	asking atomic.Bool  // A probe is under way.
}

// calls are the requests that wait for an answer, by their whole reply subject. Where an
// answer may be published is a matter of permissions, so that nobody but the neighbour
// that was asked can answer, and it but once.
type calls struct {
	mu      sync.Mutex
	waiting map[string]*call
	began   time.Time // For clock.
}

type call struct {
	peer   *peer
	answer chan *nats.Msg // Closed: the line broke. Room for one.
}

func newCalls() *calls { return &calls{waiting: map[string]*call{}, began: time.Now()} }

// clock is the monotonic time since the start.
func (c *calls) clock() int64 { return int64(time.Since(c.began)) }

// hear notes that something came from the peer.
func (c *calls) hear(p *peer) {
	p.heard.Store(c.clock())
	p.silent.Store(false)
}

// do sends one request and waits. Errors as of Server.Call; context errors say that the
// neighbour did not answer in time.
func (c *calls) do(ctx context.Context, e *embedded, p *peer, subject, reply string, body []byte) ([]byte, error) {
	if !e.acc.SubscriptionInterest(subject) {
		return nil, federation.ErrUnreachable
	}
	w := &call{peer: p, answer: make(chan *nats.Msg, 1)}
	c.mu.Lock()
	c.waiting[reply] = w
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiting, reply)
		c.mu.Unlock()
	}()
	end, _ := ctx.Deadline()
	if err := e.nc.PublishRequest(subject, reply, packRequest(time.Until(end), body)); err != nil {
		return nil, fmt.Errorf("%w: %w", federation.ErrUnreachable, err)
	}
	select {
	case m, ok := <-w.answer:
		if !ok {
			return nil, errBroken
		}
		return unpackAnswer(m.Data)
	case <-ctx.Done():
		return nil, fmt.Errorf("leaf: no answer: %w", ctx.Err())
	}
}

// answered hands an answer to its call; false: there is none. Late, doubled and forged
// answers have none. The subject must be the one that was sent (see genuine).
func (c *calls) answered(m *nats.Msg) bool {
	c.mu.Lock()
	w := c.waiting[m.Subject]
	delete(c.waiting, m.Subject)
	c.mu.Unlock()
	if w == nil {
		return false
	}
	c.hear(w.peer)
	w.answer <- m
	return true
}

// breakOff ends the calls over a line that went down.
func (c *calls) breakOff(p *peer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for reply, w := range c.waiting {
		if w.peer == p {
			delete(c.waiting, reply)
			close(w.answer)
		}
	}
}

// probe finds out whether a line on which a call timed out still moves: it asks again and
// again until something is heard, and has it dropped when nothing is for patience after
// the call began. ask sends one question and waits for the answer.
func (c *calls) probe(ctx context.Context, p *peer, since int64, patience time.Duration, pace pace,
	ask func(context.Context) error, drop func()) {
	if !p.asking.CompareAndSwap(false, true) {
		return
	}
	defer p.asking.Store(false)
	for wait := pace.ask; ctx.Err() == nil; wait = pace.askAgain {
		limited, cancel := context.WithTimeout(ctx, wait)
		err := ask(limited)
		cancel()
		if errors.Is(err, federation.ErrUnreachable) || errors.Is(err, errBroken) || p.heard.Load() > since {
			return // It is down for all to see, or it moves.
		}
		p.silent.Store(true)
		if c.clock()-since > int64(patience) {
			drop()
			return
		}
	}
}
