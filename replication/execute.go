package replication

// #include "shim.h"
import "C"

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// ListOptions say how [DB.Execute] runs its statements. A zero field takes the default
// stated beside it.
type ListOptions struct {
	// Atomic: all statements or none. Else each is on its own, as if it were committed alone:
	// the error of one neither undoes nor stops the others.
	Atomic   bool
	Timings  bool          // Answer.Took is measured.
	MaxTime  time.Duration // Options.MaxClosure: of all statements together.
	MaxRows  int           // 100,000: of all answers together.
	MaxBytes int           // 64 MiB of them.
}

// Answer is what one statement of [DB.Execute] came to.
type Answer struct {
	Result
	Columns  []string      // Nil for a statement that returns no rows.
	Types    []string      // As they were declared; empty for an expression.
	Rows     [][]any       // nil, int64, float64, string or []byte each.
	Took     time.Duration // See ListOptions.Timings.
	ReadOnly bool          // A query.
	Err      error         // Why it failed; nothing of it is kept, but for what OR FAIL leaves.
}

// list is what a job of Execute carries.
type list struct {
	o       ListOptions
	answers []Answer
	rows    int
	bytes   int
	// The number of statements that are kept whatever becomes of the rest: a statement after
	// them ended the transaction.
	kept int
}

// Execute is an Update of a list of statements, of which the queries and those with
// RETURNING are answered with their rows. There is one answer for each statement; a query
// sees what the statements before it have done. With an error none of them has done
// anything. Errors are those of Update, and of an atomic list that of the statement that
// failed: the answers then end with it.
func (db *DB) Execute(ctx context.Context, o ListOptions, stmts []Statement) ([]Answer, Index, error) {
	o.MaxTime = cmp.Or(o.MaxTime, db.engine.opts.MaxClosure)
	o.MaxRows = cmp.Or(o.MaxRows, maxQueryRows)
	o.MaxBytes = cmp.Or(o.MaxBytes, maxQueryBytes)
	r := newJob()
	r.stmts, r.list = stmts, &list{o: o}
	if err := db.submit(ctx, r); err != nil {
		return nil, 0, err
	}
	select {
	case o := <-r.outcome:
		return r.list.answers, o.index, o.err
	case <-ctx.Done():
		if r.state.CompareAndSwap(waiting, left) {
			return nil, 0, ctx.Err()
		}
	}
	index, err := r.await(ctx)
	if errors.Is(err, ErrUnknownOutcome) {
		return nil, 0, err // The evaluator may still be writing the answers.
	}
	return r.list.answers, index, err
}

// runStatements evaluates a list. It opens no savepoint: a statement that fails undoes
// itself, and what undoes more is rare and has the record executed again (see undo).
func (db *DB) runStatements(tx *Tx, r *job) error {
	timer := time.AfterFunc(r.list.o.MaxTime, func() {
		tx.overdue.Store(true)
		db.running.end(tx)
	})
	defer timer.Stop()
	l := r.list
	l.answers = make([]Answer, 0, len(r.stmts))
	db.mu.Lock()
	defer db.mu.Unlock()
	db.w.resetRowID()
	for i := range r.stmts {
		a, mark := Answer{}, tx.batch.rec.mark()
		fatal := db.runStatement(tx, &r.stmts[i], l, &a)
		if fatal == nil && a.Err == nil && !l.o.Atomic && db.w.deferredKeys() {
			a = Answer{Err: errForeignKey}
			tx.broken = a.Err
		}
		if fatal == nil && tx.broken != nil && !l.o.Atomic {
			tx.batch.rec.back(mark)
			if fatal = db.undo(tx); fatal == nil {
				l.kept = i
			}
		}
		if fatal != nil {
			return db.refuse(tx, r, fatal)
		}
		l.answers = append(l.answers, a)
		if a.Err != nil && l.o.Atomic {
			return db.refuse(tx, r, a.Err)
		}
		if i+1 < len(r.stmts) { // Others may read the state, interrupt us, or take over.
			db.mu.Unlock()
			db.mu.Lock()
		}
	}
	if l.o.Atomic && db.w.deferredKeys() {
		return db.refuse(tx, r, errForeignKey)
	}
	return nil
}

// errForeignKey is how a statement fails that violates a deferred foreign key at its end.
var errForeignKey = &sqlError{code: codeForeignKey, text: "FOREIGN KEY constraint failed"}

// refuse undoes what a list has done, so far as it is not kept, and returns what its caller
// is told: nil if some of it is. The caller holds mu.
func (db *DB) refuse(tx *Tx, r *job, err error) error {
	l, b := r.list, tx.batch
	if b.dead {
		return err
	}
	b.rec.drop()
	if uerr := db.undo(tx); uerr != nil {
		return uerr
	}
	if l.kept == 0 {
		return err
	}
	for l.answers = l.answers[:l.kept]; len(l.answers) < len(r.stmts); {
		l.answers = append(l.answers, Answer{Err: err})
	}
	return nil
}

