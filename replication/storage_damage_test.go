package replication_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// stopAt makes node n3 stand still at a step of its rebuild until goOn is closed, or the test
// has ended.
func stopAt(t *testing.T, step string) (option func(*replication.Options), reached, goOn chan struct{}) {
	reached, goOn = make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	return func(o *replication.Options) {
		if o.Node == "n3" {
			replication.RebuildStep(o, func(s string) {
				if s == step && !once.Swap(true) {
					close(reached)
					replication.HoldUntil(t, goOn)
				}
			})
		}
	}, reached, goOn
}

// TestACrashAfterTheRebuildOfALogForgetsNothing ends the process when the new group has
// acknowledged an entry that only it and the leader have, and the rebuild has not ended.
func TestACrashAfterTheRebuildOfALogForgetsNothing(t *testing.T) {
	t.Parallel()
	option, reached, goOn := stopAt(t, "started")
	c := threeWithRows(t, 5, option)
	_, last := replication.LogBounds(t, c.DB("n3"))
	replication.FlipEntry(t, c.DB("n3"), last-1) // So it knows how far its log was.
	c.Stop("n3")
	c.Start("n3")
	replication.Reached(t, reached)
	c.Isolate("n2")
	replicationtest.Await(t, "an entry is acknowledged", func() bool { // n1 may not have heard of n3 yet.
		_, _, err := c.DB("n1").Exec(ctx, replication.Statement{SQL: `INSERT INTO t SELECT 'acknowledged' WHERE NOT EXISTS (SELECT * FROM t WHERE v = 'acknowledged')`})
		if err != nil && !errors.Is(err, replication.ErrNotLeader) && !errors.Is(err, replication.ErrUnknownOutcome) {
			t.Fatal(err)
		}
		return err == nil
	})
	files := snapshotOf(t, c.Dir("n3"))
	c.Crash("n1")
	close(goOn)
	c.Crash("n3")
	files.restore(t)
	c.Heal()
	c.Start("n3")
	whole(t, c, "n3")
	if n := count(t, c.DB(c.Leader()), "t"); n != 6 {
		t.Errorf("%d rows of 6", n)
	}
}

// TestALogThatLostItsEndIsNotTakenForWhole takes the last record away from the log of a
// node that was stopped in good order: an entry that it has acknowledged and not applied. The
// store looks whole without it, and so does the file.
func TestALogThatLostItsEndIsNotTakenForWhole(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 4)
	_, leave := replication.Hold(c.DB("n3"))
	exec(t, c.DB("n1"), `INSERT INTO t VALUES ('acknowledged')`)
	at := uint64(c.DB("n1").Applied())
	replicationtest.Await(t, "it is in the log", func() bool { _, last := replication.LogBounds(t, c.DB("n3")); return last >= at })
	leave()
	c.Stop("n3")
	list, err := filepath.Glob(filepath.Join(c.Dir("n3"), "log", "*.log"))
	if err != nil || len(list) == 0 {
		t.Fatal("no log", err)
	}
	newest := list[len(list)-1]
	info, err := os.Stat(newest)
	if err != nil || info.Size() < 200 {
		t.Fatalf("the newest log has %v (%v)", info, err)
	}
	if err := os.Truncate(newest, info.Size()-100); err != nil {
		t.Fatal(err)
	}
	c.Start("n3")
	rebuilt(t, c, "n3")
	c.Settle()
	if n := count(t, c.DB("n3"), "t"); n != 5 {
		t.Errorf("%d rows", n)
	}
}

// TestTheLogIsCutAgainAfterARebuild lets a log grow while its replica is being rebuilt.
func TestTheLogIsCutAgainAfterARebuild(t *testing.T) {
	t.Parallel()
	option, reached, goOn := stopAt(t, "received")
	c := threeWithRows(t, 3, option, func(o *replication.Options) { replication.Compact(o, 10, 4) })
	db := c.DB("n3")
	replication.Direct(t, db, `INSERT INTO t VALUES ('mine')`)
	write := func(n int) {
		for i := range n {
			exec(t, c.DB(c.Leader()), fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
		}
	}
	write(1)
	replication.Reached(t, reached)
	write(20)
	replicationtest.Await(t, "the compactor has passed over the broken replica", func() bool { return replication.PassedOver(db) })
	_, was := replication.LogBounds(t, db)
	close(goOn)
	rebuilt(t, c, "n3")
	write(20)
	replicationtest.Await(t, "the log is cut", func() bool {
		first, _ := replication.LogBounds(t, db)
		return first > was
	})
	c.Settle()
}

// TestADamagedEntryIsFoundWhenAReplicaCatchesUp damages an entry that was handed over to a
// replica that could not apply it.
func TestADamagedEntryIsFoundWhenAReplicaCatchesUp(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 3)
	db := c.DB("n3")
	release, _ := replication.Hold(db)
	exec(t, c.DB("n1"), `INSERT INTO t VALUES ('held')`)
	at := c.DB("n1").Applied()
	replicationtest.Await(t, "it was handed over", func() bool { return replication.Handed(db) >= uint64(at) })
	replication.FlipEntry(t, db, uint64(at))
	release()
	rebuilt(t, c, "n3")
	c.Settle()
	if n := count(t, db, "t"); n != 4 {
		t.Errorf("%d rows", n)
	}
}
