package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"time"

	"tongban/federation"
	"tongban/internal/demo"
	"tongban/internal/demo/relay"
	"tongban/service/catalog"
	"tongban/service/statistics"
)

// What lines shall do.
const (
	goalDrain = 5000.0           // Rows a second of one line, at least.
	goalIdle  = 100.0            // Bytes a second of one division, at most.
	goalSlow  = 10 * time.Minute // The first sync over a slow line, at most.
)

// Federation is what lines between divisions were measured to do: a city of one box, one
// of its districts of one box and another of three. Figures of a line are taken at the
// relay, which carries what TCP carries.
type Federation struct {
	Seed    uint64     `json:"seed"` // Of the slow line.
	Lines   []IdleLine `json:"idle_lines"`
	Boxes   []Idle     `json:"idle_boxes"`
	Latency Latency    `json:"latency"`
	Drains  []Drain    `json:"drains"`
	Slow    SlowSync   `json:"slow_line"`
}

// Codes of the divisions.
const (
	cityCode  = "511600" // Guang'an, of one box.
	childCode = "511602" // Its district of one box, with the departments and items.
	trioCode  = "511603" // Its district of three boxes, with nothing.
)

// lines is the measurement of the lines on its way.
type lines struct {
	o           Options
	catalog     demo.Catalog
	tree        *demo.Tree
	city, child *demo.District
	report      *Federation
	extra       []demo.Offer // Items that were made to be drained.
	seq         int          // Applicants so far.
}

// runFederation measures a tree at full speed, then one whose line is slow.
func runFederation(ctx context.Context, o Options, c demo.Catalog) (report *Federation, err error) {
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1 << 32)
	}
	l := &lines{o: o, catalog: c, report: &Federation{Seed: o.Seed}}
	if err := l.atFullSpeed(ctx); err != nil {
		return l.report, err
	}
	return l.report, l.slow(ctx)
}

func (l *lines) atFullSpeed(ctx context.Context) (err error) {
	if err := l.start(ctx, nil, []demo.Place{{Code: cityCode, Nodes: 1}, {Code: childCode, Parent: cityCode, Nodes: 1},
		{Code: trioCode, Parent: cityCode, Nodes: 3}}, nil); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.tree.Close(l.o.Keep)) }()
	if err := l.fill(ctx); err != nil {
		return err
	}
	if err := l.sees(ctx, "the city finds the district's items", l.o.Patience, l.searchable(l.city)); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{l.idle, l.latency, l.drainItems, l.drainFigures, l.drainTexts, l.parked} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start starts a tree; before is called when its divisions run and none is enrolled.
func (l *lines) start(ctx context.Context, slow *relay.Slow, places []demo.Place, before func(context.Context) error) (err error) {
	l.tree, err = demo.StartTree(ctx, demo.Setting{Binary: l.o.Binary, Keep: l.o.Keep, Progress: l.o.Progress, Slow: slow,
		Before: func(ctx context.Context, t *demo.Tree) error {
			l.tree, l.city, l.child = t, t.At(cityCode), t.At(childCode)
			if before == nil {
				return nil
			}
			return before(ctx)
		}}, places)
	return err
}

// fill gives the district its departments and items.
func (l *lines) fill(ctx context.Context) error {
	if err := l.child.CreateTenants(ctx, l.catalog); err != nil {
		return err
	}
	done, err := l.child.Import(ctx, l.catalog)
	if err != nil {
		return err
	}
	l.o.Progress.Step("%s has %d departments; of %d rows %d are items", childCode, len(l.catalog.Departments), l.catalog.Rows, done.Published)
	return l.sees(ctx, "the district finds its items", l.o.Patience, func(ctx context.Context) (int64, int64, error) {
		n, err := found(ctx, l.child, "")
		return n, int64(done.Published), err
	})
}

// found is how many items a division's search finds; below narrows it to a division.
func found(ctx context.Context, d *demo.District, below string) (int64, error) {
	var page catalog.SearchPage
	err := d.Get(ctx, "/search?division="+url.QueryEscape(below), &page)
	return int64(page.Total), err
}

// searchable compares what a division above finds of the district with what that has.
func (l *lines) searchable(above *demo.District) func(context.Context) (int64, int64, error) {
	return func(ctx context.Context) (have, want int64, err error) {
		if want, err = found(ctx, l.child, ""); err != nil {
			return 0, 0, err
		}
		have, err = found(ctx, above, l.child.Division.Ref.String())
		return have, want, err
	}
}

// applied is how many applications a division counts.
func applied(ctx context.Context, d *demo.District) (int64, error) {
	var page statistics.Page
	err := d.Get(ctx, "/statistics", &page)
	return page.Applied, err
}

const (
	// lookEvery is how often what is awaited is looked at: an empty search of 20,000 items
	// is some milliseconds of work of the box that is measured, and a drain takes seconds.
	lookEvery = 100 * time.Millisecond
	// tellEvery is how often a long wait says how far it is.
	tellEvery = 5 * time.Second
)

// sees waits until a division has all that it should; look returns what it has and what
// it should have. A dead process ends it.
func (l *lines) sees(ctx context.Context, what string, patience time.Duration, look func(context.Context) (have, want int64, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	told := time.Now()
	for {
		have, want, err := look(ctx)
		if err == nil && have == want {
			return nil
		}
		for _, d := range l.tree.Divisions {
			if len(d.Running()) != len(d.Nodes) {
				return fmt.Errorf("a process of %s has died while this was awaited: %s; --keep leaves its log", d.Division.Code, what)
			}
		}
		if time.Since(told) > tellEvery {
			told = time.Now()
			l.o.Progress.Step("awaited: %s; %d of %d so far", what, have, want)
		}
		if pause(ctx, lookEvery) != nil {
			return errors.Join(fmt.Errorf("never came within %s: %s; %d of %d", patience, what, have, want), err)
		}
	}
}

// place asks a division for its place in the tree.
func place(ctx context.Context, d *demo.District) (federation.TreePage, error) {
	var page federation.TreePage
	return page, d.Nodes[0].Admin.Get(ctx, "/federation", &page)
}

// acknowledged waits until every neighbour has acknowledged all rows.
func (l *lines) acknowledged(ctx context.Context) error {
	return l.sees(ctx, "every neighbour has acknowledged all rows", l.o.Patience, func(ctx context.Context) (lag, none int64, err error) {
		for _, d := range l.tree.Divisions {
			page, err := place(ctx, d)
			if err != nil {
				return 0, 0, err
			}
			neighbours := page.Children
			if page.Parent != nil {
				neighbours = append(slices.Clone(neighbours), *page.Parent)
			}
			for _, n := range neighbours {
				lag += int64(n.Lag)
			}
		}
		return lag, 0, nil
	})
}

// parked fails when the city has put a row aside: then not all that was sent was counted.
func (l *lines) parked(ctx context.Context) error {
	page, err := place(ctx, l.city)
	if err == nil && len(page.Parked)+page.Waiting > 0 {
		err = fmt.Errorf("the city has put rows aside, such as %+v", page.Parked)
	}
	return err
}
