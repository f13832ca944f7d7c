package replication_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

func TestAFullDiskRefusesChangesAndNothingElse(t *testing.T) {
	db := replicationtest.One(t)
	insert := func() error {
		_, err := db.Update(t.Context(), func(tx *replication.Tx) error {
			return tx.Exec(`CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY)`)
		})
		return err
	}
	if err := insert(); err != nil {
		t.Fatal(err)
	}
	at := db.Applied()
	restore := replication.FillDisk(db)
	if err := insert(); !errors.Is(err, replication.ErrDisk) {
		t.Errorf("a change on a full disk: %v, want ErrDisk", err)
	}
	if db.Applied() != at || !db.IsLeader() {
		t.Errorf("the refused change moved the database from %d to %d, leading %v", at, db.Applied(), db.IsLeader())
	}
	if err := db.View(t.Context(), replication.Linearizable, func(*replication.View) error { return nil }); err != nil {
		t.Errorf("a read on a full disk: %v", err)
	}
	restore()
	if err := insert(); err != nil {
		t.Errorf("a change after room was made: %v", err)
	}
}

// TestAFullFileSystem fills the file system of the databases of one node, the leader, while
// entries are under way, and empties it again.
func TestAFullFileSystem(t *testing.T) {
	t.Parallel()
	dirs := map[replication.NodeID]string{}
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=6m"); err != nil {
		t.Skipf("NOT RUN: a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(small, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) {
		dirs[o.Node] = o.Dir
		if o.Node == "n1" {
			if err := os.Symlink(small, filepath.Join(o.Dir, "db")); err != nil {
				t.Fatal(err)
			}
		}
	})
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	stop := make(chan struct{})
	var load sync.WaitGroup
	var acknowledged atomic.Int64
	load.Go(func() {
		for {
			for _, name := range c.Names() {
				select {
				case <-stop:
					return
				default:
				}
				short, cancel := context.WithTimeout(ctx, time.Second)
				if _, err := c.DB(name).Update(short, insert(strings.Repeat("x", 20_000))); err == nil {
					acknowledged.Add(1)
				}
				cancel()
			}
		}
	})
	db := c.DB("n1")
	replicationtest.Await(t, "the leader's file system is full", func() bool { return strings.Contains(db.Status().Held, "disk full") })
	replicationtest.Await(t, "another leads", func() bool { return c.DB("n2").IsLeader() || c.DB("n3").IsLeader() })
	at := acknowledged.Load()
	replicationtest.Await(t, "changes go on", func() bool { return acknowledged.Load() > at+20 })
	if n := count(t, db, "t"); n == 0 {
		t.Error("it serves nothing")
	}
	if _, err := db.Update(ctx, insert(1)); !errors.Is(err, replication.ErrDisk) && !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("a change on it: %v", err)
	}
	if err := syscall.Mount("tmpfs", small, "tmpfs", syscall.MS_REMOUNT, "size=200m"); err != nil {
		t.Fatal(err)
	}
	replicationtest.Await(t, "it applies again", func() bool { return db.Status().Held == "" })
	close(stop)
	load.Wait()
	c.Settle()
	if n := count(t, db, "t"); int64(n) < acknowledged.Load() {
		t.Errorf("%d rows of %d acknowledged", n, acknowledged.Load())
	}
}

// TestAFailedSyncEndsTheEngine lets the fsyncs of the leader's log fail: it acknowledges
// nothing any more, says that its process must end, and is a replica again after that.
func TestAFailedSyncEndsTheEngine(t *testing.T) {
	t.Parallel()
	var failing atomic.Bool
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) {
		if o.Node == "n1" {
			replication.FailSyncs(o, &failing)
		}
	})
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	failing.Store(true)
	for _, v := range []any{1, 2} {
		if _, err := c.DB("n1").Update(ctx, insert(v)); err == nil {
			t.Error("a change was acknowledged after its fsync had failed")
		}
	}
	select {
	case err := <-c.Engine("n1").Failed():
		if !strings.Contains(err.Error(), "fsync") {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the engine does not say that it has failed")
	}
	failing.Store(false) // A second one that succeeds must not count.
	if _, err := c.DB("n1").Update(ctx, insert(3)); err == nil {
		t.Error("a change was acknowledged after an fsync had failed")
	}
	replicationtest.Await(t, "another leads", func() bool { return c.DB("n2").IsLeader() || c.DB("n3").IsLeader() })
	c.Stop("n1")
	c.Start("n1")
	leader := c.DB(c.Leader())
	exec(t, leader, `INSERT INTO t VALUES (4)`)
	c.Settle()
}
