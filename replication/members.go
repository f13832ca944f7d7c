package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

const membershipTimeout = 10 * time.Second // Until raft's loop takes a change of members.

// Members lists the servers of the group, in raft's order, as this node knows them.
func (db *DB) Members() ([]Member, error) {
	if db.solo {
		return []Member{{Node: db.engine.opts.Node, Voter: true}}, nil
	}
	f := db.raft().GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("members of %s: %w", db.id, err)
	}
	var out []Member
	for _, s := range f.Configuration().Servers {
		out = append(out, Member{Node: NodeID(s.ID), Voter: s.Suffrage == raft.Voter})
	}
	return out, nil
}

func (db *DB) voters() ([]NodeID, error) {
	members, err := db.Members()
	var out []NodeID
	for _, m := range members {
		if m.Voter {
			out = append(out, m.Node)
		}
	}
	return out, err
}

// AddNode makes n a voter: it joins as a learner, and votes once it has caught up. The
// leader does it; calling it again, also after an error, goes on where it stopped. n must
// have the database open (see DBOptions.Voters).
//
// Errors: ErrNotLeader, ctx's error when n has not caught up in time (it stays a learner).
func (db *DB) AddNode(ctx context.Context, n NodeID) error {
	term := db.tenure.term()
	if term == 0 {
		return db.notLeader()
	}
	members, err := db.Members()
	if err != nil {
		return err
	}
	known := false
	for _, m := range members {
		if m.Node == n && m.Voter {
			return nil
		}
		known = known || m.Node == n
	}
	if !known {
		learn := func() raft.IndexFuture {
			return db.raft().AddNonvoter(raft.ServerID(n), raft.ServerAddress(n), 0, membershipTimeout)
		}
		if err := db.changed(ctx, learn, "add", n); err != nil {
			return err
		}
	}
	if err := db.waitCaughtUp(ctx, n, term); err != nil {
		return err
	}
	vote := func() raft.IndexFuture {
		return db.raft().AddVoter(raft.ServerID(n), raft.ServerAddress(n), 0, membershipTimeout)
	}
	return db.changed(ctx, vote, "promote", n)
}

// waitCaughtUp waits until n has acknowledged what was in the log when it was asked for.
func (db *DB) waitCaughtUp(ctx context.Context, n NodeID, term uint64) error {
	goal := db.raft().LastIndex()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for db.progress().acked(n, term).last < goal {
		if db.tenure.term() != term {
			return db.notLeader()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s has caught up with %s: %w", n, db.id, ctx.Err())
		}
	}
	return nil
}

func (db *DB) changed(ctx context.Context, change func() raft.IndexFuture, verb string, n NodeID) error {
	life := db.group.Load().life.hold()
	err := wait(ctx, life, change())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return db.notLeader()
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown) && db.failure() == nil:
		// What life ends with. It may have been done: whoever asks again finds it so.
		return fmt.Errorf("%w: %s %s in %s: %w", ErrNotLeader, verb, n, db.id, errTenureEnded)
	}
	return fmt.Errorf("%s %s in %s: %w", verb, n, db.id, err)
}

// RemoveNode takes n out of the group; a node that is not in it is no error.
func (db *DB) RemoveNode(ctx context.Context, n NodeID) error {
	if db.tenure.term() == 0 {
		return db.notLeader()
	}
	remove := func() raft.IndexFuture { return db.raft().RemoveServer(raft.ServerID(n), 0, membershipTimeout) }
	return db.changed(ctx, remove, "remove", n)
}
