package replication_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// within fails the test if f does not return in time: what hangs would hang for ever.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// TestNobodyHangsWhenADatabaseStops asks raft at the moment it stops, from many
// goroutines, without a deadline: raft forgets to answer some of them.
func TestNobodyHangsWhenADatabaseStops(t *testing.T) {
	t.Parallel()
	for range 10 {
		o := replicationtest.Options(t, "n1")
		o.HeartbeatTimeout = 20 * time.Millisecond
		e, err := replication.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		db, err := e.OpenDB(replicationtest.ID, replication.DBOptions{Voters: []replication.NodeID{"n1"}})
		if err != nil {
			t.Fatal(err)
		}
		replicationtest.Await(t, "it leads", db.IsLeader)
		exec(t, db, `CREATE TABLE t(v)`)
		var begun, all sync.WaitGroup
		for i := range 24 {
			begun.Add(1)
			all.Go(func() {
				var once sync.Once
				for !errors.Is(askRaft(db, i), replication.ErrClosed) {
					once.Do(begun.Done)
				}
				once.Do(begun.Done)
			})
		}
		begun.Wait()
		within(t, "the stop", func() {
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
		within(t, "a caller", all.Wait)
	}
}

// askRaft is the error of one of the calls that ask raft.
func askRaft(db *replication.DB, kind int) error {
	var err error
	switch kind % 3 {
	case 0:
		err = db.View(ctx, replication.Linearizable, func(*replication.View) error { return nil })
	case 1:
		_, err = db.Update(ctx, func(*replication.Tx) error { return nil })
	default:
		_, err = db.Update(ctx, insert(1))
	}
	return err
}

func TestADatabaseThatIsBeingClosedCannotBeOpened(t *testing.T) {
	t.Parallel()
	o := replicationtest.Options(t, "n1")
	e, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	leads, goOn := make(chan struct{}), make(chan struct{})
	founders := replication.DBOptions{Voters: []replication.NodeID{"n1"}}
	holding := founders
	holding.OnLead = func(ctx context.Context, _ *replication.DB) {
		close(leads)
		<-ctx.Done()
		replication.HoldUntil(t, goOn)
	}
	db, err := e.OpenDB(replicationtest.ID, holding)
	if err != nil {
		t.Fatal(err)
	}
	replication.Reached(t, leads)
	closed := make(chan error, 1)
	go func() { closed <- e.CloseDB(replicationtest.ID) }()
	replicationtest.Await(t, "it stops", func() bool { return db.Status().Err != "" })
	if _, err := e.OpenDB(replicationtest.ID, founders); err == nil {
		t.Error("it was opened beside the one that is being closed")
	}
	close(goOn)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := e.OpenDB(replicationtest.ID, founders); err != nil {
		t.Error(err)
	}
}

// TestAReadThatSpansTermsIsRefused takes the leadership away and gives it back while a
// read waits: what another committed in between need not be known here yet.
func TestAReadThatSpansTermsIsRefused(t *testing.T) {
	t.Parallel()
	armed := stopHook{t: t}
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) {
		replication.BeforeVerify(o, armed.call)
	})
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	reads := map[string]func() error{
		"a linearizable view": func() error {
			return c.DB("n1").View(ctx, replication.Linearizable, func(*replication.View) error { return nil })
		},
		"an update that only reads": func() error {
			_, err := c.DB("n1").Update(ctx, func(*replication.Tx) error { return errors.New("refused") })
			return err
		},
	}
	for name, read := range reads {
		stopped, goOn := make(chan struct{}), make(chan struct{})
		end := reaching(t, c, "n1", stopped, func() error {
			armed.arm(stopped, goOn) // Not before: who looks for the leader asks, too.
			return read()
		})
		c.Lead("n2")
		c.Lead("n1")
		close(goOn)
		err := end()
		if !errors.Is(err, replication.ErrNotLeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// stopHook stops the next call of it, once armed.
type stopHook struct {
	t             *testing.T
	mu            sync.Mutex
	stopped, goOn chan struct{}
}

func (h *stopHook) arm(stopped, goOn chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped, h.goOn = stopped, goOn
}

func (h *stopHook) call() {
	h.mu.Lock()
	stopped, goOn := h.stopped, h.goOn
	h.stopped = nil
	h.mu.Unlock()
	if stopped != nil {
		close(stopped)
		replication.HoldUntil(h.t, goOn)
	}
}

// TestAChangeOfMembersEndsNoClosure changes the members while a closure's statement runs:
// that entry is none of another leader.
func TestAChangeOfMembersEndsNoClosure(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t, func(o *replication.Options) { o.MaxClosure = 20 * time.Second })
	begun := make(chan struct{})
	var wg sync.WaitGroup
	var err error
	wg.Go(func() {
		_, err = db.Update(ctx, func(tx *replication.Tx) error {
			close(begun)
			return tx.QueryRow(`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3000000) SELECT count(*) FROM c`).Scan(new(int))
		})
	})
	replication.Reached(t, begun)
	if err := db.RemoveNode(ctx, "n9"); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err != nil {
		t.Error(err)
	}
}
