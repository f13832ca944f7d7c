package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"tongban/internal/demo"
	"tongban/internal/demo/relay"
)

// IdleLine is what crosses a line on which nothing happens.
type IdleLine struct {
	Child   string  `json:"child"`
	Nodes   int     `json:"nodes"`
	Seconds float64 `json:"seconds"`
	Up      float64 `json:"up_bytes_per_second"` // What TCP carries …
	Down    float64 `json:"down_bytes_per_second"`
	Pieces  float64 `json:"packets_per_second"`
	Opened  int64   `json:"opened"` // Connections in that time.
}

// PerSecond is both directions together, bytes.
func (i IdleLine) PerSecond() float64 { return i.Up + i.Down }

// headers bounds what a small packet and its acknowledgement cost beside their content on
// IPv4: two times 20 bytes of IP and 32 of TCP with time stamps (RFC 791, 9293, 7323).
const headers = 104

// OnTheWire bounds what a metered line is charged with, bytes a second.
func (i IdleLine) OnTheWire() float64 { return i.PerSecond() + headers*i.Pieces }

// idle watches lines and boxes while nothing happens.
func (l *lines) idle(ctx context.Context) error {
	if err := l.acknowledged(ctx); err != nil {
		return err
	}
	l.o.Progress.Step("all is acknowledged; watching idle lines and boxes for %s", l.o.IdleLine)
	if err := pause(ctx, calmDown); err != nil {
		return err
	}
	var before []relay.Counters
	start := time.Now()
	for _, one := range l.tree.Lines {
		before = append(before, one.Counters())
	}
	var err error
	if l.report.Boxes, err = l.watch(ctx); err != nil {
		return err
	}
	took := time.Since(start).Seconds()
	for i, one := range l.tree.Lines {
		now := one.Counters()
		idle := IdleLine{Child: string(one.Child.Division.Code), Nodes: len(one.Child.Nodes), Seconds: took,
			Up: float64(now.Up-before[i].Up) / took, Down: float64(now.Down-before[i].Down) / took,
			Pieces: float64(now.Pieces-before[i].Pieces) / took, Opened: now.Opened - before[i].Opened}
		l.report.Lines = append(l.report.Lines, idle)
		l.o.Progress.Step("idle line of %s, %d nodes: %.0f bytes/s up, %.0f down", idle.Child, idle.Nodes, idle.Up, idle.Down)
	}
	return nil
}

// watch watches all boxes of the tree.
func (l *lines) watch(ctx context.Context) ([]Idle, error) {
	var all []box
	for _, d := range l.tree.Divisions {
		boxes, err := boxesOf(ctx, d, string(d.Division.Code)+"/")
		if err != nil {
			return nil, err
		}
		all = append(all, boxes...)
	}
	return watch(ctx, all, l.o.IdleLine, l.o.Progress)
}

// Latency is how long after its receipt an application is counted at the parent.
type Latency struct {
	Applications int     `json:"applications"`
	P50          float64 `json:"p50_ms"`
	P99          float64 `json:"p99_ms"`
}

const (
	// latencyRuns is how many applications are watched on their way, one after the other.
	latencyRuns = 100
	// maxStep is how long at most the next one waits.
	maxStep = 200 * time.Millisecond
	// countEvery is how often the parent is asked meanwhile.
	countEvery = 2 * time.Millisecond
)

func (l *lines) latency(ctx context.Context) error {
	by, err := l.child.Offers(ctx, l.catalog)
	if err != nil {
		return err
	}
	offers := demo.Spread(by)
	if len(offers) == 0 {
		return errors.New("the district offers nothing")
	}
	before, err := applied(ctx, l.city)
	if err != nil {
		return err
	}
	var times []time.Duration
	for i := range latencyRuns {
		// Else each application would come in step with the looks that the last one waited for.
		if err := pause(ctx, rand.N(maxStep)); err != nil {
			return err
		}
		if err := l.apply(ctx, offers[i%len(offers)]); err != nil {
			return err
		}
		start := time.Now()
		for want := before + int64(i) + 1; ; {
			have, err := applied(ctx, l.city)
			if err != nil {
				return err
			}
			if have == want {
				break
			}
			if time.Since(start) > l.o.Patience {
				return fmt.Errorf("%s counts %d applications, not %d, after %s", cityCode, have, want, l.o.Patience)
			}
			if err := pause(ctx, countEvery); err != nil {
				return err
			}
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	l.report.Latency = Latency{len(times), percentile(times, 0.5), percentile(times, 0.99)}
	l.o.Progress.Step("an application is counted at the parent after p50 %.0f ms, p99 %.0f ms", l.report.Latency.P50, l.report.Latency.P99)
	return nil
}

// apply sends one application to the district.
func (l *lines) apply(ctx context.Context, o demo.Offer) error {
	l.seq++
	if _, err := l.child.Submit(ctx, l.child.Nodes[0], o, l.seq); err != nil {
		return fmt.Errorf("apply for %s: %w", o.Item, err)
	}
	return nil
}

// SlowSync is the first sync over a slow line: enrolment, and all items of the district.
type SlowSync struct {
	Rows          int     `json:"rows"`  // Of the items' file.
	Items         int64   `json:"items"` // Of them.
	EnrolSeconds  float64 `json:"enrol_seconds"`
	Seconds       float64 `json:"seconds"` // From the beginning of the enrolment until the city's search finds all.
	Up            int64   `json:"up_bytes"`
	Down          int64   `json:"down_bytes"`
	Connections   int64   `json:"connections"`
	Broken        int64   `json:"broken"` // By the line.
	BitsPerSecond int     `json:"bits_per_second"`
	RoundTripMS   int64   `json:"round_trip_ms"`
}

// slow measures a first sync over the slowest line that is thought of.
func (l *lines) slow(ctx context.Context) (err error) {
	village := relay.Village(l.o.Seed)
	l.o.Progress.Step("a line of %d kbit/s, %s round trip, %.1f %% of packets lost for a time, one in %.0f breaks it; seed %d",
		village.BitsPerSecond/1000, village.RoundTrip, 100*village.Stalls, 1/village.Resets, village.Seed)
	s := &l.report.Slow
	s.Rows, s.BitsPerSecond, s.RoundTripMS = l.catalog.Rows, village.BitsPerSecond, village.RoundTrip.Milliseconds()
	var start time.Time
	if err := l.start(ctx, &village, []demo.Place{{Code: cityCode, Nodes: 1}, {Code: childCode, Parent: cityCode, Nodes: 1}},
		func(ctx context.Context) error {
			if err := l.fill(ctx); err != nil {
				return err
			}
			start = time.Now()
			return nil
		}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.tree.Close(l.o.Keep)) }()
	s.EnrolSeconds = time.Since(start).Seconds()
	l.o.Progress.Step("enrolled over the slow line in %.1f s", s.EnrolSeconds)
	if err := l.sees(ctx, "the city finds the district's items over the slow line", 2*goalSlow, l.searchable(l.city)); err != nil {
		return err
	}
	s.Seconds = time.Since(start).Seconds()
	c := l.tree.LineOf(childCode).Counters()
	s.Up, s.Down, s.Connections, s.Broken = c.Up, c.Down, c.Opened, c.Broken
	if s.Items, err = found(ctx, l.city, l.child.Division.Ref.String()); err != nil {
		return err
	}
	l.o.Progress.Step("the city finds all %d items after %.0f s; %d KB up, %d KB down, %d connections of which the line broke %d",
		s.Items, s.Seconds, s.Up>>10, s.Down>>10, s.Connections, s.Broken)
	return l.parked(ctx)
}
