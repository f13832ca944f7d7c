package torture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"tongban/internal/torture/mesh"
)

const (
	// recoverPatience bounds how long writes may stand still when all is whole again.
	recoverPatience = 30 * time.Second
	// minorityPatience is within which a node without a majority must refuse.
	minorityPatience = 2 * time.Second
)

// nemesis breaks things, one fault after another, as its seed says.
type nemesis struct {
	*run
	random *rand.Rand
	deck   []fault
	left   []fault       // Of the deck, in their order.
	long   time.Duration // The longest that a fault is held.
	gaps   []time.Duration
}

func (r *run) newNemesis() *nemesis {
	n := &nemesis{run: r, random: rand.New(rand.NewPCG(r.o.Seed, 0)), long: r.o.longest()}
	for _, f := range faults() {
		if _, cannot := r.cannot[f.kind]; !cannot && r.o.wants(f.kind) {
			n.deck = append(n.deck, f)
		}
	}
	return n
}

// next draws a fault: each of the deck once in random order, one of each kind before a
// second of any, then again.
func (n *nemesis) next() fault {
	if len(n.left) == 0 {
		n.left = slices.Clone(n.deck)
		n.random.Shuffle(len(n.left), func(i, j int) { n.left[i], n.left[j] = n.left[j], n.left[i] })
		turn, seen := map[string]int{}, map[string]int{}
		for _, f := range n.left {
			turn[f.kind+f.how] = seen[f.kind]
			seen[f.kind]++
		}
		slices.SortStableFunc(n.left, func(a, b fault) int { return cmp.Compare(turn[a.kind+a.how], turn[b.kind+b.how]) })
	}
	f := n.left[0]
	n.left = n.left[1:]
	return f
}

// rage goes on until ctx ends. It leaves everything whole.
func (n *nemesis) rage(ctx context.Context) error {
	for len(n.deck) > 0 && wait(ctx, time.Duration(n.random.Int64N(int64(1500*time.Millisecond)))) {
		f := n.next()
		n.o.say("%6.1f s  %s: %s", float64(n.now())/1e9, f.kind, f.how)
		begin := n.now()
		if err := f.do(ctx, n); err != nil {
			return fmt.Errorf("%s, %s: %w", f.kind, f.how, err)
		}
		n.count(f.kind)
		if err := n.recovered(ctx, begin); err != nil {
			n.wrong("stuck: after %s (%s): %v%s", f.kind, f.how, err, n.cluster.states(context.WithoutCancel(ctx)))
			close(n.stuck)
		}
		for _, b := range n.cluster.boxes {
			if err := b.death(); err != nil {
				n.wrong("died: after %s (%s): %v", f.kind, f.how, err)
				if err := n.cluster.start(b); err != nil {
					return err
				}
			}
		}
		if n.gaveUp() {
			return nil
		}
	}
	return nil
}

// recovered waits until a write is acknowledged that was called after the fault.
func (n *nemesis) recovered(ctx context.Context, begin int64) error {
	whole := n.now()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recoverPatience)
	defer cancel()
	if err := n.pulse.after(ctx, whole); err != nil {
		return fmt.Errorf("no write was acknowledged for %s, though everything is whole", recoverPatience)
	}
	n.gaps = append(n.gaps, time.Duration(n.now()-whole))
	return nil
}

// hold waits between two times.
func (n *nemesis) hold(ctx context.Context, from, to time.Duration) {
	wait(ctx, from+time.Duration(n.random.Int64N(int64(max(1, to-from)))))
}

func (n *nemesis) leader(ctx context.Context) *box { return n.cluster.leader(ctx) }

func (n *nemesis) follower(ctx context.Context) *box {
	others := n.cluster.others(n.leader(ctx))
	return others[n.random.IntN(len(others))]
}

func (n *nemesis) cut(ways ...mesh.Way) error { return n.cluster.net.cut(ways...) }

func (n *nemesis) heal(ways ...mesh.Way) error {
	return n.cluster.net.heal(n.random.IntN(2) == 0, ways...)
}

func (n *nemesis) restart(boxes ...*box) error {
	var errs []error
	for _, b := range boxes {
		errs = append(errs, n.cluster.start(b))
	}
	return errors.Join(errs...)
}

// signal sends a signal to a node's process.
func (b *box) signal(s syscall.Signal) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := syscall.Kill(b.proc.PID(), s); err != nil {
		return fmt.Errorf("signal %s: %w", b.name, err)
	}
	b.stopped = s == syscall.SIGSTOP
	return nil
}

// expect makes the end of a node's process no death to report.
func (b *box) expect() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.proc.Expect()
}
