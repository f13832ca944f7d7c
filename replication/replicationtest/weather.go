package replicationtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tongban/replication"
)

// A fault happens to a world; what it returns ends it, and is nil if it ends by itself.
type fault struct {
	name   string
	weight int
	begin  func(w *World, r *rand.Rand) (end func() error, err error)
}

// faults are all that happens, and how often.
var faults = []fault{
	{"cut a line", 4, func(w *World, r *rand.Rand) (func() error, error) {
		a, b := w.two(r)
		return w.lines("%s and %s are cut off from each other", a, b, [][2]replication.NodeID{{a, b}, {b, a}}, w.Lines.Hole), nil
	}},
	{"one way", 4, func(w *World, r *rand.Rand) (func() error, error) {
		a, b := w.two(r)
		return w.lines("nothing arrives from %s at %s", a, b, [][2]replication.NodeID{{a, b}}, w.Lines.Hole), nil
	}},
	{"isolate", 4, func(w *World, r *rand.Rand) (func() error, error) {
		a := w.one(r)
		return w.lines("%s is isolated%s", a, "", w.ways(a, true, true), w.Lines.Hole), nil
	}},
	{"mute", 2, func(w *World, r *rand.Rand) (func() error, error) {
		a := w.one(r)
		return w.lines("nobody hears %s%s", a, "", w.ways(a, true, false), w.Lines.Hole), nil
	}},
	{"deaf", 2, func(w *World, r *rand.Rand) (func() error, error) {
		a := w.one(r)
		return w.lines("%s hears nobody%s", a, "", w.ways(a, false, true), w.Lines.Hole), nil
	}},
	{"slow", 3, func(w *World, r *rand.Rand) (func() error, error) {
		a, b := w.two(r)
		delay := time.Duration(r.Int64N(int64(w.o.Heartbeat)))
		slow := func(from, to replication.NodeID) { w.Lines.Slow(from, to, delay, delay/2) }
		return w.lines("slow from %s to %s", a, b, [][2]replication.NodeID{{a, b}}, slow), nil
	}},
	{"break", 3, func(w *World, r *rand.Rand) (func() error, error) {
		a, b := w.two(r)
		half := r.IntN(2) == 0
		w.note("the connections between %s and %s break (half: %v)", a, b, half)
		w.Lines.Break(a, b, half)
		return nil, nil
	}},
	{"kill", 4, func(w *World, r *rand.Rand) (func() error, error) { return w.fell(r, w.one(r), false) }},
	{"power cut", 4, func(w *World, r *rand.Rand) (func() error, error) { return w.fell(r, w.one(r), true) }},
	{"power cut of all", 1, func(w *World, r *rand.Rand) (func() error, error) {
		var ends []func() error
		for _, name := range w.names {
			end, err := w.fell(r, name, true)
			if err != nil {
				return nil, err
			}
			if end != nil {
				ends = append(ends, end)
			}
		}
		return func() (err error) {
			for _, end := range ends {
				err = errors.Join(err, end())
			}
			return err
		}, nil
	}},
	{"stop", 2, func(w *World, r *rand.Rand) (func() error, error) {
		name := w.one(r)
		if w.life(name) == nil {
			return nil, nil
		}
		w.note("%s is stopped", name)
		if err := w.Stop(name); err != nil {
			return nil, err
		}
		return w.starting(name), nil
	}},
	{"transfer", 4, func(w *World, r *rand.Rand) (func() error, error) {
		id := w.ids[r.IntN(len(w.ids))]
		for _, name := range w.names {
			l := w.life(name)
			if l == nil {
				continue
			}
			if db := l.db(id); db != nil && db.IsLeader() {
				w.note("%s hands over %s", name, id)
				w.dying.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					defer cancel()
					_ = db.TransferLeadership(ctx) // It may lose it in the meantime.
				})
			}
		}
		return nil, nil
	}},
	{"full disk", 2, func(w *World, r *rand.Rand) (func() error, error) {
		l := w.life(w.one(r))
		if l == nil || w.o.Fill == nil {
			return nil, nil
		}
		w.note("the disk of %s is full", l.name)
		restore := w.o.Fill(l.engine)
		return func() error {
			w.note("the disk of %s has room", l.name)
			restore()
			return nil
		}, nil
	}},
	{"bad disk", 2, func(w *World, r *rand.Rand) (func() error, error) {
		if l := w.life(w.one(r)); l != nil && w.o.Spoil != nil {
			w.note("the log of %s cannot be synced", l.name)
			l.spoilt.Store(true)
			w.o.Spoil(l.name)
		}
		return nil, nil
	}},
	{"replace", 1, func(w *World, r *rand.Rand) (func() error, error) { return nil, w.replace(w.one(r), r) }},
	{"reopen", 2, func(w *World, r *rand.Rand) (func() error, error) {
		l, id := w.life(w.one(r)), w.ids[r.IntN(len(w.ids))]
		if l == nil || l.db(id) == nil {
			return nil, nil
		}
		w.note("%s closes %s", l.name, id)
		l.mu.Lock()
		delete(l.dbs, id)
		l.mu.Unlock()
		if err := l.engine.CloseDB(id); err != nil {
			return nil, fmt.Errorf("close %s on %s: %w", id, l.name, err)
		}
		return func() error {
			if l.dead.Load() || w.life(l.name) != l {
				return nil
			}
			w.note("%s opens %s", l.name, id)
			return w.openDB(l, id)
		}, nil
	}},
}

