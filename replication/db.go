package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// DB is one database and the raft group that orders its changes. Its methods are safe for
// concurrent use.
type DB struct {
	id      DatabaseID
	engine  *Engine
	path    string // Of state.db.
	log     *slog.Logger
	onLead  func(ctx context.Context, db *DB)
	mutants mutants
	hooks   hooks
	solo    bool // It has no group: see Solo.

	group atomic.Pointer[group] // Of its log; nil until it is started the first time.
	logs  raft.LogStore

	// mu guards the write connection and what is open on it. It is held for a statement or
	// an apply, never while a closure runs.
	mu      sync.Mutex
	w       *conn // nil: closed, see wakeUp.
	state   state
	open    *batch // Has the write transaction.
	pending *batch // Proposed; its outcome is not known. May still be open.
	warned  uint64 // The term in which the clock was complained about.

	handed   uint64                // The last entry that raft handed over. Guarded by mu.
	failed   atomic.Pointer[error] // Why the replica has stopped; set once, with mu held.
	broken   atomic.Pointer[error] // Why it is being rebuilt (see damaged); set with mu held.
	rebuilt  atomic.Int64          // How often it was.
	received atomic.Int64          // How often the leader has sent the file.
	held     atomic.Pointer[error] // Why it applies nothing for now (see hold); set with mu held.
	running  running               // Which closure's statement is on the write connection.
	readers  pool
	// The last term in which handing over the leadership was tried.
	transferred atomic.Uint64
	handing     sync.Mutex                // Held by a hand-over.
	paused      atomic.Bool               // By a hand-over: nothing is evaluated.
	fresh       atomic.Pointer[time.Time] // When the replica was last known to have everything.
	disowned    atomic.Uint64             // The term whose leader has said that it does not lead.
	barren      atomic.Uint64             // The term that this node leads, for raft, and gives up.
	quorum      chan struct{}             // Holds one token when the quorum may have changed.
	givenAway   atomic.Int64              // When that was tried for want of room, ns since 1970.
	applied     watch                     // Of state.applied, after the commit.
	wal         wal
	passes      passes
	used        atomic.Int64 // When the files were used last, ns since 1970.
	grown       grown
	snapping    sync.Mutex   // Held while raft takes a snapshot or receives one.
	installs    atomic.Int32 // A received file is awaited or installed: nothing may read the old one.

	founders  []NodeID      // DBOptions.Voters.
	logLost   atomic.Bool   // The log is being rebuilt too: no group runs.
	batches   chan struct{} // Holds a token while a batch is evaluated or a mark proposed.
	verifying sync.Mutex    // Held by Verify.
	verified  atomic.Uint64 // The index of the last one.
	verdict   atomic.Pointer[verdict]
	doubt     atomic.Pointer[string] // What a verification could not decide.

	opened   chan struct{} // Closed when group is set: the FSM may be called before.
	queue    queue
	company  company // Of the evaluator.
	tenure   tenure
	stopping chan struct{}
	closed   atomic.Bool
	tasks    sync.WaitGroup // Evaluators and the watch over the leadership.
}

// hooks are called by the tests at moments that chance never reaches.
type hooks struct {
	beforePropose func()
	beforeVerify  func()
	answered      func(n NodeID) // A heartbeat was, and nobody knows yet.
	rebuildStep   func(step string)
	logFS         vfs.FS // Of the log store; nil: the machine's.
	onSkip        func(index uint64)
}

// ID is the database's name.
func (db *DB) ID() DatabaseID { return db.id }

// Applied is the index of the last entry in this replica's file.
func (db *DB) Applied() Index { return Index(db.applied.value()) }

// AppliedChanged returns a channel that is closed at the next change of Applied. Take it
// before looking at what may have changed.
func (db *DB) AppliedChanged() <-chan struct{} { return db.applied.changed() }

// WaitApplied waits until this replica has applied i. It returns ctx's error, ErrClosed,
// or the error that stopped the replica.
func (db *DB) WaitApplied(ctx context.Context, i Index) error {
	for {
		changed := db.applied.changed()
		if db.Applied() >= i {
			return nil
		}
		if err := db.failure(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for index %d of %s, which is at %d: %w", i, db.id, db.Applied(), ctx.Err())
		case <-db.stopping:
			return ErrClosed
		}
	}
}

// Leader is who leads, as this node knows; "" and false when it knows nobody who can.
func (db *DB) Leader() (NodeID, bool) {
	if db.solo {
		return db.engine.opts.Node, true
	}
	_, id := db.raft().LeaderWithID()
	known := id != ""
	if NodeID(id) == db.engine.opts.Node {
		known = db.tenure.term() != 0
	} else if known {
		known = !db.isVacant()
	}
	if !known {
		return "", false
	}
	return NodeID(id), true
}

// IsLeader says whether this node leads and has applied all that was committed before its
// leadership: whether Update can work here.
func (db *DB) IsLeader() bool {
	return db.tenure.term() != 0 && (db.solo || db.raft().State() == raft.Leader)
}

