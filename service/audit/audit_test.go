package audit_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/audit"
	"tongban/service/servicetest"
)

// write appends n events to the audit of db.
func write(w *servicetest.World, db *service.DB, n int) {
	w.Update(db, func(tx *service.Tx) error {
		for i := range n {
			if err := tx.Record(service.Event{What: "case.accepted", Subject: fmt.Sprintf("C%03d", i+1),
				Who:    servicetest.Officer(servicetest.CivilAffairs),
				Detail: map[string]string{"b": "2", "a": "<1>"}}); err != nil {
				return err
			}
		}
		return nil
	})
}

func verified(t *testing.T, w *servicetest.World, db *service.DB, known ...audit.Head) audit.Report {
	t.Helper()
	var report audit.Report
	w.View(db, func(v *service.View) (err error) {
		report, err = audit.Verify(v, known...)
		return err
	})
	return report
}

func TestWhatIsAppendedIsChained(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	if r := verified(t, w, db); !r.OK() || r.Rows != 0 {
		t.Fatalf("an empty audit: %s", r)
	}
	write(w, db, 3)
	w.Clock.Advance(time.Hour)
	write(w, db, 2)
	r := verified(t, w, db)
	if !r.OK() || r.Rows != 5 || r.Head.Seq != 5 || !strings.HasPrefix(r.Head.Hash, "sha256:") {
		t.Fatalf("five rows: %s", r)
	}
	w.View(db, func(v *service.View) error {
		var detail string
		if err := v.QueryRow(`SELECT detail FROM audit_event WHERE seq = 1`).Scan(&detail); err != nil {
			return err
		}
		if detail != `{"a":"\u003c1\u003e","b":"2"}` {
			t.Errorf("the detail is %s, not canonical", detail)
		}
		return nil
	})
	if other := verified(t, w, w.Division); other.Rows != 0 {
		t.Errorf("the division's audit has %d rows of a tenant", other.Rows)
	}
}

func TestAnEventIsRolledBackWithItsChange(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	stop := errors.New("stop")
	err := db.Update(t.Context(), func(tx *service.Tx) error {
		if err := tx.Record(service.Event{What: "case.accepted"}); err != nil {
			return err
		}
		return stop
	})
	if !errors.Is(err, stop) || w.Count(db, `SELECT count(*) FROM audit_event`) != 0 {
		t.Fatalf("an event of a change that was rolled back is in the audit (%v)", err)
	}
	write(w, db, 1)
	if r := verified(t, w, db); !r.OK() || r.Rows != 1 {
		t.Fatal(r)
	}
}

func TestTextsOfAttackersCommandNoTerminal(t *testing.T) {
	t.Parallel()
	w := servicetest.New(t)
	w.Update(w.Division, func(tx *service.Tx) error {
		return tx.Record(service.Event{What: "GET /x", Subject: "/t/a\x1b[2J\nforged row\u202e/\u200b", Refused: "not_found"})
	})
	if got, want := w.Events(w.Division)[0], "GET /x /t/a\ufffd[2J\ufffdforged row\ufffd/\ufffd not_found"; got != want {
		t.Errorf("recorded %q, want %q", got, want)
	}
}

func TestTextsOfAttackersAreCutAndLongDetailsRefused(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	w.Update(db, func(tx *service.Tx) error {
		return tx.Record(service.Event{What: "GET /x", Subject: strings.Repeat("办", 1000), Refused: "not_found"})
	})
	if n := w.Count(db, `SELECT length(CAST(subject AS BLOB)) FROM audit_event`); n > 256 || n < 250 {
		t.Errorf("a subject of 3000 bytes is stored with %d", n)
	}
	if r := verified(t, w, db); !r.OK() {
		t.Error(r)
	}
	err := db.Update(t.Context(), func(tx *service.Tx) error {
		return tx.Record(service.Event{What: "x.y", Detail: map[string]string{"all": strings.Repeat("x", 5000)}})
	})
	if !errors.Is(err, audit.ErrDetailTooLong) {
		t.Errorf("a detail of 5000 bytes: %v", err)
	}
}

