package replication_test

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// TestALeaderThatCannotSendIsReplaced: it answers pings, so its node is up, and raft still
// takes it for the leader, for minutes.
func TestALeaderThatCannotSendIsReplaced(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) { o.BalanceAfter = -1 })
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	c.Mute("n1", "n2")
	c.Mute("n1", "n3")
	replicationtest.Await(t, "another leads", func() bool { return c.DB("n2").IsLeader() || c.DB("n3").IsLeader() })
	replicationtest.Await(t, "n1 follows", func() bool { return c.DB("n1").Status().Role == "follower" })
	exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES (1)`)
	c.Heal()
	c.Settle()
}

// TestALeadershipThatComesToNothingIsGivenUp: raft leads on n2, which answers everybody, and
// applies nothing, so that its tenure does not begin.
func TestALeadershipThatComesToNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) { o.BalanceAfter = -1 })
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	c.Settle()
	goOn := replication.StandStill(c.DB("n2"))
	t.Cleanup(goOn)
	exec(t, c.DB("n1"), `INSERT INTO t VALUES (0)`)
	_ = c.DB("n1").TransferLeadershipTo(t.Context(), "n2") // It waits for n2 to lead, in raft's words or in its own.
	replicationtest.Await(t, "another leads", func() bool { return c.DB("n1").IsLeader() || c.DB("n3").IsLeader() })
	exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES (1)`)
	goOn()
	c.Settle()
}

// TestAConnectionThatIsMadeAnewCarriesTheLeaderAtOnce: no node has gone down, so nobody has
// come up that would be told.
func TestAConnectionThatIsMadeAnewCarriesTheLeaderAtOnce(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	leased(t, c, "n1")
	for range 3 {
		old := replication.Heard(c.DB("n2"), "n1")
		c.Break("n1", "n2")
		replicationtest.Await(t, "n2 hears n1 on the new connection", func() bool {
			now := replication.Heard(c.DB("n2"), "n1")
			return now != nil && now != old
		})
	}
	if n, known := c.DB("n2").Leader(); n != "n1" || !known {
		t.Errorf("n2 takes %q for the leader (%v)", n, known)
	}
}

// TestACommitThatWasLostIsToldAgain loses the message that told a follower of the last commit.
func TestACommitThatWasLostIsToldAgain(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	c.Settle()
	_, last := replication.LogBounds(t, c.DB("n1"))
	told := func() bool { return replication.Told(c.DB("n1"), "n2") >= last }
	replicationtest.Await(t, "n2 is told", told)
	replication.LoseCommit(c.DB("n1"), "n2")
	replicationtest.Await(t, "n2 is told again", told)
	if n := replication.RefuseCommit(c.DB("n1"), "n2"); n != 0 {
		t.Errorf("n2 is told of entry %d, and has refused the message", n)
	}
	replicationtest.Await(t, "n2 is told when it has the entry", told)
}

// TestAHeartbeatThatChangesTheTermPassesNothing: raft's handler for those that pass would set
// the term beside raft's own goroutine, which may be voting.
func TestAHeartbeatThatChangesTheTermPassesNothing(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	c.Settle()
	db, term := c.DB("n2"), c.DB("n2").Status().Term
	if passed, err := replication.Beat(db, "n1", 0); !passed || err != nil {
		t.Errorf("a heartbeat of the term passed: %v, %v", passed, err)
	}
	if passed, err := replication.Beat(db, "n1", 3); passed || err != nil {
		t.Errorf("a heartbeat of a later term passed: %v, %v", passed, err)
	}
	if now := db.Status().Term; now < term+3 {
		t.Errorf("the term is %d, want at least %d", now, term+3)
	}
}

// TestANodeThatHandsOverGetsNothingBack: its replicas are at home there, and it is up.
func TestANodeThatHandsOverGetsNothingBack(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) { o.BalanceAfter = -1 })
	home := replication.Home(replicationtest.ID, c.Names())
	c.Lead(home)
	if err := c.Engine(home).HandOver(ctx); err != nil {
		t.Fatal(err)
	}
	replicationtest.Await(t, "another leads", func() bool { l, known := c.DB(home).Leader(); return known && l != home })
	leader := c.Leader()
	if err := replication.AskToTakeOver(c.DB(leader), home); err == nil || !strings.Contains(err.Error(), "being stopped") {
		t.Errorf("a node that is being stopped takes over: %v", err)
	}
	if c.Leader() == home {
		t.Error("it leads again")
	}
}

// TestNothingIsSentForALeadershipThatEndedInTheDial: the other would follow it for ever, for
// no release is sent on the new connection.
func TestNothingIsSentForALeadershipThatEndedInTheDial(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	dialled := make(chan struct{})
	c := replicationtest.Cluster(t, 3, calm, func(o *replication.Options) {
		if dial := o.Dial; o.Node == "n1" {
			o.Dial = func(ctx context.Context, to replication.NodeID, protocol string) (net.Conn, error) {
				if to == "n2" && slow.Load() {
					<-dialled
				}
				return dial(ctx, to, protocol)
			}
		}
	})
	release := func() {
		if slow.Swap(false) {
			close(dialled)
		}
	}
	t.Cleanup(release) // The engine waits for its dials.
	c.Lead("n1")
	leased(t, c, "n1")
	c.Cut("n2", "n3") // n2 hears nothing of the next term.
	slow.Store(true)
	c.Break("n1", "n2")
	replicationtest.Await(t, "the connection has ended", func() bool { return replication.Unlinked(c.DB("n1"), "n2") })
	sent := replication.Append(c.DB("n1"), "n2")
	replicationtest.Await(t, "n3 leads", func() bool { // It votes for nobody in its first moments.
		_ = c.DB("n1").TransferLeadershipTo(ctx, "n3")
		return c.DB("n3").IsLeader()
	})
	release()
	if err := <-sent; !replication.IsDeposed(err) {
		t.Errorf("the heartbeat of the old leader was sent (%v)", err)
	}
	c.Heal()
	c.Settle()
}

// TestAPeerThatHangsHoldsUpNoHints lets the dial to one follower hang, when the other is to hear
// of commits.
func TestAPeerThatHangsHoldsUpNoHints(t *testing.T) {
	t.Parallel()
	var hangs atomic.Bool
	c := replicationtest.Cluster(t, 3, calm, func(o *replication.Options) {
		dial := o.Dial
		if o.Node != "n1" {
			return
		}
		o.Dial = func(ctx context.Context, to replication.NodeID, protocol string) (net.Conn, error) {
			if to == "n3" && hangs.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dial(ctx, to, protocol)
		}
	})
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	c.Settle()
	hangs.Store(true)
	c.Break("n1", "n3")
	replicationtest.Await(t, "the connection has ended", func() bool { return replication.Unlinked(c.DB("n1"), "n3") })
	begun := time.Now()
	for i := range 5 {
		replication.Poke(c.DB("n1"), "n3")
		at, err := c.DB("n1").Update(ctx, insert(i))
		if err == nil {
			err = c.DB("n2").WaitApplied(ctx, at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("n2 has heard of five commits after %v", took)
	}
	hangs.Store(false)
}
