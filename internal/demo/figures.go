package demo

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/service/catalog"
	"tongban/service/statistics"
)

// equalPatience bounds how long a count may take through all levels.
const equalPatience = 90 * time.Second

// figuresEvery is how often a division is asked for its figures while something is awaited.
const figuresEvery = 100 * time.Millisecond

// figures asks a division for what it knows of its subtree, as anybody can.
func (d *District) figures(ctx context.Context) (statistics.Page, error) {
	var page statistics.Page
	running := d.Running()
	if len(running) == 0 {
		return page, fmt.Errorf("no box of %s runs", d.Division.Code)
	}
	return page, d.http.get(ctx, running[0].URL, "/statistics", nil, &page)
}

// count of a division and all below it.
type count struct{ applied, decided int64 }

func (c count) String() string {
	return fmt.Sprintf("%d applied for, %d decided", c.applied, c.decided)
}

// awaitCount waits until every one of the divisions says that count.
func awaitCount(ctx context.Context, divisions []*District, want count) error {
	ctx, cancel := context.WithTimeout(ctx, equalPatience)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range divisions {
		g.Go(func() error {
			return d.awaitEvery(ctx, figuresEvery, fmt.Sprintf("%s counts %s", d.Division.Code, want), func() error {
				page, err := d.figures(ctx)
				if err != nil {
					return err
				}
				if have := (count{page.Applied, page.Decided}); have != want {
					return fmt.Errorf("it counts %s, as of %d s ago", have, page.Age)
				}
				return nil
			})
		})
	}
	return g.Wait()
}

// importBasic gives the anchor of the tree the basic catalog, which goes down to all: one
// entry for each basic code of the items, and of the demonstration catalog.
func (t *Tree) importBasic(ctx context.Context, c Catalog) error {
	rows := catalog.DemoBasic()
	known := map[string]bool{}
	for _, r := range rows {
		known[r.Code] = true
	}
	for _, one := range c.Departments {
		for _, r := range catalog.BasicRowsOf(one.Rows) {
			if !known[r.Code] {
				known[r.Code] = true
				rows = append(rows, r)
			}
		}
	}
	var result catalog.BasicResult
	if err := t.Divisions[0].insistAsOperator("/basic/imports", func() any {
		return map[string]any{"file": c.File, "rows": rows}
	}, &result)(ctx); err != nil {
		return fmt.Errorf("import the basic catalog: %w", err)
	}
	t.say.Step("%s has a basic catalog of %d items, which goes down to all levels", t.Divisions[0].Division.Code, result.Total)
	return nil
}
