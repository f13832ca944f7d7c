package divisions

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/demo"
	"tongban/internal/demo/relay"
)

// Kinds of faults, as a report counts them.
const (
	Cut     = "cuts"     // A line answers nothing but "closed".
	Black   = "holes"    // A line swallows everything, and no connection ends.
	Narrow  = "narrow"   // A line swallows what is longer than a small packet.
	Kill    = "kills"    // SIGKILL to a node.
	Restart = "restarts" // SIGKILL to all nodes of some divisions, which start in any order.
	Restore = "restores" // A division is lost, and restored from a backup that is older.
)

// Kinds are all kinds, in the order of a report.
func Kinds() []string { return []string{Cut, Black, Narrow, Kill, Restart, Restore} }

// nemesis breaks things. Lines and boxes break at the same time, each as a sequence of its
// own that comes of the seed.
type nemesis struct {
	*run
	hard    context.Context // Of what makes things whole again.
	backups map[*demo.District]string
}

func (r *run) newNemesis(ctx context.Context) *nemesis {
	return &nemesis{run: r, hard: ctx, backups: map[*demo.District]string{}}
}

// backUpAll makes the backups that divisions are restored from.
func (n *nemesis) backUpAll() error {
	for _, d := range n.restorable() {
		if err := n.backUp(d); err != nil {
			return err
		}
	}
	return nil
}

// rage goes on until ctx ends, and leaves everything whole.
func (n *nemesis) rage(ctx context.Context) error {
	g, _ := errgroup.WithContext(n.hard)
	g.Go(func() error { return n.sequence(ctx, 1, n.lines()) })
	g.Go(func() error { return n.sequence(ctx, 2, n.boxes()) })
	return g.Wait()
}

// fault is one way to break something. It returns when all is whole again.
type fault struct {
	kind string
	do   func(ctx context.Context, random *rand.Rand) error
}

// sequence breaks one thing after another: all kinds in random order, then again.
func (n *nemesis) sequence(ctx context.Context, stream uint64, deck []fault) error {
	random := rand.New(rand.NewPCG(n.o.Seed, stream))
	for {
		order := random.Perm(len(deck))
		for _, i := range order {
			if !pause(ctx, between(random, 500*time.Millisecond, 2*time.Second)) {
				return nil
			}
			if err := deck[i].do(ctx, random); err != nil {
				return fmt.Errorf("%s: %w", deck[i].kind, err)
			}
			n.mu.Lock()
			n.report.Faults[deck[i].kind]++
			n.mu.Unlock()
		}
	}
}

func between(random *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(random.Int64N(int64(to-from)))
}

// hold keeps a line broken for a while: in a short run a quarter of it at most, so that
// there is more than one fault of a line.
func (n *nemesis) hold(ctx context.Context, random *rand.Rand, from, to time.Duration) {
	pause(ctx, min(between(random, from, to), n.o.Duration/4))
}

// lines are the faults of lines; longer than a beat of 30 s, or not.
func (n *nemesis) lines() []fault {
	vanish := func(h relay.Hole) func(ctx context.Context, random *rand.Rand) error {
		return func(ctx context.Context, random *rand.Rand) error {
			l := n.line(random)
			n.o.Progress.Step("%s: %s", l, map[relay.Hole]string{relay.Black: "swallows everything", relay.Narrow: "swallows long packets"}[h])
			l.Vanish(h)
			n.hold(ctx, random, 3*time.Second, 20*time.Second)
			l.Vanish(relay.Whole)
			return nil
		}
	}
	cut := func(ctx context.Context, random *rand.Rand) error {
		l := n.line(random)
		n.o.Progress.Step("%s: cut", l)
		l.Cut()
		n.hold(ctx, random, time.Second, 8*time.Second)
		l.Heal()
		return nil
	}
	return []fault{{Cut, cut}, {Black, vanish(relay.Black)}, {Cut, cut}, {Narrow, vanish(relay.Narrow)}}
}

func (n *nemesis) line(random *rand.Rand) *demo.Line {
	return n.stage.Lines[random.IntN(len(n.stage.Lines))]
}

// boxes are the faults of machines.
func (n *nemesis) boxes() []fault {
	return []fault{{Kill, n.kill}, {Kill, n.kill}, {Restart, n.restart}, {Restore, n.restore}}
}

func (n *nemesis) kill(ctx context.Context, random *rand.Rand) error {
	d := n.stage.Divisions[random.IntN(len(n.stage.Divisions))]
	box := d.Nodes[random.IntN(len(d.Nodes))]
	n.o.Progress.Step("%s/%s: killed", d.Division.Code, box.Name)
	d.Kill(box)
	pause(ctx, between(random, 500*time.Millisecond, 4*time.Second))
	return d.Run(n.hard, box)
}

// restart kills all boxes of two or three divisions and starts them in random order.
func (n *nemesis) restart(ctx context.Context, random *rand.Rand) error {
	type box struct {
		d *demo.District
		n *demo.Node
	}
	var down []box
	for _, i := range random.Perm(len(n.stage.Divisions))[:2+random.IntN(2)] {
		d := n.stage.Divisions[i]
		n.o.Progress.Step("%s: all its boxes killed", d.Division.Code)
		for _, one := range d.Nodes {
			d.Kill(one)
			down = append(down, box{d, one})
		}
	}
	random.Shuffle(len(down), func(i, j int) { down[i], down[j] = down[j], down[i] })
	g, starting := errgroup.WithContext(n.hard)
	for _, one := range down { // Together: one alone answers nobody.
		pause(ctx, between(random, 0, time.Second))
		g.Go(func() error { return one.d.Run(starting, one.n) })
	}
	return g.Wait()
}

// restorable are the divisions that only pass on what others make.
func (n *nemesis) restorable() []*demo.District {
	return slices.DeleteFunc(slices.Clone(n.stage.Divisions), func(d *demo.District) bool {
		return d == n.stage.District || d == n.stage.Window
	})
}

func (n *nemesis) backUp(d *demo.District) error {
	file, err := d.Backup(n.hard)
	if err != nil {
		return fmt.Errorf("back up %s: %w", d.Division.Code, err)
	}
	n.backups[d] = file
	return nil
}

// restore loses a division and restores it from the backup that there is, and sometimes
// makes a newer one for the next time.
func (n *nemesis) restore(_ context.Context, random *rand.Rand) error {
	list := n.restorable()
	d := list[random.IntN(len(list))]
	n.o.Progress.Step("%s: lost, and restored from a backup", d.Division.Code)
	if err := d.Restore(n.hard, n.backups[d]); err != nil {
		return err
	}
	if random.IntN(2) == 0 {
		return n.backUp(d)
	}
	return nil
}
