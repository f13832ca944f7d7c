package statistics

import (
	"fmt"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/servicetest"
)

// TestCountPublishesAbsoluteValues counts and looks at what is published: one row for a day and subject, with the
// absolute values of all measures.
func TestCountPublishesAbsoluteValues(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	count := func(m service.Measure, subject string, n int64) {
		w.Update(db, func(tx *service.Tx) error { return tx.Count(m, subject, n) })
	}
	w.Clock.Set(time.Date(2026, 3, 2, 15, 59, 59, 999_000_000, time.UTC)) // 23:59:59 in Beijing.
	count("made", "A", 1)
	count("made", "A", 2)
	count("done", "A", 1)
	count("made", "B", 1)
	w.Clock.Advance(time.Millisecond)
	count("made", "A", 7)
	want := []string{`2026-03-02|A {"done":1,"made":3}`, `2026-03-02|B {"made":1}`, `2026-03-03|A {"made":7}`}
	var got []string
	w.View(db, func(v *service.View) error {
		rows, err := v.Query(`SELECT key, payload FROM service_feed WHERE stream = 'home' AND feed = ? AND format = 1 ORDER BY key`, service.CountFeed)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key string
			var payload []byte
			if err := rows.Scan(&key, &payload); err != nil {
				return err
			}
			got = append(got, key+" "+string(payload))
		}
		return rows.Err()
	})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published %q, want %q", got, want)
	}
	for _, c := range []struct {
		name, measure, subject string
		n                      int64
	}{{"no measure", "", "A", 1}, {"no subject", "made", "", 1}, {"nothing", "made", "A", 0}, {"less than nothing", "made", "A", -1},
		{"a subject that never ends", "made", fmt.Sprintf("%0201d", 1), 1}} {
		err := db.Update(t.Context(), func(tx *service.Tx) error { return tx.Count(service.Measure(c.measure), c.subject, c.n) })
		if err == nil {
			t.Errorf("%s can be counted", c.name)
		}
	}
	if n := w.Count(db, `SELECT count(*) FROM service_count`); n != 4 {
		t.Errorf("%d counts are kept, want 4", n)
	}
}
