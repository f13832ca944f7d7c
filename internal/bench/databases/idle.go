package databases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"tongban/internal/bench/proc"
	"tongban/internal/demo"
)

// IdleOptions say how many databases do nothing. A zero field takes the default stated
// beside it.
type IdleOptions struct {
	Databases int            // 1,000.
	Nodes     int            // 3.
	Calm      time.Duration  // Before the window: calmFor.
	Window    time.Duration  // 60 s: of watching.
	Writes    int            // 20: databases that are written to after the window.
	Binary    string         // The running program.
	Profile   string         // File for a profile of the memory, after the window, of the node that has most; empty: none.
	Keep      bool           // Leave the folder with data and logs.
	Progress  *demo.Progress // Says nothing.
}

// Idle is what databases cost that have a table of ten rows each, written once, and how
// they answer after that.
type Idle struct {
	Databases  int     `json:"databases"`
	Nodes      int     `json:"nodes"`
	CreatedS   float64 `json:"created_s"`       // Until all were on every node, with their rows.
	CPUPercent float64 `json:"cpu_percent"`     // Of one core, all nodes together.
	RSSMB      int64   `json:"rss_mb_per_node"` // MiB of the node that has most.
	FDs        int     `json:"fds_per_node"`    // Of the node that has most.
	Leaders    int     `json:"leaders"`         // Databases with a leader that every node knows.
	ElectedS   float64 `json:"elected_s"`       // All nodes started at once → every database has one.

	WindowS     float64   `json:"window_s"`
	CPUEach     []float64 `json:"cpu_percent_each"`
	RSSEach     []int64   `json:"rss_mb_each"`
	FDsEach     []int     `json:"fds_each"`
	LeadersEach []int     `json:"leaders_each"`
	Writes      int       `json:"writes"`       // To so many databases, one each, after the window.
	WriteMS     float64   `json:"write_ms"`     // The slowest of them.
	LagMS       float64   `json:"lag_ms"`       // From its answer until every node shows it: the slowest.
	StoppedS    float64   `json:"stopped_s"`    // All nodes in good order, at once.
	ElectedEach []int     `json:"elected_each"` // Leaders by node after the cold start.
}

// MeasureIdle starts nodes and measures databases that do nothing.
func MeasureIdle(ctx context.Context, o IdleOptions) (i Idle, err error) {
	o = o.withDefaults()
	c, err := openCluster(ctx, Options{Binary: o.Binary, Keep: o.Keep, Progress: o.Progress}, o.Nodes)
	if err != nil {
		return i, err
	}
	defer func() {
		err = errors.Join(err, c.close(o.Keep))
		if ctx.Err() != nil {
			err = demo.ErrInterrupted
		}
	}()
	if i, err = c.idle(ctx, o); err != nil {
		return i, err
	}
	return i, c.coldStart(ctx, &i)
}

func (o IdleOptions) withDefaults() IdleOptions {
	o.Databases, o.Nodes = cmp.Or(o.Databases, full.idle), cmp.Or(o.Nodes, 3)
	o.Window = cmp.Or(o.Window, full.window)
	o.Writes = min(cmp.Or(o.Writes, full.writes), o.Databases)
	return o
}

// calmFor is how long it takes until all files of so many databases are closed: they must
// have been idle for 30 s, and three nodes on two cores close a hundred a second.
func calmFor(databases int) time.Duration {
	return 30*time.Second + time.Duration(databases)*20*time.Millisecond
}

// idleSchema is what each database has.
var idleSchema = []string{
	`CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, text TEXT NOT NULL)`,
	`INSERT INTO t(number, text) VALUES` + strings.Repeat(` (0, 'a row that was written once'),`, 9) + ` (0, 'the last row')`,
}

// grow makes databases until there are n, with their rows.
func (c *cluster) grow(ctx context.Context, n int) error {
	fresh, err := c.create(ctx, fmt.Sprintf("idle%d", n), n-len(c.dbs))
	if err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, setupPatience)
	defer cancel()
	if err := each(patient, fresh, func(ctx context.Context, conns connections, d *database) error {
		return d.insist(ctx, conns, "/db/execute?transaction", statements(idleSchema...), askEvery)
	}); err != nil {
		return err
	}
	_, err = c.settled(ctx)
	return err
}

