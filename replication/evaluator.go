package replication

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// The evaluator exists while its queue is not empty. It gives each waiting update its
// turn inside a savepoint of one write transaction, proposes what they wrote as one raft
// entry, and answers all of them, the refused ones too, when the outcome is known: a
// refusal may rest on what an earlier update of the same batch wrote.

const (
	maxEvaluation  = 20 * time.Millisecond // A batch takes no more updates after so long.
	enqueueTimeout = 2 * time.Second       // Until raft's loop takes a proposal.
)

var (
	errPanicked = errors.New("replication: the closure panicked")
	errSkipped  = errors.New("the replica's file was replaced")
	errDone     = errors.New("replication: the update has ended; its Tx must not be used any more")
)

// batch is the updates that are evaluated and proposed together.
type batch struct {
	id      proposalID
	base    uint64
	time    int64
	term    uint64
	life    chan struct{} // Closed when nobody should wait for the outcome any longer.
	rec     recorder
	answers []answer
	// Guarded by DB.mu.
	dead   bool  // Its transaction has been rolled back.
	err    error // Why it was given up, if not for a foreign entry.
	early  bool  // Only in a mutant: committed before it was proposed.
	result batchResult
	index  uint64
}

type answer struct {
	r   *job
	err error
}

type batchResult int

const (
	undecided batchResult = iota
	committed             // Every replica executes it.
	rejected              // Every replica rejects it: its base had moved.
)

// evaluate serves the queue until it is empty.
func (db *DB) evaluate() {
	defer db.tasks.Done()
	for {
		db.evaluateBatch()
		if db.queue.idle() {
			return
		}
	}
}

func (db *DB) evaluateBatch() {
	db.batches <- struct{}{}
	defer func() { <-db.batches }()
	b, err := db.begin()
	if err != nil {
		db.queue.flush(err)
		return
	}
	started := time.Now()
	for waited := false; db.wants(b) && time.Since(started) < maxEvaluation; {
		r := db.queue.next()
		if r != nil {
			db.takeTurn(b, r)
			continue
		}
		more, d := db.company.wait(len(b.answers))
		if waited || more == 0 {
			break
		}
		waited = true
		db.company.came(more, db.queue.await(more, d))
	}
	db.propose(b)
}

// begin opens the write transaction.
func (db *DB) begin() (*batch, error) {
	var life chan struct{}
	if !db.solo {
		life = db.group.Load().life.hold() // Before the term: what ends it ends this.
	}
	term := db.tenure.term()
	if term == 0 || db.paused.Load() {
		return nil, db.notLeader()
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.failure(); err != nil {
		return nil, err
	}
	if held := db.held.Load(); held != nil {
		return nil, *held
	}
	err := db.wakeUp()
	if err == nil {
		_, err = db.w.exec("BEGIN IMMEDIATE")
	}
	if err != nil {
		return nil, db.machine(fmt.Errorf("begin: %w", err))
	}
	b := &batch{id: db.engine.newProposal(), base: db.state.lastcmd, term: term, life: life}
	now := db.engine.opts.Now().UnixMicro()
	b.time = max(now, db.state.time+1)
	db.warnClock(now, term)
	db.w.setTime(b.time)
	db.open = b
	return b, nil
}

// warnClock says, once a term, that the box's clock is before the newest entry.
func (db *DB) warnClock(now int64, term uint64) {
	if behind := time.Duration(db.state.time-now) * time.Microsecond; behind > time.Second && db.warned != term {
		db.warned = term
		db.log.Warn("this machine's clock is before the newest entry of the database; set the clock",
			"behind", behind)
	}
}

func (db *DB) wants(b *batch) bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return !b.dead && len(b.answers) < db.engine.opts.MaxBatch && b.rec.size < db.engine.opts.MaxBatchBytes
}

