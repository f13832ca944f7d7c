package federation

import (
	"time"

	"tongban/division"
	"tongban/replication"
)

// scanRefs reads a row of references; an empty one is the zero Ref.
func scanRefs(row scanner, dest ...*division.Ref) error {
	texts := make([]string, len(dest))
	into := make([]any, len(dest))
	for i := range texts {
		into[i] = &texts[i]
	}
	if err := row.Scan(into...); err != nil {
		return err
	}
	for i, text := range texts {
		if err := dest[i].UnmarshalText([]byte(text)); err != nil {
			return err
		}
	}
	return nil
}

// scanTimes reads rows of a reference and a time, which may be NULL, and closes them.
func scanTimes(rows *replication.Rows) (map[division.Ref]time.Time, error) {
	defer rows.Close()
	out := map[division.Ref]time.Time{}
	for rows.Next() {
		var text string
		var at *time.Time
		if err := rows.Scan(&text, &at); err != nil {
			return nil, err
		}
		ref, err := division.ParseRef(text)
		if err != nil {
			return nil, err
		}
		out[ref] = time.Time{}
		if at != nil {
			out[ref] = *at
		}
	}
	return out, rows.Err()
}
