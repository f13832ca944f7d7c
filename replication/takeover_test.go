package replication_test

import (
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// TestALeaderTakesNoRequestToTakeOver gives leaders requests that come late: their own, and
// that of a leader that was.
func TestALeaderTakesNoRequestToTakeOver(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	for name, late := range map[string]struct {
		db  *replication.DB
		ask func() error
	}{
		"that of another":      {c.DB("n1"), func() error { return replication.AskToTakeOver(c.DB("n3"), "n1") }},
		"its own":              {c.DB("n1"), func() error { return replication.Campaign(c.DB("n1")) }},
		"that of a lone voter": {},
	} {
		if late.db == nil {
			late.db = replicationtest.One(t)
			late.ask = func() error { return replication.Campaign(late.db) }
		}
		was := late.db.Status().Term
		if err := late.ask(); err == nil {
			t.Errorf("%s: it takes over what it leads", name)
		}
		exec(t, late.db, `CREATE TABLE IF NOT EXISTS t(v)`)
		if s := late.db.Status(); s.Term != was {
			t.Errorf("%s: it is %s in term %d, was the leader in %d", name, s.Role, s.Term, was)
		}
	}
}

// TestACandidateThatLostCanTakeOver: it takes the winner's entries, and stays a candidate.
func TestACandidateThatLostCanTakeOver(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3, calm)
	c.Lead("n1")
	c.Isolate("n3")
	becomesCandidate(t, c.DB("n3"))
	c.Heal()
	c.Lead("n3")
	exec(t, c.DB("n3"), `CREATE TABLE t(v)`)
	c.Settle()
}
