package replication

import (
	"context"
	"sync"
	"time"
)

// tenure is this node's leadership: from the barrier that follows an election to the loss.
type tenure struct {
	mu sync.Mutex
	n  uint64 // The term in which updates may be evaluated; 0: none.
}

// term is the term in which this node leads and is ready; 0 if it is not.
func (t *tenure) term() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// begin opens the tenure, unless ctx has ended in the meantime.
func (t *tenure) begin(ctx context.Context, term uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	t.n = term
	return true
}

// end closes it, and cancels what belongs to it.
func (t *tenure) end(cancel context.CancelFunc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	cancel()
	t.n = 0
}

// watchLeadership runs lead while this node leads and sees a majority. It takes every notice
// at once, for raft's main loop waits for that; the next lead waits until the one before has
// returned.
func (db *DB) watchLeadership(g *group, notices <-chan bool) {
	defer db.tasks.Done()
	leads, quorum, term := false, true, uint64(0)
	var overdue <-chan time.Time // Fires when a leadership has come to nothing for barrenAfter.
	cancel := func() {}
	var done chan struct{}
	for {
		select {
		case leads = <-notices:
			// Also before a new leadership: a loss may have gone unnoticed between two.
			db.endTenure(cancel)
			if leads {
				term = g.raft.CurrentTerm()
			} else {
				db.log.Info("leadership lost")
				g.progress.deposed()
				db.release(term, ended, 0)
			}
			quorum = db.hasQuorum()
		case <-db.quorum:
			was := quorum
			if quorum = db.hasQuorum(); leads && was && !quorum {
				db.log.Warn("no majority of the nodes is there; writes are refused until it is back")
				db.endTenure(cancel)
				g.life.cut(false)
				db.release(term, lapsed, 0)
			}
		case <-overdue:
			if overdue = nil; leads && db.tenure.term() == 0 {
				db.giveUp(term)
			}
		case <-done:
			done = nil
		case <-g.halted:
			db.tenure.end(cancel)
			for done != nil {
				select {
				case <-notices:
				case <-done:
					done = nil
				}
			}
			return
		}
		if leads && quorum && done == nil && db.tenure.term() == 0 {
			var ctx context.Context
			ctx, cancel = context.WithCancel(context.Background())
			done = make(chan struct{})
			go db.lead(ctx, g, done)
		}
		if waits := leads && db.tenure.term() == 0; waits && overdue == nil {
			overdue = time.After(barrenAfter * db.engine.opts.HeartbeatTimeout)
		} else if !waits {
			overdue = nil
		}
	}
}

// barrenAfter heartbeat timeouts a leadership may take to begin, or to go on when no majority
// was there: what was committed before has to be applied, and members have to come back.
const barrenAfter = 10

// giveUp lets the others elect another leader, though raft leads here: whatever keeps the
// tenure from beginning, a disk, a line or a fault in this program, may last, and nobody is
// elected while this node says that it leads. If the tenure begins after all before
// another's does, it counts: nothing but a higher term ends it.
func (db *DB) giveUp(term uint64) {
	if db.barren.Swap(term) != term {
		db.log.Warn("this leadership comes to nothing; another node may lead", "term", term)
	}
	db.release(term, ended, 0)
}

// endTenure ends the tenure, if there is one, and notes until when its reads were fresh.
func (db *DB) endTenure(cancel context.CancelFunc) {
	if term := db.tenure.term(); term != 0 {
		db.wasFresh(db.lastFresh(term))
	}
	db.tenure.end(cancel)
}

const barrierTimeout = 10 * time.Second // Until raft's loop takes the barrier.

// lead waits until all that was committed before is applied, opens the tenure, and runs
// OnLead until the leadership ends.
func (db *DB) lead(ctx context.Context, g *group, done chan<- struct{}) {
	defer close(done)
	term := g.raft.CurrentTerm()
	for answered(g.raft.Barrier(barrierTimeout), g.life.hold()).Error() != nil || db.held.Load() != nil || db.broken.Load() != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(db.engine.opts.HeartbeatTimeout / 10):
		}
	}
	// Another term is another's, or needs a barrier of its own: its notice is on the way.
	if g.raft.CurrentTerm() != term || !db.tenure.begin(ctx, term) {
		<-ctx.Done()
		return
	}
	db.barren.Store(0)
	db.log.Info("leading", "term", term)
	db.tellCommit() // What was committed before is known to the others with this.
	if db.onLead != nil {
		db.onLead(ctx, db)
	}
	<-ctx.Done()
}
