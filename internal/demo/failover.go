package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/replication"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/tenancy"
)

// failover is what the death of one node meant for the databases that it led.
type failover struct {
	node  string
	waits []wait // Shortest first.
}

// wait is the time from the kill to the first acknowledged write in a database.
type wait struct {
	database replication.DatabaseID
	took     time.Duration
}

func (f failover) worst() time.Duration {
	if len(f.waits) == 0 {
		return 0
	}
	return f.waits[len(f.waits)-1].took
}

// String describes the distribution.
func (f failover) String() string {
	if len(f.waits) == 0 {
		return "it led nothing"
	}
	at := func(share float64) time.Duration {
		return f.waits[int(share*float64(len(f.waits)-1))].took.Round(time.Millisecond)
	}
	return fmt.Sprintf("%d databases: fastest %s, median %s, nine in ten within %s, worst %s (%s)", len(f.waits),
		at(0), at(0.5), at(0.9), at(1), f.waits[len(f.waits)-1].database)
}

// busiest returns the node that leads most tenants, and all that it leads.
func (d *District) busiest(ctx context.Context) (*Node, []replication.DatabaseID, error) {
	list, err := d.Databases(ctx, d.Nodes[0])
	if err != nil {
		return nil, nil, err
	}
	led := map[string][]replication.DatabaseID{}
	tenants := map[string]int{}
	for _, s := range list {
		led[string(s.Leader)] = append(led[string(s.Leader)], s.Database)
		if s.Database != tenancy.DivisionDatabase {
			tenants[string(s.Leader)]++
		}
	}
	best := d.Nodes[0]
	for _, n := range d.Nodes {
		if tenants[n.Name] > tenants[best.Name] {
			best = n
		}
	}
	var counts []string
	for _, n := range d.Nodes {
		counts = append(counts, fmt.Sprintf("%s leads %d", n.Name, len(led[n.Name])))
	}
	d.say.Step("%s of %d databases", strings.Join(counts, ", "), len(list))
	return best, led[best.Name], nil
}

// prober writes into one database, through the nodes that run, once.
type prober struct {
	database replication.DatabaseID
	write    func(ctx context.Context) error
}

// killUnderLoad kills the node at once and returns, for each database that it led, when
// the first write after that was acknowledged. A database with items gets a case, which l
// counts; any other a smaller change.
func (d *District) killUnderLoad(ctx context.Context, n *Node, led []replication.DatabaseID, c Catalog, offers map[string][]Offer, l *ledger) (failover, error) {
	probers := d.probers(led, c, offers, l)
	pid := d.PID(n)
	killed := time.Now()
	d.Kill(n)
	d.say.Step("killed node %s (process %d) with SIGKILL, after %d acknowledged cases", n.Name, pid, len(l.all()))
	f := failover{node: n.Name}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range probers {
		g.Go(func() error {
			if err := p.write(ctx); err != nil {
				return fmt.Errorf("write into %s after the death of %s: %w", p.database, n.Name, err)
			}
			mu.Lock()
			defer mu.Unlock()
			f.waits = append(f.waits, wait{p.database, time.Since(killed)})
			return nil
		})
	}
	err := g.Wait()
	slices.SortFunc(f.waits, func(a, b wait) int { return int(a.took - b.took) })
	return f, err
}

func (d *District) probers(led []replication.DatabaseID, c Catalog, offers map[string][]Offer, l *ledger) []prober {
	rows := map[string]catalog.Row{}
	for _, one := range c.Departments {
		rows[one.Slug] = one.Rows[0]
	}
	var list []prober
	for i, id := range led {
		slug, _, _ := strings.Cut(string(id), "/")
		p := prober{database: id}
		switch {
		case id == tenancy.DivisionDatabase:
			p.write = d.insistAsOperator("/accounts", func() any { // A new login each time: an earlier attempt may have made one.
				return map[string]any{"login": "probe-" + strings.ToLower(rand.Text()[:8]), "name": "故障演练",
					"grants": []service.Grant{{Role: service.RoleAuditor}}}
			}, nil)
		case len(offers[slug]) > 0:
			a := newApplication(offers[slug][0], fmt.Sprintf("乙%05d", i), i)
			p.write = func(ctx context.Context) error {
				start := time.Now()
				r, err := d.apply(ctx, a, d.survivors, i)
				if err == nil {
					l.add(r, time.Since(start))
				}
				return err
			}
		default: // No item of it is published: import a row that it has already.
			p.write = d.insistAsOperator("/t/"+slug+"/items/import", func() any {
				return map[string]any{"file": "probe", "rows": []catalog.Row{rows[slug]}}
			}, nil)
		}
		list = append(list, p)
	}
	return list
}

// insistAsOperator returns a write through the admin socket of a node that runs, tried
// again until it is acknowledged; out is filled with the answer (nil: it is dropped).
func (d *District) insistAsOperator(path string, in func() any, out any) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, writePatience)
		defer cancel()
		for i := 0; ; i++ {
			running := d.Running()
			if len(running) == 0 {
				return fmt.Errorf("no node runs")
			}
			err := running[i%len(running)].Admin.Post(ctx, path, in(), out)
			if !temporaryCommand(err) {
				return err
			}
			select {
			case <-ctx.Done():
				return err
			case <-time.After(retryPause):
			}
		}
	}
}
