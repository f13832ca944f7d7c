package wire

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Load is a closed load: so many clients that each wait for their answer before they send
// the next request.
type Load struct {
	Clients int
	Warm    time.Duration // Precedes, and does not count.
	For     time.Duration // Of what counts.
	// Beside replaces For: the load lasts until it returns, whose error ends it. Nil: For.
	Beside func(ctx context.Context) error
	// New makes one client's operation, which is called again and again by one goroutine;
	// end is called when it is done with. An error of the operation ends the load.
	New func(client int) (op func(ctx context.Context) error, end func(), err error)
}

// Figures are what a load measured. Times are of operations that ended in the load's time.
type Figures struct {
	Count     int
	PerSecond float64
	P50       time.Duration
	P99       time.Duration
	Longest   time.Duration
	CPU       float64 // Of one core, percent: this process's own share.
	All       int     // Operations, those before and after the load's time included.
}

// String is the figures in a few words.
func (f Figures) String() string {
	return fmt.Sprintf("%.0f/s, p50 %s, p99 %s", f.PerSecond, milliseconds(f.P50), milliseconds(f.P99))
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.1f ms", 1e3*d.Seconds()) }

// Drive runs a load. It returns the first error of an operation; ctx ends it with ctx's.
func Drive(ctx context.Context, l Load) (Figures, error) {
	begin := time.Now().Add(l.Warm)
	over := make(chan struct{}) // Closed at the end of what counts.
	times, all := make([][]time.Duration, l.Clients), make([]int, l.Clients)
	g, ctx := errgroup.WithContext(ctx)
	for client := range l.Clients {
		g.Go(func() (err error) {
			times[client], all[client], err = l.client(ctx, client, begin, over)
			return err
		})
	}
	var cpu, length time.Duration
	g.Go(func() (err error) {
		defer close(over)
		cpu, length, err = l.length(ctx, begin)
		return err
	})
	if err := g.Wait(); err != nil {
		return Figures{}, err
	}
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	f := Figures{Count: len(sorted), PerSecond: float64(len(sorted)) / length.Seconds(), CPU: 100 * cpu.Seconds() / length.Seconds(),
		P50: Percentile(sorted, 0.50), P99: Percentile(sorted, 0.99), Longest: Percentile(sorted, 1)}
	for _, n := range all {
		f.All += n
	}
	return f, nil
}

// client is one client until over: the times of what counts, and how many all were.
func (l Load) client(ctx context.Context, client int, begin time.Time, over <-chan struct{}) (times []time.Duration, all int, err error) {
	op, end, err := l.New(client)
	if err != nil {
		return nil, 0, err
	}
	defer end()
	start := time.Now()
	for {
		select {
		case <-over:
			return times, all, nil
		default:
		}
		if err := op(ctx); err != nil {
			return nil, 0, err
		}
		all++
		now := time.Now()
		select {
		case <-over: // Ended too late to count.
		default:
			if now.After(begin) {
				times = append(times, now.Sub(start))
			}
		}
		start = now
	}
}

// length waits for the end of what counts, and returns how long that was and what this
// process used of a core meanwhile.
func (l Load) length(ctx context.Context, begin time.Time) (cpu, length time.Duration, err error) {
	if err := pause(ctx, time.Until(begin)); err != nil {
		return 0, 0, err
	}
	start := time.Now()
	before, err := ownCPU()
	if err != nil {
		return 0, 0, err
	}
	if l.Beside != nil {
		err = l.Beside(ctx)
	} else {
		err = pause(ctx, l.For)
	}
	if err != nil {
		return 0, 0, err
	}
	length = time.Since(start)
	after, err := ownCPU()
	return after - before, length, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Percentile is what a share of the sorted times did not exceed (nearest rank); 0 for
// none.
func Percentile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(share*float64(len(sorted)) + 0.999999)
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// ownCPU is what this process has used, user and system.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, fmt.Errorf("read the load's own CPU time: %w", err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}
