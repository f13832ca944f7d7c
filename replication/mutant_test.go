package replication_test

import (
	"errors"
	"sync/atomic"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// forced is a cluster in which one proposal can be stopped between its evaluation and its
// way into the log: what chance (TestAttack) hardly ever reaches.
type forced struct {
	*replicationtest.Nodes
	ledger
	armed   atomic.Bool
	stopped chan struct{}
	goOn    chan struct{}
}

func newForced(t *testing.T, prepare func(*replication.Options)) *forced {
	f := &forced{stopped: make(chan struct{}), goOn: make(chan struct{})}
	f.Nodes = replicationtest.Cluster(t, 3, func(o *replication.Options) {
		prepare(o)
		replication.BeforePropose(o, func() {
			if f.armed.CompareAndSwap(true, false) {
				close(f.stopped)
				replication.HoldUntil(t, f.goOn)
			}
		})
	})
	f.Lead("n1")
	exec(t, f.DB("n1"), counterSchema...)
	f.Settle()
	return f
}

func (f *forced) increment(name replication.NodeID, key string) (replication.Index, error) {
	index, err := f.DB(name).Update(ctx, increment(key))
	f.note(key, err)
	return index, err
}

// incrementOn makes name lead and increments there.
func (f *forced) incrementOn(t *testing.T, name replication.NodeID, key string) (index replication.Index) {
	t.Helper()
	err := leading(t, f.Nodes, name, func() (err error) { index, err = f.increment(name, key); return err })
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// stop starts an increment on n1 and returns when it stands before the log; the returned
// function lets it go on and returns what its caller is told.
func (f *forced) stop(t *testing.T, key string) (goOn func() error) {
	t.Helper()
	f.armed.Store(true)
	end := reaching(t, f.Nodes, "n1", f.stopped, func() error { _, err := f.increment("n1", key); return err })
	return func() error {
		close(f.goOn)
		return end()
	}
}

// errNoneStopped: a story needs no update that was stopped.
var errNoneStopped = errors.New("no update was stopped")

// asItIs makes no mutant.
func asItIs(*replication.Options) {}

// stories end in a state that only one safeguard keeps right, by the name of the mutant that
// lacks it. Each returns the error of what was stopped or refused, and what is wrong
// afterwards.
var stories = map[string]func(t *testing.T, prepare func(*replication.Options)) (update, wrong error){
	// The leadership leaves and comes back while a batch waits: what it was evaluated on
	// has changed. Without keys, for the rowids of their rows would give it away: all
	// replicas would stop.
	"no-base-check": func(t *testing.T, prepare func(*replication.Options)) (update, wrong error) {
		f := newForced(t, prepare)
		goOn := f.stop(t, "")
		f.incrementOn(t, "n2", "")
		f.Lead("n1")
		update = goOn()
		return update, f.check(f.Nodes)
	},
	// The leader is cut off before it has proposed.
	"commit-before-propose": func(t *testing.T, prepare func(*replication.Options)) (update, wrong error) {
		f := newForced(t, prepare)
		goOn := f.stop(t, "a")
		f.Isolate("n1")
		update = goOn()
		f.incrementOn(t, f.Leader(), "b")
		f.Heal()
		return update, f.check(f.Nodes)
	},
	"retry-a-failed-fsync":     failedFsync,
	"truncate-the-log-too-far": cutThePower,
	"vote-within-the-promise":  lateCandidate,
	"take-an-older-answer":     olderAnswer,
	// An entry of another leader arrives while the batch's transaction is open.
	"commit-any-entry": func(t *testing.T, prepare func(*replication.Options)) (update, wrong error) {
		f := newForced(t, prepare)
		goOn := f.stop(t, "a")
		index := f.incrementOn(t, "n2", "b")
		if err := f.DB("n1").WaitApplied(ctx, index); err != nil {
			t.Logf("n1: %v", err)
		}
		update = goOn()
		return update, f.check(f.Nodes)
	},
}

func TestForcedInterleavings(t *testing.T) {
	t.Parallel()
	for name, story := range stories {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			update, wrong := story(t, asItIs)
			if wrong != nil {
				t.Error(wrong)
			}
			if !errors.Is(update, errNoneStopped) && !errors.Is(update, replication.ErrNotLeader) && !errors.Is(update, replication.ErrUnknownOutcome) {
				t.Errorf("the update that was stopped is told %v", update)
			}
		})
	}
}

func TestAForeignEntryEndsAClosureThatRuns(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n1")
	exec(t, c.DB("n1"), counterSchema...)
	begun, foreign := make(chan struct{}), make(chan replication.Index)
	var late error
	end := reaching(t, c, "n1", begun, func() error {
		_, err := c.DB("n1").Update(ctx, func(tx *replication.Tx) error {
			if err := increment("a")(tx); err != nil {
				return err
			}
			close(begun)
			select {
			case index := <-foreign:
				if err := c.DB("n1").WaitApplied(ctx, index); err != nil {
					return err
				}
			case <-t.Context().Done():
				return t.Context().Err()
			}
			late = tx.Exec(`UPDATE counter SET n = 77`)
			return nil // It does not look.
		})
		return err
	})
	var index replication.Index
	err := leading(t, c, "n2", func() (err error) { index, err = c.DB("n2").Update(ctx, increment("b")); return err })
	if err != nil {
		t.Fatal(err)
	}
	foreign <- index
	err = end()
	if !errors.Is(late, replication.ErrNotLeader) || !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("the statement: %v, the update: %v", late, err)
	}
	c.Settle()
	if n := count(t, c.DB("n1"), "done"); n != 1 {
		t.Errorf("%d rows", n)
	}
}