// idle makes the databases, watches the nodes, and writes to a few.
func (c *cluster) idle(ctx context.Context, o IdleOptions) (Idle, error) {
	i := Idle{Databases: o.Databases, Nodes: len(c.d.Nodes), Writes: o.Writes}
	start := time.Now()
	if err := c.grow(ctx, o.Databases); err != nil {
		return i, err
	}
	i.CreatedS = time.Since(start).Seconds()
	c.say.Step("%d databases made and filled in %.1f s", o.Databases, i.CreatedS)
	if err := pause(ctx, cmp.Or(o.Calm, calmFor(o.Databases))); err != nil {
		return i, err
	}
	if err := c.watch(ctx, o.Window, &i); err != nil {
		return i, err
	}
	if o.Profile != "" {
		most := slices.Index(i.RSSEach, i.RSSMB)
		if err := c.d.Nodes[most].HeapProfile(ctx, o.Profile); err != nil {
			return i, err
		}
	}
	leads, err := c.elected(ctx)
	if err != nil {
		return i, err
	}
	for _, n := range c.d.Nodes {
		i.Leaders += leads[n.Name]
		i.LeadersEach = append(i.LeadersEach, leads[n.Name])
	}
	c.say.Step("idle: %.1f %% of a core, %d MiB and %d open files a node; leaders %v", i.CPUPercent, i.RSSMB, i.FDs, i.LeadersEach)
	return i, c.wake(ctx, &i)
}

// watch reads what the nodes use in the window, and hold at its end.
func (c *cluster) watch(ctx context.Context, window time.Duration, i *Idle) error {
	before := map[int]time.Duration{}
	start := time.Now()
	for _, n := range c.d.Nodes {
		used, err := proc.CPUTime(c.d.PID(n))
		if err != nil {
			return err
		}
		before[c.d.PID(n)] = used
	}
	if err := pause(ctx, window); err != nil {
		return err
	}
	i.WindowS = time.Since(start).Seconds()
	for _, n := range c.d.Nodes {
		pid := c.d.PID(n)
		used, err := proc.CPUTime(pid)
		if err != nil {
			return err
		}
		u, err := proc.UsageOf(pid)
		if err != nil {
			return err
		}
		percent := 100 * (used - before[pid]).Seconds() / i.WindowS
		i.CPUPercent += percent
		i.CPUEach, i.RSSEach, i.FDsEach = append(i.CPUEach, percent), append(i.RSSEach, u.RSS), append(i.FDsEach, u.Files)
	}
	i.RSSMB, i.FDs = slices.Max(i.RSSEach), slices.Max(i.FDsEach)
	return nil
}

// wake writes to a few databases, one after another, and sees when every node shows it.
func (c *cluster) wake(ctx context.Context, i *Idle) error {
	if err := c.leaders(ctx); err != nil {
		return err
	}
	conns := connections{}
	defer conns.close()
	dbs := c.sorted()
	rand.Shuffle(len(dbs), func(a, b int) { dbs[a], dbs[b] = dbs[b], dbs[a] })
	for n, d := range dbs[:i.Writes] {
		start := time.Now()
		mark := start.UnixNano()
		if _, err := d.do(ctx, conns, "/db/execute", statements(fmt.Sprintf(`INSERT INTO t(number, text) VALUES(%d, 'written after the window')`, mark))); err != nil {
			return fmt.Errorf("write to an idle database: %w", err)
		}
		answered := time.Now()
		i.WriteMS = max(i.WriteMS, 1e3*answered.Sub(start).Seconds())
		for _, door := range d.nodes {
			if err := d.shows(ctx, conns, door, mark); err != nil {
				return fmt.Errorf("read write %d: %w", n+1, err)
			}
		}
		i.LagMS = max(i.LagMS, 1e3*time.Since(answered).Seconds())
	}
	c.say.Step("one write to each of %d: at most %.0f ms, and %.0f ms more until every node shows it", i.Writes, i.WriteMS, i.LagMS)
	return nil
}

const (
	// lagPatience bounds how long a follower may lag.
	lagPatience = 20 * time.Second
	// lookEvery is how often it is asked.
	lookEvery = 2 * time.Millisecond
)

