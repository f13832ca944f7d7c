// Package bench measures a district of three processes on this machine: what its people
// and its operator would wait for, and what its boxes need; and the lines between a city
// and two districts: how fast they drain, what they cost while nothing happens, and that a
// poor one converges.
//
// Nodes and load share the machine, so that the figures are a floor for three boxes of its
// kind; what they mean is in docs/BENCH.md. The parts alone are measured by the Go
// benchmarks beside them.
package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"tongban/internal/bench/proc"
	"tongban/internal/demo"
	"tongban/node/exit"
)

// Options say what is measured. A zero field takes the default stated beside it.
type Options struct {
	Only     string         // OnlyDistrict or OnlyFederation; empty: both.
	Items    string         // File of items; empty: the demonstration catalog.
	For      time.Duration  // 5 s: of each load.
	Idle     time.Duration  // 10 s: of watching nodes that do nothing.
	Clients  []int          // 1, 16, 64.
	IdleLine time.Duration  // 2 min: of watching lines on which nothing happens.
	Rows     int            // 20,000: made while a line is cut, and drained.
	Seed     uint64         // Of the slow line's losses; 0: a random one.
	Patience time.Duration  // 3 min: for whatever a line that is not slow has to bring.
	Profile  string         // File for a CPU profile: of the leader under the last load on one tenant, or, with OnlyFederation, of the parent in the first drain; empty: none.
	Binary   string         // The running program.
	Keep     bool           // Leave the folder with data and logs.
	Progress *demo.Progress // Says nothing.
}

// Report is what was measured.
type Report struct {
	Machine proc.Machine `json:"machine"`
	Binary  int64        `json:"binary_bytes"`
	Tenants Tenants      `json:"tenants,omitzero"`
	Import  Import       `json:"import,omitzero"`
	Idle    []Idle       `json:"idle,omitempty"`
	Loads   []Load       `json:"loads,omitempty"`
	Restart Restart      `json:"restart,omitzero"`

	Federation *Federation `json:"federation,omitempty"`
}

// Values of Options.Only.
const (
	OnlyDistrict   = "district"
	OnlyFederation = "federation"
)

// Tenants is the creation of all departments, several at once, until their databases are
// on all nodes.
type Tenants struct {
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
}

// Import is that of all rows into existing tenants, and of the same rows once more.
type Import struct {
	Rows         int     `json:"rows"`
	Seconds      float64 `json:"seconds"`
	AgainSeconds float64 `json:"again_seconds"`
}

// Restart is a stop in good order and a start of one node that holds everything that the
// loads wrote.
type Restart struct {
	StopSeconds     float64 `json:"stop_seconds"`
	ReadySeconds    float64 `json:"ready_seconds"`     // Start to the first answer to people.
	CaughtUpSeconds float64 `json:"caught_up_seconds"` // Start to every database at its leader's index.
	Entries         uint64  `json:"entries"`           // In the node's raft logs.
}

// withDefaults fills in what is not set.
func (o Options) withDefaults() Options {
	o.For = cmp.Or(o.For, 5*time.Second)
	o.Idle = cmp.Or(o.Idle, 10*time.Second)
	o.IdleLine = cmp.Or(o.IdleLine, 2*time.Minute)
	o.Rows = cmp.Or(o.Rows, 20_000)
	o.Patience = cmp.Or(o.Patience, 3*time.Minute)
	if len(o.Clients) == 0 {
		o.Clients = []int{1, 16, 64}
	}
	return o
}

// Run measures, and writes nothing but progress. The Report is as far as it got when there
// is an error.
func Run(ctx context.Context, o Options) (r Report, err error) {
	o = o.withDefaults()
	if o.Only != "" && o.Only != OnlyDistrict && o.Only != OnlyFederation {
		return r, exit.Usagef("there is nothing called %q to measure; say %s or %s", o.Only, OnlyDistrict, OnlyFederation)
	}
	r.Machine = proc.This()
	if r.Binary, err = binarySize(); err != nil {
		return r, err
	}
	c, err := demo.ReadCatalog(o.Items)
	if err != nil {
		return r, err
	}
	if o.Only != OnlyFederation {
		err = runDistrict(ctx, o, c, &r)
	}
	if err == nil && o.Only != OnlyDistrict {
		if o.Only == "" {
			o.Profile = "" // It has the leader's.
		}
		r.Federation, err = runFederation(ctx, o, c)
	}
	if ctx.Err() != nil {
		err = demo.ErrInterrupted
	}
	return r, err
}

// runDistrict measures a district of three nodes.
func runDistrict(ctx context.Context, o Options, c demo.Catalog, r *Report) (err error) {
	d, err := demo.Start(ctx, demo.Setting{Binary: o.Binary, Keep: o.Keep, Progress: o.Progress})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close(o.Keep)) }()
	b := &bench{o: o, d: d, catalog: c, report: r}
	for _, step := range []func(context.Context) error{b.fill, b.idle, b.loads, b.restart} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// bench is a measurement on its way.
type bench struct {
	o       Options
	d       *demo.District
	catalog demo.Catalog
	report  *Report
	seq     int // Applicants so far.
}

func (b *bench) fill(ctx context.Context) error {
	start := time.Now()
	if err := b.d.CreateTenants(ctx, b.catalog); err != nil {
		return err
	}
	b.report.Tenants = Tenants{len(b.catalog.Departments), time.Since(start).Seconds()}
	b.o.Progress.Step("%d tenants made in %.1f s", b.report.Tenants.Count, b.report.Tenants.Seconds)
	first, err := b.d.Import(ctx, b.catalog)
	if err != nil {
		return err
	}
	again, err := b.d.Import(ctx, b.catalog)
	if err != nil {
		return err
	}
	if again.Published+again.Quarantined != 0 {
		return fmt.Errorf("importing the same rows again made %d items and quarantined %d rows", again.Published, again.Quarantined)
	}
	b.report.Import = Import{b.catalog.Rows, first.Took.Seconds(), again.Took.Seconds()}
	b.o.Progress.Step("%d rows imported in %.0f ms, the same again in %.0f ms", b.catalog.Rows,
		1e3*b.report.Import.Seconds, 1e3*b.report.Import.AgainSeconds)
	return b.d.Settle(ctx)
}

// restart stops the last node in good order and starts it again.
func (b *bench) restart(ctx context.Context) error {
	n := b.d.Nodes[len(b.d.Nodes)-1]
	if err := b.d.Settle(ctx); err != nil {
		return err
	}
	list, err := b.d.Databases(ctx, n)
	if err != nil {
		return err
	}
	for _, s := range list {
		b.report.Restart.Entries += uint64(s.LogLast)
	}
	start := time.Now()
	if err := b.d.StopNode(n); err != nil {
		return err
	}
	b.report.Restart.StopSeconds = time.Since(start).Seconds()
	start = time.Now()
	if err := b.d.Run(ctx, n); err != nil {
		return err
	}
	b.report.Restart.ReadySeconds = time.Since(start).Seconds()
	if err := b.d.CatchUp(ctx, n); err != nil {
		return err
	}
	b.report.Restart.CaughtUpSeconds = time.Since(start).Seconds()
	return nil
}

func binarySize() (int64, error) {
	path, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find the running program: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, fmt.Errorf("measure the running program: %w", err)
	}
	return info.Size(), nil
}
