package replication_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// threeWithRows is a cluster of three that n1 leads, with table t of so many rows.
func threeWithRows(t *testing.T, rows int, options ...func(*replication.Options)) *replicationtest.Nodes {
	t.Helper()
	c := replicationtest.Cluster(t, 3, options...)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	for i := range rows {
		exec(t, c.DB("n1"), fmt.Sprintf(`INSERT INTO t VALUES (%d)`, i))
	}
	c.Settle()
	return c
}

// rebuilt waits until the replica of a node has been rebuilt and is whole.
func rebuilt(t *testing.T, c *replicationtest.Nodes, name replication.NodeID) {
	t.Helper()
	replicationtest.Await(t, fmt.Sprintf("%s is rebuilt", name), func() bool {
		s := c.DB(name).Status()
		return s.Rebuilt > 0 && s.Err == "" && s.Held == ""
	})
	caughtUp(t, c, name)
}

// caughtUp waits longer than Settle does: raft tries a follower that was away seldom.
func caughtUp(t *testing.T, c *replicationtest.Nodes, name replication.NodeID) {
	t.Helper()
	goal := c.DB(c.Leader()).Applied()
	patient, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := c.DB(name).WaitApplied(patient, goal); err != nil {
		t.Fatal(err)
	}
}

// whole waits until the replica of a node serves again, rebuilt or not.
func whole(t *testing.T, c *replicationtest.Nodes, name replication.NodeID) {
	t.Helper()
	replicationtest.Await(t, fmt.Sprintf("%s is whole", name), func() bool {
		s := c.DB(name).Status()
		return s.Err == "" && s.Held == ""
	})
	caughtUp(t, c, name)
}

func TestAReplicaThatDiffersIsRebuilt(t *testing.T) {
	t.Parallel()
	var served atomic.Bool
	c := threeWithRows(t, 5, func(o *replication.Options) {
		if o.Node == "n3" {
			replication.RebuildStep(o, func(step string) {
				if step == "received" {
					served.Store(true)
				}
			})
		}
	})
	replication.Direct(t, c.DB("n3"), `INSERT INTO t VALUES ('mine')`)
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (1)`) // It gets another rowid there.
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (2)`)
	rebuilt(t, c, "n3")
	c.Settle()
	if n := count(t, c.DB("n3"), "t"); n != 7 || !served.Load() {
		t.Errorf("%d rows, a file was received: %v", n, served.Load())
	}
	if _, err := os.Stat(filepath.Join(c.Dir("n3"), "db", "test", "main", "state.db.damaged")); err != nil {
		t.Errorf("the file that differed was not kept: %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir("n3"), "db", "test", "main", "rebuild.json")); err == nil {
		t.Error("the mark has stayed")
	}
}

// TestADamagedReplicaServesNothing looks at it while its file has not come yet.
func TestADamagedReplicaServesNothing(t *testing.T) {
	t.Parallel()
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once atomic.Bool
	c := threeWithRows(t, 3, func(o *replication.Options) {
		if o.Node == "n3" {
			replication.RebuildStep(o, func(string) {
				if !once.Swap(true) {
					close(reached)
					replication.HoldUntil(t, goOn)
				}
			})
		}
	})
	db := c.DB("n3")
	replication.Direct(t, db, `INSERT INTO t VALUES ('mine')`)
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (1)`)
	replication.Reached(t, reached)
	if err := db.View(ctx, replication.Local, func(*replication.View) error { return nil }); !errors.Is(err, replication.ErrDamaged) {
		t.Errorf("a view: %v", err)
	}
	if _, err := db.Update(ctx, insert(1)); !errors.Is(err, replication.ErrDamaged) {
		t.Errorf("an update: %v", err)
	}
	if s := db.Status(); s.Role != "rebuilding" || !strings.Contains(s.Err, "differs") {
		t.Errorf("status %+v", s)
	}
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (2)`)
	close(goOn)
	rebuilt(t, c, "n3")
	c.Settle()
}

