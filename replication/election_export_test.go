package replication

import (
	"time"

	"github.com/hashicorp/raft"
)

// Leased says whether db may be read without asking a majority.
func Leased(db *DB) bool { return db.leased(db.tenure.term()) }

// Campaign makes the replica stand for election, whoever leads.
func Campaign(db *DB) error {
	done := make(chan error, 1)
	header := peerHeader(byte(raft.ProtocolVersionMax), db.engine.opts.Node)
	err := db.progress().receive(inbound{
		from: db.engine.opts.Node, command: &raft.TimeoutNowRequest{RPCHeader: header}, own: true,
		answer: func(_ any, err error) { done <- err },
	})
	if err != nil {
		return err
	}
	return <-done
}

// AskToTakeOver sends raft's request to take over to another node, as a leader would.
func AskToTakeOver(db *DB, n NodeID) error {
	q := &raft.TimeoutNowRequest{RPCHeader: peerHeader(byte(raft.ProtocolVersionMax), db.engine.opts.Node)}
	return db.progress().TimeoutNow(raft.ServerID(n), raft.ServerAddress(n), q, new(raft.TimeoutNowResponse))
}

// AskForVote asks another node for its vote in the next term, as a candidate would that was
// told to take over. It goes around what this node itself has promised.
func AskForVote(db *DB, n NodeID) (granted bool, err error) {
	r := db.raft()
	last := db.entryAt(r.LastIndex())
	q := &raft.RequestVoteRequest{
		RPCHeader: peerHeader(byte(raft.ProtocolVersionMax), db.engine.opts.Node),
		Term:      r.CurrentTerm() + 1, LastLogIndex: last.index, LastLogTerm: last.term, LeadershipTransfer: true,
	}
	var out raft.RequestVoteResponse
	err = db.progress().groupTransport.RequestVote(raft.ServerID(n), raft.ServerAddress(n), q, &out)
	return out.Granted, err
}

// IsCandidate says whether the replica waits for votes.
func IsCandidate(db *DB) bool { return db.raft().State() == raft.Candidate }

// Promise is how long a follower's promise lasts.
func Promise(e *Engine) time.Duration { return e.transport.promise }

// Home is the node that should lead a database of these voters.
func Home(id DatabaseID, voters []NodeID) NodeID { return ranked(id, voters)[0] }