// takeTurn evaluates one update.
func (db *DB) takeTurn(b *batch, r *job) {
	b.rec.begin()
	tx := &Tx{db: db, batch: b}
	var err error
	switch {
	case r.closure:
		err = db.waitClosure(tx, r)
	case r.list != nil:
		err = db.runStatements(tx, r)
	default:
		err = db.runList(tx, r)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	tx.done = true
	if err == nil {
		err = tx.broken
	}
	b.answers = append(b.answers, answer{r, db.settle(b, tx, err)})
}

// waitClosure gives the caller its turn and waits, for a limited time, for its end.
func (db *DB) waitClosure(tx *Tx, r *job) error {
	r.turn <- tx
	timer := time.NewTimer(db.engine.opts.MaxClosure)
	defer timer.Stop()
	select {
	case err := <-r.finished:
		return err
	case <-timer.C:
		tx.overdue.Store(true)
		db.running.end(tx)
		return fmt.Errorf("%w: it ran for more than %v", ErrTooSlow, db.engine.opts.MaxClosure)
	}
}

// runList executes a statement list.
func (db *DB) runList(tx *Tx, r *job) error {
	timer := time.AfterFunc(db.engine.opts.MaxClosure, func() {
		tx.overdue.Store(true)
		db.running.end(tx)
	})
	defer timer.Stop()
	r.results = make([]Result, len(r.stmts))
	for i, s := range r.stmts {
		res, err := tx.ExecResult(s.SQL, s.Args...)
		if err != nil {
			return fmt.Errorf("statement %d: %w", i+1, err)
		}
		r.results[i] = res
	}
	return nil
}

// settle keeps or undoes what tx did, and returns what its caller is told if the batch
// succeeds. The caller holds mu.
func (db *DB) settle(b *batch, tx *Tx, err error) error {
	if b.dead {
		b.rec.drop()
		return err
	}
	if !db.w.inTransaction() { // A statement ended it for all.
		b.rec.drop()
		if rerr := db.redo(b); rerr != nil {
			db.abort(b, rerr)
		}
		return err
	}
	if err == nil && db.w.deferredKeys() {
		err = errors.New("replication: a deferred foreign key is violated at the end of the update")
	}
	if tx.savepoint {
		undo := ""
		if err != nil {
			undo = "ROLLBACK TO tx"
		}
		for _, sql := range []string{undo, "RELEASE tx"} {
			if sql == "" {
				continue
			}
			if _, serr := db.w.exec(sql); serr != nil {
				db.abort(b, serr)
				return err
			}
		}
	}
	if err != nil {
		b.rec.drop()
	} else {
		b.rec.keep()
	}
	return err
}

// redo executes the record of a batch again, after a closure's statement ended the
// transaction of all (INSERT OR ROLLBACK, RAISE(ROLLBACK), an interrupted write).
func (db *DB) redo(b *batch) error {
	if _, err := db.w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	return db.execute(b.rec.entry(b.id, b.base, b.time))
}

// abort ends a batch that was not proposed: the error says something about this machine,
// not about an update. The caller holds mu.
func (db *DB) abort(b *batch, err error) {
	db.log.Error("a batch of updates was given up before it was proposed", "err", err)
	db.rollback()
	b.dead = true
	if err := db.machine(err); errors.Is(err, ErrDisk) {
		b.err = err
	}
}

// reason is what the updates of a batch that was given up are told.
func (db *DB) reason(b *batch) error {
	if b.err != nil {
		return b.err
	}
	return db.notLeader()
}

// propose brings the batch to its outcome and answers its updates.
func (db *DB) propose(b *batch) {
	db.mu.Lock()
	if len(b.answers) == 0 || b.rec.units == 0 {
		dead := b.dead
		if !dead {
			db.rollback()
		}
		db.mu.Unlock()
		db.answerReads(b, dead)
		return
	}
	if b.dead || db.tenure.term() != b.term {
		db.rollback()
		db.mu.Unlock()
		b.answer(0, db.reason(b), false)
		return
	}
	data := b.rec.entry(b.id, b.base, b.time).encode()
	db.pending = b
	if db.mutants.lacks(proposeFirst) {
		_, cerr := db.w.exec("COMMIT")
		b.early, db.open = cerr == nil, nil
	}
	db.mu.Unlock()
	if db.hooks.beforePropose != nil {
		db.hooks.beforePropose()
	}
	size := len(b.answers)
	if db.mutants.lacks(commitFirst) {
		b.answer(Index(db.applied.value()), nil, true)
		b.answers = nil
	}
	proposed := time.Now()
	err := db.apply(b, data)
	db.company.answered(size, db.queue.length(), time.Since(proposed))
	db.conclude(b, err)
}

// answerReads answers a batch that wrote nothing. What its closures read, and refused by,
// counts only if this node still leads.
func (db *DB) answerReads(b *batch, dead bool) {
	if len(b.answers) == 0 {
		return
	}
	if dead || db.verify(context.Background(), b.term) != nil {
		b.answer(0, db.reason(b), false)
		return
	}
	b.answer(Index(db.applied.value()), nil, true)
}

// conclude answers a proposed batch. err is what raft says of it; what this replica's FSM
// has seen counts more.
func (db *DB) conclude(b *batch, err error) {
	db.mu.Lock()
	if db.open == b {
		db.rollback()
	}
	db.pending = nil
	result, index, failed := b.result, b.index, db.failed.Load()
	held := db.refusal()
	db.mu.Unlock()
	switch {
	case result == committed:
		b.answer(Index(index), nil, true)
	case result == rejected:
		b.answer(0, db.notLeader(), false)
	case certainlyNot(err):
		b.answer(0, db.notLeader(), false)
	case failed != nil:
		b.answer(0, fmt.Errorf("%w: %w", ErrUnknownOutcome, *failed), false)
	case err == nil: // Committed, but not applied here, or in a file that was installed.
		b.answer(0, fmt.Errorf("%w: %w", ErrUnknownOutcome, cmp.Or(held, errSkipped)), false)
	case errors.Is(err, raft.ErrRaftShutdown): // What b.life ends with: see answered.
		b.answer(0, fmt.Errorf("%w: %w", ErrUnknownOutcome, errTenureEnded), false)
	default:
		b.answer(0, fmt.Errorf("%w: %w", ErrUnknownOutcome, err), false)
	}
}

// errTenureEnded: nothing that the leader had proposed will be answered any more.
var errTenureEnded = errors.New("the leadership ended before a majority was known to have it")

// certainlyNot says whether raft's error means that the entry never entered a log.
// ErrRaftShutdown does not: it also ends what is in flight.
func certainlyNot(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) ||
		errors.Is(err, raft.ErrEnqueueTimeout)
}

// answer tells every update of the batch what came of it. If the batch counts, each gets
// its own error; if not, a refused one is told what the others are told, except that for
// it nothing is unknown: its refusal is void and nothing of it was proposed.
func (b *batch) answer(index Index, err error, counts bool) {
	for _, a := range b.answers {
		o := outcome{index: index, err: a.err}
		switch {
		case counts && a.err != nil:
			o.index = 0
		case counts:
		case a.err == nil:
			o.err = err
		case errors.Is(err, ErrUnknownOutcome):
			o.err = fmt.Errorf("%w: the update was refused (%v), on a state that may not last", ErrNotLeader, a.err)
		default:
			o.err = err
		}
		a.r.outcome <- o
	}
}
