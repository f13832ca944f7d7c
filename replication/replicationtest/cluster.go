package replicationtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"time"

	"tongban/replication"
)

// Nodes is several engines with one database, in one process.
type Nodes struct {
	tb      testing.TB
	network *network
	names   []replication.NodeID
	options map[replication.NodeID]replication.Options
	voters  []replication.NodeID

	mu      sync.Mutex // Guards the maps below: nodes come and go under load.
	engines map[replication.NodeID]*replication.Engine
	dbs     map[replication.NodeID]*replication.DB
	// Open says how a node opens the database; nil: DBOptions with the founders as Voters.
	Open func(n replication.NodeID) replication.DBOptions
}

// Cluster is n nodes, "n1" and so on, that have founded the database ID together and have
// elected a leader. All is closed with the test.
func Cluster(tb testing.TB, n int, options ...func(*replication.Options)) *Nodes {
	tb.Helper()
	c := &Nodes{
		tb: tb, network: newNetwork(),
		options: map[replication.NodeID]replication.Options{},
		engines: map[replication.NodeID]*replication.Engine{},
		dbs:     map[replication.NodeID]*replication.DB{},
	}
	tb.TempDir() // The first one brings the removal of all: after the nodes have stopped.
	tb.Cleanup(c.close)
	for i := range n {
		c.voters = append(c.voters, c.add(replication.NodeID(fmt.Sprintf("n%d", i+1)), options))
	}
	for _, name := range c.names {
		c.Start(name)
	}
	c.Leader()
	return c
}

func (c *Nodes) add(name replication.NodeID, options []func(*replication.Options)) replication.NodeID {
	o := Options(c.tb, name)
	o.Dial = c.network.dialer(name)
	for _, f := range options {
		f(&o)
	}
	c.options[name] = o
	c.names = append(c.names, name)
	return name
}

// Add starts one more node, which is no member of the group yet (see DB.AddNode).
func (c *Nodes) Add(name replication.NodeID, options ...func(*replication.Options)) *replication.DB {
	c.tb.Helper()
	c.add(name, options)
	return c.Start(name)
}

// Start starts a node that does not run.
func (c *Nodes) Start(name replication.NodeID) *replication.DB {
	c.tb.Helper()
	if err := c.TryStart(name); err != nil {
		c.tb.Fatalf("start %s: %v", name, err)
	}
	return c.DB(name)
}

// TryStart is Start, and returns why the node does not start; it does not run then.
func (c *Nodes) TryStart(name replication.NodeID) error {
	e, err := replication.Open(c.options[name])
	if err != nil {
		return fmt.Errorf("open the engine: %w", err)
	}
	c.network.attach(name, e)
	o := replication.DBOptions{Voters: c.voters}
	if c.Open != nil {
		o = c.Open(name)
	}
	db, err := e.OpenDB(ID, o)
	if err != nil {
		c.network.detach(name)
		return errors.Join(fmt.Errorf("open the database: %w", err), e.Close())
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engines[name], c.dbs[name] = e, db
	return nil
}

// Stop stops a node in good order: it hands over its leaderships.
func (c *Nodes) Stop(name replication.NodeID) {
	c.tb.Helper()
	c.mu.Lock()
	e := c.engines[name]
	delete(c.engines, name)
	delete(c.dbs, name)
	c.mu.Unlock()
	if err := e.Close(); err != nil {
		c.tb.Errorf("close the engine of %s: %v", name, err)
	}
	c.network.detach(name)
}

// Crash stops a node after its lines were cut: to the others it is gone at once.
func (c *Nodes) Crash(name replication.NodeID) {
	c.tb.Helper()
	c.network.detach(name)
	c.Stop(name)
}

// Cut cuts the line between two nodes, in both directions.
func (c *Nodes) Cut(a, b replication.NodeID) { c.network.setCut(a, b, true) }

// Mute ends the connections that one node has made to another, and lets it make no more,
// until Heal. Those of the other direction stay.
func (c *Nodes) Mute(from, to replication.NodeID) { c.network.setMute(from, to, true, true) }

// Break ends the connections that one node has made to another. It may make others at once.
func (c *Nodes) Break(from, to replication.NodeID) { c.network.setMute(from, to, false, true) }

// Isolate cuts all lines of a node.
func (c *Nodes) Isolate(name replication.NodeID) {
	for _, other := range c.names {
		if other != name {
			c.Cut(name, other)
		}
	}
}

// Heal mends all lines.
func (c *Nodes) Heal() {
	for i, a := range c.names {
		for _, b := range c.names[i+1:] {
			c.network.setCut(a, b, false)
			c.network.setMute(a, b, false, false)
			c.network.setMute(b, a, false, false)
		}
	}
}

// Names are the nodes, in the order in which they were added, running or not.
func (c *Nodes) Names() []replication.NodeID { return c.names }

// DB is the database on a node; nil if the node does not run.
func (c *Nodes) DB(name replication.NodeID) *replication.DB {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dbs[name]
}

// DBs are the databases on the nodes that run.
func (c *Nodes) DBs() map[replication.NodeID]*replication.DB {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.dbs)
}

// Engine is the engine of a node; nil if the node does not run.
func (c *Nodes) Engine(name replication.NodeID) *replication.Engine {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.engines[name]
}

// Dir is a node's data folder.
func (c *Nodes) Dir(name replication.NodeID) string { return c.options[name].Dir }

// Options are those with which a node is started.
func (c *Nodes) Options(name replication.NodeID) replication.Options { return c.options[name] }

// Leader waits until a node leads with the consent of a majority, and returns its name.
func (c *Nodes) Leader() replication.NodeID {
	c.tb.Helper()
	var leader replication.NodeID
	Await(c.tb, "a node leads", func() bool {
		for name, db := range c.DBs() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			err := db.View(ctx, replication.Linearizable, func(*replication.View) error { return nil })
			cancel()
			if err == nil {
				leader = name
				return true
			}
		}
		return false
	})
	return leader
}

// Lead moves the leadership to a node.
func (c *Nodes) Lead(name replication.NodeID) {
	c.tb.Helper()
	Await(c.tb, fmt.Sprintf("%s leads", name), func() bool {
		leader := c.Leader()
		if leader != name {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = c.DB(leader).TransferLeadershipTo(ctx, name)
		}
		return leader == name
	})
}

// Settle waits until every running node has applied what the leader has, and checks that
// all have the same checksum, which it returns.
func (c *Nodes) Settle() [32]byte {
	c.tb.Helper()
	sum, err := c.Compare()
	if err != nil {
		c.tb.Fatal(err)
	}
	return sum
}

// Compare is Settle, and returns what differs. Nothing may be written meanwhile.
func (c *Nodes) Compare() ([32]byte, error) {
	c.tb.Helper()
	goal := c.DB(c.Leader()).Applied()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var want [32]byte
	var errs []error
	first := replication.NodeID("")
	for name, db := range c.DBs() {
		if err := db.WaitApplied(ctx, goal); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		sum, at, err := db.Checksum(ctx)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("checksum of %s: %w", name, err))
		case first == "":
			first, want = name, sum
		case sum != want:
			errs = append(errs, fmt.Errorf("at index %d %s differs from %s", at, name, first))
		}
	}
	return want, errors.Join(errs...)
}

func (c *Nodes) close() {
	c.mu.Lock()
	engines := maps.Clone(c.engines)
	c.mu.Unlock()
	for name := range engines {
		c.network.detach(name)
	}
	for name, e := range engines {
		if err := e.Close(); err != nil {
			c.tb.Errorf("close the engine of %s: %v", name, err)
		}
	}
	c.network.serving.Wait()
}
