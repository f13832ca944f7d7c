package databases

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/bench/wire"
	"tongban/internal/demo"
	"tongban/replication"
)

// cluster is nodes of this program, each a process, with application databases of one
// tenant.
type cluster struct {
	d     *demo.District
	doors map[string]string // Of the nodes by name: "host:port".
	say   *demo.Progress
	dbs   map[replication.DatabaseID]*database
}

// tenant is whose databases are measured.
const tenant = "bench"

// openCluster starts so many nodes.
func openCluster(ctx context.Context, o Options, nodes int) (*cluster, error) {
	d, err := demo.Start(ctx, demo.Setting{Binary: o.Binary, Nodes: nodes, Keep: o.Keep, Progress: o.Progress, Databases: true})
	if err != nil {
		return nil, err
	}
	c := &cluster{d: d, doors: map[string]string{}, say: o.Progress, dbs: map[replication.DatabaseID]*database{}}
	for _, n := range d.Nodes {
		c.doors[n.Name] = n.Config.Databases.Listen
	}
	in := map[string]any{"slug": tenant, "name": "测试单位"}
	if err := d.Nodes[0].Admin.Post(ctx, "/tenants", in, nil); err != nil {
		return nil, errors.Join(fmt.Errorf("create a tenant: %w", err), d.Close(o.Keep))
	}
	return c, nil
}

// close stops the nodes and removes their files unless keep.
func (c *cluster) close(keep bool) error {
	return c.d.Close(keep)
}

// side is the cluster as one that is compared, with these of its databases.
func (c *cluster) side(dbs []*database) *side {
	s := &side{name: "nodes", dbs: dbs, nodes: map[string]*demo.Node{}}
	for _, n := range c.d.Nodes {
		s.nodes[c.doors[n.Name]] = n
	}
	return s
}

// createAtOnce is how many databases one call makes: its answer comes when they have
// leaders.
const createAtOnce = 250

// create makes n databases, each with a key: prefix and a number.
func (c *cluster) create(ctx context.Context, prefix string, n int) ([]*database, error) {
	var fresh []*database
	for part := 0; len(fresh) < n; part++ {
		in := map[string]any{"tenant": tenant, "name": fmt.Sprintf("%s-%d-", prefix, part), "count": min(createAtOnce, n-len(fresh)), "key": true}
		var made struct {
			Keys []struct {
				Database replication.DatabaseID `json:"database"`
				Key      string                 `json:"key"`
			} `json:"keys"`
		}
		if err := c.d.Nodes[0].Admin.Post(ctx, "/databases", in, &made); err != nil {
			return nil, fmt.Errorf("create databases: %w", err)
		}
		if len(made.Keys) == 0 {
			return nil, fmt.Errorf("create databases: no keys came")
		}
		for _, k := range made.Keys {
			d := &database{id: k.Database, nodes: c.list(), head: wire.Basic(string(k.Database), k.Key)}
			c.dbs[d.id] = d
			fresh = append(fresh, d)
		}
	}
	return fresh, nil
}

// list are the doors in the order of the nodes.
func (c *cluster) list() []string {
	var list []string
	for _, n := range c.d.Nodes {
		list = append(list, c.doors[n.Name])
	}
	return list
}

// sorted are the databases by id.
func (c *cluster) sorted() []*database {
	return slices.SortedFunc(maps.Values(c.dbs), func(a, b *database) int { return cmp.Compare(a.id, b.id) })
}

const (
	// fillers is how many clients set up databases at once.
	fillers = 16
	// setupPatience bounds how long databases may take until they are usable.
	setupPatience = 5 * time.Minute
	// askEvery is how often the nodes are asked for all of their databases: an answer of
	// thousands is some work.
	askEvery = 250 * time.Millisecond
)

// each does something with every database, several at once, each worker with connections
// of its own.
func each(ctx context.Context, dbs []*database, do func(ctx context.Context, conns connections, d *database) error) error {
	work := make(chan *database)
	g, ctx := errgroup.WithContext(ctx)
	for range min(fillers, len(dbs)) {
		g.Go(func() error {
			conns := connections{}
			defer conns.close()
			for d := range work {
				if err := do(ctx, conns, d); err != nil {
					return err
				}
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(work)
		for _, d := range dbs {
			select {
			case work <- d:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}

// insist writes through the nodes in turn until it is acknowledged or ctx ends. What is
// asked must bear to be done twice.
func (d *database) insist(ctx context.Context, conns connections, target string, body []byte, every time.Duration) error {
	for i := 0; ; i++ {
		_, err := d.at(ctx, conns, d.nodes[i%len(d.nodes)], target, body)
		if err == nil {
			return nil
		}
		if pause(ctx, every) != nil {
			return err
		}
	}
}

// standing is where a database stands as all running nodes say together.
type standing struct {
	leader  string // Empty: they do not agree on one.
	current bool   // All are at the leader's index.
}

// standings asks every running node for our databases.
func (c *cluster) standings(ctx context.Context) (map[replication.DatabaseID]standing, error) {
	running := c.d.Running()
	answers := make([]map[replication.DatabaseID]standing, len(running))
	g, gctx := errgroup.WithContext(ctx)
	for i, n := range running {
		g.Go(func() error {
			list, err := c.d.Databases(gctx, n)
			if err != nil {
				return fmt.Errorf("ask node %s for its databases: %w", n.Name, err)
			}
			answers[i] = map[replication.DatabaseID]standing{}
			for _, s := range list {
				if s.Err != "" {
					return fmt.Errorf("database %s has stopped on node %s: %s", s.Database, n.Name, s.Err)
				}
				answers[i][s.Database] = standing{string(s.Leader), s.Lag != nil && *s.Lag == 0}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all := map[replication.DatabaseID]standing{}
	for id := range c.dbs {
		one := standing{current: true}
		for i, answer := range answers {
			if i == 0 {
				one.leader = answer[id].leader
			}
			if answer[id].leader != one.leader {
				one.leader = ""
			}
			one.current = one.current && answer[id].current
		}
		all[id] = one
	}
	return all, nil
}

// settled waits until all running nodes have all of our databases at the leader's index,
// and returns how many each leads.
func (c *cluster) settled(ctx context.Context) (map[string]int, error) {
	return c.await(ctx, func(s standing) bool { return s.leader != "" && s.current })
}

// elected waits until every database has a leader that all running nodes know, and returns
// how many each leads.
func (c *cluster) elected(ctx context.Context) (map[string]int, error) {
	return c.await(ctx, func(s standing) bool { return s.leader != "" })
}

func (c *cluster) await(ctx context.Context, good func(standing) bool) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, setupPatience)
	defer cancel()
	for {
		all, err := c.standings(ctx)
		leads, missing := map[string]int{}, ""
		for id, s := range all {
			if leads[s.leader]++; !good(s) {
				missing = string(id)
			}
		}
		if err == nil && missing == "" {
			return leads, nil
		}
		if pause(ctx, askEvery) != nil {
			return nil, fmt.Errorf("never came: every database on every node and up to date; last: %s, %w", missing, err)
		}
	}
}

// leaders notes who leads each database.
func (c *cluster) leaders(ctx context.Context) error {
	all, err := c.standings(ctx)
	if err != nil {
		return err
	}
	for id, s := range all {
		c.dbs[id].leader = c.doors[s.leader]
	}
	return nil
}
