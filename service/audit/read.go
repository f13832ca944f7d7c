package audit

import (
	"fmt"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
)

const columns = `seq, at, what, subject, account, kind, refused, detail, prev, hash`

func scan(rows *replication.Rows) (Row, error) {
	var r Row
	err := rows.Scan(&r.Seq, &r.At, &r.What, &r.Subject, &r.Account, &r.Kind, &r.Refused, &r.Detail, &r.Prev, &r.Hash)
	if err != nil {
		return r, fmt.Errorf("read a row of the audit: %w", err)
	}
	return r, nil
}

// Filter says which rows are wanted. Zero fields want everything.
type Filter struct {
	What    string    // Start of what: "case." or "case.accepted".
	Subject string    // Whole.
	Account string    // Whole.
	From    time.Time // Inclusive.
	To      time.Time // Exclusive.
	Before  int64     // Only rows with a smaller number; 0: from the newest.
}

// where returns the condition and its arguments.
func (f Filter) where() (string, []any) {
	cond, args := []string{"1"}, []any{}
	add := func(wanted bool, c string, arg ...any) {
		if wanted {
			cond, args = append(cond, c), append(args, arg...)
		}
	}
	add(f.What != "", `substr(what, 1, length(?)) = ?`, f.What, f.What)
	add(f.Subject != "", `subject = ?`, f.Subject)
	add(f.Account != "", `account = ?`, f.Account)
	add(!f.From.IsZero(), `at >= ?`, f.From)
	add(!f.To.IsZero(), `at < ?`, f.To)
	add(f.Before > 0, `seq < ?`, f.Before)
	return strings.Join(cond, " AND "), args
}

// Read calls fn with up to limit rows that the filter wants, the newest first. Cost: a
// scan from the newest row until limit rows are found.
func Read(q service.Querier, f Filter, limit int, fn func(Row) error) error {
	cond, args := f.where()
	rows, err := q.Query(`SELECT `+columns+` FROM audit_event WHERE `+cond+` ORDER BY seq DESC LIMIT ?`,
		append(args, limit)...)
	if err != nil {
		return fmt.Errorf("read the audit: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return err
		}
		if err := fn(row); err != nil {
			return err
		}
	}
	return rows.Err()
}
