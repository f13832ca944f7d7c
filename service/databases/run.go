package databases

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"tongban/replication"
)

// execute is POST /db/execute.
func (c *call) execute() {
	if !c.allowed(false) {
		return
	}
	if c.grant.readOnly {
		c.refuse(http.StatusForbidden, "this key only reads")
		return
	}
	list, ok := c.statements()
	if !ok {
		return
	}
	if c.params.queue {
		c.atLeader(func(ctx context.Context) error { return c.enqueue(ctx, list) })
		return
	}
	c.atLeader(func(ctx context.Context) error { return c.write(ctx, list, false) })
}

// query is GET or POST /db/query.
func (c *call) query() {
	if !c.allowed(true) {
		return
	}
	list, ok := c.statements()
	if !ok {
		return
	}
	c.readWhere(func(ctx context.Context) error { return c.look(ctx, list, false) })
}

// request is POST /db/request: queries and changes in one list.
func (c *call) request() {
	if !c.allowed(false) {
		return
	}
	list, ok := c.statements()
	if !ok {
		return
	}
	if c.grant.readOnly {
		c.readWhere(func(ctx context.Context) error { return c.look(ctx, list, false) })
		return
	}
	if !mayRead(list) {
		c.atLeader(func(ctx context.Context) error { return c.write(ctx, list, true) })
		return
	}
	c.readWhere(func(ctx context.Context) error {
		err := c.look(ctx, list, true)
		if !errors.Is(err, errWrites) {
			return err
		}
		if !c.db.IsLeader() {
			return replication.ErrNotLeader
		}
		return c.write(ctx, list, true)
	})
}

// readWhere runs a read where its level wants it: here, or at the leader.
func (c *call) readWhere(do func(ctx context.Context) error) {
	if c.params.level == none {
		c.here(do)
		return
	}
	c.atLeader(do)
}

// here runs do on this node; a read that finds that it must write goes to the leader.
func (c *call) here(do func(ctx context.Context) error) {
	ctx, cancel := context.WithDeadline(c.ctx, c.deadline)
	defer cancel()
	err := do(ctx)
	if errors.Is(err, replication.ErrNotLeader) {
		c.atLeader(do)
		return
	}
	if err != nil {
		c.fail(err)
	}
}

// mayRead guesses from the first words whether all statements are queries. It only decides
// what is tried first: SQLite says what they are.
func mayRead(list []replication.Statement) bool {
	for i := range list {
		s := list[i].SQL
		for len(s) > 0 && (s[0] == ' ' || s[0] == '\n' || s[0] == '\t' || s[0] == '\r') {
			s = s[1:]
		}
		if len(s) < 4 {
			return false
		}
		switch s[0] | 0x20 {
		case 's', 'w', 'v', 'e', 'p': // SELECT, WITH, VALUES, EXPLAIN, PRAGMA.
		default:
			return false
		}
	}
	return true
}

// write runs a list of statements at the leader, which this node is, and answers. rows: a
// query is answered with its rows.
func (c *call) write(ctx context.Context, list []replication.Statement, rows bool) error {
	o := replication.ListOptions{Atomic: c.params.transaction, Timings: c.params.timings,
		MaxTime: limited(c.params.dbTimeout, defaultWrite, maxWrite), MaxRows: maxRows, MaxBytes: maxAnswer}
	answers, index, err := c.db.Execute(ctx, o, list)
	if err != nil && !refused(answers, err) {
		return err
	}
	if c.at = index; index == 0 { // Nothing was changed.
		c.at = c.db.Applied()
	}
	c.results()
	for i := range answers {
		if i > 0 {
			c.out = append(c.out, ',')
		}
		c.appendAnswer(&answers[i], rows)
	}
	if err != nil && answers[len(answers)-1].Err == nil { // Only the end of the transaction showed it.
		c.out = appendError(append(c.out, ','), textOf(err))
	}
	c.finish(0)
	return nil
}

// refused reports whether err is that of a statement of a list that was all or nothing.
func refused(answers []replication.Answer, err error) bool {
	if len(answers) == 0 {
		return false
	}
	for _, other := range []error{replication.ErrNotLeader, replication.ErrUnknownOutcome, replication.ErrOverloaded,
		replication.ErrTooSlow, replication.ErrTooMuch, replication.ErrClosed, replication.ErrDisk, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, other) {
			return false
		}
	}
	return true
}

func (c *call) appendAnswer(a *replication.Answer, rows bool) {
	switch {
	case a.Err != nil:
		c.out = appendError(c.out, textOf(a.Err))
	case a.Columns != nil && (rows || !a.ReadOnly):
		w := &c.rows
		w.begin(c.params.form, a.Columns, a.Types)
		for _, row := range a.Rows {
			c.out = w.row(c.out, row)
		}
		c.out = w.end(c.out, a.Took)
	default:
		c.out = c.params.appendResult(c.out, a.LastInsertID, a.RowsAffected, a.Took)
	}
}

// errWrites: what was taken for queries has a statement that writes.
var errWrites = errors.New("databases: not only queries")

// look runs a list of queries on this node, in one snapshot, and answers. guessed: if one of
// them is none, that is errWrites and not its result.
func (c *call) look(ctx context.Context, list []replication.Statement, guessed bool) error {
	inner, cancel := context.WithTimeout(ctx, limited(c.params.dbTimeout, defaultRead, maxRead))
	defer cancel()
	err := c.db.View(c.seen(inner), c.params.level.of(), func(v *replication.View) error {
		c.at = v.Applied()
		c.results()
		left := maxRows
		for i := range list {
			if i > 0 {
				c.out = append(c.out, ',')
			}
			if err := c.lookOne(v, &list[i], guessed, &left); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.finish(0)
	return nil
}

var errManyRows = errors.New("the answer has too many rows; use LIMIT")

// lookOne writes the result of one query. What is wrong with it is its result; an error is
// about the view.
func (c *call) lookOne(v *replication.View, s *replication.Statement, guessed bool, left *int) error {
	var began time.Time
	if c.params.timings {
		began = time.Now()
	}
	mark := len(c.out)
	rows, err := v.Query(s.SQL, s.Args...)
	if err == nil {
		w := &c.rows
		w.begin(c.params.form, rows.Columns(), rows.Types())
		for rows.Next() {
			if *left--; *left < 0 || len(c.out) > maxAnswer {
				err = errManyRows
				break
			}
			c.out = w.row(c.out, rows.Values())
		}
		if cerr := rows.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			var took time.Duration
			if c.params.timings {
				took = time.Since(began)
			}
			c.out = w.end(c.out, took)
			return nil
		}
	}
	switch {
	case errors.Is(err, replication.ErrReplaced), errors.Is(err, replication.ErrClosed), errors.Is(err, replication.ErrDisk), errors.Is(err, context.Canceled):
		return err
	case guessed && errors.Is(err, replication.ErrForbiddenSQL):
		return errWrites
	}
	c.out = appendError(c.out[:mark], textOf(err))
	return nil
}

// limited is what was asked for, or the default, and at most a limit.
func limited(asked, standard, most time.Duration) time.Duration {
	if asked == 0 {
		return standard
	}
	return min(asked, most)
}

// indent makes a document readable for people.
func indent(b []byte) []byte {
	var out bytes.Buffer
	if json.Indent(&out, b, "", "    ") != nil {
		return b
	}
	return append(out.Bytes(), '\n')
}
