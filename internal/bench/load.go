package bench

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/bench/wire"
	"tongban/internal/demo"
	"tongban/replication"
	"tongban/tenancy"
)

// Load is applications through HTTP by so many clients that each wait for their answer
// before they send the next, at all nodes in turn.
type Load struct {
	Clients   int     `json:"clients"`
	Tenants   int     `json:"tenants"` // Whose items are applied for.
	Cases     int     `json:"cases"`   // Acknowledged.
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

// warmUp precedes each load: connections are made, the first pages compiled.
const warmUp = 500 * time.Millisecond

// loads runs every load: on one tenant, then spread over all.
func (b *bench) loads(ctx context.Context) error {
	by, err := b.d.Offers(ctx, b.catalog)
	if err != nil {
		return err
	}
	var one []demo.Offer
	for _, offers := range by {
		if len(offers) > len(one) || len(offers) == len(one) && offers[0].Tenant < one[0].Tenant {
			one = offers
		}
	}
	last := b.o.Clients[len(b.o.Clients)-1]
	for _, target := range []struct {
		offers  []demo.Offer
		tenants int
	}{{one, 1}, {demo.Spread(by), len(by)}} {
		for _, clients := range b.o.Clients {
			profiled := func(context.Context) error { return nil }
			if b.o.Profile != "" && target.tenants == 1 && clients == last {
				profiled = func(ctx context.Context) error {
					n, err := b.leaderOf(ctx, tenancy.MainDatabase(one[0].Tenant))
					if err != nil {
						return err
					}
					return n.Profile(ctx, b.o.For, b.o.Profile)
				}
			}
			l, err := b.load(ctx, target.offers, clients, profiled)
			if err != nil {
				return err
			}
			l.Tenants = target.tenants
			b.report.Loads = append(b.report.Loads, l)
			b.o.Progress.Step("%d clients, %d tenants: %.0f cases/s, p50 %.1f ms, p99 %.1f ms", l.Clients, l.Tenants, l.PerSecond, l.P50, l.P99)
		}
	}
	return nil
}

// load runs one load, with beside at the same time.
func (b *bench) load(ctx context.Context, offers []demo.Offer, clients int, beside func(context.Context) error) (Load, error) {
	var next atomic.Int64
	next.Store(int64(b.seq))
	times := make([][]time.Duration, clients)
	begin := time.Now().Add(warmUp)
	end := begin.Add(b.o.For)
	g, ctx := errgroup.WithContext(ctx)
	for client := range clients {
		g.Go(func() error {
			for {
				start := time.Now()
				if start.After(end) {
					return nil
				}
				seq := int(next.Add(1))
				n := b.d.Nodes[seq%len(b.d.Nodes)]
				if _, err := b.d.Submit(ctx, n, offers[seq%len(offers)], seq); err != nil {
					return fmt.Errorf("apply at node %s: %w", n.Name, err)
				}
				if took := time.Since(start); start.After(begin) && start.Add(took).Before(end) {
					times[client] = append(times[client], took)
				}
			}
		})
	}
	g.Go(func() error { return beside(ctx) })
	if err := g.Wait(); err != nil {
		return Load{}, err
	}
	b.seq = int(next.Load())
	all := slices.Concat(times...)
	slices.Sort(all)
	return Load{Clients: clients, Cases: len(all), PerSecond: float64(len(all)) / b.o.For.Seconds(),
		P50: percentile(all, 0.50), P99: percentile(all, 0.99)}, nil
}

// percentile is wire.Percentile in milliseconds.
func percentile(sorted []time.Duration, share float64) float64 {
	return float64(wire.Percentile(sorted, share)) / float64(time.Millisecond)
}

func (b *bench) leaderOf(ctx context.Context, id replication.DatabaseID) (*demo.Node, error) {
	list, err := b.d.Databases(ctx, b.d.Nodes[0])
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		for _, n := range b.d.Nodes {
			if s.Database == id && string(s.Leader) == n.Name {
				return n, nil
			}
		}
	}
	return nil, fmt.Errorf("nobody leads %s", id)
}