// TestACrashWithinARebuild ends the process at each step of it.
func TestACrashWithinARebuild(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"received", "installed", "unmarked"} {
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
			replication.Direct(t, c.DB("n3"), `INSERT INTO t VALUES ('mine')`)
			exec(t, c.DB("n1"), `INSERT INTO t VALUES (1)`)
			replication.Reached(t, reached)
			files := snapshotOf(t, c.Dir("n3"))
			close(crashed)
			c.Crash("n3")
			files.restore(t) // As they were at the step.
			exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES (2)`)
			c.Start("n3")
			whole(t, c, "n3")
			c.Settle()
			if n := count(t, c.DB("n3"), "t"); n != 7 {
				t.Errorf("%d rows", n)
			}
		})
	}
}

// files are the contents of the databases of a node.
type files struct {
	dir  string
	text map[string][]byte
}

// snapshotOf copies the databases' files, as a kill would leave them.
func snapshotOf(t *testing.T, dir string) files {
	t.Helper()
	f := files{dir: filepath.Join(dir, "db"), text: map[string][]byte{}}
	err := filepath.WalkDir(f.dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			f.text[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func (f files) restore(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	for path, b := range f.text {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAPeerDiesWhileItSends cuts the lines in the middle of the file.
func TestAPeerDiesWhileItSends(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 3)
	exec(t, c.DB("n1"), `CREATE TABLE big(b)`, `INSERT INTO big VALUES (zeroblob(8000000))`)
	c.Settle()
	replication.Direct(t, c.DB("n3"), `INSERT INTO t VALUES ('mine')`)
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (1)`)
	part := filepath.Join(c.Dir("n3"), "db", "test", "main", "snapshot-*.part")
	replicationtest.Await(t, "the file is on its way", func() bool { m, _ := filepath.Glob(part); return len(m) > 0 })
	c.Isolate("n3")
	if s := c.DB("n3").Status(); s.Rebuilt > 0 {
		t.Log("it was quicker than the cut")
	}
	c.Heal()
	rebuilt(t, c, "n3")
	c.Settle()
}

// TestTheLeaderIsTheOddOne has the replicas compared while the leader's differs.
func TestTheLeaderIsTheOddOne(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 5)
	replication.Direct(t, c.DB("n1"), `UPDATE t SET v = 'mine' WHERE rowid = 3`)
	v, err := c.DB("n1").Verify(ctx)
	if err != nil || v.Equal || v.Doubt || fmt.Sprint(v.Odd) != "[n1]" {
		t.Fatalf("%+v, %v", v, err)
	}
	replicationtest.Await(t, "another leads", func() bool { return c.DB("n2").IsLeader() || c.DB("n3").IsLeader() })
	rebuilt(t, c, "n1")
	c.Settle()
	v, err = c.DB(c.Leader()).Verify(ctx)
	if err != nil || !v.Equal || len(v.Replicas) != 3 {
		t.Errorf("after it: %+v, %v", v, err)
	}
}

// TestVerifyUnderLoad compares replicas that are written to all the while.
func TestVerifyUnderLoad(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 1)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				_, _ = c.DB(c.Leader()).Update(ctx, insert(i))
			}
		}
	}()
	for range 5 {
		v, err := c.DB(c.Leader()).Verify(ctx)
		if err != nil || !v.Equal {
			t.Errorf("%+v, %v", v, err)
		}
	}
	close(stop)
	<-done
	c.Settle()
}

// TestTwoReplicasThatDiffer cannot be judged: both say so, and serve on.
func TestTwoReplicasThatDiffer(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 2)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1)`)
	c.Settle()
	replication.Direct(t, c.DB("n2"), `UPDATE t SET v = 'mine'`)
	v, err := c.DB("n1").Verify(ctx)
	if err != nil || v.Equal || !v.Doubt || len(v.Odd) != 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	for _, n := range c.Names() {
		if s := c.DB(n).Status(); !strings.Contains(s.Doubt, "no majority") || s.Err != "" {
			t.Errorf("%s: %+v", n, s)
		}
	}
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (2)`)
	replication.Direct(t, c.DB("n2"), `UPDATE t SET v = 1 WHERE v = 'mine'`)
	if v, err = c.DB("n1").Verify(ctx); err != nil || !v.Equal {
		t.Errorf("%+v, %v", v, err)
	}
	for _, n := range c.Names() {
		if s := c.DB(n).Status(); s.Doubt != "" {
			t.Errorf("%s still says %s", n, s.Doubt)
		}
	}
}

// TestASingleReplicaIsNotRebuilt damages the only one.
func TestASingleReplicaIsNotRebuilt(t *testing.T) {
	t.Parallel()
	backup := func(o *replication.Options) { o.Backup = func() string { return "/mnt/b.tongban of yesterday" } }
	c := replicationtest.Cluster(t, 1, alone, backup)
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1)`)
	c.Stop("n1")
	file := filepath.Join(c.Dir("n1"), "db", "test", "main", "state.db")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copy(b, "no SQLite file at all")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	o := replicationtest.Options(t, "n1")
	o.Dir = c.Dir("n1")
	backup(&o)
	e, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	_, err = e.OpenDB(replicationtest.ID, replication.DBOptions{Voters: []replication.NodeID{"n1"}})
	if !errors.Is(err, replication.ErrDamaged) || !strings.Contains(err.Error(), "/mnt/b.tongban of yesterday") {
		t.Errorf("opened with %v", err)
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != string(b) {
		t.Errorf("the damaged file was touched (%v)", err)
	}
}
