package replication

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Every database has a home: the voter whose turn would be the first if all were up. The
// homes are spread evenly, so leaders that are at home are too. A leader elsewhere hands
// over to the home once that has been up for a while and has the whole log.

const (
	// balanceLooks is how often it is looked for that within Options.BalanceAfter.
	balanceLooks = 3
	// balanceAtOnce hand-overs are under way; one costs the database some milliseconds.
	balanceAtOnce = 4
)

// balance sends leaderships home until ctx ends.
func (e *Engine) balance(ctx context.Context) {
	after := e.opts.BalanceAfter
	if after < 0 {
		return
	}
	tick := time.NewTicker(max(after/balanceLooks, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		var wg sync.WaitGroup
		places := make(chan struct{}, balanceAtOnce)
		for _, id := range e.Databases() {
			db, ok := e.DB(id)
			if !ok || ctx.Err() != nil {
				continue
			}
			if home, ok := db.awayFrom(after); ok {
				places <- struct{}{}
				wg.Go(func() {
					defer func() { <-places }()
					db.sendHome(ctx, home)
				})
			}
		}
		wg.Wait()
	}
}

// awayFrom is the database's home, if it is led here, is quiet, and could be led there.
func (db *DB) awayFrom(after time.Duration) (home NodeID, ok bool) {
	term := db.tenure.term()
	if term == 0 || db.engine.elections.hasResigned() {
		return "", false
	}
	voters, err := db.voters()
	if err != nil || len(voters) < 2 {
		return "", false
	}
	home = ranked(db.id, voters)[0]
	up, since := db.engine.transport.up(home)
	p := db.progress()
	ok = home != db.engine.opts.Node && up && time.Since(since) >= after && !p.refuses(home) &&
		p.acked(home, term).last >= db.raft().LastIndex() && db.queue.length() == 0 && !db.proposing()
	return home, ok
}

// sendHome hands over to the home, if that says that it could lead: an attempt costs the
// lease of this term. That it does not take it is no fault. It is tried again.
func (db *DB) sendHome(ctx context.Context, home NodeID) {
	t := db.engine.transport
	// Without a term: this node does lead, unlike one that asks who does.
	said := t.ask(home, []question{{id: db.id}}, t.silence/2)
	if len(said) == 0 || !said[0].open || said[0].unfit {
		return
	}
	err := db.TransferLeadershipTo(ctx, home)
	if err != nil && !errors.Is(err, ErrNotLeader) && db.raft().State() == raft.Leader {
		db.log.Debug("the leadership stays away from home", "home", home, "err", err)
	}
}
