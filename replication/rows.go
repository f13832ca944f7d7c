package replication

import (
	"errors"
	"fmt"
)

// Rows is the answer of a query. It is not safe for concurrent use.
//
// In an Update the whole answer was read before Query returned (an Update may change what
// it iterates over); in a View the rows come as Next asks for them.
type Rows struct {
	columns []string
	types   []string
	row     []any
	err     error

	// Of an Update: what is left.
	buffered [][]any
	// Of a View: reads the next row into row; nil at the end and in an Update.
	next func(row []any) (bool, error)
	// Of a View: gives the statement back.
	closer func()
}

// Next moves to the next row; false at the end and after an error (see Err).
func (r *Rows) Next() bool {
	if r.err != nil {
		return false
	}
	if r.next == nil {
		if len(r.buffered) == 0 {
			r.row = nil
			return false
		}
		r.row, r.buffered = r.buffered[0], r.buffered[1:]
		return true
	}
	if r.row == nil {
		r.row = make([]any, len(r.columns))
	}
	ok, err := r.next(r.row)
	if !ok {
		r.err, r.row = err, nil
		r.finish()
	}
	return ok
}

// Scan copies the current row into what dest points to: *string, *[]byte, *bool,
// *float64, integers of any size, *time.Time (from Unix microseconds or text of RFC 3339,
// always UTC), *any, a sql.Scanner, and a pointer to a pointer for what may be NULL.
func (r *Rows) Scan(dest ...any) error {
	if r.row == nil {
		return errors.Join(errors.New("scan: there is no current row"), r.err)
	}
	if len(dest) != len(r.row) {
		return fmt.Errorf("scan: the row has %d columns, %d destinations were given", len(r.row), len(dest))
	}
	for i, d := range dest {
		if err := assign(d, r.row[i]); err != nil {
			return fmt.Errorf("scan column %s: %w", r.columns[i], err)
		}
	}
	return nil
}

// Columns are the names of the columns.
func (r *Rows) Columns() []string { return r.columns }

// Types are the types that the columns were declared with, as they were written; empty for
// an expression.
func (r *Rows) Types() []string { return r.types }

// Values is the current row: nil, int64, float64, string or []byte each. The slice is valid
// until the next call of Next, the values in it for ever. It is nil when there is no row.
func (r *Rows) Values() []any { return r.row }

// Err is the error that ended Next, if one did.
func (r *Rows) Err() error { return r.err }

// Close ends the query; it may be called again.
func (r *Rows) Close() error {
	r.buffered, r.row = nil, nil
	r.finish()
	return r.err
}

func (r *Rows) finish() {
	r.next = nil
	if r.closer != nil {
		r.closer()
		r.closer = nil
	}
}

// Row is the answer of a query of which the first row is wanted.
type Row struct {
	rows *Rows
	err  error
}

// Scan copies the first row as Rows.Scan does; ErrNoRows if there is none.
func (r *Row) Scan(dest ...any) error {
	if r.err != nil {
		return r.err
	}
	defer r.rows.Close()
	if !r.rows.Next() {
		if r.rows.err != nil {
			return r.rows.err
		}
		return ErrNoRows
	}
	return r.rows.Scan(dest...)
}

// stream runs one query on c, of which the rows are read as they are asked for. check is
// asked before each row.
func stream(c *conn, sql string, args []any, m mode, check func() error) (*Rows, error) {
	values, err := normalize(args)
	if err != nil {
		return nil, err
	}
	if err := check(); err != nil {
		return nil, err
	}
	s, err := c.prepare(sql, m)
	if err != nil {
		return nil, err
	}
	if !s.readonly {
		c.release(sql, m, s)
		return nil, fmt.Errorf("%w: a query only reads", ErrForbiddenSQL)
	}
	values, err = c.arrange(s, values)
	if err == nil {
		err = c.bind(s, values)
	}
	if err != nil {
		c.release(sql, m, s)
		return nil, err
	}
	// The first step may prepare the statement anew, after a change of the schema: only then
	// its columns are known.
	more, err := c.first(s)
	if err != nil {
		c.release(sql, m, s)
		return nil, errors.Join(err, check())
	}
	first := true
	next := func(row []any) (bool, error) {
		if err := check(); err != nil {
			return false, err
		}
		if first {
			first = false
			if more {
				c.load(s, row)
			}
			return more, nil
		}
		ok, err := c.step(s, row)
		if err != nil {
			return false, errors.Join(err, check())
		}
		return ok, nil
	}
	return &Rows{columns: c.columns(s), types: c.types(s), next: next, closer: func() { c.release(sql, m, s) }}, nil
}
