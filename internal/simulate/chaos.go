package simulate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tongban/division"
)

// Chaos says how much of what happens to a world in a time.
type Chaos struct {
	For      time.Duration // So long.
	Rows     int           // Published in all, in Bursts.
	Bursts   int
	Keys     int // Of each division.
	Cuts     int // Of lines, each for up to a tenth of the time.
	Restarts int // Of federations.
	Moves    int // Of divisions to other parents; one in a few finds a place.
	Restores int // Of divisions, each from a copy that is up to all of the time old.
}

// Torment lets chaos loose. It returns what happened, for the report of a failure.
func (w *World) Torment(ctx context.Context, c Chaos) (log []string, err error) {
	began := time.Now()
	backups := map[division.Ref][]string{}
	note := func(format string, args ...any) {
		log = append(log, fmt.Sprintf("%v %s", time.Since(began).Round(time.Second), fmt.Sprintf(format, args...)))
	}
	healing := map[division.Ref]time.Time{}
	for _, what := range w.deck(c) {
		pass(ctx, time.Duration(w.Rand(int(2*c.For/time.Duration(1+c.events())))))
		for child, at := range healing {
			if time.Now().After(at) {
				w.Wire.Cut(child, false)
				delete(healing, child)
			}
		}
		d := w.Divisions[w.Tree[w.Rand(len(w.Tree))].Ref]
		switch what {
		case "publish":
			if err := d.Publish(ctx, c.Rows/c.Bursts, c.Keys); err != nil {
				return log, err
			}
		case "cut":
			if d.Parent.IsZero() {
				continue
			}
			note("cut the line above %s", d.Ref)
			w.Wire.Cut(d.Ref, true)
			healing[d.Ref] = time.Now().Add(time.Duration(w.Rand(int(c.For / 10))))
		case "restart":
			note("restart %s", d.Ref)
			d.Restart()
		case "move":
			who, to, ok := w.mayMove()
			if !ok {
				continue
			}
			note("move %s from %s to %s", who, w.Divisions[who].Parent, to)
			if err := w.Move(ctx, who, to); err != nil {
				return log, err
			}
		case "backup":
			file, err := d.Backup(ctx)
			if err != nil {
				return log, err
			}
			backups[d.Ref] = append(backups[d.Ref], file)
		case "restore":
			old := backups[d.Ref]
			if len(old) == 0 {
				continue
			}
			n := w.Rand(len(old))
			note("restore %s from its backup %d of %d", d.Ref, n+1, len(old))
			if err := d.Restore(ctx, old[n]); err != nil {
				return log, err
			}
		}
	}
	return log, nil
}

func (c Chaos) events() int { return c.Bursts + c.Cuts + c.Restarts + c.Moves + 3*c.Restores }

// deck is what happens, in the order of chance.
func (w *World) deck(c Chaos) []string {
	var deck []string
	for what, n := range map[string]int{"publish": c.Bursts, "cut": c.Cuts, "restart": c.Restarts, "move": c.Moves, "restore": c.Restores, "backup": 2 * c.Restores} {
		for range n {
			deck = append(deck, what)
		}
	}
	slices.Sort(deck) // A map has no order.
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rng.Shuffle(len(deck), func(i, j int) { deck[i], deck[j] = deck[j], deck[i] })
	return deck
}

func pass(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