func TestTheDatabaseItselfRefusesChanges(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	write(w, db, 3)
	for name, sql := range map[string]string{
		"an update":                       `UPDATE audit_event SET subject = 'X' WHERE seq = 2`,
		"an update of nothing but itself": `UPDATE audit_event SET subject = subject`,
		"a delete":                        `DELETE FROM audit_event WHERE seq = 3`,
		"a delete of all":                 `DELETE FROM audit_event`,
		"a replacement": `INSERT OR REPLACE INTO audit_event SELECT seq, at, what, 'X', account, kind, refused, detail, prev, hash
			FROM audit_event WHERE seq = 2`,
		"a gap": `INSERT INTO audit_event SELECT 9, at, what, subject, account, kind, refused, detail, prev, hash
			FROM audit_event WHERE seq = 3`,
	} {
		t.Run(name, func(t *testing.T) {
			err := db.Update(t.Context(), func(tx *service.Tx) error { return tx.Exec(sql) })
			if err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("%s: %v", sql, err)
			}
		})
	}
	if r := verified(t, w, db); !r.OK() || r.Rows != 3 {
		t.Error(r)
	}
}

// unguard removes what the database itself refuses, as somebody with the file would;
// guard puts it back.
func unguard(tx *service.Tx) (guard []string, err error) {
	for _, name := range []string{"audit_event_update", "audit_event_delete", "audit_event_insert"} {
		var sql string
		if err := tx.QueryRow(`SELECT sql FROM sqlite_master WHERE name = ?`, name).Scan(&sql); err != nil {
			return nil, err
		}
		guard = append(guard, sql)
		if err := tx.Exec(`DROP TRIGGER ` + name); err != nil {
			return nil, err
		}
	}
	return guard, nil
}

// errUndo ends a transaction whose changes must not stay.
var errUndo = errors.New("undo")

