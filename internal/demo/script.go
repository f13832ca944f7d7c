package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/process"
	"tongban/replication"
	"tongban/tenancy"
)

// DefaultCases is how many applications a scripted run sends.
const DefaultCases = 200

// Options say how a run goes. A zero field takes the default stated beside it.
type Options struct {
	Binary   string    // The running program.
	Items    string    // File of items; empty: the demonstration catalog.
	Keep     bool      // Leave the folder.
	Progress *Progress // Says nothing.
	Cases    int       // DefaultCases; of a scripted run, before the line is cut and again while it is.
	Open     bool      // Open the page in a browser, where there is a display.
	Places   []Place   // The whole tree; the district and the window are among them.
}

// ErrInterrupted is returned by a run that was ended from outside; all is stopped.
var ErrInterrupted = errors.New("the run was interrupted; everything is stopped")

// script is a scripted run on its way.
type script struct {
	o       Options
	t       *Tree
	d       *District // Of t, the one that is put under load.
	catalog Catalog
	offers  map[string][]Offer
	clerk   *person // Decides the district's cases.
	window  *window
	lodged  *lodged
	ledger  *ledger
	killed  *Node
	backup  string          // File.
	seen    map[string]bool // Receipts that every node showed, by number.
	sum     Summary
}

// Script runs the tree through everything that it promises, and returns what came of it. The Summary is as far as the run got when there is an error; its Err is for the
// caller to look at.
func Script(ctx context.Context, o Options) (sum Summary, err error) {
	start := time.Now()
	if o.Cases == 0 {
		o.Cases = DefaultCases
	}
	s := &script{o: o, ledger: newLedger(max(1, o.Cases/3)), seen: map[string]bool{}}
	if s.catalog, err = ReadCatalog(o.Items); err != nil {
		return s.sum, err
	}
	if len(o.Places) == 0 {
		o.Places = wholeTree()
	}
	if s.t, err = StartTree(ctx, Setting{Binary: o.Binary, Keep: o.Keep, Progress: o.Progress}, o.Places); err != nil {
		return s.sum, err
	}
	s.d = s.t.At(shownCode)
	for _, step := range []func(context.Context) error{
		s.fill, s.repair, s.loadAndKill, s.bringBack, s.countUp, s.cutAndServe, s.heal, s.backUp, s.restore, s.seek, s.readAll, s.compare, s.verify,
	} {
		if err = step(ctx); err != nil {
			break
		}
	}
	if ctx.Err() != nil {
		err = ErrInterrupted // What failed because of it says nothing.
	}
	s.sum.BytesCrossedWhileCut = s.t.crossed()
	err = errors.Join(err, s.t.Close(o.Keep))
	if o.Keep {
		s.o.Progress.Step("everything is still in %s", s.t.Dir)
	}
	s.sum.Seconds = time.Since(start).Round(10 * time.Millisecond).Seconds()
	return s.sum, err
}

// fill makes the tenants and imports the items.
func (s *script) fill(ctx context.Context) error {
	start := time.Now()
	if err := s.t.furnish(ctx); err != nil {
		return err
	}
	if err := s.t.importBasic(ctx, s.catalog); err != nil {
		return err
	}
	if err := s.d.CreateTenants(ctx, s.catalog); err != nil {
		return err
	}
	s.o.Progress.Step("%d departments are tenants on %d nodes (%s)", len(s.catalog.Departments), len(s.d.Nodes), since(start))
	done, err := s.d.Import(ctx, s.catalog)
	if err != nil {
		return err
	}
	s.sum.Items, s.sum.Quarantined = done.Published, done.Quarantined
	s.o.Progress.Step("%d rows of %s: %d items published, %d rows quarantined (%s)", s.catalog.Rows, s.catalog.File,
		done.Published, done.Quarantined, done.Took.Round(time.Millisecond))
	if lost := s.catalog.Rows - done.Published - done.Quarantined; lost != 0 {
		return fmt.Errorf("the import dropped %d of %d rows", lost, s.catalog.Rows)
	}
	return s.d.awaitPublished(ctx, done.Published)
}

