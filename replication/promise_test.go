package replication_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// lateTries is how often lateCandidate tries: on a loaded machine promises run out.
const lateTries = 10

// lateCandidate is a story: a candidate of long ago asks for a vote within the lease of the
// leader. Nobody writes; the update that is told it is not to lead is the candidate's.
func lateCandidate(t *testing.T, prepare func(*replication.Options)) (update, wrong error) {
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) { calm(o); prepare(o) })
	for range lateTries {
		c.Lead("n1")
		leased(t, c, "n1")
		granted, err := replication.AskForVote(c.DB("n3"), "n2")
		switch {
		case granted && replication.Leased(c.DB("n1")):
			return nil, errors.New("n2 has voted for another while n1 reads without asking")
		case err != nil && !granted:
			return replication.ErrNotLeader, nil
		}
	}
	return replication.ErrNotLeader, nil
}

// mostEarly is how long olderAnswer waits for a read that comes too early. A pass does not
// need it.
const mostEarly = 100 * time.Millisecond

// olderAnswer is a story: a read begins after a heartbeat was answered, and before raft knows
// that. raft takes the answer for one to the read's question.
func olderAnswer(t *testing.T, prepare func(*replication.Options)) (update, wrong error) {
	var armed atomic.Bool
	answered := make(chan chan struct{})
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) {
		calm(o)
		prepare(o)
		replication.OnHeartbeat(o, func(replication.NodeID) {
			if armed.Load() {
				goOn := make(chan struct{})
				select {
				case answered <- goOn:
					replication.HoldUntil(t, goOn)
				case <-t.Context().Done():
				}
			}
		})
	})
	c.Lead("n1")
	c.Settle()
	db := c.DB("n1")
	_, last := replication.LogBounds(t, db)
	replicationtest.Await(t, "nothing is left to be told, which would be answered, too", func() bool {
		return replication.Told(db, "n2") >= last && replication.Told(db, "n3") >= last
	})
	read := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			done <- db.View(ctx, replication.Linearizable, func(*replication.View) error { return nil })
		}()
		return done
	}
	both := func() (goOn func()) {
		a, b := <-answered, <-answered
		return func() { close(a); close(b) }
	}
	armed.Store(true)
	read()
	goOn := both()
	late := read()
	<-time.After(mostEarly) // raft knows of it.
	goOn()
	goOn = both()
	select {
	case err := <-late:
		wrong = fmt.Errorf("a read ended with %v before anything was answered that was sent after it began", err)
	case <-time.After(mostEarly):
	}
	armed.Store(false)
	goOn()
	if wrong == nil {
		wrong = <-late
	}
	return errNoneStopped, wrong
}