func TestEveryTamperingIsFound(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	write(w, db, 9)
	noted := verified(t, w, db).Head

	const copied = `INSERT INTO audit_event SELECT ?, at, what, subject, account, kind, refused, detail, prev, hash FROM audit_event WHERE seq = ?`
	for _, c := range []struct {
		name   string
		tamper []string
		kind   string
		seq    int64
		good   int64
	}{
		{"a word of a row is altered", []string{`UPDATE audit_event SET subject = 'C999' WHERE seq = 4`}, audit.Altered, 4, 3},
		{"the time of a row is altered by a microsecond", []string{`UPDATE audit_event SET at = at + 1 WHERE seq = 4`}, audit.Altered, 4, 3},
		{"a refusal is made a success", []string{`UPDATE audit_event SET refused = 'x' WHERE seq = 9`}, audit.Altered, 9, 8},
		{"text moves from one column to the next", []string{`UPDATE audit_event SET what = 'case.accepte', subject = 'd' || subject WHERE seq = 2`}, audit.Altered, 2, 1},
		{"the detail is written in another order", []string{`UPDATE audit_event SET detail = '{"b":"2","a":"<1>"}' WHERE seq = 1`}, audit.Altered, 1, 0},
		{"a row is blamed on somebody else", []string{`UPDATE audit_event SET account = 'other' WHERE seq = 7`}, audit.Altered, 7, 6},
		{"the hash of a row is altered", []string{`UPDATE audit_event SET hash = replace(hash, 'a', 'b') WHERE seq = 5`}, audit.Altered, 5, 4},
		{"the hash claims another algorithm", []string{`UPDATE audit_event SET hash = replace(hash, 'sha256', 'md5') WHERE seq = 5`}, audit.Altered, 5, 4},
		{"the link to the row before is altered", []string{`UPDATE audit_event SET prev = hash WHERE seq = 5`}, audit.Altered, 5, 4},
		{"a row in the middle is removed", []string{`DELETE FROM audit_event WHERE seq = 5`}, audit.Missing, 6, 4},
		{"the first row is removed", []string{`DELETE FROM audit_event WHERE seq = 1`}, audit.Missing, 2, 0},
		{"a row is removed and the later ones renumbered", []string{`DELETE FROM audit_event WHERE seq = 5`,
			`UPDATE audit_event SET seq = seq - 1 WHERE seq > 5`}, audit.Altered, 5, 4},
		{"the last row is removed", []string{`DELETE FROM audit_event WHERE seq = 9`}, audit.Truncated, 9, 8},
		{"everything is removed", []string{`DELETE FROM audit_event`}, audit.Truncated, 1, 0},
		{"two rows are swapped", []string{`UPDATE audit_event SET seq = -1 WHERE seq = 3`,
			`UPDATE audit_event SET seq = 3 WHERE seq = 4`, `UPDATE audit_event SET seq = 4 WHERE seq = -1`}, audit.Altered, 3, 2},
		{"a row is copied to the end", []string{strings.NewReplacer("?, at", "10, at", "= ?", "= 2").Replace(copied)}, audit.Altered, 10, 9},
		{"a row is inserted before the first", []string{strings.NewReplacer("?, at", "0, at", "= ?", "= 2").Replace(copied)}, audit.Missing, 0, 0},
		{"the head is removed", []string{`DELETE FROM service_meta WHERE key = 'audit.head'`}, audit.Surplus, 1, 0},
		{"the head is garbage", []string{`UPDATE service_meta SET value = 'nine' WHERE key = 'audit.head'`}, audit.HeadLost, 0, 0},
		{"the head is set back and the rows stay", []string{`UPDATE service_meta SET value =
			(SELECT '8 ' || hash FROM audit_event WHERE seq = 8) WHERE key = 'audit.head'`}, audit.Surplus, 9, 8},
		{"the head names another hash", []string{`UPDATE service_meta SET value = '9 sha256:00' WHERE key = 'audit.head'`}, audit.HeadLost, 9, 8},
		{"the last rows are removed and the head set back", []string{`DELETE FROM audit_event WHERE seq > 7`, `UPDATE service_meta SET value =
			(SELECT '7 ' || hash FROM audit_event WHERE seq = 7) WHERE key = 'audit.head'`}, audit.Truncated, 8, 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := db.Update(t.Context(), func(tx *service.Tx) error {
				guard, err := unguard(tx)
				if err != nil {
					return err
				}
				for _, sql := range append(c.tamper, guard...) {
					if err := tx.Exec(sql); err != nil {
						return err
					}
				}
				r, err := audit.Verify(tx, noted)
				if err != nil {
					return err
				}
				if r.OK() || r.Fault.Kind != c.kind || r.Fault.Seq != c.seq || r.Rows != c.good {
					t.Errorf("found: %s; want %s at row %d after %d good rows", r, c.kind, c.seq, c.good)
				}
				return errUndo
			})
			if !errors.Is(err, errUndo) {
				t.Fatal(err)
			}
		})
	}
	if r := verified(t, w, db, noted); !r.OK() || r.Rows != 9 {
		t.Errorf("afterwards: %s", r)
	}
}

// Somebody who alters a row and gives it the right hash breaks the link of the next.
func TestARowThatWasAlteredAndRehashedIsFound(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	write(w, db, 6)
	for _, c := range []struct {
		seq, at int64
		kind    string
	}{{1, 2, audit.Reordered}, {4, 5, audit.Reordered}, {6, 6, audit.HeadLost}} {
		err := db.Update(t.Context(), func(tx *service.Tx) error {
			guard, err := unguard(tx)
			if err != nil {
				return err
			}
			var row audit.Row
			if err := audit.Read(tx, audit.Filter{Before: c.seq + 1}, 1, func(r audit.Row) error { row = r; return nil }); err != nil {
				return err
			}
			row.Subject = "C999"
			if err := tx.Exec(`UPDATE audit_event SET subject = ?, hash = ? WHERE seq = ?`,
				row.Subject, audit.Rehash(row).Hash, row.Seq); err != nil {
				return err
			}
			for _, sql := range guard {
				if err := tx.Exec(sql); err != nil {
					return err
				}
			}
			r, err := audit.Verify(tx)
			if err == nil && (r.OK() || r.Fault.Kind != c.kind || r.Fault.Seq != c.at) {
				t.Errorf("row %d altered and rehashed: %s", c.seq, r)
			}
			return errors.Join(err, errUndo)
		})
		if !errors.Is(err, errUndo) {
			t.Fatal(err)
		}
	}
}

func TestRemovedGuardsAreFound(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	write(w, db, 2)
	w.Update(db, func(tx *service.Tx) error { _, err := unguard(tx); return err })
	if r := verified(t, w, db); r.OK() || r.Fault.Kind != audit.Unguarded {
		t.Error(r)
	}
}