// Status is the database's condition on this node.
func (db *DB) Status() Status {
	if db.solo {
		return db.soloStatus()
	}
	leader, _ := db.Leader()
	s := Status{
		Database: db.id, Leader: leader, Role: db.role(), Term: db.raft().CurrentTerm(),
		Applied: db.Applied(), LogLast: Index(db.raft().LastIndex()), Rebuilt: int(db.rebuilt.Load()), Received: int(db.received.Load()),
	}
	if members, err := db.Members(); err == nil {
		for _, m := range members {
			if m.Voter {
				s.Voters = append(s.Voters, m.Node)
			}
		}
	}
	if err := db.failure(); err != nil {
		s.Role, s.Err = "stopped", err.Error()
		if db.broken.Load() != nil && !db.ended() {
			s.Role = "rebuilding"
		}
	} else if err := db.refusal(); err != nil {
		s.Held = err.Error()
	}
	if doubt := db.doubt.Load(); doubt != nil {
		s.Doubt = *doubt
	}
	return s
}

func (db *DB) role() string {
	switch db.raft().State() {
	case raft.Leader:
		return "leader"
	case raft.Candidate:
		return "candidate"
	case raft.Follower:
		return "follower"
	}
	return "stopped"
}

// failure is why the replica does not serve: ErrClosed, or what stopped it.
func (db *DB) failure() error {
	if db.closed.Load() {
		return ErrClosed
	}
	if err := db.failed.Load(); err != nil {
		return *err
	}
	if err := db.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// fail stops the replica. The caller holds mu.
func (db *DB) fail(err error) {
	if db.failed.Load() != nil {
		return
	}
	var sq *sqlError
	if errors.As(err, &sq) && !sq.deterministic() {
		err = fmt.Errorf("%w: %w", ErrDisk, err)
	}
	err = fmt.Errorf("replica of %s has stopped at index %d: %w", db.id, db.state.applied, err)
	db.failed.Store(&err)
	db.log.Error("a replica has stopped; it serves nothing until it is rebuilt", "err", err)
	db.rollback()
	db.applied.notify()
	if db.group.Load() == nil { // A start that fails: there is nobody to stop yet.
		return
	}
	db.tasks.Add(1)
	go func() { // raft's own goroutine may be our caller.
		defer db.tasks.Done()
		_ = db.shutdown() // stop tells its error.
	}()
}

// rollback ends whatever transaction the write connection has. The caller holds mu.
func (db *DB) rollback() {
	if db.open != nil {
		db.open.dead = true
		db.open = nil
	}
	if db.w.inTransaction() {
		if _, err := db.w.exec("ROLLBACK"); err != nil {
			db.fail(fmt.Errorf("roll back: %w", err))
		}
	}
}

func (db *DB) dir() string { return filepath.Dir(db.path) }

// awaitMu waits until whoever holds mu has let it go.
func (db *DB) awaitMu() {
	db.mu.Lock()
	defer db.mu.Unlock()
}

// stop ends all of the database's goroutines and closes the file.
func (db *DB) stop() error {
	if db.closed.Swap(true) {
		return nil
	}
	close(db.stopping)
	db.queue.refuse(ErrClosed)
	db.awaitMu() // Whoever begins a rebuild has seen closed, or is in tasks.
	err := db.shutdown()
	db.tasks.Wait()
	db.readers.shut()
	db.passes.mu.Lock()
	defer db.passes.mu.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.rollback()
	if s := db.engine.sleeper; s != nil {
		s.remove(db)
	}
	return errors.Join(err, db.closeFiles())
}

// shutdown ends the group that runs and waits for it.
func (db *DB) shutdown() error {
	if g := db.group.Load(); g != nil {
		return g.shutdown()
	}
	return nil
}

// watch is a number that grows, with waiters.
type watch struct {
	mu sync.Mutex
	n  uint64
	ch chan struct{}
}

func (w *watch) value() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n
}

func (w *watch) set(n uint64) {
	w.mu.Lock()
	w.n = n
	w.mu.Unlock()
	w.notify()
}

func (w *watch) notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch != nil {
		close(w.ch)
		w.ch = nil
	}
}

func (w *watch) changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ch == nil {
		w.ch = make(chan struct{})
	}
	return w.ch
}

// running is the statement of a closure that is on the write connection, so that it and
// nothing else is interrupted.
type running struct {
	mu sync.Mutex
	tx *Tx
	w  *conn
}

func (r *running) set(tx *Tx, w *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tx, r.w = tx, w
}

// interrupt ends the statement of whichever closure has one.
func (r *running) interrupt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tx != nil {
		r.w.interrupt()
	}
}

// end ends tx's statement and waits for that. SQLite forgets an interrupt that comes
// before the statement's first step, hence the repetition.
func (r *running) end(tx *Tx) {
	for {
		r.mu.Lock()
		runs := r.tx == tx
		if runs {
			r.w.interrupt()
		}
		r.mu.Unlock()
		if !runs {
			return
		}
		time.Sleep(interruptAgain)
	}
}

// interruptAgain is how long a statement has to notice an interrupt.
const interruptAgain = time.Millisecond

// unixMicro is the time of a number in the file.
func unixMicro(n int64) time.Time { return time.UnixMicro(n).UTC() }
