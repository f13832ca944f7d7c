package replication

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Leased says whether db may be read without asking a majority.
func Leased(db *DB) bool { return db.leased(db.tenure.term()) }

// Campaign makes the replica stand for election, whoever leads.
func Campaign(db *DB) error {
	done := make(chan error, 1)
	err := db.progress().receive(inbound{
		from: db.engine.opts.Node, command: &raft.TimeoutNowRequest{RPCHeader: db.raftHeader()}, own: true,
		answer: func(_ any, err error) { done <- err },
	})
	if err != nil {
		return err
	}
	return <-done
}

// AskToTakeOver sends raft's request to take over to another node, as a leader would.
func AskToTakeOver(db *DB, n NodeID) error {
	q := &raft.TimeoutNowRequest{RPCHeader: db.raftHeader()}
	return db.progress().TimeoutNow(raft.ServerID(n), raft.ServerAddress(n), q, new(raft.TimeoutNowResponse))
}

// AskForVote asks another node for its vote in the next term, as a candidate would that was
// told to take over. It goes around what this node itself has promised.
func AskForVote(db *DB, n NodeID) (granted bool, err error) {
	r := db.raft()
	last := db.entryAt(r.LastIndex())
	q := &raft.RequestVoteRequest{
		RPCHeader: db.raftHeader(),
		Term:      r.CurrentTerm() + 1, LastLogIndex: last.index, LastLogTerm: last.term, LeadershipTransfer: true,
	}
	var out raft.RequestVoteResponse
	err = db.progress().groupTransport.RequestVote(raft.ServerID(n), raft.ServerAddress(n), q, &out)
	return out.Granted, err
}

// MayVote says whether no promise keeps a vote of the replica in.
func MayVote(db *DB) bool { return db.progress().mayVoteIn() <= 0 }

// IsCandidate says whether the replica waits for votes.
func IsCandidate(db *DB) bool { return db.raft().State() == raft.Candidate }

// Promise is how long a follower's promise lasts.
func Promise(e *Engine) time.Duration { return e.transport.promise }

// Home is the node that should lead a database of these voters.
func Home(id DatabaseID, voters []NodeID) NodeID { return ranked(id, voters)[0] }

// Heard is the connection that the leader's node has now, if something of db came on it.
func Heard(db *DB, leader NodeID) any {
	t := db.engine.transport
	t.mu.Lock()
	l := t.from[leader]
	t.mu.Unlock()
	t.vows.mu.Lock()
	defer t.vows.mu.Unlock()
	if l == nil || db.progress().vow.heard != l {
		return nil
	}
	return l
}

// LoseCommit makes a leader believe that the last message with a commit to n was lost.
func LoseCommit(db *DB, n NodeID) {
	p := db.progress()
	q := &raft.AppendEntriesRequest{Term: db.raft().CurrentTerm(), LeaderCommitIndex: db.raft().CommitIndex(), PrevLogEntry: db.raft().CommitIndex()}
	p.sends(n, q, 1)
	p.note(n, time.Now(), q, nil, promises{}, errors.New("lost"))
}

// RefuseCommit makes a leader believe that n lacked the entry of the last message with a
// commit, and has it now from a message that was begun before the commit. It returns what is
// told then.
func RefuseCommit(db *DB, n NodeID) (told uint64) {
	p, term, last := db.progress(), db.raft().CurrentTerm(), db.raft().CommitIndex()
	hint := &raft.AppendEntriesRequest{Term: term, LeaderCommitIndex: last, PrevLogEntry: last}
	entry := &raft.AppendEntriesRequest{Term: term, LeaderCommitIndex: last - 1, PrevLogEntry: last - 1, Entries: []*raft.Log{{Index: last}}}
	p.sends(n, entry, 1)
	p.sends(n, hint, 1)
	p.note(n, time.Now(), hint, &raft.AppendEntriesResponse{Term: term}, promises{}, nil)
	told = Told(db, n)
	p.note(n, time.Now(), entry, &raft.AppendEntriesResponse{Term: term, Success: true}, promises{}, nil)
	return told
}

// Told is the last commit that a leader has told n of.
func Told(db *DB, n NodeID) uint64 {
	p := db.progress()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.of(n).told
}