// A chain that somebody rewrote from a row on, hashes and head included, is whole in
// itself: only a head noted before tells.
func TestARewrittenChainIsFoundByAHeadNotedBefore(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	_, other := w.Tenant(servicetest.PublicSecurity)
	write(w, db, 6)
	noted := verified(t, w, db).Head
	w.Clock.Advance(time.Second)
	write(w, other, 6) // The same events a second later: as good a chain as any.
	if r := verified(t, w, other); !r.OK() {
		t.Fatal(r)
	}
	r := verified(t, w, other, noted)
	if r.OK() || r.Fault.Kind != audit.Rewritten || r.Fault.Seq != 6 {
		t.Errorf("a chain of other rows passes for the one whose head was noted: %s", r)
	}
}

func TestAuditPages(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	write(w, db, 60)
	w.Update(db, func(tx *service.Tx) error {
		return tx.Record(service.Event{What: "case.decided", Subject: "=HYPERLINK(\"http://x\")", Refused: "cases.not_accepted",
			Who: servicetest.Officer(servicetest.CivilAffairs)})
	})
	auditor := servicetest.Auditor(servicetest.CivilAffairs)
	const list = "GET /t/civil-affairs/audit"
	w.Run(t, []servicetest.Scenario{
		{Name: "an auditor sees the newest rows first", Call: servicetest.Call{Do: list, As: auditor},
			Has: []string{`"seq":61`, `"seq":12`, `"next":12`}, HasNot: []string{`"seq":11,`}},
		{Name: "and the older ones on the next page", Call: servicetest.Call{Do: list + "?before=12", As: auditor},
			Has: []string{`"seq":11`, `"seq":1,`}, HasNot: []string{`"next"`, `"seq":12,`}},
		{Name: "filtered by the beginning of what was done", Call: servicetest.Call{Do: list + "?what=case.d", As: auditor},
			Has: []string{`case.decided`}, HasNot: []string{`case.accepted`}},
		{Name: "filtered by subject", Call: servicetest.Call{Do: list + "?subject=C007", As: auditor},
			Has: []string{`"C007"`}, HasNot: []string{`"C008"`}},
		{Name: "filtered by an account that did nothing", Call: servicetest.Call{Do: list + "?account=nobody", As: auditor},
			Has: []string{`"rows":[]`}},
		{Name: "filtered by the day", Call: servicetest.Call{Do: list + "?from=2026-03-02&to=2026-03-02", As: auditor}, Has: []string{`"seq":61`}},
		{Name: "filtered by another day", Call: servicetest.Call{Do: list + "?to=2026-03-01", As: auditor}, Has: []string{`"rows":[]`}},
		{Name: "a wildcard of SQL is no wildcard", Call: servicetest.Call{Do: list + "?what=%25", As: auditor}, Has: []string{`"rows":[]`}},
		{Name: "a date that is none is refused", Call: servicetest.Call{Do: list + "?from=yesterday", As: auditor}, Want: "invalid", Has: []string{"audit.bad_date"}},
		{Name: "a page that is none is refused", Call: servicetest.Call{Do: list + "?before=-1", As: auditor}, Want: "invalid", Has: []string{"audit.bad_number"}},
		{Name: "verification says that all is well", Call: servicetest.Call{Do: list + "/verify", As: auditor}, Has: []string{`"rows":61`, `"ok":true`}},
		{Name: "an officer of the tenant may not look", Call: servicetest.Call{Do: list, As: servicetest.Officer(servicetest.CivilAffairs)}, Want: "forbidden"},
		{Name: "its administrator neither", Call: servicetest.Call{Do: list, As: servicetest.TenantAdmin(servicetest.CivilAffairs)}, Want: "forbidden"},
		{Name: "for an auditor of another tenant there is nothing", Call: servicetest.Call{Do: list, As: servicetest.Auditor(servicetest.PublicSecurity)}, Want: "not_found"},
		{Name: "the division's auditor holds nothing at the tenant", Call: servicetest.Call{Do: list, As: servicetest.Auditor("")}, Want: "not_found"},
		{Name: "but reads the division's", Call: servicetest.Call{Do: "GET /audit", As: servicetest.Auditor("")}, Has: []string{`"rows":[]`}},
		{Name: "which the tenant's auditor may not", Call: servicetest.Call{Do: "GET /audit", As: auditor}, Want: "forbidden"},
		{Name: "a stranger is asked to sign in", Call: servicetest.Call{Do: list}, Want: "not_signed_in"},
	})
}

