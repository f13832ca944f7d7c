// Package databases measures replicated databases: their speed behind the HTTP door
// against a peer that speaks the same API (rqlite's), and what thousands of them cost and
// how they behave when a node dies, restarts or joins.
//
// The nodes are real processes of this program on loopback, with the files on the disk of
// the temporary folder. The peer is whatever runs at the addresses that are given; it is
// measured in the same run, in turn with our nodes, by the same client (package wire).
// What is compared, and what the figures mean, is in docs/BENCH.md.
package databases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tongban/internal/bench/proc"
	"tongban/internal/demo"
	"tongban/node/exit"
)

// Options say what is measured and how. A zero field takes the default stated beside it.
type Options struct {
	Peer     string         // Base URLs of the peer's nodes, separated by commas; empty: there is none.
	Only     []string       // Keys of rows, or what they begin with before a dash; empty: all.
	Quick    bool           // Small and short, to try the measurement itself: no row passes.
	For      time.Duration  // 2.5 s: of each load.
	Rounds   int            // 3: of which the median counts.
	Binary   string         // The running program.
	Profile  string         // File for a CPU profile of the node that leads the first database, under the last load that compares; empty: none.
	Keep     bool           // Leave the folders with data and logs.
	Progress *demo.Progress // Says nothing.
}

// Report is the table.
type Report struct {
	Machine proc.Machine
	Peer    string // What the peer says it is; empty without one.
	Rows    []Row
}

// sizes are how much is measured.
type sizes struct {
	warm    time.Duration // Before each load.
	tenants int           // Databases that the loads of many tenants are spread over.
	idle    int           // Databases that do nothing.
	stretch int           // The same, the larger number.
	calm    time.Duration // Before the window; 0: calmFor.
	window  time.Duration // Of watching them.
	writes  int           // Of them that are written to then.
	kills   int           // Of nodes.
	large   int64         // Bytes of the large database.
}

var (
	full  = sizes{500 * time.Millisecond, 100, 1000, 3000, 0, 60 * time.Second, 20, 30, 1 << 30}
	quick = sizes{100 * time.Millisecond, 10, 30, 60, 5 * time.Second, 5 * time.Second, 5, 3, 64 << 20}
)

// bench is a measurement on its way.
type bench struct {
	o     Options
	size  sizes
	peer  *side // Nil: there is none.
	rows  map[string]Row
	wants func(key string) bool
}

// stage measures rows that share their processes.
type stage struct {
	keys []string
	run  func(b *bench, ctx context.Context) error
}

// largeKeys are the rows of a large database, idleKeys those of many.
var (
	largeKeys = []string{"restart", "copy"}
	idleKeys  = []string{"idle", "stretch", "failover"}
)

// loadKeys are the rows that compare.
func loadKeys(s sizes) []string {
	var list []string
	for _, w := range workloads(s) {
		list = append(list, w.key)
	}
	return list
}

// stages are all rows, in the order of the table.
func stages(s sizes) []stage {
	return []stage{
		{append(loadKeys(s), largeKeys...), (*bench).contests},
		{[]string{"inprocess-256"}, (*bench).inProcess},
		{idleKeys, (*bench).many},
	}
}

// Run measures. A row that could not be measured says why; an error is about all of them.
func Run(ctx context.Context, o Options) (Report, error) {
	o.For = cmp.Or(o.For, 2500*time.Millisecond)
	o.Rounds = cmp.Or(o.Rounds, 3)
	b := &bench{o: o, size: full, rows: map[string]Row{}}
	if o.Quick {
		b.size, b.o.For, b.o.Rounds = quick, min(o.For, 500*time.Millisecond), 1
	}
	r := Report{Machine: proc.This()}
	all := stages(b.size)
	if err := b.choose(all); err != nil {
		return r, err
	}
	if o.Peer != "" {
		var err error
		if b.peer, r.Peer, err = openPeer(ctx, o.Peer); err != nil {
			return r, err
		}
	}
	for _, s := range all {
		err := b.stage(ctx, s)
		for _, key := range s.keys {
			if row, ok := b.rows[key]; ok {
				r.Rows = append(r.Rows, row)
			}
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// choose takes the rows that are asked for.
func (b *bench) choose(all []stage) error {
	var keys []string
	for _, s := range all {
		keys = append(keys, s.keys...)
	}
	named := func(key, name string) bool { return key == name || strings.HasPrefix(key, name+"-") }
	for _, name := range b.o.Only {
		known := false
		for _, key := range keys {
			known = known || named(key, name)
		}
		if !known {
			return exit.Usagef("there is no row %q; the rows are %s", name, strings.Join(keys, ", "))
		}
	}
	b.wants = func(key string) bool {
		for _, name := range b.o.Only {
			if named(key, name) {
				return true
			}
		}
		return len(b.o.Only) == 0
	}
	return nil
}

func (b *bench) wantsAny(keys []string) bool { return slices.ContainsFunc(keys, b.wants) }

// stage runs a stage of which a row is wanted. Rows that it did not come to say why.
func (b *bench) stage(ctx context.Context, s stage) error {
	if !b.wantsAny(s.keys) {
		return nil
	}
	err := s.run(b, ctx)
	if ctx.Err() != nil {
		return errors.Join(demo.ErrInterrupted, err)
	}
	for _, key := range s.keys {
		if _, measured := b.rows[key]; b.wants(key) && !measured {
			b.put(key, Row{Row: key, Figure: fmt.Sprintf("not measured: %v", cmp.Or(err, errNoFigure))})
		}
	}
	return nil
}

// errNoFigure is a mistake of this package.
var errNoFigure = errors.New("there is no figure")

// put enters a row.
func (b *bench) put(key string, r Row) {
	if b.o.Quick {
		r.Pass = false
		r.Figure += quickFigure
	}
	b.rows[key] = r
	b.o.Progress.Step("%s: %s, goal %s: %s", r.Row, r.Figure, r.Goal, r.verdict())
	if r.Detail != "" {
		b.o.Progress.Step("  %s", r.Detail)
	}
}
