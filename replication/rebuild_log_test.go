package replication_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// TestADamagedEntryIsFoundAtTheStart damages entries of a replica that is stopped then.
func TestADamagedEntryIsFoundAtTheStart(t *testing.T) {
	t.Parallel()
	for name, which := range map[string]func(first, last uint64) uint64{
		"the first":         func(first, _ uint64) uint64 { return first },
		"one in the middle": func(first, last uint64) uint64 { return (first + last) / 2 },
		"the last":          func(_, last uint64) uint64 { return last },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := threeWithRows(t, 5)
			first, last := replication.LogBounds(t, c.DB("n3"))
			replication.FlipEntry(t, c.DB("n3"), which(first, last))
			c.Stop("n3")
			exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('meanwhile')`)
			c.Start("n3")
			rebuilt(t, c, "n3")
			exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('after')`)
			c.Settle()
			if n := count(t, c.DB("n3"), "t"); n != 7 {
				t.Errorf("%d rows", n)
			}
			c.Lead("n3") // It votes, leads and feeds the others.
			exec(t, c.DB("n3"), `INSERT INTO t VALUES ('led')`)
			c.Settle()
		})
	}
}

// TestADamagedEntryIsFoundWhileItRuns damages an entry that raft will read.
func TestADamagedEntryIsFoundWhileItRuns(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 5)
	for _, name := range []replication.NodeID{"n3", c.Leader()} { // A follower, and the leader.
		_, last := replication.LogBounds(t, c.DB(name))
		replication.FlipEntry(t, c.DB(name), last-1)
		if err := replication.ReadEntryOf(c.DB(name), last-1); err != nil {
			t.Errorf("raft is told %v, over which it panics", err)
		}
		rebuilt(t, c, name)
		exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('after')`)
		c.Settle()
	}
}

// TestAVoteThatCannotBeReadIsSpent damages the vote and the term of a replica.
func TestAVoteThatCannotBeReadIsSpent(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 3)
	replication.FlipVote(t, c.DB("n3"))
	c.Stop("n3")
	c.Isolate("n2") // One of those who might know in which term it voted is away.
	c.Start("n3")
	replicationtest.Await(t, "it asks for the other voter", func() bool { return c.DB("n3").Status().Role == "rebuilding" })
	c.Heal()
	rebuilt(t, c, "n3")
	exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('after')`)
	c.Settle()
}

// TestTwoNodesRepairEachOther: neither has a majority without the other, whose log is damaged.
func TestTwoNodesRepairEachOther(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 2)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1)`)
	c.Settle()
	_, last := replication.LogBounds(t, c.DB("n2"))
	replication.FlipEntry(t, c.DB("n2"), last)
	c.Stop("n2")
	c.Stop("n1")
	c.Start("n1")
	c.Start("n2")
	rebuilt(t, c, "n2")
	exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES (2)`)
	c.Settle()
	if n := count(t, c.DB("n2"), "t"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// TestACrashWithinTheRebuildOfALog ends the process at each step of it.
func TestACrashWithinTheRebuildOfALog(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"received", "log replaced", "installed", "unmarked", "started"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			reached, crashed := make(chan struct{}), make(chan struct{})
			var once atomic.Bool
			c := threeWithRows(t, 5, func(o *replication.Options) {
				if o.Node == "n3" {
					replication.RebuildStep(o, func(s string) {
						if s == step && !once.Swap(true) {
							close(reached)
							replication.HoldUntil(t, crashed)
						}
					})
				}
			})
			_, last := replication.LogBounds(t, c.DB("n3"))
			replication.FlipEntry(t, c.DB("n3"), last)
			c.Stop("n3")
			c.Start("n3")
			replication.Reached(t, reached)
			files := snapshotOf(t, c.Dir("n3"))
			close(crashed)
			c.Crash("n3")
			files.restore(t)
			exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('meanwhile')`)
			c.Start("n3")
			whole(t, c, "n3")
			c.Settle()
			if n := count(t, c.DB("n3"), "t"); n != 6 {
				t.Errorf("%d rows", n)
			}
		})
	}
}

// TestADamagedStoreIsMadeAnew damages each kind of file that Pebble has, of a stopped node.
func TestADamagedStoreIsMadeAnew(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"MANIFEST", "OPTIONS", "*.log", "marker.manifest", "gone"} {
		t.Run(strings.Trim(kind, "*."), func(t *testing.T) {
			t.Parallel()
			c := threeWithRows(t, 5)
			c.Stop("n3")
			logs := filepath.Join(c.Dir("n3"), "log")
			if kind == "gone" {
				if err := os.RemoveAll(logs); err != nil {
					t.Fatal(err)
				}
			} else {
				damageFiles(t, logs, kind)
			}
			exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('meanwhile')`)
			c.Start("n3")
			if kind == "MANIFEST" || kind == "*.log" || kind == "gone" {
				rebuilt(t, c, "n3")
			} // Else nothing of the logs was lost.
			whole(t, c, "n3")
			c.Settle()
			if _, err := os.Stat(logs + ".damaged"); kind != "gone" && err != nil {
				t.Errorf("the damage was not noticed: %v", err)
			}
		})
	}
}

// damageFiles flips a bit in the middle of each file of a kind, or removes a marker.
func damageFiles(t *testing.T, dir, kind string) {
	t.Helper()
	if !strings.Contains(kind, "*") {
		kind += "*"
	}
	list, err := filepath.Glob(filepath.Join(dir, kind))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s in %s: %v", kind, dir, err)
	}
	for _, path := range list {
		b, err := os.ReadFile(path)
		if err == nil && len(b) == 0 {
			err = os.Remove(path)
		} else if err == nil {
			b[min(len(b)/2, 300)] ^= 0x10
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestASingleReplicaWithADamagedLogRefuses names the backup.
func TestASingleReplicaWithADamagedLogRefuses(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 1, alone)
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1)`)
	_, last := replication.LogBounds(t, c.DB("n1"))
	replication.FlipEntry(t, c.DB("n1"), last)
	c.Stop("n1")
	o := replicationtest.Options(t, "n1")
	o.Dir = c.Dir("n1")
	o.Backup = func() string { return "/mnt/of-yesterday" }
	e, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for range 2 { // It goes on refusing.
		_, err = e.OpenDB(replicationtest.ID, replication.DBOptions{Voters: []replication.NodeID{"n1"}})
		if !errors.Is(err, replication.ErrDamaged) || !strings.Contains(err.Error(), "/mnt/of-yesterday") || !strings.Contains(err.Error(), fmt.Sprint("entry ", last)) {
			t.Errorf("opened with %v", err)
		}
	}
}
