package replication

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// skipHeld leaves out of a leader's request what this replica's snapshot covers. raft would
// compare the entry before the request's first with its log, not find it, and be sent older
// ones, in the end the leader's snapshot, and after that the same request again, for ever: it
// looks for that entry in its snapshot only while its log has nothing after it. The log may
// begin right after the snapshot, or have a gap before its end, and the leader may know of
// less than the replica has, after the log was taken from another one (see rebuildLog).
//
// What the snapshot covers is committed, so every leader of this term or a later one has it,
// too: the request may as well begin there, and needs no comparison before, which 0 means.
func skipHeld(q *raft.AppendEntriesRequest, snapshots *snapshotStore) {
	base := snapshots.position().LastIndex
	if base == 0 || base < q.PrevLogEntry || len(q.Entries) == 0 && q.PrevLogEntry == 0 {
		return
	}
	skip := 0
	for skip < len(q.Entries) && q.Entries[skip].Index <= base {
		skip++
	}
	q.PrevLogEntry, q.PrevLogTerm, q.Entries = 0, 0, q.Entries[skip:]
	// raft takes all that it has for the leader's: what comes later was not compared.
	q.LeaderCommitIndex = min(q.LeaderCommitIndex, base+uint64(len(q.Entries)))
}

// errNotStored: raft has taken nothing of a request, though it is the leader's and follows
// what is there.
var errNotStored = errors.New("the entries cannot be stored for now")

// notStored says whether raft's disk has refused a request. raft answers that as if its log
// differed from the leader's, which would send older entries then, in the end its snapshot,
// and wait up to 10 s each time, also when the disk has room again. As an error it makes
// the leader send the same request again (progress.AppendEntries).
func notStored(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) bool {
	return !a.Success && a.Term == q.Term && !a.NoRetryBackoff
}

// holds says whether this replica's log has all that a leader's snapshot has. raft would go
// back to it all the same: to its configuration, though later ones are in the log, and to
// its index, or refuse it for ever, because the file is further.
func (g *groupTransport) holds(q *raft.InstallSnapshotRequest, from NodeID) bool {
	probe := hint{term: q.Term, prev: q.LastLogIndex, prevTerm: q.LastLogTerm}.request(from)
	if f := g.before.Load(); f != nil {
		(*f)(probe)
	}
	r := g.consult(inbound{command: probe})
	a, ok := r.Response.(*raft.AppendEntriesResponse)
	return ok && r.Error == nil && a.Success
}

// passSnapshot hands a snapshot to raft, if it has anything new.
func (g *groupTransport) passSnapshot(in inbound, q *raft.InstallSnapshotRequest) {
	if g.holds(q, in.from) {
		got := func() { // Who sends listens when it has sent all.
			_, err := io.Copy(io.Discard, in.reader)
			in.answer(&raft.InstallSnapshotResponse{Term: q.Term, Success: true}, err)
		}
		if !g.t.spawn(got) {
			in.answer(nil, ErrClosed)
		}
		return
	}
	if f := g.install.Load(); f != nil {
		defer (*f)()()
	}
	r := g.consult(in)
	in.answer(r.Response, r.Error)
}
