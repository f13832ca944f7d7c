package bench

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/bench/proc"
	"tongban/internal/demo"
	"tongban/node/exit"
	"tongban/service/catalog"
)

// Drain is what a line does after an outage: rows that were made meanwhile go up.
type Drain struct {
	What      string  `json:"what"`
	Rows      int64   `json:"rows"`
	MadeIn    float64 `json:"made_in_seconds"` // While the line was cut.
	Dial      float64 `json:"dial_seconds"`    // From the heal to the next connection.
	Seconds   float64 `json:"seconds"`         // From that connection until the parent has acknowledged all.
	PerSecond float64 `json:"per_second"`
	Bytes     int64   `json:"bytes"` // Both directions.
	ParentCPU float64 `json:"parent_cpu_seconds"`
	ChildCPU  float64 `json:"child_cpu_seconds"`
}

// drain cuts the district's line, has rows made, heals it, and measures until the city has
// acknowledged all of them, as the district sees it; then the city must show all to people.
// It is not asked before: a search is work of the box that is measured.
func (l *lines) drain(ctx context.Context, what string, rows int64, produce func(context.Context) error,
	look func(context.Context) (have, want int64, err error)) error {
	line := l.tree.LineOf(childCode)
	line.Cut()
	l.o.Progress.Step("cut the line %s; making %d rows: %s", line, rows, what)
	start := time.Now()
	if err := produce(ctx); err != nil {
		return err
	}
	d := Drain{What: what, Rows: rows, MadeIn: time.Since(start).Seconds()}
	parent, child, err := l.used()
	if err != nil {
		return err
	}
	before := line.Counters()
	line.Heal()
	l.o.Progress.Step("made in %.1f s; healed", d.MadeIn)
	g, draining := errgroup.WithContext(ctx)
	if l.o.Profile != "" && len(l.report.Drains) == 0 {
		g.Go(func() error { return l.city.Nodes[0].Profile(draining, profileFor, l.o.Profile) })
	}
	start = time.Now()
	if err := l.sees(ctx, "the line is dialled again", l.o.Patience, func(context.Context) (now, then int64, err error) {
		return min(line.Counters().Opened-before.Opened, 1), 1, nil
	}); err != nil {
		return err
	}
	d.Dial = time.Since(start).Seconds()
	start = time.Now()
	if err := l.sees(ctx, "the city has acknowledged all "+what, l.o.Patience, func(ctx context.Context) (int64, int64, error) {
		page, err := place(ctx, l.child)
		if err != nil || page.Parent == nil {
			return 0, rows, err
		}
		return rows - int64(page.Parent.Lag), rows, nil
	}); err != nil {
		return err
	}
	d.Seconds = time.Since(start).Seconds()
	d.PerSecond = float64(rows) / d.Seconds
	parentNow, childNow, err := l.used()
	if err != nil {
		return err
	}
	d.ParentCPU, d.ChildCPU = (parentNow - parent).Seconds(), (childNow - child).Seconds()
	now := line.Counters()
	d.Bytes = now.Up + now.Down - before.Up - before.Down
	l.report.Drains = append(l.report.Drains, d)
	l.o.Progress.Step("%d rows in %.1f s: %.0f rows/s (dialled after %.1f s, %d KB; CPU: parent %.1f s, child %.1f s)",
		d.Rows, d.Seconds, d.PerSecond, d.Dial, d.Bytes>>10, d.ParentCPU, d.ChildCPU)
	if err := g.Wait(); err != nil {
		return err
	}
	if have, want, err := look(ctx); err != nil || have != want {
		return errors.Join(fmt.Errorf("the city has acknowledged all rows and shows %d of %d %s", have, want, what), err)
	}
	return nil
}

// used is what the boxes at the ends of the line have used so far.
func (l *lines) used() (parent, child time.Duration, err error) {
	if parent, err = proc.CPUTime(l.city.PID(l.city.Nodes[0])); err != nil {
		return 0, 0, err
	}
	child, err = proc.CPUTime(l.child.PID(l.child.Nodes[0]))
	return parent, child, err
}

// importAll imports all rows, again where a busy box has refused some.
func (l *lines) importAll(ctx context.Context, more demo.Catalog) error {
	for try := 1; ; try++ {
		_, err := l.child.Import(ctx, more)
		if err == nil || try == importTries || exit.Code(err) != exit.Temporary {
			return err
		}
		l.o.Progress.Step("the import is tried again: %v", err)
	}
}

// importTries is how often an import is tried.
const importTries = 5

// profileFor is how long a drain is profiled.
const profileFor = 4 * time.Second

// drainItems drains new items that are named as others are, as those of most districts
// are: each is a row of the implementation list.
func (l *lines) drainItems(ctx context.Context) error {
	more, offers, err := multiply(l.catalog, childCode, l.o.Rows, false)
	if err != nil {
		return err
	}
	l.extra = offers
	return l.drainMore(ctx, "items of the implementation list, named as others are", more)
}

