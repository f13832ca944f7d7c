package replication

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// Tx is a closure's access to the database's write transaction. It must not be used after
// the closure has returned, and by one goroutine at a time.
type Tx struct {
	db      *DB
	batch   *batch
	overdue atomic.Bool
	// Guarded by DB.mu.
	done      bool
	savepoint bool
	broken    error // A statement undid what came before it: the update cannot succeed.
}

const (
	maxQueryRows  = 100_000          // Rows that one query of an update may return.
	maxQueryBytes = 64 * 1024 * 1024 // Bytes of them.
)

// Now is the time of the entry that will hold the update: this node's clock, or 1 µs after
// the newest entry if that is later. UTC, in microseconds.
func (tx *Tx) Now() time.Time { return unixMicro(tx.batch.time) }

// Exec executes one statement and records it for the other replicas.
func (tx *Tx) Exec(sql string, args ...any) error {
	_, err := tx.ExecResult(sql, args...)
	return err
}

// ExecResult is Exec, and returns the rowid of the last row that this update has inserted
// and the number of rows that the statement has changed.
//
// A statement that fails on a constraint leaves the update usable, as in SQLite, unless it
// says OR ROLLBACK.
func (tx *Tx) ExecResult(sql string, args ...any) (Result, error) {
	values, err := normalize(args)
	if err != nil {
		return Result{}, err
	}
	db := tx.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := tx.usable(); err != nil {
		return Result{}, err
	}
	if err := tx.setSavepoint(); err != nil {
		return Result{}, err
	}
	db.w.seed(tx.batch.id, tx.batch.rec.units, tx.batch.rec.statements)
	db.running.set(tx, db.w)
	res, err := db.w.execMode(sql, values, writing)
	db.running.set(nil, nil)
	if err := tx.record(sql, values, res, err); err != nil {
		return Result{}, err
	}
	return Result{LastInsertID: res.rowid, RowsAffected: res.changes}, nil
}

// usable says why the update cannot go on. The caller holds DB.mu.
func (tx *Tx) usable() error {
	switch {
	case tx.overdue.Load():
		return ErrTooSlow
	case tx.done:
		return errDone
	case tx.batch.dead:
		return tx.db.notLeader()
	}
	return tx.broken
}

// setSavepoint opens the update's savepoint before its first write.
func (tx *Tx) setSavepoint() error {
	if tx.savepoint {
		return nil
	}
	if _, err := tx.db.w.exec("SAVEPOINT tx"); err != nil {
		return tx.machineError(err)
	}
	tx.savepoint = true
	tx.db.w.resetRowID()
	return nil
}

// record judges what a statement did and adds it to the batch's record.
func (tx *Tx) record(sql string, values []any, res execResult, err error) error {
	w := tx.db.w
	var sq *sqlError
	switch {
	case err == nil && res.readonly:
		return nil
	case errors.As(err, &sq) && res.readonly && sq.deterministic():
		return err // It has changed nothing: the others need not know.
	case errors.As(err, &sq) && !sq.deterministic():
		tx.broken = tx.machineError(err)
		return tx.broken
	case res.ran && errors.Is(err, ErrTooMuch):
		// No memory or no room is no result of the statement, and SQLite undoes as much as
		// it then must: the others of the batch are executed again.
		if w.inTransaction() {
			_, _ = w.exec("ROLLBACK")
		}
		tx.broken = err
		return err
	case err != nil && !w.inTransaction():
		tx.broken = fmt.Errorf("the statement ended the whole transaction: %w", err)
		return tx.broken
	case err != nil && sq == nil: // Refused before it ran.
		return err
	case err != nil && !res.ran:
		return err
	case res.lastRowID:
		tx.broken = fmt.Errorf("%w: rowid %d: after it SQLite chooses rowids at random", ErrForbiddenSQL, int64(math.MaxInt64))
		return tx.broken
	case err == nil && res.schema:
		if tx.broken = w.checkNames(); tx.broken != nil {
			return tx.broken
		}
	}
	failure := 0
	if err != nil {
		failure = sq.primary()
	}
	tx.batch.rec.add(recorded{sql: sql, failure: failure, rowid: res.rowid, changes: res.changes, args: values})
	if n := tx.batch.rec.unitSize(); n > tx.db.engine.opts.MaxBatchBytes {
		tx.broken = fmt.Errorf("%w: more than %d bytes", ErrTooMuch, tx.db.engine.opts.MaxBatchBytes)
		return tx.broken
	}
	return err
}

// interrupted is why a statement was interrupted, or err itself.
func (tx *Tx) interrupted(err error) error {
	var sq *sqlError
	if errors.As(err, &sq) && sq.primary() == codeInterrupt {
		if tx.overdue.Load() {
			return ErrTooSlow
		}
		return tx.db.notLeader()
	}
	return err
}

// machineError wraps an error that is no result of the statement.
func (tx *Tx) machineError(err error) error {
	if e := tx.interrupted(err); e != err {
		return e
	}
	var sq *sqlError
	if errors.As(err, &sq) && !sq.deterministic() {
		return fmt.Errorf("%w: %w", ErrDisk, err)
	}
	return err
}

// Query runs one SELECT and reads its whole answer.
func (tx *Tx) Query(sql string, args ...any) (*Rows, error) {
	return tx.query(sql, args, maxQueryRows)
}

// query reads the whole answer, or its first row if most is 1.
func (tx *Tx) query(sql string, args []any, most int) (*Rows, error) {
	db := tx.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := tx.usable(); err != nil {
		return nil, err
	}
	if !tx.savepoint { // last_insert_rowid() is this update's, or 0.
		db.w.resetRowID()
	}
	db.w.unseed()
	db.running.set(tx, db.w)
	defer db.running.set(nil, nil)
	live, err := stream(db.w, sql, args, reading, func() error { return nil })
	if err != nil {
		return nil, tx.queryError(err)
	}
	defer live.Close()
	out := &Rows{columns: live.columns}
	size := 0
	for live.Next() {
		out.buffered = append(out.buffered, live.row)
		size += rowSize(live.row)
		live.row = nil
		if most == 1 {
			break
		}
		if len(out.buffered) > most || size > maxQueryBytes {
			return nil, fmt.Errorf("replication: a query of an update returns more than %d rows or %d bytes", maxQueryRows, maxQueryBytes)
		}
	}
	return out, tx.queryError(live.err)
}

func (tx *Tx) queryError(err error) error {
	if err == nil {
		return nil
	}
	if !tx.db.w.inTransaction() {
		tx.broken = tx.interrupted(err)
		return tx.broken
	}
	return tx.interrupted(err)
}

func rowSize(row []any) int {
	n := 16 * len(row)
	for _, v := range row {
		switch v := v.(type) {
		case string:
			n += len(v)
		case []byte:
			n += len(v)
		}
	}
	return n
}

// QueryRow runs one SELECT of which the first row is wanted.
func (tx *Tx) QueryRow(sql string, args ...any) *Row {
	rows, err := tx.query(sql, args, 1)
	return &Row{rows: rows, err: err}
}
