package replication_test

import (
	"strings"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// cutRightBehind is a division whose n2 has a snapshot with which its log, not empty, begins
// right after it. n1 leads.
func cutRightBehind(t *testing.T) (c *replicationtest.Nodes, base uint64) {
	t.Helper()
	c = replicationtest.Cluster(t, 3, calm, func(o *replication.Options) {
		if o.Node == "n2" {
			replication.Compact(o, 1<<40, 0)
		} else {
			replication.Compact(o, 1<<40, 1<<40)
		}
	})
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1)`)
	c.Settle()
	for _, name := range c.Names()[:2] {
		if err := replication.Snapshot(c.DB(name)); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (2)`)
	c.Settle()
	base = replication.Base(c.DB("n2"))
	if first, last := replication.LogBounds(t, c.DB("n2")); base == 0 || first != base+1 || last < first {
		t.Fatalf("the log is %d to %d, its snapshot at %d", first, last, base)
	}
	return c, base
}

// TestALogThatBeginsAfterItsSnapshotTakesWhatFollows: raft looks for the entry before a
// request's first in its log, which has only later ones, and not in its snapshot.
func TestALogThatBeginsAfterItsSnapshotTakesWhatFollows(t *testing.T) {
	t.Parallel()
	c, base := cutRightBehind(t)
	for _, prev := range []uint64{base, base - 1} {
		if taken, err := replication.AppendFrom(t, c.DB("n1"), "n2", prev); err != nil || !taken {
			t.Errorf("entries after %d, with a snapshot at %d: taken %v, %v", prev, base, taken, err)
		}
	}
}

// TestASnapshotOfWhatTheLogHasIsNotInstalled: the replica would go back to it.
func TestASnapshotOfWhatTheLogHasIsNotInstalled(t *testing.T) {
	t.Parallel()
	c, base := cutRightBehind(t)
	if taken, err := replication.SendSnapshot(c.DB("n1"), "n2"); err != nil || !taken {
		t.Errorf("a snapshot of entries that are in the log: taken %v, %v", taken, err)
	}
	first, last := replication.LogBounds(t, c.DB("n2"))
	if now := replication.Base(c.DB("n2")); now != base || first != base+1 || last < first {
		t.Errorf("the log is %d to %d, its snapshot at %d, and was at %d", first, last, now, base)
	}
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (3)`)
	c.Settle()
}

// TestAFullDiskIsNoOtherLog: what a follower cannot store differs in nothing from its log, and
// older entries, which raft would send next, are of no use to it.
func TestAFullDiskIsNoOtherLog(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	c.Settle()
	_, last := replication.LogBounds(t, c.DB("n2"))
	restore := replication.FillDisk(c.DB("n2"))
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (1)`)
	if taken, err := replication.AppendFrom(t, c.DB("n1"), "n2", last); taken || err == nil || !strings.Contains(err.Error(), "cannot be stored") {
		t.Errorf("entries on a full disk: taken %v, %v", taken, err)
	}
	// While raft is at it, also between two attempts, a barrier would make the log grow for
	// nothing. It is not for a moment, when it gives up its pipeline.
	var begun time.Time
	replicationtest.Await(t, "raft is at it all the time", func() bool {
		refused, atIt := replication.Refused(c.DB("n1"), "n2")
		if !refused || !atIt {
			begun = time.Time{}
		} else if begun.IsZero() {
			begun = time.Now()
		}
		return !begun.IsZero() && time.Since(begun) >= 100*time.Millisecond
	})
	restore()
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (2)`)
	c.Settle()
}