// drainTexts drains new items whose names nobody has had: the search takes each apart.
func (l *lines) drainTexts(ctx context.Context) error {
	more, _, err := multiply(l.catalog, childCode, l.o.Rows, true)
	if err != nil {
		return err
	}
	return l.drainMore(ctx, "items, each with a name of its own", more)
}

func (l *lines) drainMore(ctx context.Context, what string, more demo.Catalog) error {
	before, err := found(ctx, l.child, "")
	if err != nil {
		return err
	}
	want := before + int64(more.Rows)
	return l.drain(ctx, what, int64(more.Rows), func(ctx context.Context) error {
		if err := l.importAll(ctx, more); err != nil {
			return err
		}
		return l.sees(ctx, "the district finds its items", l.o.Patience, func(ctx context.Context) (int64, int64, error) {
			n, err := found(ctx, l.child, "")
			return n, want, err
		})
	}, func(ctx context.Context) (int64, int64, error) {
		n, err := found(ctx, l.city, l.child.Division.Ref.String())
		return n, want, err
	})
}

// drainClients is how many applicants make the figures that are drained.
const drainClients = 32

// drainFigures drains the figures of one application for each of the new items: a row is
// the count of an item on a day.
func (l *lines) drainFigures(ctx context.Context) error {
	before, err := applied(ctx, l.child)
	if err != nil {
		return err
	}
	want := before + int64(len(l.extra))
	counted := func(d *demo.District) func(context.Context) (int64, int64, error) {
		return func(ctx context.Context) (int64, int64, error) {
			n, err := applied(ctx, d)
			return n, want, err
		}
	}
	return l.drain(ctx, "figures of an item and day", int64(len(l.extra)), func(ctx context.Context) error {
		if err := l.applyForAll(ctx); err != nil {
			return err
		}
		return l.sees(ctx, "the district counts its applications", l.o.Patience, counted(l.child))
	}, counted(l.city))
}

// applyForAll sends one application for each new item.
func (l *lines) applyForAll(ctx context.Context) error {
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		for next.Load() < int64(len(l.extra)) {
			if err := pause(ctx, tellEvery); err != nil {
				return err
			}
			l.o.Progress.Step("%d of %d applications", min(next.Load(), int64(len(l.extra))), len(l.extra))
		}
		return nil
	})
	for range drainClients {
		g.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(l.extra) {
					return nil
				}
				if _, err := l.child.Submit(ctx, l.child.Nodes[0], l.extra[i], l.seq+1+i); err != nil {
					return fmt.Errorf("apply for %s: %w", l.extra[i].Item, err)
				}
			}
		})
	}
	err := g.Wait()
	l.seq += len(l.extra)
	return err
}

// variant is the end of an item code in the provinces' scheme: a digit and two that number
// the variants of an item.
var variant = regexp.MustCompile(`-\d-\d{2}$`)

// variants bounds how often an item can be had, by the numbers that a code ends with;
// those with names of their own are from -5-00 on.
const variants, named = 400, 5

// multiply makes n new items for the departments of c, as variants of those that they
// have: other codes, and the same names or (renamed) new ones.
func multiply(c demo.Catalog, division string, n int, renamed bool) (demo.Catalog, []demo.Offer, error) {
	taken := map[string]bool{} // Codes that the departments have.
	var sources []catalog.Department
	for _, d := range c.Departments {
		one := catalog.Department{Slug: d.Slug, Name: d.Name, Codes: d.Codes}
		for _, j := range catalog.Judge(d.Rows, division) {
			taken[j.Row.Code] = true
			if !j.Blocked && variant.MatchString(j.Row.Code) {
				one.Rows = append(one.Rows, j.Row)
			}
		}
		sources = append(sources, one)
	}
	made := slices.Clone(sources)
	for i := range made {
		made[i].Rows = nil
	}
	digit := 1
	if renamed {
		digit = named
	}
	var offers []demo.Offer
	for v := 0; v < variants && len(offers) < n; v++ {
		for i, d := range sources {
			for _, r := range d.Rows {
				r.Code = variant.ReplaceAllString(r.Code, fmt.Sprintf("-%d-%02d", digit+v/100, v%100))
				if taken[r.Code] || len(offers) == n {
					continue
				}
				if renamed {
					r.Name = fmt.Sprintf("%s（第%d项）", r.Name, len(offers)+1)
				}
				taken[r.Code] = true
				made[i].Rows = append(made[i].Rows, r)
				offers = append(offers, demo.Offer{Tenant: d.Slug, Item: r.Code})
			}
		}
	}
	if len(offers) < n {
		return demo.Catalog{}, nil, fmt.Errorf("the items whose codes have the usual form give %d variants; %d are wanted", len(offers), n)
	}
	made = slices.DeleteFunc(made, func(d catalog.Department) bool { return len(d.Rows) == 0 })
	return demo.Catalog{File: "variants of " + c.File, Rows: n, Departments: made}, offers, nil
}
