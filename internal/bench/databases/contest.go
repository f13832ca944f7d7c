package databases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tongban/internal/bench/wire"
)

// contest is what the rounds of one workload gave on one side.
type contest struct {
	rates []float64 // Units a second, by round.
	p50s  []time.Duration
	p99s  []time.Duration
	cpu   []float64 // The load's own share of a core, percent.
	each  []float64 // CPU time of the side's processes, µs a request; empty: they are not on this machine.
}

func (c *contest) add(w workload, f wire.Figures) {
	c.rates = append(c.rates, f.PerSecond*float64(w.per))
	c.p50s, c.p99s, c.cpu = append(c.p50s, f.P50), append(c.p99s, f.P99), append(c.cpu, f.CPU)
}

// String is the medians, with the range of the rates.
func (c contest) String() string {
	text := fmt.Sprintf("%.0f (%.0f – %.0f), p50 %s, p99 %s", median(c.rates), slices.Min(c.rates), slices.Max(c.rates),
		milliseconds(median(c.p50s)), milliseconds(median(c.p99s)))
	if len(c.each) > 0 {
		text += fmt.Sprintf(", %.0f µs CPU a request", median(c.each))
	}
	return text
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", 1e3*d.Seconds()) }

// median of an odd number of values; of an even number the lower of the two.
func median[T int | float64 | time.Duration](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	return sorted[(len(sorted)-1)/2]
}

// contests measures every workload that is wanted on our nodes and on the peer's, and then
// the large database on the same nodes.
func (b *bench) contests(ctx context.Context) (err error) {
	c, err := openCluster(ctx, b.o, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close(b.o.Keep)) }()
	if b.wantsAny(loadKeys(b.size)) {
		dbs, err := c.create(ctx, "load", b.size.tenants)
		if err != nil {
			return err
		}
		if err := b.compare(ctx, c.side(dbs), b.peer); err != nil {
			return err
		}
	}
	if !b.wantsAny(largeKeys) {
		return nil
	}
	return b.large(ctx, c)
}

// compare measures the workloads on both sides; theirs may be nil.
func (b *bench) compare(ctx context.Context, ours, theirs *side) error {
	for _, s := range []*side{ours, theirs} {
		if s == nil {
			continue
		}
		if err := s.prepare(ctx); err != nil {
			return err
		}
	}
	list := workloads(b.size)
	// Reads first: what writes leave behind to tidy up is not theirs.
	slices.SortStableFunc(list, func(a, b workload) int {
		switch {
		case a.reads && !b.reads:
			return -1
		case b.reads && !a.reads:
			return 1
		}
		return 0
	})
	for _, w := range list {
		if !b.wants(w.key) {
			continue
		}
		row, err := b.contest(ctx, w, ours, theirs)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			row = Row{Row: w.row, Goal: w.goalText(), Figure: fmt.Sprintf("not measured: %v", err)}
		}
		b.put(w.key, row)
	}
	return nil
}

// prepare finds the leaders and makes the tables.
func (s *side) prepare(ctx context.Context) error {
	if err := s.findLeaders(ctx); err != nil {
		return err
	}
	conns := connections{}
	defer conns.close()
	for _, d := range s.dbs {
		if err := d.prepare(ctx, conns); err != nil {
			return fmt.Errorf("make the tables of the %s: %w", s.name, err)
		}
	}
	return nil
}

// contest measures one workload, the sides in turn.
func (b *bench) contest(ctx context.Context, w workload, ours, theirs *side) (Row, error) {
	var of [2]contest
	for range b.o.Rounds {
		for i, s := range []*side{ours, theirs} {
			if s == nil {
				continue
			}
			before := s.cpu()
			f, err := b.round(ctx, w, s)
			if err != nil {
				return Row{}, fmt.Errorf("%s: %w", s.name, err)
			}
			of[i].add(w, f)
			if used := s.cpu() - before; used > 0 {
				of[i].each = append(of[i].each, 1e6*used.Seconds()/float64(f.All))
			}
		}
	}
	if theirs == nil {
		return w.row1(of[0], nil), nil
	}
	return w.row1(of[0], &of[1]), nil
}

// round is one load on one side.
func (b *bench) round(ctx context.Context, w workload, s *side) (wire.Figures, error) {
	if err := s.findLeaders(ctx); err != nil {
		return wire.Figures{}, err
	}
	if !w.queued {
		return w.drive(ctx, b, s)
	}
	before, err := s.rows(ctx)
	if err != nil {
		return wire.Figures{}, err
	}
	start := time.Now()
	f, err := w.drive(ctx, b, s)
	if err != nil {
		return f, err
	}
	if err := s.drained(ctx, before+f.All); err != nil {
		return f, err
	}
	f.PerSecond = float64(f.All) / time.Since(start).Seconds()
	return f, nil
}

// drainPatience bounds how long rows that a queue has taken may be on their way.
const drainPatience = 60 * time.Second

// drained waits until a side's first database has so many rows.
func (s *side) drained(ctx context.Context, rows int) error {
	end := time.Now().Add(drainPatience)
	for {
		n, err := s.rows(ctx)
		if err != nil {
			return err
		}
		if n == rows {
			return nil
		}
		if n > rows || time.Now().After(end) {
			return fmt.Errorf("the queue has taken inserts for %d rows, and there are %d", rows, n)
		}
		if err := pause(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// rows counts what was inserted into a side's first database.
func (s *side) rows(ctx context.Context) (int, error) {
	conns := connections{}
	defer conns.close()
	body, err := s.dbs[0].do(ctx, conns, "/db/query?level=weak", statements(`SELECT count(*) FROM tongban_bench_insert`))
	if err != nil {
		return 0, err
	}
	var answer struct {
		Results []struct {
			Values [][]int `json:"values"`
		} `json:"results"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || len(answer.Results) != 1 || len(answer.Results[0].Values) != 1 {
		return 0, fmt.Errorf("read a count: %q, %w", clip(body), err)
	}
	return answer.Results[0].Values[0][0], nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// statements is a list of statements without parameters, as the API takes it.
func statements(sql ...string) []byte {
	b, err := json.Marshal(sql)
	if err != nil {
		panic(err) // Strings.
	}
	return b
}

func (w workload) goalText() string {
	text := fmt.Sprintf("≥ %.1fx %s", w.goal, w.unit)
	if w.p99 {
		text += ", p99 not worse"
	}
	return text
}

// row1 is the row of a workload; theirs may be nil.
func (w workload) row1(ours contest, theirs *contest) Row {
	r := Row{Row: w.row, Goal: w.goalText(), Figure: noPeer}
	detail := []string{"ours " + ours.String()}
	load := fmt.Sprintf("the load took %.0f %%", median(ours.cpu))
	if theirs != nil {
		ratio := median(ours.rates) / median(theirs.rates)
		slower := median(ours.p99s) > median(theirs.p99s)
		r.Figure = fmt.Sprintf("%.2fx", ratio)
		if w.p99 {
			r.Figure += fmt.Sprintf(", p99 %s against %s", milliseconds(median(ours.p99s)), milliseconds(median(theirs.p99s)))
		}
		r.Pass = ratio >= w.goal && !(w.p99 && slower)
		detail = append(detail, "peer "+theirs.String())
		load += fmt.Sprintf(" and %.0f %%", median(theirs.cpu))
	}
	r.Detail = w.unit + ": " + strings.Join(append(detail, load+" of a core"), "; ")
	return r
}
