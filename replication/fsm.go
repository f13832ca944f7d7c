package replication

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// fsm is what raft calls, always from one goroutine.
type fsm struct{ db *DB }

var _ raft.BatchingFSM = (*fsm)(nil)

// errDiverged stops a replica that executed a statement otherwise than the leader did.
var errDiverged = errors.New("replication: this replica differs from the leader's")

// Apply executes one committed entry.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// applyTime is how long the transaction of committed entries may get. One that replays much
// would be a WAL of its size, and hold up everybody's fsyncs.
const applyTime = 50 * time.Millisecond

// ApplyBatch executes committed entries, each once, in a transaction or several. It returns
// nothing: what the evaluator must know is in the batch (see conclude).
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	db := f.db
	<-db.opened
	db.tellCommit()
	if slices.ContainsFunc(logs, func(l *raft.Log) bool { return l.Type == raft.LogConfiguration }) {
		db.engine.membersChanged(db)
	}
	for rest := logs; len(rest) > 0; db.keepWALShort() {
		if slices.ContainsFunc(rest, func(l *raft.Log) bool { return l.Type == raft.LogCommand }) {
			// While a closure runs, no proposal of ours is on its way: what has arrived is
			// foreign, and ends the closure's transaction. A change of members does not.
			db.running.interrupt()
		}
		rest = rest[db.applyFirst(rest):]
	}
	return make([]any, len(logs))
}

// applyFirst applies as many of the entries as go into one transaction, and returns how
// many; all of them if nothing can be applied now.
func (db *DB) applyFirst(logs []*raft.Log) int {
	db.mu.Lock()
	defer db.mu.Unlock()
	n, err := len(logs), error(nil)
	if db.held.Load() == nil && db.failed.Load() == nil && db.broken.Load() == nil {
		if n, err = db.applyMarked(logs); err != nil {
			n = len(logs)
		}
	}
	db.handed = max(db.handed, logs[n-1].Index)
	if err != nil {
		db.cannotApply(err)
	}
	db.grow(logs[:n])
	return n
}

// applyEntries applies the first committed entries in one transaction, and returns how
// many. After an error nothing of it counts. The caller holds mu.
func (db *DB) applyEntries(logs []*raft.Log) (n int, err error) {
	a := applying{db: db, state: db.state}
	for since := time.Now(); n < len(logs) && (n == 0 || time.Since(since) < db.wal.turn); n++ {
		if err := a.take(logs[n]); err != nil {
			return 0, fmt.Errorf("apply entry %d: %w", logs[n].Index, err)
		}
	}
	if !a.begun {
		return n, nil
	}
	if err := a.commit(); err != nil {
		return 0, fmt.Errorf("commit up to entry %d: %w", a.state.applied, err)
	}
	return n, nil
}

// applying is the work of one applyEntries. DB.mu is held all the while.
type applying struct {
	db    *DB
	state state // With what the open transaction has done.
	begun bool  // A transaction of this batch of entries is open.
	own   *batch
	// What becomes of own once the transaction is committed.
	result batchResult
	index  uint64
}

// take applies an entry, unless it is in the file already or is none of ours.
func (a *applying) take(l *raft.Log) error {
	if l.Index <= a.state.applied {
		// Terms only grow along a log, so the file would have been made by another log: by
		// that of the same database before it was restored from a backup, perhaps.
		if l.Term > a.state.term || l.Index == a.state.applied && l.Term != a.state.term {
			return fmt.Errorf("%w: its file has the entry in term %d, the log in term %d", errDiverged, a.state.term, l.Term)
		}
		if a.db.hooks.onSkip != nil {
			a.db.hooks.onSkip(l.Index)
		}
		return nil
	}
	if l.Type != raft.LogCommand {
		return nil
	}
	e, err := decodeEntry(l.Data)
	if err == nil {
		err = checkEngine(e.engine)
	}
	if err != nil {
		return err
	}
	return a.apply(l, e)
}

