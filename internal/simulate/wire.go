package simulate

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"tongban/division"
	"tongban/federation"
)

// Chance says how often what happens to a message, in thousandths.
type Chance struct {
	LoseRequest, LoseAnswer int
	Double                  int // It arrives again, up to LateBy later.
	Late                    int // It arrives up to LateBy late, perhaps after its sender gave up.
	LateBy                  time.Duration
}

// Fate is what happens to one message.
type Fate struct {
	LoseRequest, LoseAnswer bool
	Late, Again             time.Duration // Zero: at once; not at all.
	Meanwhile               func()        // Runs beside it.
}

// Wire is the lines of a world. A line is named by its lower end.
type Wire struct {
	w      *World
	chance Chance

	mu      sync.Mutex
	rng     *rand.Rand
	cut     map[division.Ref]bool // By the child.
	changed chan struct{}
	open    bool
	sent    int
	at      map[int]Fate   // Instead of chance, for the nth message.
	onward  sync.WaitGroup // Messages on their way.
	closed  chan struct{}
}

func newWire(w *World, c Chance) *Wire {
	return &Wire{w: w, chance: c, rng: rand.New(rand.NewPCG(w.o.Seed, 2)), cut: map[division.Ref]bool{},
		changed: make(chan struct{}), open: true, at: map[int]Fate{}, closed: make(chan struct{})}
}

// Cut cuts the line of a child to its parent, or heals it.
func (x *Wire) Cut(child division.Ref, cut bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.cut[child] == cut {
		return
	}
	x.cut[child] = cut
	close(x.changed)
	x.changed = make(chan struct{})
}

// stir has everybody look at the lines again.
func (x *Wire) stir() {
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.changed)
	x.changed = make(chan struct{})
}

// Heal heals all lines, and from now on the wire is perfect.
func (x *Wire) Heal() {
	x.mu.Lock()
	x.chance = Chance{}
	x.at = map[int]Fate{}
	x.mu.Unlock()
	for _, p := range x.w.Tree {
		x.Cut(p.Ref, false)
	}
}

// Sent is how many messages were sent.
func (x *Wire) Sent() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.sent
}

// At decides the fate of the nth message from now, counted from 1.
func (x *Wire) At(n int, fate Fate) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.at[x.sent+n] = fate
}

func (x *Wire) up(a, b division.Ref) bool {
	child, parent := a, b
	if x.w.parent(a) != b {
		child, parent = b, a
	}
	if x.w.parent(child) != parent {
		return false // One of them has moved.
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.open && !x.cut[child]
}

// fate draws what happens to the next message.
func (x *Wire) fate() Fate {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.sent++
	if fate, ok := x.at[x.sent]; ok {
		return fate
	}
	c := x.chance
	hit := func(n int) bool { return n > 0 && x.rng.IntN(1000) < n }
	var f Fate
	f.LoseRequest, f.LoseAnswer = hit(c.LoseRequest), hit(c.LoseAnswer)
	if hit(c.Double) {
		f.Again = time.Duration(1 + x.rng.Int64N(int64(c.LateBy)))
	}
	if hit(c.Late) {
		f.Late = time.Duration(1 + x.rng.Int64N(int64(c.LateBy)))
	}
	return f
}

// close loses what is on its way, and waits for what is being answered.
func (x *Wire) close() {
	x.mu.Lock()
	x.open = false
	x.mu.Unlock()
	close(x.closed)
	x.onward.Wait()
}

// answer is what came back.
type answer struct {
	body []byte
	err  error
}

// hop is how long a message takes on a good line.
const hop = 5 * time.Millisecond

// call carries a message there and its answer back.
func (x *Wire) call(ctx context.Context, from, to division.Ref, kind string, body []byte) ([]byte, error) {
	if !x.up(from, to) {
		return nil, federation.ErrUnreachable
	}
	f := x.fate()
	back := make(chan answer, 2)
	if f.Meanwhile != nil {
		x.onward.Go(f.Meanwhile)
	}
	if !f.LoseRequest {
		x.carry(f, f.Late, from, to, kind, body, back)
	}
	if f.Again > 0 {
		x.carry(f, f.Again, from, to, kind, body, back)
	}
	select {
	case a := <-back:
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (x *Wire) carry(f Fate, late time.Duration, from, to division.Ref, kind string, body []byte, back chan<- answer) {
	x.onward.Go(func() {
		if !x.pass(late+hop) || !x.up(from, to) {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		out, err := x.w.Divisions[to].receive(ctx, from, kind, body)
		if f.LoseAnswer || !x.pass(hop) || !x.up(from, to) {
			return
		}
		select {
		case back <- answer{out, err}:
		default:
		}
	})
}

// pass lets time pass; false: the world ends.
func (x *Wire) pass(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-x.closed:
		return false
	}
}

// end is a division's end of the wire.
type end struct {
	x    *Wire
	self division.Ref
}

func (e end) Call(ctx context.Context, to division.Ref, kind string, body []byte) ([]byte, error) {
	return e.x.call(ctx, e.self, to, kind, body)
}

func (e end) Connected(to division.Ref) bool { return e.x.up(e.self, to) }

func (e end) Changed() <-chan struct{} {
	e.x.mu.Lock()
	defer e.x.mu.Unlock()
	return e.x.changed
}
