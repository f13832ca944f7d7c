package replication

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// errNoFollower: a request to take over is for a follower. A leader would lose its lead by
// it, and a candidate takes no notice.
var errNoFollower = errors.New("it leads, or is being elected, already")

// campaign makes raft stand for election. done hears why it does not.
func (db *DB) campaign(done func(err error)) {
	still := func() error {
		if !db.isVacant() {
			return errors.New("there is a leader")
		}
		return nil
	}
	err := db.progress().receive(inbound{
		from: db.engine.opts.Node, command: &raft.TimeoutNowRequest{RPCHeader: db.raftHeader()}, still: still,
		own:    len(db.servers()) == 1, // Nobody else can lead.
		answer: func(_ any, err error) { done(err) },
	})
	if err != nil {
		done(err)
	}
}

func (db *DB) raftHeader() raft.RPCHeader {
	return peerHeader(byte(raft.ProtocolVersionMax), db.engine.opts.Node)
}

// mayTakeOver says why a request to take over must not reach raft; nil of a request for a vote.
func (g *groupTransport) mayTakeOver(in inbound) error {
	if _, ok := in.command.(*raft.TimeoutNowRequest); !ok || g.book == nil || g.book.db == nil {
		return nil
	}
	r := g.running()
	switch {
	case r == nil || r.State() != raft.Follower && r.State() != raft.Candidate:
		return errNoFollower
	case r.State() == raft.Candidate && in.own && time.Since(g.stood) < rpcTimeout:
		return errNoFollower // Its own vote is enough, and is on its way.
	case in.link != nil:
		return g.book.db.unfit() // Another should lead.
	}
	return nil
}

// stand hands raft a vote, or a request to take over. The latter finds a follower: requests
// come one after another, and nothing else makes a candidate within minutes. So none can
// reach a leader that was a candidate when it was looked at.
func (g *groupTransport) stand(in inbound) raft.RPCResponse {
	if _, ok := in.command.(*raft.TimeoutNowRequest); !ok || g.book == nil || g.book.db == nil {
		return g.consult(in)
	}
	r := g.running()
	if r != nil && r.State() == raft.Candidate {
		// It waits for votes of an election that is over, and takes no notice of another
		// request. A candidate with an empty log and a higher term sets it free.
		q := &raft.RequestVoteRequest{RPCHeader: g.book.db.raftHeader(), Term: r.CurrentTerm() + 1, LeadershipTransfer: true}
		g.consult(inbound{from: g.t.self, command: q})
	}
	if r == nil || r.State() != raft.Follower {
		return raft.RPCResponse{Error: errNoFollower}
	}
	g.stood = time.Now()
	return g.consult(in)
}