// apply applies one entry, in the transaction that is open or in a new one.
func (a *applying) apply(l *raft.Log, e entry) error {
	db := a.db
	own := db.pending
	if own != nil && own.id != e.id && !db.mutants.lacks(ownEntryOnly) {
		own = nil
	}
	a.state.applied, a.state.term = l.Index, l.Term
	if own != nil && db.open == own && !a.begun {
		db.open, a.begun = nil, true // The transaction that is open holds its effects.
		a.executed(l.Index, e)
		a.own, a.result, a.index = own, committed, l.Index
		return nil
	}
	if !a.begun {
		db.rollback()
		if err := db.wakeUp(); err != nil {
			return err
		}
		if _, err := db.w.exec("BEGIN IMMEDIATE"); err != nil {
			return err
		}
		a.begun = true
	}
	if e.base > a.state.lastcmd && !db.mutants.lacks(baseCheck) {
		// The leader had executed entry base, which is committed before this one.
		return fmt.Errorf("%w: it has executed entries up to %d, there it was %d", errDiverged, a.state.lastcmd, e.base)
	}
	result := committed
	if e.base != a.state.lastcmd && !db.mutants.lacks(baseCheck) {
		result = rejected
	} else {
		if own != nil && own.early { // Only in a mutant: its effects are in the file.
		} else if err := db.execute(e); err != nil {
			return err
		}
		a.executed(l.Index, e)
	}
	if own != nil {
		a.own, a.result, a.index = own, result, l.Index
	}
	return nil
}

// executed notes an entry that has taken effect.
func (a *applying) executed(index uint64, e entry) {
	a.state.lastcmd, a.state.time = index, max(a.state.time, e.time)
	a.state.engine = max(a.state.engine, e.engine)
}

// commit ends the transaction with the applied index in it, and publishes it.
func (a *applying) commit() error {
	db := a.db
	apart := db.mutants.lacks(appliedWithEntry)
	if !apart {
		if err := db.w.writeState(a.state); err != nil {
			return err
		}
	}
	if _, err := db.w.exec("COMMIT"); err != nil {
		return err
	}
	if apart {
		if err := db.w.writeState(a.state); err != nil {
			return err
		}
	}
	db.state = a.state
	if a.own != nil {
		a.own.result, a.own.index = a.result, a.index
	}
	db.applied.set(a.state.applied)
	db.noteWAL()
	return nil
}

// execute executes an entry's statements as they were recorded. An error means that this
// replica cannot do what the leader did. The caller holds mu.
func (db *DB) execute(e entry) error {
	w := db.w
	w.setTime(e.time)
	units, statements := -1, 0
	unit := func(first bool) error {
		units, statements = units+1, 0
		if !first {
			if _, err := w.exec("RELEASE tx"); err != nil {
				return err
			}
		}
		_, err := w.exec("SAVEPOINT tx")
		w.resetRowID()
		return err
	}
	statement := func(s recorded) error {
		w.seed(e.id, units, statements)
		statements++
		res, err := w.execMode(s.sql, s.args, internal)
		failure := 0
		var sq *sqlError
		if errors.As(err, &sq) {
			if !sq.deterministic() {
				return err
			}
			failure = sq.primary()
		} else if err != nil {
			return err
		}
		if failure != s.failure || res.rowid != s.rowid || res.changes != s.changes {
			return fmt.Errorf("%w: %.200q gave code %d, rowid %d, %d changes; there it gave %d, %d, %d (%v)",
				errDiverged, s.sql, failure, res.rowid, res.changes, s.failure, s.rowid, s.changes, err)
		}
		return nil
	}
	if err := e.each(unit, statement); err != nil {
		return err
	}
	if e.units == 0 {
		return nil
	}
	_, err := w.exec("RELEASE tx")
	return err
}

// Restore makes the received file, which waits beside the replica's, the replica's. raft's
// stream of it is empty: the file need not be copied.
func (f *fsm) Restore(r io.ReadCloser) error {
	defer r.Close()
	db := f.db
	<-db.opened
	if err := db.install(db.group.Load().snapshots); err != nil {
		return fmt.Errorf("install a copy of %s: %w", db.id, err)
	}
	return db.unsynced(db.cured())
}
