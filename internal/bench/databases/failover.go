package databases

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/bench/wire"
	"tongban/internal/demo"
)

const (
	goalFailoverP50 = 1500 * time.Millisecond
	goalFailoverP99 = 3 * time.Second
	// knockEvery is the pause between two attempts of one prober. Hundreds of them ask at
	// once; what they take from the nodes and the half of this that they come late are in
	// the figures.
	knockEvery = 100 * time.Millisecond
	// writePatience bounds one prober: then the write never came.
	writePatience = 60 * time.Second
)

// many measures many databases: while they do nothing, when nodes die, and more of them.
func (b *bench) many(ctx context.Context) (err error) {
	c, err := openCluster(ctx, b.o, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close(b.o.Keep)) }()
	o := IdleOptions{Databases: b.size.idle, Calm: b.size.calm, Window: b.size.window, Writes: b.size.writes}
	if b.wants("idle") {
		i, err := c.idle(ctx, o)
		if err != nil {
			return err
		}
		b.put("idle", i.row())
	} else if err := c.grow(ctx, o.Databases); err != nil {
		return err
	}
	if b.wants("failover") {
		row, err := c.failover(ctx, b.size.kills)
		if err != nil {
			return err
		}
		b.put("failover", row)
	}
	if !b.wants("stretch") {
		return nil
	}
	o.Databases = b.size.stretch
	i, err := c.idle(ctx, o)
	if err == nil {
		err = c.coldStart(ctx, &i)
	}
	if err == nil {
		b.put("stretch", i.stretchRow())
	}
	return err
}

// failover kills nodes, again and again the one that leads most, and measures for each
// database that it led how long after the kill the first write is accepted.
func (c *cluster) failover(ctx context.Context, kills int) (Row, error) {
	var waits []time.Duration
	var worst []time.Duration // By kill.
	for k := range kills {
		if _, err := c.settled(ctx); err != nil {
			return Row{}, err
		}
		got, err := c.kill(ctx)
		if err != nil {
			return Row{}, fmt.Errorf("kill %d: %w", k+1, err)
		}
		waits, worst = append(waits, got...), append(worst, slices.Max(got))
	}
	slices.Sort(waits)
	p50, p99 := wire.Percentile(waits, 0.50), wire.Percentile(waits, 0.99)
	return Row{
		Row:    fmt.Sprintf("fail-over after kill -9, %d databases, %d kills: kill → first accepted write", len(c.dbs), kills),
		Goal:   fmt.Sprintf("p50 < %.1f s, p99 < %.0f s", goalFailoverP50.Seconds(), goalFailoverP99.Seconds()),
		Figure: fmt.Sprintf("p50 %.2f s, p99 %.2f s", p50.Seconds(), p99.Seconds()),
		Pass:   p50 < goalFailoverP50 && p99 < goalFailoverP99,
		Detail: fmt.Sprintf("%d databases lost their leader, %.0f a kill; longest %.2f s, median of the kills' longest %.2f s", len(waits),
			float64(len(waits))/float64(kills), waits[len(waits)-1].Seconds(), median(worst).Seconds()),
	}, nil
}

// kill kills the node that leads most and returns, for each database that it led, the time
// to the first accepted write; then it starts the node again.
func (c *cluster) kill(ctx context.Context) ([]time.Duration, error) {
	if err := c.leaders(ctx); err != nil {
		return nil, err
	}
	led := map[string][]*database{}
	for _, d := range c.sorted() {
		led[d.leader] = append(led[d.leader], d)
	}
	var victim *demo.Node
	for _, n := range c.d.Nodes {
		if victim == nil || len(led[c.doors[n.Name]]) > len(led[c.doors[victim.Name]]) {
			victim = n
		}
	}
	door := c.doors[victim.Name]
	probers, err := c.probers(ctx, led[door], door)
	defer func() {
		for _, p := range probers {
			p.conns.close()
		}
	}()
	if err != nil {
		return nil, err
	}
	waits, err := race(ctx, probers, func() { c.d.Kill(victim) })
	if err != nil {
		return nil, err
	}
	c.say.Step("killed %s, which led %d: p50 %.2f s, longest %.2f s", victim.Name, len(waits), wire.Percentile(waits, 0.5).Seconds(), waits[len(waits)-1].Seconds())
	return waits, c.d.Run(ctx, victim)
}

// prober writes into one database, through the nodes that live.
type prober struct {
	d     *database
	doors []string
	conns connections
}

// probers connects to the nodes that will live.
func (c *cluster) probers(ctx context.Context, dbs []*database, dead string) ([]*prober, error) {
	var list []*prober
	for _, d := range dbs {
		p := &prober{d: d, conns: connections{}, doors: slices.DeleteFunc(slices.Clone(d.nodes), func(door string) bool { return door == dead })}
		list = append(list, p)
		for _, door := range p.doors {
			if err := p.conns.to(door).Dial(ctx); err != nil {
				return list, err
			}
		}
	}
	return list, nil
}

// race kills, lets all probers write at once, and returns their times, sorted.
func race(ctx context.Context, probers []*prober, kill func()) ([]time.Duration, error) {
	var mu sync.Mutex
	var waits []time.Duration
	g, gctx := errgroup.WithContext(ctx)
	body := statements(`INSERT INTO t(number, text) VALUES(1, 'the first after a death')`)
	killed := time.Now()
	kill()
	for _, p := range probers {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(gctx, writePatience)
			defer cancel()
			if err := pause(ctx, rand.N(knockEvery)); err != nil { // Not all at the same moment.
				return err
			}
			for i := rand.IntN(len(p.doors)); ; i++ {
				_, err := p.d.at(ctx, p.conns, p.doors[i%len(p.doors)], "/db/execute", body)
				if err == nil {
					break
				}
				if pause(ctx, knockEvery) != nil {
					return fmt.Errorf("a write after a death never came: %w", err)
				}
			}
			took := time.Since(killed)
			mu.Lock()
			defer mu.Unlock()
			waits = append(waits, took)
			return nil
		})
	}
	err := g.Wait()
	slices.Sort(waits)
	return waits, err
}
