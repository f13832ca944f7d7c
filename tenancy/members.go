package tenancy

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"tongban/replication"
)

const (
	// membershipEvery is how soon a change of members that failed is tried again.
	membershipEvery = time.Second
	// membershipPatience bounds one try: a replica that takes longer to catch up stays a
	// learner until the next.
	membershipPatience = 30 * time.Second
	// membershipSweep is how often every database that is led here is looked at, should a
	// notice have been lost.
	membershipSweep = 10 * time.Minute
	// changesAtOnce bounds the groups whose members are changed at the same time.
	changesAtOnce = 32
)

// led are the databases that this node leads, and which of them may differ from the
// directory. There is one for all of them: a database that nobody uses costs nothing.
type led struct {
	mu    sync.Mutex
	all   map[replication.DatabaseID]*leading
	wake  chan struct{}
	slots chan struct{}
}

// leading is one leadership.
type leading struct {
	ctx   context.Context
	db    *replication.DB
	dirty bool
	busy  bool
	since time.Time // Of the last try that failed; zero: none.
}

func newLed() *led {
	return &led{all: map[replication.DatabaseID]*leading{}, wake: make(chan struct{}, 1), slots: make(chan struct{}, changesAtOnce)}
}

func (l *led) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// noteLed has the members of a database kept for as long as ctx, its leadership, lasts.
func (t *Tenancy) noteLed(ctx context.Context, db *replication.DB) {
	l := t.led
	one := &leading{ctx: ctx, db: db, dirty: true}
	l.mu.Lock()
	l.all[db.ID()] = one
	l.mu.Unlock()
	l.notify()
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.all[db.ID()] == one {
			delete(l.all, db.ID())
		}
	})
}

// due takes the databases that are to be looked at, and says whether some are to be tried
// again later.
func (l *led) due(all bool, now time.Time) (list []*leading, later bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, one := range l.all {
		one.dirty = one.dirty || all
		switch {
		case !one.dirty || one.busy:
		case now.Sub(one.since) < membershipEvery && !all:
			later = true
		default:
			one.busy, one.dirty = true, false
			list = append(list, one)
		}
	}
	return list, later
}

// done notes how a try ended.
func (l *led) done(one *leading, err error, now time.Time) {
	l.mu.Lock()
	one.busy, one.since = false, time.Time{}
	if err != nil {
		one.dirty, one.since = true, now
	}
	again := one.dirty
	l.mu.Unlock()
	if again {
		l.notify()
	}
}

// keepMembers makes the members of every group that is led here those of the directory,
// until ctx ends.
func (t *Tenancy) keepMembers(ctx context.Context) error {
	var tries sync.WaitGroup
	defer tries.Wait()
	for ctx.Err() == nil {
		round, stop := context.WithCancel(ctx) // What is tried may be wrong when the directory has changed.
		t.keepOneDirectory(round, &tries)
		stop()
	}
	return nil
}

// keepOneDirectory keeps members until the directory changes or ctx ends.
func (t *Tenancy) keepOneDirectory(ctx context.Context, tries *sync.WaitGroup) {
	sweep := time.NewTicker(membershipSweep)
	defer sweep.Stop()
	changed, all := t.Changed(), true
	for {
		list, later := t.led.due(all, time.Now())
		for _, one := range list {
			tries.Go(func() { t.try(ctx, one) })
		}
		var again <-chan time.Time
		if later {
			again = time.After(membershipEvery)
		}
		all = false
		select {
		case <-ctx.Done():
			return
		case <-changed:
			return
		case <-sweep.C:
			all = true
		case <-t.led.wake:
		case <-again:
		}
	}
}

// try brings one group's members to what the directory wants.
func (t *Tenancy) try(ctx context.Context, one *leading) {
	ctx, cancel := context.WithTimeout(ctx, membershipPatience)
	defer cancel()
	defer context.AfterFunc(one.ctx, cancel)()
	var err error
	select {
	case t.led.slots <- struct{}{}:
		err = t.reconcile(ctx, one.db)
		<-t.led.slots
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil && ctx.Err() == nil {
		t.o.Log.Warn("bring replicas where the directory wants them", "database", one.db.ID(), "err", err)
	}
	t.led.done(one, err, time.Now())
}

func (t *Tenancy) reconcile(ctx context.Context, db *replication.DB) error {
	wanted := t.Nodes()
	if len(wanted) == 0 {
		return nil // The directory is not there yet; never remove on ignorance.
	}
	members, err := db.Members()
	if err != nil {
		return err
	}
	for _, n := range wanted {
		i := slices.IndexFunc(members, func(m replication.Member) bool { return m.Node == n.ID })
		if i >= 0 && members[i].Voter {
			continue
		}
		if err := db.AddNode(ctx, n.ID); err != nil {
			return fmt.Errorf("add %s: %w", n.ID, err)
		}
	}
	for _, m := range members {
		if slices.ContainsFunc(wanted, func(n Node) bool { return n.ID == m.Node }) {
			continue
		}
		if m.Node == t.o.Self.ID { // Somebody else has to remove the leader.
			return db.TransferLeadership(ctx)
		}
		if err := db.RemoveNode(ctx, m.Node); err != nil {
			return fmt.Errorf("remove %s: %w", m.Node, err)
		}
	}
	return nil
}
