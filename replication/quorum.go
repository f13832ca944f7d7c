package replication

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// raft itself notices after minutes that a leader has lost its followers. So a node that
// does not see a majority of a database's voters ends its tenure: it answers writes and
// reads of the leader with ErrNotLeader at once, and does not wait for proposals that are
// under way. raft may still lead. When the majority is back, and nobody else was elected,
// the next tenure begins with a barrier, like any other.

// servers are the members as raft has them.
func (db *DB) servers() []raft.Server {
	f := db.raft().GetConfiguration()
	if f.Error() != nil {
		return nil
	}
	return f.Configuration().Servers
}

// hasQuorum says whether a majority of the voters is there, as far as this node sees.
func (db *DB) hasQuorum() bool {
	voters, n := 0, 0
	p := db.progress()
	for _, s := range db.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if up, _ := db.engine.transport.up(NodeID(s.ID)); up && !p.refuses(NodeID(s.ID)) {
			n++
		}
	}
	return 2*n > voters
}

// quorumMayHaveChanged has watchLeadership look at it.
func (db *DB) quorumMayHaveChanged() {
	select {
	case db.quorum <- struct{}{}:
	default:
	}
}

// lifeline is held by what waits for raft's answer. It is cut when nobody should wait any
// longer; raft may answer all the same, to nobody.
type lifeline struct {
	mu    sync.Mutex
	ch    chan struct{}
	ended bool
}

// hold returns a channel that is closed with the next cut.
func (l *lifeline) hold() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ch == nil {
		l.ch = make(chan struct{})
		if l.ended {
			close(l.ch)
		}
	}
	return l.ch
}

// cut ends all waiting that has begun; for good: also what begins later.
func (l *lifeline) cut(forGood bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = l.ended || forGood
	if l.ch == nil {
		l.ch = make(chan struct{})
	}
	select {
	case <-l.ch:
	default:
		close(l.ch)
	}
	if !l.ended {
		l.ch = nil
	}
}

// peerChanged is called when a node has come up or gone down.
func (e *Engine) peerChanged(n NodeID) {
	up, _ := e.transport.up(n)
	e.mu.Lock()
	dbs := make([]*DB, 0, len(e.dbs))
	for _, db := range e.dbs {
		dbs = append(dbs, db)
	}
	e.mu.Unlock()
	var later []*DB
	for _, db := range dbs {
		if db.group.Load() == nil || !slices.ContainsFunc(db.servers(), func(s raft.Server) bool { return NodeID(s.ID) == n }) {
			continue
		}
		r := db.raft()
		if r.State() == raft.Leader {
			db.quorumMayHaveChanged()
			if up {
				db.progress().retry(n)
				e.hints.poke(n, db)
			}
			continue
		}
		e.elections.look(db) // Also when its leader has come up: does it still lead?
		if _, id := r.LeaderWithID(); up && NodeID(id) == n {
			later = append(later, db)
		}
	}
	if len(later) > 0 {
		time.AfterFunc(e.transport.silence, func() { e.elections.look(later...) })
	}
}

// detect begins to watch the other nodes, and to look after elections.
func (e *Engine) detect() {
	e.hints, e.elections = newHints(e), newElections(e)
	e.transport.detect(e.opts.HeartbeatTimeout, e.peerChanged, func(from NodeID, q question) standing {
		if db, ok := e.DB(q.id); ok {
			return db.answerStanding(from, q.term)
		}
		return standing{}
	})
	ctx, cancel := context.WithCancel(context.Background())
	e.watchers.Go(func() { e.elections.run(ctx) })
	e.watchers.Go(func() { e.balance(ctx) })
	e.watchers.Go(func() { <-e.closing; cancel() })
}

// roster counts of how many databases each node is a member: one that is of none is not
// watched.
type roster struct {
	mu      sync.Mutex
	members map[*DB][]NodeID
	of      map[NodeID]int
}

// enter notes the members that a database has now. Cost: theirs.
func (e *Engine) enter(db *DB) {
	e.roster.mu.Lock()
	defer e.roster.mu.Unlock()
	var now []NodeID // Read with the lock held, or an older list could win.
	for _, s := range db.servers() {
		now = append(now, NodeID(s.ID))
	}
	e.replace(db, now)
}

// strike forgets a database that has been closed.
func (e *Engine) strike(db *DB) {
	e.roster.mu.Lock()
	defer e.roster.mu.Unlock()
	e.replace(db, nil)
	delete(e.roster.members, db)
}

// replace is what enter and strike have in common. The caller holds roster.mu.
func (e *Engine) replace(db *DB, now []NodeID) {
	r := &e.roster
	if r.members == nil {
		r.members, r.of = map[*DB][]NodeID{}, map[NodeID]int{}
	}
	was := r.members[db]
	r.members[db] = now
	for _, n := range now {
		r.of[n]++
		e.transport.watch(n)
	}
	for _, n := range was {
		if r.of[n]--; r.of[n] == 0 {
			delete(r.of, n)
			e.transport.unwatch(n)
		}
	}
}

// membersChanged is called when a change of a database's members is committed.
func (e *Engine) membersChanged(db *DB) {
	e.enter(db)
	db.progress().keep(db.servers())
	db.quorumMayHaveChanged()
}

// observe is called by raft at changes of the leader; it must not wait.
func (db *DB) observe(o *raft.Observation) bool {
	if l, ok := o.Data.(raft.LeaderObservation); ok {
		db.engine.elections.leaderChanged(db, NodeID(l.LeaderID))
	}
	return false
}

// Peers are the other nodes of this node's databases, and whether they answer.
func (e *Engine) Peers() []Peer { return e.transport.peerStates() }