// Beat gives a replica a heartbeat of a term ahead of its own, and says whether it passed the
// other requests.
func Beat(db *DB, from NodeID, ahead uint64) (passed bool, err error) {
	p := db.progress()
	handle := p.heartbeat.Load()
	defer p.heartbeat.Store(handle)
	done := make(chan error, 1)
	q := &raft.AppendEntriesRequest{
		//lint:ignore SA1019 raft's own followers of protocol 2 still look at it
		RPCHeader: peerHeader(byte(raft.ProtocolVersionMax), from), Leader: []byte(from), Term: db.raft().CurrentTerm() + ahead,
	}
	fast := func(rpc raft.RPC) {
		if rpc.Command == q { // And not a heartbeat of the leader's.
			passed = true
		}
		(*handle)(rpc)
	}
	p.heartbeat.Store(&fast)
	if err := p.receive(inbound{from: from, command: q, answer: func(_ any, err error) { done <- err }}); err != nil {
		return false, err
	}
	err = <-done
	return passed, err
}

// IsDeposed says whether an AppendEntries was not sent, for the leadership has ended.
func IsDeposed(err error) bool { return errors.Is(err, errDeposed) }

// Append begins to send n a heartbeat of the leader that db is now.
func Append(db *DB, n NodeID) <-chan error {
	q := &raft.AppendEntriesRequest{
		//lint:ignore SA1019 raft's own followers of protocol 2 still look at it
		RPCHeader: db.raftHeader(), Leader: []byte(db.engine.opts.Node), Term: db.raft().CurrentTerm(),
	}
	done := make(chan error, 1)
	go func() {
		_, err := db.progress().append(n, q, new(raft.AppendEntriesResponse))
		done <- err
	}()
	return done
}

// AppendFrom sends n what a leader's log has after an index. taken: n's raft took it.
func AppendFrom(t testing.TB, db *DB, n NodeID, prev uint64) (taken bool, err error) {
	at := func(i uint64) *raft.Log {
		e := new(raft.Log)
		if err := db.logs.GetLog(i, e); err != nil {
			t.Fatal(err)
		}
		return e
	}
	q := hint{term: db.raft().CurrentTerm(), prev: prev, prevTerm: at(prev).Term}.request(db.engine.opts.Node)
	for i := prev + 1; i <= db.raft().LastIndex(); i++ {
		q.Entries = append(q.Entries, at(i))
	}
	var r raft.AppendEntriesResponse
	_, err = db.progress().append(n, q, &r)
	return r.Success, err
}

// Refused says whether n refuses what a leader sends, and whether the leader is at it.
func Refused(db *DB, n NodeID) (refused, atIt bool) {
	p := db.progress()
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.of(n).refusing.IsZero(), p.of(n).flying > 0
}

// SendSnapshot sends n a leader's snapshot, as raft does. taken: n has what is in it.
func SendSnapshot(db *DB, n NodeID) (taken bool, err error) {
	list, err := db.group.Load().snapshots.List()
	if err != nil {
		return false, err
	}
	meta, data, err := db.group.Load().snapshots.Open(list[0].ID)
	if err != nil {
		return false, err
	}
	defer data.Close()
	q := &raft.InstallSnapshotRequest{
		SnapshotVersion: meta.Version, Term: db.raft().CurrentTerm(), LastLogIndex: meta.Index, LastLogTerm: meta.Term, Size: meta.Size,
		Configuration: raft.EncodeConfiguration(meta.Configuration), ConfigurationIndex: meta.ConfigurationIndex,
	}
	var r raft.InstallSnapshotResponse
	err = db.progress().InstallSnapshot(raft.ServerID(n), raft.ServerAddress(n), q, &r, data)
	return r.Success, err
}

// Base is the last entry that the snapshot of a replica has.
func Base(db *DB) uint64 { return db.group.Load().snapshots.position().LastIndex }

// StandStill lets db apply nothing until release is called.
func StandStill(db *DB) (release func()) {
	db.mu.Lock()
	return sync.OnceFunc(db.mu.Unlock)
}

// Unlinked says whether db's node has no connection to n.
func Unlinked(db *DB, n NodeID) bool {
	p := db.engine.transport.peer(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.link == nil || p.link.ctx.Err() != nil
}

// SendHome is what balance does for a database that is led away from home.
func SendHome(ctx context.Context, db *DB, home NodeID) { db.sendHome(ctx, home) }

// Transferred is the last term in which a hand-over was tried, 0 for none.
func Transferred(db *DB) uint64 { return db.transferred.Load() }

// Standing says whether a replica can vote, and whether it should lead.
func Standing(db *DB) (open, fit bool) {
	s := db.standing()
	return s.open, !s.unfit
}
