package replication_test

import (
	"errors"
	"testing"

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
