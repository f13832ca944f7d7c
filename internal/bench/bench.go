// Package bench measures a district of three processes on this machine: what its people
// and its operator would wait for, and what its boxes need.
//
// Nodes and load share the machine, so that the figures are a floor for three boxes of its
// kind; what they mean is in docs/BENCH.md. The parts alone are measured by the Go
// benchmarks beside them.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"tongban/internal/demo"
)

// Options say what is measured. A zero field takes the default stated beside it.
type Options struct {
	Items    string         // File of items; empty: the demonstration catalog.
	For      time.Duration  // 5 s: of each load.
	Idle     time.Duration  // 10 s: of watching nodes that do nothing.
	Clients  []int          // 1, 16, 64.
	Profile  string         // File for a CPU profile of the leader under the last load on one tenant; empty: none.
	Keep     bool           // Leave the folder with data and logs.
	Progress *demo.Progress // Says nothing.
}

// Report is what was measured.
type Report struct {
	Machine Machine `json:"machine"`
	Binary  int64   `json:"binary_bytes"`
	Tenants Tenants `json:"tenants"`
	Import  Import  `json:"import"`
	Idle    []Idle  `json:"idle"`
	Loads   []Load  `json:"loads"`
	Restart Restart `json:"restart"`
}

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

// Run measures, and writes nothing but progress.
func Run(ctx context.Context, o Options) (r Report, err error) {
	if o.For == 0 {
		o.For = 5 * time.Second
	}
	if o.Idle == 0 {
		o.Idle = 10 * time.Second
	}
	if len(o.Clients) == 0 {
		o.Clients = []int{1, 16, 64}
	}
	r.Machine = thisMachine()
	if r.Binary, err = binarySize(); err != nil {
		return r, err
	}
	c, err := demo.ReadCatalog(o.Items)
	if err != nil {
		return r, err
	}
	d, err := demo.Start(ctx, demo.Setting{Keep: o.Keep, Progress: o.Progress})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, d.Close(o.Keep)) }()
	b := &bench{o: o, d: d, catalog: c, report: &r}
	for _, step := range []func(context.Context) error{b.fill, b.idle, b.loads, b.restart} {
		err := step(ctx)
		if ctx.Err() != nil {
			return r, demo.ErrInterrupted
		}
		if err != nil {
			return r, err
		}
	}
	return r, nil
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