// repair repairs the largest group of rows of one reason, and sees the count rise.
func (s *script) repair(ctx context.Context) error {
	r, err := s.d.findRepairable(ctx, s.catalog)
	if err != nil {
		return err
	}
	before, err := s.d.count(ctx)
	if err != nil {
		return err
	}
	if s.sum.Repaired, err = s.d.repair(ctx, r); err != nil {
		return err
	}
	if err := s.d.awaitPublished(ctx, before.Published+s.sum.Repaired); err != nil {
		return err
	}
	s.o.Progress.Step("%d of the %d rows of %s that waited are items now: %d are published in the district, before it were %d",
		s.sum.Repaired, r.waiting, r.department.Name, before.Published+s.sum.Repaired, before.Published)
	s.offers, err = s.d.Offers(ctx, s.catalog)
	return err
}

// loadAndKill sends the applications, and kills the busiest node when a third of them is
// acknowledged.
func (s *script) loadAndKill(ctx context.Context) error {
	s.o.Progress.Step("%d applications for items of %d departments, %d clients, at all nodes", s.o.Cases, len(s.offers), clients)
	start := time.Now()
	g, loading := errgroup.WithContext(ctx)
	g.Go(func() error {
		return s.d.load(loading, Spread(s.offers), batch{prefix: "甲", n: s.o.Cases, pause: thinkTime}, s.ledger)
	})
	g.Go(func() error {
		select {
		case <-s.ledger.reached:
		case <-loading.Done():
			return loading.Err()
		}
		n, led, err := s.d.busiest(loading)
		if err != nil {
			return err
		}
		s.killed = n
		f, err := s.d.killUnderLoad(loading, n, led, s.catalog, s.offers, s.ledger)
		if err != nil {
			return err
		}
		s.sum.FailoverMS = f.worst().Milliseconds()
		s.o.Progress.Step("first acknowledged write after the kill: %s", f)
		return nil
	})
	err := g.Wait()
	s.sum.CasesAcknowledged = len(s.ledger.all())
	if err != nil {
		return err
	}
	s.o.Progress.Step("%d cases acknowledged in %s; %d of them took longer than %s, because their leader was gone",
		s.sum.CasesAcknowledged, since(start), s.ledger.retried, slow)
	return nil
}

// bringBack starts the killed node again and waits until it has caught up.
func (s *script) bringBack(ctx context.Context) error {
	start := time.Now()
	if err := s.d.Run(ctx, s.killed); err != nil {
		return err
	}
	if err := s.d.CatchUp(ctx, s.killed); err != nil {
		return err
	}
	s.sum.CatchupMS = time.Since(start).Milliseconds()
	s.o.Progress.Step("node %s is at its leaders' index in every database, %d ms after its start", s.killed.Name, s.sum.CatchupMS)
	return s.d.Settle(ctx)
}

// seek looks for every receipt on every node: first with number and secret, then by a
// Local read of each node's own replica.
func (s *script) seek(ctx context.Context) error {
	receipts := s.ledger.all()
	visits, err := s.d.visit(ctx, receipts)
	if err != nil {
		return err
	}
	if err := s.d.Settle(ctx); err != nil {
		return err
	}
	for _, r := range receipts {
		s.seen[r.Number] = visits[r.Number] != ""
	}
	for _, n := range s.d.Nodes {
		shown, err := s.d.shown(ctx, n, receipts, visits)
		if err != nil {
			return err
		}
		for _, r := range receipts {
			s.seen[r.Number] = s.seen[r.Number] && shown[r.Number]
		}
		s.o.Progress.Step("node %s shows %d of %d receipts from its own replica", n.Name, len(shown), len(receipts))
	}
	return nil
}

