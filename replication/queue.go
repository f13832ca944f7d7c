package replication

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// job is one Update or Exec that waits for its turn and then for its outcome.
type job struct {
	closure  bool
	stmts    []Statement // Of Exec and Execute.
	results  []Result    // Of Exec.
	list     *list       // Of Execute.
	state    atomic.Int32
	turn     chan *Tx     // The evaluator gives the caller its turn.
	finished chan error   // The caller says how the closure ended.
	outcome  chan outcome // The evaluator says what came of it.
}

type outcome struct {
	index Index
	err   error
}

const (
	waiting int32 = iota
	taken         // The evaluator has begun it.
	left          // Its caller has gone.
)

func newJob() *job {
	return &job{turn: make(chan *Tx, 1), finished: make(chan error, 1), outcome: make(chan outcome, 1)}
}

// queue holds the requests that wait for the evaluator.
type queue struct {
	mu      sync.Mutex
	waiting []*job
	max     int
	start   func() // Starts an evaluator; called with mu held.
	running bool   // One is at work.
	refused error  // Why nothing more is taken.

	wanted int           // The evaluator waits until so many wait,
	enough chan struct{} // and is told here; nil: it does not.
}

// add appends r, and starts an evaluator if none is at work.
func (q *queue) add(r *job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refused != nil {
		return q.refused
	}
	if len(q.waiting) >= q.max {
		return ErrOverloaded
	}
	q.waiting = append(q.waiting, r)
	if q.enough != nil && len(q.waiting) >= q.wanted {
		close(q.enough)
		q.enough = nil
	}
	if !q.running {
		q.running = true
		q.start()
	}
	return nil
}

// next takes the next request whose caller still waits; nil if there is none.
func (q *queue) next() *job {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 {
		r := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		if r.state.CompareAndSwap(waiting, taken) {
			return r
		}
	}
	q.waiting = nil
	return nil
}

// await waits until n requests wait, for at most d, and returns how many do.
func (q *queue) await(n int, d time.Duration) int {
	q.mu.Lock()
	enough := make(chan struct{})
	q.wanted, q.enough = n, enough
	have := len(q.waiting)
	q.mu.Unlock()
	if have < n {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-enough:
		case <-timer.C:
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.enough = nil
	return len(q.waiting)
}

// length is how many requests wait.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// idle says whether nothing waits; the evaluator then ends.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = len(q.waiting) > 0
	return !q.running
}

// refuse answers all that wait, and all that come, with err.
func (q *queue) refuse(err error) {
	q.mu.Lock()
	q.refused = err
	q.mu.Unlock()
	q.flush(err)
}

// flush answers all that wait with err.
func (q *queue) flush(err error) {
	for r := q.next(); r != nil; r = q.next() {
		r.outcome <- outcome{err: err}
	}
}

// Update runs fn in the database's write transaction and returns when what it wrote is
// committed by a majority and in this replica's file; the index is where.
//
// fn runs in the caller's goroutine, for at most Options.MaxClosure, alone: it sees all
// that committed before it. It must have no effect but through tx, for it may run and yet
// not count. If fn returns an error or panics, nothing of it is kept and Update returns
// that error, or panics.
//
// Errors: fn's own; ErrNotLeader, ErrOverloaded, ErrTooSlow, ErrForbiddenSQL, ErrClosed
// and ctx's own error: certainly not applied. ErrUnknownOutcome: perhaps applied.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) (Index, error) {
	r := newJob()
	r.closure = true
	if err := db.submit(ctx, r); err != nil {
		return 0, err
	}
	var tx *Tx
	select {
	case tx = <-r.turn:
	case o := <-r.outcome:
		return o.index, o.err
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, left) {
			return 0, ctx.Err()
		}
		select {
		case tx = <-r.turn:
		case o := <-r.outcome:
			return o.index, o.err
		}
	}
	if err := r.run(tx, fn); err != nil {
		select {
		case o := <-r.outcome:
			return o.index, o.err
		case <-ctx.Done(): // What fn has seen may be undone yet, and with it the reason.
			return 0, fmt.Errorf("%w: the update was refused (%v), on a state that may not last", ctx.Err(), err)
		}
	}
	return r.await(ctx)
}

// run calls fn. A panic goes on to the caller, once the evaluator knows.
func (r *job) run(tx *Tx, fn func(tx *Tx) error) (err error) {
	err = errPanicked
	defer func() { r.finished <- err }()
	err = fn(tx)
	return err
}

func (r *job) await(ctx context.Context) (Index, error) {
	select {
	case o := <-r.outcome:
		return o.index, o.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// Exec is an Update of a list of statements: all are executed, or none. The results are
// in the order of the statements. Errors are those of Update.
func (db *DB) Exec(ctx context.Context, stmts ...Statement) ([]Result, Index, error) {
	r := newJob()
	r.stmts = stmts
	if err := db.submit(ctx, r); err != nil {
		return nil, 0, err
	}
	select {
	case o := <-r.outcome:
		return r.results, o.index, o.err
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, left) {
			return nil, 0, ctx.Err()
		}
	}
	index, err := r.await(ctx)
	if err != nil {
		return nil, index, err // The evaluator may still be writing the results.
	}
	return r.results, index, nil
}

func (db *DB) submit(ctx context.Context, r *job) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.failure(); err != nil {
		return err
	}
	if !db.IsLeader() || db.paused.Load() {
		return db.notLeader()
	}
	if err := db.refusal(); err != nil {
		return err // Before raft would have to store it: certainly not applied.
	}
	return db.queue.add(r)
}

// notLeader is ErrNotLeader with who leads.
func (db *DB) notLeader() error {
	if n, ok := db.Leader(); ok && n != db.engine.opts.Node {
		return fmt.Errorf("%w: %s does", ErrNotLeader, n)
	}
	return ErrNotLeader
}
