package replication_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// cutThePower is a story: one node whose log is cut, and a power cut right after that.
func cutThePower(t *testing.T, prepare func(*replication.Options)) (update, wrong error) {
	c := replicationtest.Cluster(t, 1, alone, prepare, func(o *replication.Options) { replication.Compact(o, 1<<40, 4) })
	db := c.DB("n1")
	exec(t, db, counterSchema...)
	l := &ledger{}
	for i := range 40 {
		key := fmt.Sprint("x/", i)
		_, err := db.Update(ctx, increment(key))
		if l.note(key, err); err != nil {
			t.Fatal(err)
		}
		if i == 30 {
			if err := replication.Snapshot(db); err != nil {
				t.Fatal(err)
			}
		}
	}
	if first, last := replication.LogBounds(t, db); first < 30 || last < 44 {
		t.Fatalf("the log is %d to %d", first, last)
	}
	lose := replication.PowerCut(t, db)
	c.Crash("n1")
	lose(nil)
	e, err := replication.Open(c.Options("n1"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.OpenDB(replicationtest.ID, replication.DBOptions{})
	if cerr := e.Close(); err != nil || cerr != nil {
		return errNoneStopped, errors.Join(err, cerr)
	}
	c.Start("n1")
	return errNoneStopped, l.check(c)
}

// TestARestartAfterASnapshotReplaysNothing counts what is between the file and its log.
func TestARestartAfterASnapshotReplaysNothing(t *testing.T) {
	t.Parallel()
	var replayed []uint64
	c := replicationtest.Cluster(t, 1, alone, func(o *replication.Options) {
		replication.Compact(o, 1<<40, 4)
		replication.OnSkip(o, func(index uint64) { replayed = append(replayed, index) })
	})
	exec(t, c.DB("n1"), counterSchema...)
	for i := range 50 {
		if _, err := c.DB("n1").Update(ctx, increment(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int{52, 0} {
		c.Stop("n1")
		c.Start("n1")
		c.Leader()
		if len(replayed) != want {
			t.Errorf("%d entries were replayed, want %d", len(replayed), want)
		}
		replayed = nil
		if err := replication.Snapshot(c.DB("n1")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestReplicasThatAreFarBehindReceiveTheFile brings back a node whose entries are gone, adds
// one and removes one, while there are updates and logs are cut.
func TestReplicasThatAreFarBehindReceiveTheFile(t *testing.T) {
	t.Parallel()
	small := func(o *replication.Options) { replication.Compact(o, 10, 8) }
	c := replicationtest.Cluster(t, 3, small)
	c.Lead("n1")
	exec(t, c.DB("n1"), counterSchema...)
	l := &ledger{}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() { l.write(c, w, stop) })
	}
	end := sync.OnceFunc(func() { close(stop); writers.Wait() })
	defer end()
	l.awaitMore(t, 20)
	c.Crash("n3")
	leader := c.DB(c.Leader())
	_, was := replication.LogBounds(t, leader)
	replicationtest.Await(t, "the leader has cut what n3 lacks", func() bool {
		first, _ := replication.LogBounds(t, leader)
		return first > was+10
	})
	c.Start("n3")
	received := func(name replication.NodeID) func() bool {
		return func() bool {
			db := c.DB(name)
			first, _ := replication.LogBounds(t, db)
			return first > was && uint64(db.Applied()) > was
		}
	}
	replicationtest.Await(t, "n3 has received the file", received("n3"))
	l.awaitMore(t, 50)
	c.Add("n4", small)
	replicationtest.Await(t, "n4 is added", func() bool { return c.DB(c.Leader()).AddNode(ctx, "n4") == nil })
	if !received("n4")() {
		t.Error("n4 was fed from a log that no longer has it all")
	}
	l.awaitMore(t, 50)
	replicationtest.Await(t, "n2 is removed", func() bool {
		c.Lead("n1")
		return c.DB("n1").RemoveNode(ctx, "n2") == nil
	})
	c.Stop("n2")
	l.awaitMore(t, 50)
	end()
	if err := l.check(c); err != nil {
		t.Error(err)
	}
	for _, name := range []replication.NodeID{"n1", "n3", "n4"} {
		members, err := c.DB(name).Members()
		if err != nil || fmt.Sprint(members) != "[{n1 true} {n3 true} {n4 true}]" {
			t.Errorf("%s knows the members %v (%v)", name, members, err)
		}
		c.Crash(name) // With the configuration that its snapshot tells.
		c.Start(name)
	}
	c.Leader()
	if err := l.check(c); err != nil {
		t.Error(err)
	}
}