// compare stops the nodes at equal indexes, compares all replicas, and looks for every
// receipt in the files.
func (s *script) compare(ctx context.Context) error {
	s.t.LineOf(shownCode).Cut() // Else what comes over it is written while the nodes stop.
	states, err := s.d.stopAtEqualIndex(ctx)
	if err != nil {
		return err
	}
	s.sum.ChecksumsEqual = true
	for id, first := range states[0] {
		for i, other := range states[1:] {
			if other[id] != first {
				s.sum.ChecksumsEqual = false
				s.o.Progress.Step("database %s differs between %s and %s", id, s.d.Nodes[0].Name, s.d.Nodes[i+1].Name)
			}
		}
	}
	s.o.Progress.Step("stopped; full checksums of %d databases on %d nodes at equal index: equal = %v", len(states[0]), len(states), s.sum.ChecksumsEqual)
	receipts := s.ledger.all()
	for _, n := range s.d.Nodes {
		files, err := casesOf(n.Config.Data)
		if err != nil {
			return err
		}
		for _, r := range receipts {
			s.seen[r.Number] = s.seen[r.Number] && files.has(r)
		}
		s.sum.Doubled = max(s.sum.Doubled, files.doubled())
		if s.lodged != nil && files.markers[s.lodged.Marker] == 0 {
			s.sum.mailLost = 1
		}
		s.o.Progress.Step("the files of node %s hold %d cases", n.Name, len(files.numbers))
	}
	for _, ok := range s.seen {
		if ok {
			s.sum.CasesFound++
		}
	}
	s.sum.Lost = s.sum.CasesAcknowledged - s.sum.CasesFound + s.sum.mailLost
	return nil
}

// maxStops is how often nodes are stopped until that caught all replicas at equal indexes:
// a change of leaders while they stop may be written by some only.
const maxStops = 3

// stopAtEqualIndex stops all nodes and returns where their replicas are.
func (d *District) stopAtEqualIndex(ctx context.Context) ([]map[replication.DatabaseID]state, error) {
	for try := 1; ; try++ {
		if err := d.Settle(ctx); err != nil {
			return nil, err
		}
		if err := d.stopLeaderLast(ctx); err != nil {
			return nil, err
		}
		var states []map[replication.DatabaseID]state
		for _, n := range d.Nodes {
			one, err := statesOf(n.Config.Data)
			if err != nil {
				return nil, err
			}
			states = append(states, one)
		}
		behind := unequal(states)
		if behind == "" {
			return states, nil
		}
		if try == maxStops {
			return nil, fmt.Errorf("after %d stops the replicas of %s are still at different indexes", try, behind)
		}
		d.say.Step("%s moved on while the nodes stopped; once more", behind)
		if err := d.Run(ctx, d.Nodes...); err != nil {
			return nil, err
		}
	}
}

// stopLeaderLast stops all nodes, the leader of the division database after the others:
// whoever leads it next enters its own portal into the directory, and without a majority
// nobody does.
func (d *District) stopLeaderLast(ctx context.Context) error {
	list, err := d.Databases(ctx, d.Nodes[0])
	if err != nil {
		return err
	}
	var leader string
	for _, s := range list {
		if s.Database == tenancy.DivisionDatabase {
			leader = string(s.Leader)
		}
	}
	var others []*process.Process
	for _, n := range d.Nodes {
		if n.Name != leader {
			others = append(others, d.processOf(n))
		}
	}
	if err := process.StopAll(others); err != nil {
		return err
	}
	return d.Stop()
}

// unequal is a database that not all nodes have, or not at the same index; "" when there
// is none.
func unequal(states []map[replication.DatabaseID]state) replication.DatabaseID {
	for _, one := range states {
		for id, s := range one {
			for _, other := range states {
				if o, ok := other[id]; !ok || o.at != s.at {
					return id
				}
			}
		}
	}
	return ""
}

func since(start time.Time) time.Duration { return time.Since(start).Round(10 * time.Millisecond) }
