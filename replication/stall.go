package replication

import (
	"io"
	"time"

	"github.com/hashicorp/raft"
)

// raft sends what a follower lacks when there is something new for it, or after
// CommitTimeout, which is minutes. After a failure (a pipeline that ended with requests in
// it, a log that is compacted, a file that did not arrive) it waits for that. So a leader
// that sees a follower behind, with nothing under way to it, writes a barrier: an entry
// that makes raft look.

// mostStalled is the longest wait between two barriers for one follower.
const mostStalled = 5 * time.Second

// check looks at a follower in a moment, when raft has had the time to go on by itself.
func (p *progress) check(n NodeID) {
	if p == nil || p.db == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of(n)
	if f.checking {
		return
	}
	f.checking = true
	f.wait = min(max(2*f.wait, firstRetry), mostStalled)
	time.AfterFunc(f.wait, func() { p.t.spawn(func() { p.checked(n) }) })
}

// checked writes a barrier if the follower is behind and nothing is under way to it.
func (p *progress) checked(n NodeID) {
	r := p.db.raft()
	term, last := r.CurrentTerm(), r.LastIndex()
	leads := r.State() == raft.Leader && p.ctx.Err() == nil
	up, _ := p.t.up(n)
	p.mu.Lock()
	f := p.of(n)
	f.checking = false
	behind := f.term != term || f.last < last || f.behind
	refusing := !f.refusing.IsZero()
	untold := leads && up && !behind && !refusing && f.told < r.CommitIndex()
	if !leads || !up || !behind && !refusing { // A node that comes up is told, and answers that it is behind.
		if !untold {
			f.wait = 0
		}
		p.mu.Unlock()
		if untold { // What told it was lost; should that be lost too, it is looked at again.
			p.db.engine.hints.committed(p.db)
		}
		return
	}
	idle := f.flying == 0
	p.mu.Unlock()
	switch {
	case refusing:
		p.db.engine.hints.poke(n, p.db)
	case idle:
		_ = r.Barrier(barrierTimeout) // What comes of it shows in the follower's answers.
	}
	p.check(n)
}

// pipelineEnded is called when raft has given up a pipeline.
func (p *progress) pipelineEnded(n NodeID) { p.check(n) }

// InstallSnapshot sends a replica's file; see groupTransport.InstallSnapshot.
func (p *progress) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, q *raft.InstallSnapshotRequest, r *raft.InstallSnapshotResponse, data io.Reader) error {
	p.flies(NodeID(to), 1)
	err := p.groupTransport.InstallSnapshot(id, to, q, r, data)
	p.flies(NodeID(to), -1)
	if err != nil || !r.Success {
		p.check(NodeID(to))
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.of(NodeID(to)); r.Term == q.Term && q.Term >= f.term { // It has what the file has.
		f = f.in(q.Term)
		f.last, f.behind = max(f.last, q.LastLogIndex), false
	}
	return nil
}
