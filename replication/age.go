package replication

import (
	"time"

	"github.com/hashicorp/raft"
)

// Age is how long ago the view's state was everything that was committed, as far as this
// replica can know; known is false when it never has known since its start. On a leader
// with a lease it is 0. On a follower the last ping of the leader's node counts, if all
// that is known to be committed is in the view; a commit is known within some 100 ms.
func (v *View) Age() (age time.Duration, known bool) { return v.db.age(v.applied) }

func (db *DB) age(applied Index) (time.Duration, bool) {
	if db.solo {
		return 0, true
	}
	term := db.tenure.term()
	if term != 0 && db.leased(term) {
		return 0, true
	}
	if db.holdsAll(applied) {
		db.wasFresh(db.lastFresh(term))
	}
	if at := db.fresh.Load(); at != nil {
		return max(elapsed(*at), 0), true
	}
	return 0, false
}

// wasFresh notes when the replica had everything.
func (db *DB) wasFresh(at time.Time) {
	for old := db.fresh.Load(); !at.IsZero() && (old == nil || old.Before(at)); old = db.fresh.Load() {
		if db.fresh.CompareAndSwap(old, &at) {
			return
		}
	}
}

// lastFresh is when the replica last knew that it heard of all that is committed.
func (db *DB) lastFresh(term uint64) time.Time {
	r, p := db.raft(), db.progress()
	if term != 0 {
		voters, err := db.voters()
		if err != nil {
			return time.Time{}
		}
		return p.quorumSent(db.engine.opts.Node, voters, term)
	}
	if r.State() == raft.Leader {
		return time.Time{}
	}
	_, id := r.LeaderWithID()
	return p.follows(NodeID(id))
}

// holdsAll says whether no command above applied is known to be committed.
func (db *DB) holdsAll(applied Index) bool {
	for i := db.raft().CommitIndex(); i > uint64(applied); i-- {
		var l raft.Log
		if err := db.logs.GetLog(i, &l); err != nil {
			// Compacted: the file held all up to there when the snapshot was taken.
			list, err := db.group.Load().snapshots.List()
			return err == nil && len(list) > 0 && list[0].Index >= i && applied >= db.Applied()
		}
		if l.Type == raft.LogCommand {
			return false
		}
	}
	return true
}