// shows waits until a node's own replica has a row.
func (d *database) shows(ctx context.Context, conns connections, door string, mark int64) error {
	ctx, cancel := context.WithTimeout(ctx, lagPatience)
	defer cancel()
	body := statements(fmt.Sprintf(`SELECT 'number ' || number FROM t WHERE number = %d`, mark))
	for {
		answer, err := d.at(ctx, conns, door, "/db/query?level=none", body)
		if err == nil && strings.Contains(string(answer), fmt.Sprintf("number %d\"", mark)) {
			return nil
		}
		if pause(ctx, lookEvery) != nil {
			return fmt.Errorf("the node at %s does not show it; last: %s, %w", door, clip(answer), err)
		}
	}
}

// coldStart stops all nodes, starts them at once, and waits until every database has a
// leader that all know.
func (c *cluster) coldStart(ctx context.Context, i *Idle) error {
	start := time.Now()
	if err := c.d.Stop(); err != nil {
		return err
	}
	i.StoppedS = time.Since(start).Seconds()
	start = time.Now()
	if err := c.d.Run(ctx, c.d.Nodes...); err != nil {
		return err
	}
	leads, err := c.elected(ctx)
	if err != nil {
		return err
	}
	i.ElectedS = time.Since(start).Seconds()
	for _, n := range c.d.Nodes {
		i.ElectedEach = append(i.ElectedEach, leads[n.Name])
	}
	c.say.Step("stopped in %.1f s; every database has a leader %.1f s after a cold start: %v", i.StoppedS, i.ElectedS, i.ElectedEach)
	return nil
}

// String is the figures for people.
func (i Idle) String() string {
	return fmt.Sprintf(`%d idle databases on %d nodes, watched for %.0f s:
  CPU, all nodes together       %.1f %% of one core
  memory, node with most        %d MiB
  open files, node with most    %d
  leaders                       %d of %d, by node %v
  one write to each of %d       at most %.0f ms, then at most %.0f ms until every node shows it
  stop in good order, then cold start until every database has a leader: %.1f s, %.1f s
`, i.Databases, i.Nodes, i.WindowS, i.CPUPercent, i.RSSMB, i.FDs, i.Leaders, i.Databases, i.LeadersEach, i.Writes, i.WriteMS, i.LagMS, i.StoppedS, i.ElectedS)
}

// Goals of idle databases.
const (
	goalIdleCPU, goalStretchCPU = 10, 15   // Percent of one core, all nodes together.
	goalIdleRSS, goalStretchRSS = 250, 500 // MiB a node.
	goalWriteMS, goalLagMS      = 1000, 100
	goalElectedS                = 15
)

// row is the first of the idle rows.
func (i Idle) row() Row {
	return Row{
		Row:    fmt.Sprintf("%d idle databases, %.0f s window; then one write to each of %d random ones", i.Databases, i.WindowS, i.Writes),
		Goal:   fmt.Sprintf("< %d %% of one core, < %d MB a node, writes < 1 s, lag < %d ms", goalIdleCPU, goalIdleRSS, goalLagMS),
		Figure: fmt.Sprintf("%.1f %%, %d MB, %.0f ms, %.0f ms", i.CPUPercent, i.RSSMB, i.WriteMS, i.LagMS),
		Pass:   i.CPUPercent < goalIdleCPU && i.RSSMB < goalIdleRSS && i.WriteMS < goalWriteMS && i.LagMS < goalLagMS && i.Leaders == i.Databases,
		Detail: i.detail(),
	}
}

func (i Idle) detail() string {
	return fmt.Sprintf("made and filled in %.1f s; CPU %.1f %%, RSS %d MiB, %d files by node; leaders %v of %d", i.CreatedS, i.CPUEach, i.RSSEach, i.FDsEach, i.LeadersEach, i.Databases)
}

// stretchRow is the row of the larger number.
func (i Idle) stretchRow() Row {
	return Row{
		Row:    fmt.Sprintf("the same with %d", i.Databases),
		Goal:   fmt.Sprintf("< %d %%, < %d MB a node; leaders everywhere %d s after a cold start", goalStretchCPU, goalStretchRSS, goalElectedS),
		Figure: fmt.Sprintf("%.1f %%, %d MB, %.1f s", i.CPUPercent, i.RSSMB, i.ElectedS),
		Pass:   i.CPUPercent < goalStretchCPU && i.RSSMB < goalStretchRSS && i.ElectedS < goalElectedS && i.Leaders == i.Databases,
		Detail: i.detail() + fmt.Sprintf("; writes %.0f ms, lag %.0f ms; stopped in %.1f s; leaders after the cold start %v", i.WriteMS, i.LagMS, i.StoppedS, i.ElectedEach),
	}
}
