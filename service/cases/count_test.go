package cases

import (
	"testing"

	"tongban/service/statistics"
)

// TestCasesAreCounted walks cases of both kinds to their ends: an application counts when
// it is made, a decision when it is first reached, and nothing else counts.
func TestCasesAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	want := func(after string, item string, applications, decisions int) {
		t.Helper()
		const sql = `SELECT coalesce(sum(value), 0) FROM service_count WHERE subject = ? AND measure = ?`
		a, d := w.Count(w.db(), sql, item, string(statistics.Applications)), w.Count(w.db(), sql, item, string(statistics.Decisions))
		if a != applications || d != decisions {
			t.Errorf("after %s the item has %d applications and %d decisions, want %d and %d", after, a, d, applications, decisions)
		}
	}
	promised, instant := w.promised.Code, w.instant.Code

	c := w.file(promised)
	want("an application", promised, 1, 0)
	for _, a := range []Action{Receive, Accept, Begin} {
		w.do(c.Number, a, nil)
	}
	want("a review", promised, 1, 0)
	w.do(c.Number, Grant, nil)
	want("a grant", promised, 1, 1)
	for _, a := range []Action{Close, Deliver, Archive} {
		w.do(c.Number, a, nil)
	}
	want("its delivery", promised, 1, 1)

	d := w.file(promised)
	for _, a := range []Action{Receive, Accept, Begin, Deny, Close} {
		w.do(d.Number, a, nil)
	}
	want("a denial that is closed", promised, 2, 2)

	r := w.file(promised)
	w.do(r.Number, Refuse, nil)
	v := w.file(promised)
	w.do(v.Number, Annul, nil)
	want("a refusal to accept and an annulment", promised, 4, 2)

	i := w.file(instant)
	w.do(i.Number, Accept, nil)
	want("an instant application", instant, 1, 0)
	w.do(i.Number, Grant, nil)
	w.do(i.Number, Close, nil)
	want("an instant case that is closed", instant, 1, 1)
}