// lines does something to directions and returns what opens them again.
func (w *World) lines(text string, a, b replication.NodeID, ways [][2]replication.NodeID, do func(from, to replication.NodeID)) func() error {
	what := fmt.Sprintf(text, a, b)
	w.note("%s", what)
	for _, p := range ways {
		do(p[0], p[1])
	}
	return func() error {
		w.note("no longer: %s", what)
		for _, p := range ways {
			w.Lines.Open(p[0], p[1])
		}
		return nil
	}
}

// ways are the directions of one node.
func (w *World) ways(a replication.NodeID, out, in bool) (ways [][2]replication.NodeID) {
	for _, b := range w.names {
		if b != a && out {
			ways = append(ways, [2]replication.NodeID{a, b})
		}
		if b != a && in {
			ways = append(ways, [2]replication.NodeID{b, a})
		}
	}
	return ways
}

// fell ends a node at once.
func (w *World) fell(r *rand.Rand, name replication.NodeID, power bool) (func() error, error) {
	if w.life(name) == nil {
		return nil, nil
	}
	w.note("%s is killed (power cut: %v)", name, power)
	if err := w.Kill(name, power, r); err != nil {
		return nil, err
	}
	return w.starting(name), nil
}

func (w *World) starting(name replication.NodeID) func() error {
	return func() error {
		w.note("%s starts", name)
		return w.Start(name)
	}
}

// one chooses a node: mostly one that leads.
func (w *World) one(r *rand.Rand) replication.NodeID {
	if r.IntN(2) == 0 {
		id := w.ids[r.IntN(len(w.ids))]
		for _, name := range w.names {
			if l := w.life(name); l != nil {
				if db := l.db(id); db != nil && db.IsLeader() {
					return name
				}
			}
		}
	}
	return w.names[r.IntN(len(w.names))]
}

// two chooses two nodes.
func (w *World) two(r *rand.Rand) (a, b replication.NodeID) {
	a = w.one(r)
	for b = a; b == a; {
		b = w.names[r.IntN(len(w.names))]
	}
	return a, b
}

func draw(r *rand.Rand) fault {
	total := 0
	for _, f := range faults {
		total += f.weight
	}
	n := r.IntN(total)
	for _, f := range faults {
		if n -= f.weight; n < 0 {
			return f
		}
	}
	panic("unreachable")
}

// maxFaults are under way at once.
const maxFaults = 3

// storm lets faults begin and end until the time is over, and then ends them all.
func (w *World) storm() error {
	r := w.rand(1)
	end := time.Now().Add(w.o.For)
	var under []func() error
	stop := func(i int) error {
		f := under[i]
		under = append(under[:i], under[i+1:]...)
		return f()
	}
	for time.Now().Before(end) {
		time.Sleep(time.Duration(r.Int64N(int64(3 * w.o.Heartbeat))))
		if n := len(under); n > 0 && (n == maxFaults || r.IntN(2) == 0) {
			if err := stop(r.IntN(n)); err != nil {
				return err
			}
			continue
		}
		f := draw(r)
		ends, err := f.begin(w, r)
		if err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if ends != nil {
			under = append(under, ends)
		}
	}
	for len(under) > 0 {
		if err := stop(0); err != nil {
			return err
		}
	}
	return nil
}