// undo rolls the transaction back and executes again what is recorded, the present unit
// included, which ends there. The caller holds mu.
func (db *DB) undo(tx *Tx) error {
	b := tx.batch
	b.rec.keep()
	if db.w.inTransaction() {
		if _, err := db.w.exec("ROLLBACK"); err != nil {
			db.abort(b, err)
			return tx.machineError(err)
		}
	}
	if err := db.redo(b); err != nil {
		db.abort(b, err)
		return db.reason(b)
	}
	b.rec.begin()
	db.w.resetRowID()
	tx.broken = nil
	return nil
}

// runStatement executes one statement of a list. What is wrong with the statement is in the
// answer; an error concerns the whole list. The caller holds mu.
func (db *DB) runStatement(tx *Tx, s *Statement, l *list, a *Answer) error {
	if err := tx.usable(); err != nil {
		return err
	}
	values, err := normalize(s.Args)
	if err != nil {
		a.Err = err
		return nil
	}
	var began time.Time
	if l.o.Timings {
		began = time.Now()
	}
	db.w.seed(tx.batch.id, tx.batch.rec.units, tx.batch.rec.statements)
	db.running.set(tx, db.w)
	res, values, err := db.w.answer(s.SQL, values, l, a)
	db.running.set(nil, nil)
	err = tx.record(s.SQL, values, res, err)
	switch {
	case errors.Is(err, ErrTooSlow), errors.Is(err, ErrTooMuch), errors.Is(err, ErrDisk), errors.Is(err, ErrNotLeader), errors.Is(err, errTooManyRows):
		return err
	case err != nil:
		*a = Answer{Err: err}
	default:
		a.Result, a.ReadOnly = Result{LastInsertID: res.rowid, RowsAffected: res.changes}, res.readonly
	}
	if l.o.Timings {
		a.Took = time.Since(began)
	}
	return nil
}

// errTooManyRows refuses a list whose answers exceed its limits.
var errTooManyRows = fmt.Errorf("%w: the answer has too many rows or bytes", ErrTooMuch)

// answer runs one statement to its end, with its rows. It returns the arguments as they are
// recorded: in the order of the parameters.
func (c *conn) answer(sql string, args []any, l *list, a *Answer) (execResult, []any, error) {
	s, err := c.prepare(sql, writing)
	if err != nil {
		return execResult{}, args, err
	}
	defer c.release(sql, writing, s)
	if s.readonly {
		c.unseed()
	}
	if args, err = c.arrange(s, args); err != nil {
		return execResult{}, args, err
	}
	if err := c.bind(s, args); err != nil {
		return execResult{}, args, err
	}
	var out C.tb_result
	c.auth.denied, c.auth.last_rowid = 0, 0
	full := false
	if C.tb_columns(s.p) == 0 {
		C.tb_exec(c.db, s.p, c.auth, &out)
	} else {
		C.tb_mark(c.db, &out)
		rc := C.tb_step(s.p, c.auth, nil, 0)
		a.Columns, a.Types = c.columns(s), c.types(s)
		for ; rc == stepRow && !full; rc = C.tb_step(s.p, c.auth, nil, 0) {
			row := make([]any, len(a.Columns))
			c.load(s, row)
			a.Rows = append(a.Rows, row)
			l.rows++
			l.bytes += rowSize(row)
			full = l.rows > l.o.MaxRows || l.bytes > l.o.MaxBytes
		}
		C.tb_finish(c.db, rc, &out)
	}
	r := execResult{
		ran: true, rowid: int64(out.rowid), changes: int64(out.changes),
		schema: s.schema, readonly: s.readonly, lastRowID: c.auth.last_rowid != 0,
	}
	switch {
	case full:
		return r, args, errTooManyRows
	case out.rc != stepDone:
		return r, args, c.failure(out.rc)
	}
	return r, args, nil
}

// arrange puts arguments in the order of the statement's parameters, if some are named.
func (c *conn) arrange(s *stmt, args []any) ([]any, error) {
	named := 0
	for _, a := range args {
		if _, ok := a.(Named); ok {
			named++
		}
	}
	if named == 0 {
		return args, nil
	}
	values := make(map[string]any, named)
	others := make([]any, 0, len(args)-named)
	for _, a := range args {
		if n, ok := a.(Named); ok {
			values[n.Name] = n.Value
		} else {
			others = append(others, a)
		}
	}
	out := make([]any, s.params)
	for i := range out {
		name := ""
		if p := C.tb_param_name(s.p, C.int(i+1)); p != nil {
			name = C.GoString(p)
		}
		v, ok := any(nil), false
		if name != "" {
			v, ok = values[name[1:]]
		}
		if !ok {
			if len(others) == 0 {
				return nil, fmt.Errorf("the parameter %s of the statement was given no value", cmp.Or(name, fmt.Sprint(i+1)))
			}
			v, others = others[0], others[1:]
		}
		out[i] = v
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("%d values more were given than the statement has parameters", len(others))
	}
	return out, nil
}
