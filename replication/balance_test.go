package replication_test

import (
	"sync"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// TestAReplicaThatCannotApplyIsNotMadeLeader looks at one whose disk is full, and at one that
// is being rebuilt.
func TestAReplicaThatCannotApplyIsNotMadeLeader(t *testing.T) {
	t.Parallel()
	begun, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c := threeWithRows(t, 3, func(o *replication.Options) {
		o.BalanceAfter = -1
		if o.Node == "n3" {
			replication.RebuildStep(o, func(string) { once.Do(func() { close(begun); replication.HoldUntil(t, goOn) }) })
		}
	})
	unfit := func() {
		t.Helper()
		if open, fit := replication.Standing(c.DB("n3")); !open || fit {
			t.Errorf("it can vote: %v, it can lead: %v", open, fit)
		}
		led := c.DB(c.Leader())
		before := replication.Transferred(led)
		replication.SendHome(ctx, led, "n3")
		if replication.Transferred(led) != before || !led.IsLeader() {
			t.Error("the leadership was sent to it, and the lease ended")
		}
		if err := led.TransferLeadershipTo(ctx, "n3"); err == nil || c.DB("n3").IsLeader() {
			t.Errorf("it took the leadership when told to: %v", err)
		}
	}
	restore := replication.FillDisk(c.DB("n3"))
	unfit()
	restore()
	replication.Direct(t, c.DB("n3"), `INSERT INTO t VALUES ('mine')`)
	exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES (1)`)
	replication.Reached(t, begun)
	unfit()
	c.Stop("n1") // It votes: the two that are left have a leader.
	replicationtest.Await(t, "n2 leads", func() bool { return c.DB("n2").IsLeader() })
	exec(t, c.DB("n2"), `INSERT INTO t VALUES (2)`)
	close(goOn)
	rebuilt(t, c, "n3")
	replication.SendHome(ctx, c.DB("n2"), "n3")
	replicationtest.Await(t, "it leads again", func() bool { return c.DB("n3").IsLeader() })
}