func TestExportIsSafeForSpreadsheets(t *testing.T) {
	w := servicetest.New(t)
	_, db := w.Tenant(servicetest.CivilAffairs)
	w.Update(db, func(tx *service.Tx) error {
		for _, subject := range []string{"=1+1", "+1", "-1", "@x", "\tx", "＝1", "plain", "a,\"b\"\nc"} {
			if err := tx.Record(service.Event{What: "x.y", Subject: subject}); err != nil {
				return err
			}
		}
		return nil
	})
	r, err := w.Call("GET /t/civil-affairs/audit/export.csv?what=x.", servicetest.Auditor(servicetest.CivilAffairs), nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r.File.Body)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte("\uFEFF")))).ReadAll()
	if err != nil || len(rows) != 9 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	want := []string{"a,\"b\"\ufffdc", "plain", "'＝1", "\ufffdx", "'@x", "'-1", "'+1", "'=1+1"}
	for i, row := range rows[1:] {
		if row[3] != want[i] {
			t.Errorf("the cell of %q is %q", want[i], row[3])
		}
	}
	if !strings.HasSuffix(r.File.Name, ".csv") || !strings.Contains(r.File.Name, "civil-affairs") {
		t.Errorf("the file is named %q", r.File.Name)
	}
}

func TestANodeReportsRefusals(t *testing.T) {
	w := servicetest.New(t)
	good := map[string]string{"what": "GET /t/{tenant}/cases", "subject": "/t/b/cases", "account": "a1", "kind": "staff", "reason": "tenant_mismatch"}
	but := func(key, value string) map[string]string {
		m := maps.Clone(good)
		m[key] = value
		return m
	}
	const do = "POST " + audit.RefusalsPath
	w.Run(t, []servicetest.Scenario{
		{Name: "the program itself", Call: servicetest.Call{Do: do, As: servicetest.System(), Body: good}, After: func(w *servicetest.World, _ service.Response) {
			if got := w.Events(w.Division); len(got) != 1 || got[0] != "GET /t/{tenant}/cases /t/b/cases tenant_mismatch" {
				t.Errorf("the audit holds %q", got)
			}
		}},
		{Name: "nobody else: an operator", Call: servicetest.Call{Do: do, As: servicetest.Operator(), Body: good}, Want: "forbidden"},
		{Name: "nobody else: an auditor", Call: servicetest.Call{Do: do, As: servicetest.Auditor(""), Body: good}, Want: "forbidden"},
		{Name: "nobody else: a stranger", Call: servicetest.Call{Do: do, Body: good}, Want: "not_signed_in"},
		{Name: "a kind that is none", Call: servicetest.Call{Do: do, As: servicetest.System(), Body: but("kind", "root")}, Want: "invalid"},
		{Name: "no reason", Call: servicetest.Call{Do: do, As: servicetest.System(), Body: but("reason", "")}, Want: "invalid"},
		{Name: "an unknown field", Call: servicetest.Call{Do: do, As: servicetest.System(), Body: but("hash", "x")}, Want: "invalid"},
		{Name: "no JSON", Call: servicetest.Call{Do: do, As: servicetest.System(), Body: url.Values{"what": {"x"}}}, Want: "invalid"},
	})
	if n := w.Count(w.Division, `SELECT count(*) FROM audit_event`); n != 1 {
		t.Errorf("%d rows after one report", n)
	}
}

func BenchmarkVerify(b *testing.B) {
	w := servicetest.New(b)
	_, db := w.Tenant(servicetest.CivilAffairs)
	const rows = 20_000
	for range rows / 500 {
		write(w, db, 500)
	}
	for b.Loop() {
		w.View(db, func(v *service.View) error {
			r, err := audit.Verify(v)
			if err == nil && (!r.OK() || r.Rows != rows) {
				b.Fatal(r)
			}
			return err
		})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/rows, "µs/row")
}
