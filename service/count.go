package service

import (
	"encoding/json"
	"fmt"
	"time"

	"tongban/division/calendar"
)

// Measure names a number that is counted by item and day. Package statistics defines the
// values.
type Measure string

// CountFeed is the feed of a tenant's counts. Key: CountKey. Payload: JSON of measure to
// absolute value, all that this database has counted of the subject on the day.
const CountFeed = "statistics.counts"

// CountFormat is the version of the payloads of CountFeed.
const CountFormat = 1

// MaxSubject bounds what is counted by, bytes: an item code has at most 120.
const MaxSubject = 200

// CountKey is the key of a day's row: "2026-03-02|<subject>".
func CountKey(day, subject string) string { return day + "|" + subject }

// CountDay is the day to which a moment counts: the civil day of the whole country.
func CountDay(at time.Time) string { return at.In(calendar.Zone).Format(time.DateOnly) }

// Count adds n to a measure of the subject (an item's code) on the day of the transaction,
// in a tenant's database, and publishes the absolute values of that day and subject:
// statistics fold them at every level. Counts only grow: what is taken back is a measure
// of its own. Cost: four statements.
func (tx *Tx) Count(m Measure, subject string, n int64) error {
	if m == "" || subject == "" || len(subject) > MaxSubject || n < 1 {
		return fmt.Errorf("count %q of %.40q: the measure or the subject is empty or too long, or %d is no count", m, subject, n)
	}
	day := CountDay(tx.Now())
	if err := tx.Exec(`INSERT INTO service_count (day, subject, measure, value) VALUES (?, ?, ?, ?)
		ON CONFLICT (day, subject, measure) DO UPDATE SET value = value + excluded.value`, day, subject, string(m), n); err != nil {
		return fmt.Errorf("count %s of %s: %w", m, subject, err)
	}
	values, err := readCounts(tx, day, subject)
	if err != nil {
		return fmt.Errorf("count %s of %s: %w", m, subject, err)
	}
	payload, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("count %s of %s: %w", m, subject, err)
	}
	return tx.Publish(CountFeed, CountKey(day, subject), CountFormat, payload)
}

// readCounts returns all measures of a subject on a day.
func readCounts(q Querier, day, subject string) (map[Measure]int64, error) {
	rows, err := q.Query(`SELECT measure, value FROM service_count WHERE day = ? AND subject = ?`, day, subject)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	values := map[Measure]int64{}
	for rows.Next() {
		var m string
		var n int64
		if err := rows.Scan(&m, &n); err != nil {
			return nil, err
		}
		values[Measure(m)] = n
	}
	return values, rows.Err()
}
