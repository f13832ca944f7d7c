package replication_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// calm is a heartbeat timeout that a loaded machine keeps.
func calm(o *replication.Options) { o.HeartbeatTimeout, o.BalanceAfter = 3*time.Second, -1 }

// leased waits until the leader may read without asking.
func leased(t *testing.T, c *replicationtest.Nodes, n replication.NodeID) {
	t.Helper()
	replicationtest.Await(t, "the leader has a lease", func() bool {
		_ = c.DB(n).View(ctx, replication.Leader, func(*replication.View) error { return nil }) // Renews the promises.
		return replication.Leased(c.DB(n))
	})
}

// TestAPromiseKeepsVotesIn lets a request to take over, and one for a vote, arrive a term
// late, within another leader's lease.
func TestAPromiseKeepsVotesIn(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	leased(t, c, "n1")
	c.Settle() // Else n3's log may be the shorter one, and nobody votes for it.
	term := c.DB("n1").Status().Term
	if err := replication.AskToTakeOver(c.DB("n3"), "n2"); err == nil {
		t.Error("n2 takes over while it has promised n1 not to")
	}
	if granted, err := replication.AskForVote(c.DB("n3"), "n2"); err == nil || granted {
		t.Errorf("n2 votes while it has promised n1 not to (%v, %v)", granted, err)
	}
	if s := c.DB("n1").Status(); s.Role != "leader" || s.Term != term {
		t.Errorf("n1 is %s in term %d, was the leader in %d", s.Role, s.Term, term)
	}
	// The promise ends by itself when n1 is silent, and the vote breaks what n1 knows.
	c.Isolate("n1")
	asked, granted := false, false // Once: each vote that passes puts elections off.
	replicationtest.Await(t, "n2 votes when the promise has run out", func() bool {
		if !asked && replication.MayVote(c.DB("n2")) {
			asked = true
			granted, _ = replication.AskForVote(c.DB("n3"), "n2")
		}
		return granted || c.DB("n2").IsLeader() || c.DB("n3").IsLeader()
	})
	if replication.Leased(c.DB("n1")) {
		t.Error("n1 has its lease, and another may have been elected")
	}
}

// TestAReleaseLetsTheTransferThrough: a hand-over need not wait until the promises run out.
func TestAReleaseLetsTheTransferThrough(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) { o.HeartbeatTimeout, o.BalanceAfter = 15*time.Second, -1 })
	from := c.Leader()
	leased(t, c, from)
	to := c.Names()[(slices.Index(c.Names(), from)+1)%3]
	begun := time.Now()
	if err := c.DB(from).TransferLeadershipTo(ctx, to); err != nil {
		t.Fatal(err)
	}
	if replication.Leased(c.DB(from)) {
		t.Error("the old leader has a lease")
	}
	replicationtest.Await(t, "it leads", c.DB(to).IsLeader)
	if took := time.Since(begun); took > replication.Promise(c.Engine(to))/2 {
		t.Errorf("it took %v", took)
	}
}

// TestAPausedLeaderServesNoLeaderRead lets another be elected and write while a read of
// the old leader is under way.
func TestAPausedLeaderServesNoLeaderRead(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) { o.BalanceAfter = -1 })
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	leased(t, c, "n1")
	err := c.DB("n1").View(ctx, replication.Leader, func(v *replication.View) error {
		c.Isolate("n1")
		replicationtest.Await(t, "another leads", func() bool { return c.DB("n2").IsLeader() || c.DB("n3").IsLeader() })
		exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES (1)`)
		return nil
	})
	if !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("a read that spans another's election: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := c.DB("n1").View(short, replication.Leader, func(*replication.View) error { return nil }); !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("a read after it: %v", err)
	}
}

// TestALeaderThatIsCutOffAnswers does not let anybody wait for a majority that is away.
func TestALeaderThatIsCutOffAnswers(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n1")
	db := c.DB("n1")
	exec(t, db, `CREATE TABLE t(v)`)
	c.Isolate("n1")
	begun := time.Now()
	_, err := db.Update(ctx, insert(1)) // Without a deadline.
	if !errors.Is(err, replication.ErrUnknownOutcome) && !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("an update at the moment of the cut: %v", err)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it was answered after %v", took)
	}
	replicationtest.Await(t, "the tenure ends", func() bool { return !db.IsLeader() })
	for level, read := range map[string]replication.Level{"leader": replication.Leader, "linearizable": replication.Linearizable} {
		if err := db.View(ctx, read, func(*replication.View) error { return nil }); !errors.Is(err, replication.ErrNotLeader) {
			t.Errorf("a %s read: %v", level, err)
		}
	}
	if _, err := db.Update(ctx, insert(2)); !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("an update: %v", err)
	}
	if err := db.View(ctx, replication.Local, func(v *replication.View) error {
		first, known := v.Age()
		if !known {
			t.Error("the age of a leader that was is not known")
		}
		replicationtest.Await(t, "its age grows", func() bool { later, _ := v.Age(); return later > first })
		return nil
	}); err != nil {
		t.Error(err)
	}
	c.Heal()
	c.Settle()
	exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES (3)`)
}

