package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A leadership is handed over without raft's LeadershipTransfer, which refuses everything
// until its own end, for an ElectionTimeout, of minutes, if the other node does not take
// it. Here the leader stops evaluating, waits until the other has the whole log, gives the
// promises back, and sends raft's request to take over. If nothing comes of it, it goes on
// leading, in that term without a lease.

const (
	// handOverPoll is how often a hand-over looks at the other's log.
	handOverPoll = 2 * time.Millisecond
	// drainPatience is how long a batch under way may take to get its outcome. Later its
	// callers may not hear it.
	drainPatience = 200 * time.Millisecond
	// maxHandOvers are under way at once.
	maxHandOvers = 64
)

// errNobody: there is no other voter that could lead.
var errNobody = errors.New("no other voter is up")

// TransferLeadership hands the leadership to another voter that is up: the one whose turn
// it would be, among those that have the whole log first. Updates that arrive meanwhile
// are refused with ErrNotLeader. It returns when this node does not lead any more.
func (db *DB) TransferLeadership(ctx context.Context) error {
	if db.solo || db.raft().State() != raft.Leader {
		return db.notLeader()
	}
	heirs, err := db.heirs()
	if err == nil {
		err = db.transferTo(ctx, heirs)
	}
	if err != nil {
		return fmt.Errorf("hand over the leadership of %s: %w", db.id, err)
	}
	return nil
}

// TransferLeadershipTo is TransferLeadership to one node.
func (db *DB) TransferLeadershipTo(ctx context.Context, n NodeID) error {
	if db.solo || db.raft().State() != raft.Leader {
		return db.notLeader()
	}
	if err := db.transferTo(ctx, []NodeID{n}); err != nil {
		return fmt.Errorf("hand over the leadership of %s: %w", db.id, err)
	}
	return nil
}

// heirs are the other voters that are up, best first.
func (db *DB) heirs() ([]NodeID, error) {
	voters, err := db.voters()
	if err != nil {
		return nil, err
	}
	term := db.raft().CurrentTerm()
	lag := func(n NodeID) uint64 {
		return db.raft().LastIndex() - min(db.raft().LastIndex(), db.progress().acked(n, term).last)
	}
	var out []NodeID
	for _, n := range ranked(db.id, voters) {
		if up, _ := db.engine.transport.up(n); up && n != db.engine.opts.Node && !db.progress().refuses(n) {
			out = append(out, n)
		}
	}
	if len(out) == 0 {
		return nil, errNobody
	}
	slices.SortStableFunc(out, func(a, b NodeID) int {
		switch la, lb := lag(a) > 0, lag(b) > 0; {
		case la == lb:
			return 0
		case lb:
			return -1
		}
		return 1
	})
	return out, nil
}

// transferTo hands over to one of heirs: to the first that takes it.
func (db *DB) transferTo(ctx context.Context, heirs []NodeID) error {
	if !db.handing.TryLock() {
		return errors.New("it is being handed over already")
	}
	defer db.handing.Unlock()
	r := db.raft()
	term, ok := ledTerm(r)
	if !ok {
		return db.notLeader()
	}
	db.transferred.Store(term) // Ends the lease: another may be elected at once.
	db.paused.Store(true)
	defer db.paused.Store(false)
	var errs []error
	for _, heir := range heirs {
		patience, cancel := context.WithTimeout(ctx, max(2*db.engine.transport.silence, minHandOver))
		err := db.offer(patience, heir, term)
		cancel()
		if err == nil || r.State() != raft.Leader || r.CurrentTerm() != term {
			return nil
		}
		errs = append(errs, fmt.Errorf("to %s: %w", heir, err))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// minHandOver is the shortest time that a node has to take over, on a loaded machine.
const minHandOver = 500 * time.Millisecond

// offer makes one node take over.
func (db *DB) offer(ctx context.Context, heir NodeID, term uint64) error {
	tick := time.NewTicker(handOverPoll)
	defer tick.Stop()
	r, p := db.raft(), db.progress()
	wait := func(until func() bool) error {
		for !until() {
			if r.State() != raft.Leader || r.CurrentTerm() != term {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	}
	begun := time.Now()
	caughtUp := func() bool {
		drained := !db.proposing() || time.Since(begun) > drainPatience
		return drained && p.acked(heir, term).last >= r.LastIndex()
	}
	if p.acked(heir, term).last < r.LastIndex() {
		p.check(heir)
	}
	if err := wait(caughtUp); err != nil {
		return fmt.Errorf("wait until it has the whole log: %w", err)
	}
	db.release(term, handingOver, releasePatience)
	q := &raft.TimeoutNowRequest{RPCHeader: db.raftHeader()}
	if err := p.TimeoutNow(raft.ServerID(heir), raft.ServerAddress(heir), q, new(raft.TimeoutNowResponse)); err != nil {
		return err
	}
	if err := wait(func() bool { return false }); err != nil {
		return fmt.Errorf("wait until it leads: %w", err)
	}
	return nil
}

// proposing says whether a batch waits for its outcome.
func (db *DB) proposing() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.pending != nil
}

// HandOver transfers every leadership of this node to another voter, many at once, and lets
// this node be elected no more. It is called before a stop; the leaderships of groups of
// which no other voter is up stay.
func (e *Engine) HandOver(ctx context.Context) error {
	e.elections.resign()
	var led []*DB
	e.mu.Lock()
	for _, db := range e.dbs {
		if db.group.Load() != nil && db.raft().State() == raft.Leader {
			led = append(led, db)
		}
	}
	e.mu.Unlock()
	errs := make([]error, len(led))
	places := make(chan struct{}, maxHandOvers)
	var wg sync.WaitGroup
	for i, db := range led {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			errs[i] = db.handOver(ctx)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// errStopping: the node hands over, to be stopped.
var errStopping = errors.New("this node is being stopped, and leads nothing any more")

// unfit is why this replica should not lead: its node is being stopped, or it cannot apply, is
// being rebuilt, or has a disk short of room; nil if it may.
func (db *DB) unfit() error {
	if db.engine.elections.hasResigned() {
		return errStopping
	}
	if err := db.failure(); err != nil {
		return err
	}
	return db.refusal()
}

func (db *DB) handOver(ctx context.Context) error {
	if ctx.Err() != nil {
		return fmt.Errorf("hand over the leadership of %s: %w", db.id, ctx.Err())
	}
	err := db.TransferLeadership(ctx)
	if err != nil && !errors.Is(err, ErrNotLeader) && !errors.Is(err, errNobody) {
		return err
	}
	return nil
}
