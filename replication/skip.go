package replication

import "github.com/hashicorp/raft"

// skipHeld leaves out of a leader's request what lies before the beginning of this log. The
// leader may know of less than the replica has, after the log was taken from another one
// (see rebuildLog). raft would compare the entry before the request's first with its log,
// not find it, and be sent older ones for ever. What the snapshot covers is committed, so
// every leader of this term or a later one has it, too: the request may as well begin there.
func skipHeld(q *raft.AppendEntriesRequest, log *groupLog, snapshots *snapshotStore) {
	first, err := log.FirstIndex()
	if err != nil || first > 0 && first <= q.PrevLogEntry || len(q.Entries) == 0 && q.PrevLogEntry == 0 {
		return
	}
	base := snapshots.position()
	if base.LastIndex <= q.PrevLogEntry {
		return
	}
	skip := 0
	for skip < len(q.Entries) && q.Entries[skip].Index <= base.LastIndex {
		skip++
	}
	q.PrevLogEntry, q.PrevLogTerm, q.Entries = base.LastIndex, base.LastTerm, q.Entries[skip:]
	// raft takes all that it has for the leader's: what comes later was not compared.
	q.LeaderCommitIndex = min(q.LeaderCommitIndex, q.PrevLogEntry+uint64(len(q.Entries)))
}