// TestALineThatFlapsDoesNotChurn: the third node hears the leader all the while.
func TestALineThatFlapsDoesNotChurn(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	term := c.DB("n1").Status().Term
	for range 10 {
		c.Cut("n1", "n2")
		replicationtest.Await(t, "n2 sees that", func() bool { return !sees(c, "n2", "n1") })
		c.Heal()
		ended := time.Now().Add(100 * time.Millisecond)
		replicationtest.Await(t, "the line is there for a moment", func() bool { return time.Now().After(ended) })
	}
	if s := c.DB("n1").Status(); s.Term != term || !c.DB("n1").IsLeader() {
		t.Errorf("n1 is %s in term %d, was the leader in %d", s.Role, s.Term, term)
	}
	c.Settle()
}

func sees(c *replicationtest.Nodes, who, whom replication.NodeID) bool {
	return slices.ContainsFunc(c.Engine(who).Peers(), func(p replication.Peer) bool { return p.Node == whom && p.Up })
}

// TestCandidatesThatWaitForEachOtherAreSetFree splits a vote: raft would wait for minutes.
func TestCandidatesThatWaitForEachOtherAreSetFree(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n1") // A leader would not stand for election.
	c.Cut("n2", "n3")
	c.Crash("n1")
	for _, n := range []replication.NodeID{"n2", "n3"} {
		becomesCandidate(t, c.DB(n))
	}
	c.Heal()
	c.Leader()
}

// becomesCandidate makes a replica that sees no other one stand for election.
func becomesCandidate(t *testing.T, db *replication.DB) {
	t.Helper()
	replicationtest.Await(t, "it is a candidate", func() bool {
		return replication.IsCandidate(db) || replication.Campaign(db) == nil && replication.IsCandidate(db)
	})
}

// TestFollowersHearOfTheLastCommit writes once and waits on the followers: raft would tell
// them after minutes.
func TestFollowersHearOfTheLastCommit(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	var worst time.Duration
	for i := range 10 {
		at, err := c.DB("n1").Update(ctx, insert(i))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		for _, n := range []replication.NodeID{"n2", "n3"} {
			if err := c.DB(n).WaitApplied(ctx, at); err != nil {
				t.Fatal(err)
			}
		}
		worst = max(worst, time.Since(begun))
	}
	t.Logf("the followers were behind by %v at most", worst)
	if worst > 2*time.Second {
		t.Error("that is too long, on however loaded a machine")
	}
	replicationtest.Await(t, "a follower knows that it has everything", func() bool {
		fresh := false
		_ = c.DB("n2").View(ctx, replication.Local, func(v *replication.View) error {
			age, known := v.Age()
			fresh = known && age < replicationtest.Heartbeat
			return nil
		})
		return fresh
	})
}

// TestManyGroups founds 100 databases on three nodes: all are led, evenly; when a node
// dies all are led again, evenly; when it is back it gets its own again; and a stop of a
// node hands over all that it leads.
func TestManyGroups(t *testing.T) {
	const groups = 100
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) {
		o.HeartbeatTimeout, o.BalanceAfter = time.Second, 200*time.Millisecond
	})
	var ids []replication.DatabaseID
	for i := range groups {
		ids = append(ids, replication.DatabaseID(fmt.Sprintf("t%d/main", i)))
	}
	open := func(n replication.NodeID) {
		for _, id := range ids {
			if _, err := c.Engine(n).OpenDB(id, replication.DBOptions{Voters: c.Names()}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, n := range c.Names() {
		open(n)
	}
	leaders := func() map[replication.NodeID]int {
		led := map[replication.NodeID]int{}
		for _, id := range ids {
			for n := range c.DBs() {
				if db, ok := c.Engine(n).DB(id); ok && db.IsLeader() {
					led[n]++
				}
			}
		}
		return led
	}
	sum := func(led map[replication.NodeID]int) (n int) {
		for _, k := range led {
			n += k
		}
		return n
	}
	begun := time.Now()
	replicationtest.Await(t, "all are led", func() bool { return sum(leaders()) == groups })
	t.Logf("after %v: %v", time.Since(begun), leaders())
	c.Crash("n1")
	begun = time.Now()
	replicationtest.Await(t, "all are led again", func() bool { return sum(leaders()) == groups })
	t.Logf("after %v without n1: %v", time.Since(begun), leaders())
	if led := leaders(); led["n2"] < groups/4 || led["n3"] < groups/4 {
		t.Errorf("not evenly: %v", led)
	}
	c.Start("n1")
	open("n1")
	begun = time.Now()
	home := map[replication.NodeID]int{}
	for _, id := range ids {
		home[replication.Home(id, c.Names())]++
	}
	replicationtest.Await(t, "all leaders are at home", func() bool {
		led := leaders()
		return led["n1"] == home["n1"] && led["n2"] == home["n2"] && led["n3"] == home["n3"]
	})
	t.Logf("after %v at home: %v", time.Since(begun), leaders())
	begun = time.Now()
	if err := c.Engine("n1").HandOver(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("n1 has handed over in %v", time.Since(begun))
	if led := leaders(); led["n1"] != 0 {
		t.Errorf("n1 leads after it has handed over: %v", led)
	}
	replicationtest.Await(t, "all are led by others", func() bool { return sum(leaders()) == groups })
}
