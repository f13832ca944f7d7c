package torture

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tongban/internal/torture/verdict"
)

const (
	// attemptPatience bounds one request: a node that cannot serve says so in two seconds.
	attemptPatience = 5 * time.Second
	// oncePatience bounds the repetitions of a write whose outcome is open.
	oncePatience = 40 * time.Second
	// maxThink is how long a client thinks at most between two operations.
	maxThink = 6 * time.Millisecond
	// maxPause is how long a client waits at most before it asks another node.
	maxPause = 100 * time.Millisecond
)

// recorder is a history. Its methods may be called concurrently.
type recorder[T any] struct {
	mu   sync.Mutex
	list []T
}

func (r *recorder[T]) add(op T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, op)
}

// all are the operations so far.
func (r *recorder[T]) all() []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list[:len(r.list):len(r.list)]
}

// pulse is what the clients tell the faults: that writes go on.
type pulse struct {
	mu   sync.Mutex
	last int64         // Latest call of an acknowledged write.
	beat chan struct{} // Closed and replaced by each.
}

func newPulse() *pulse { return &pulse{beat: make(chan struct{})} }

func (p *pulse) acknowledged(call int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if call > p.last {
		p.last = call
		close(p.beat)
		p.beat = make(chan struct{})
	}
}

// after waits until a write is acknowledged that was called after a moment.
func (p *pulse) after(ctx context.Context, moment int64) error {
	for {
		p.mu.Lock()
		last, beat := p.last, p.beat
		p.mu.Unlock()
		if last > moment {
			return nil
		}
		select {
		case <-beat:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// client is one program that uses the database.
type client struct {
	*run
	id     int
	random *rand.Rand
	doors  []*door
	at     int // Its door, until that fails or it fancies another.
	serial int
}

func (r *run) newClient(id int) *client {
	c := &client{run: r, id: id, random: rand.New(rand.NewPCG(r.o.Seed, uint64(id)+1))}
	for _, b := range r.cluster.boxes {
		c.doors = append(c.doors, r.cluster.door(b, r.http[b.name]))
	}
	c.at = id % len(c.doors)
	return c
}

// fancy is one operation in so many after which a client goes to another node. It must be
// rare, or all clients soon wait for one node that is stopped.
const fancy = 200

// any is the door of the node that the client uses now.
func (c *client) any() *door {
	if c.random.IntN(fancy) == 0 {
		c.elsewhere()
	}
	return c.doors[c.at]
}

// elsewhere goes to another node.
func (c *client) elsewhere() { c.at = (c.at + 1 + c.random.IntN(len(c.doors)-1)) % len(c.doors) }

// request is an id that no other request has.
func (c *client) request() string {
	c.serial++
	return fmt.Sprintf("%d-%d", c.id, c.serial)
}

// number is a positive number that no other one of this run is.
func (c *client) number() int64 {
	c.serial++
	return int64(c.serial)*1000 + int64(c.id) + 1
}

// think waits a moment; false: the time is up.
func (c *client) think(ctx context.Context) bool {
	return wait(ctx, time.Duration(c.random.Int64N(int64(maxThink))))
}

// wait waits; false: ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// begin is the span of an operation that is called now.
func (c *client) begin() verdict.Span { return verdict.Span{Client: c.id, Call: c.now()} }

// end fills a span's rest. What came while a power cut was under way was perhaps said by a
// machine that was dying: it counts as open (see cuts).
func (c *client) end(s *verdict.Span, d *door, o verdict.Outcome) {
	s.Node, s.Return, s.Outcome = d.node, c.now(), o
	if o == verdict.Done && c.cuts.during(s.Return) {
		s.Outcome = verdict.Open
	}
	c.operations.Add(1)
	switch s.Outcome {
	case verdict.Open:
		c.open.Add(1)
	case verdict.Refused:
		c.refused.Add(1)
	}
}

// try makes one attempt of a write.
func (c *client) try(d *door, statements []statement) (reply, error) {
	ctx, cancel := context.WithTimeout(c.hard, attemptPatience)
	defer cancel()
	return d.execute(ctx, statements...)
}

// plain writes without a request id, once: nobody may repeat it.
func (c *client) plain(statements ...statement) (verdict.Span, reply) {
	s, d := c.begin(), c.any()
	r, err := c.try(d, statements)
	var refused sqlError
	switch {
	case err == nil:
		c.end(&s, d, verdict.Done)
		c.pulse.acknowledged(s.Call)
	case errors.As(err, &refused):
		c.surprise("%s refused a statement: %v", d.node, err)
		c.end(&s, d, verdict.Refused)
	case errors.Is(err, errNothingDone):
		c.end(&s, d, verdict.Refused)
		c.pause()
	default:
		c.end(&s, d, verdict.Open)
		c.pause()
	}
	return s, r
}

// pause waits after a failure, and goes to another node.
func (c *client) pause() {
	c.elsewhere()
	wait(c.hard, time.Duration(c.random.Int64N(int64(maxPause))))
}

// taken is what SQLite says of a request id that is there already.
const taken = "UNIQUE constraint failed: request.id"

// once writes with a request id in the same transaction, and repeats the write at other
// nodes until its outcome is known. mark is the statement that enters the id, with what it
// finds in ok. The result is that ok.
func (c *client) once(id string, mark statement, statements ...statement) (verdict.Span, int64) {
	s, d := c.begin(), c.any()
	all := append([]statement{mark}, statements...)
	open := false
	for end := time.Now().Add(oncePatience); ; {
		_, err := c.try(d, all)
		var refused sqlError
		switch {
		case err == nil, errors.As(err, &refused) && strings.Contains(err.Error(), taken):
			c.pulse.acknowledged(s.Call)
			ok, err := c.outcome(id)
			if err != nil {
				c.end(&s, d, verdict.Open)
				return s, 0
			}
			c.end(&s, d, verdict.Done)
			return s, ok
		case refused != "":
			c.surprise("%s refused a statement: %v", d.node, err)
			c.end(&s, d, verdict.Refused)
			return s, 0
		case !errors.Is(err, errNothingDone):
			open = true
		}
		if time.Now().After(end) || c.hard.Err() != nil || c.gaveUp() {
			c.end(&s, d, map[bool]verdict.Outcome{true: verdict.Open, false: verdict.Refused}[open])
			return s, 0
		}
		c.pause()
		d = c.any()
	}
}

// errUntold: the run ended before anybody could be asked.
var errUntold = errors.New("nobody was asked for the outcome")

// outcome reads what a request that is applied has found. It never changes, so that it can
// be read again until a node answers.
func (c *client) outcome(id string) (ok int64, err error) {
	err = errUntold
	for end := time.Now().Add(oncePatience); time.Now().Before(end) && c.hard.Err() == nil && !c.gaveUp(); c.pause() {
		ctx, cancel := context.WithTimeout(c.hard, attemptPatience)
		var r reply
		d := c.any()
		r, err = d.query(ctx, "weak", 0, sql(`SELECT ok FROM request WHERE id = ?`, id))
		cancel()
		if err != nil {
			continue
		}
		if len(r.Results) == 1 && len(r.Results[0].Values) == 0 {
			c.wrong("stale: %s does not know request %s, which was acknowledged, at level weak", d.node, id)
		}
		return r.one()
	}
	return 0, err
}

// read asks any node at a level; false: it could not answer, and there is nothing to note.
func (c *client) read(level string, s statement) (verdict.Span, reply, bool) {
	span, d := c.begin(), c.any()
	ctx, cancel := context.WithTimeout(c.hard, attemptPatience)
	defer cancel()
	r, err := d.query(ctx, level, 0, s)
	if err != nil {
		var refused sqlError
		if errors.As(err, &refused) {
			c.surprise("%s refused a query: %v", d.node, err)
		}
		c.failed.Add(1)
		c.pause()
		return span, r, false
	}
	c.end(&span, d, verdict.Done)
	if span.Outcome == verdict.Open { // A reading has no outcome to wait for.
		return span, r, false
	}
	return span, r, true
}

// fresh are the levels that must see every acknowledged write.
var fresh = [...]string{"weak", "linearizable", "strong"}

func (c *client) fresh() string { return fresh[c.random.IntN(len(fresh))] }

// spans are intervals of time.
type spans struct {
	mu   sync.Mutex
	list [][2]int64
}

// begin begins an interval, which goes on until end is called.
func (s *spans) begin(from int64) (end func(to int64)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := len(s.list)
	s.list = append(s.list, [2]int64{from, math.MaxInt64})
	return func(to int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.list[i][1] = to
	}
}

func (s *spans) during(t int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.list {
		if t >= one[0] && t <= one[1] {
			return true
		}
	}
	return false
}

// counters are of all clients.
type counters struct {
	operations, open, refused atomic.Int64 // What became of the operations that are in a history.
	failed                    atomic.Int64 // Readings that no node answered.
}

// httpClients makes one for each node, with connections enough for all clients.
func httpClients(c *cluster, connections int) map[string]*http.Client {
	all := map[string]*http.Client{}
	for _, b := range c.boxes {
		all[b.name] = clientOf(c.net, b.name, connections)
	}
	return all
}
