package replication_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// TestTheSchedulerVerifiesWhatHasChanged asks for no verification: a replica that differs, and
// whose entries show nothing of that, is found all the same. What has not changed is left alone.
func TestTheSchedulerVerifiesWhatHasChanged(t *testing.T) {
	t.Parallel()
	const every = 100 * time.Millisecond
	c := threeWithRows(t, 3, func(o *replication.Options) { o.VerifyEvery, o.BalanceAfter = every, -1 })
	replication.Direct(t, c.DB("n3"), `UPDATE t SET v = 'mine' WHERE rowid = 1`)
	exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('changed')`)
	rebuilt(t, c, "n3")
	c.Settle()
	led := c.DB(c.Leader())
	last := func() uint64 { _, last := replication.LogBounds(t, led); return last }
	replicationtest.Await(t, "the newest state is verified", func() bool { return replication.VerifiedAt(led) >= uint64(led.Applied()) })
	was := last()
	<-time.After(10 * every)
	if now := last(); now != was {
		t.Errorf("the log of an idle database has grown from %d to %d", was, now)
	}
}

// TestAVerificationMeetsItsOwnMark verifies as soon as the mark is applied.
func TestAVerificationMeetsItsOwnMark(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 3)
	for i := range 20 {
		led := c.DB(c.Leader())
		if v, err := led.Verify(ctx); err != nil || !v.Equal {
			t.Fatalf("verification %d: %+v, %v", i, v, err)
		}
	}
}

// TestAVoterOfTheOwnPointerIsAskedFor: those who answer may have forgotten it, or not know it yet.
func TestAVoterOfTheOwnPointerIsAskedFor(t *testing.T) {
	t.Parallel()
	c := threeWithRows(t, 1)
	missing := replication.MissingWith(t, c.DB("n3"), "n9")
	if !slices.Equal(missing, []replication.NodeID{"n9"}) {
		t.Errorf("missing are %s", fmt.Sprint(missing))
	}
}
