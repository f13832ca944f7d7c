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
	For     time.Duration
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
	end := begin.Add(l.For)
	times, all := make([][]time.Duration, l.Clients), make([]int, l.Clients)
	g, ctx := errgroup.WithContext(ctx)
	for client := range l.Clients {
		g.Go(func() error {
			op, done, err := l.New(client)
			if err != nil {
				return err
			}
			defer done()
			for start := time.Now(); start.Before(end); {
				if err := op(ctx); err != nil {
					return err
				}
				now := time.Now()
				if all[client]++; now.After(begin) && now.Before(end) {
					times[client] = append(times[client], now.Sub(start))
				}
				start = now
			}
			return nil
		})
	}
	var cpu time.Duration
	g.Go(func() (err error) {
		cpu, err = ownCPU(ctx, begin, end)
		return err
	})
	if err := g.Wait(); err != nil {
		return Figures{}, err
	}
	sorted := slices.Concat(times...)
	slices.Sort(sorted)
	f := Figures{Count: len(sorted), PerSecond: float64(len(sorted)) / l.For.Seconds(), CPU: 100 * cpu.Seconds() / l.For.Seconds(),
		P50: Percentile(sorted, 0.50), P99: Percentile(sorted, 0.99), Longest: Percentile(sorted, 1)}
	for _, n := range all {
		f.All += n
	}
	return f, nil
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

// ownCPU is what this process uses, user and system, between two moments.
func ownCPU(ctx context.Context, begin, end time.Time) (time.Duration, error) {
	var used [2]time.Duration
	for i, at := range []time.Time{begin, end} {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Until(at)):
		}
		var r syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
			return 0, fmt.Errorf("read the load's own CPU time: %w", err)
		}
		used[i] = time.Duration(r.Utime.Nano() + r.Stime.Nano())
	}
	return used[1] - used[0], nil
}
