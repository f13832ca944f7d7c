package appliance

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tongban/node/exit"
	"tongban/replication"
	"tongban/service"
	"tongban/service/cases"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
	"tongban/service/servicetest"
)

const home = servicetest.CivilAffairs

// stopped makes a folder as a stopped node leaves it: a division, and a department with
// items, a case and its audit.
func stopped(t *testing.T) (dir string) {
	t.Helper()
	var w *servicetest.World
	w = servicetest.New(t, catalog.Definition(), cases.Definition(cases.Options{
		TenantByNumber: func(n int) (service.Tenant, bool) {
			for _, one := range w.Tenants() {
				if one.Number == n {
					return one, true
				}
			}
			return service.Tenant{}, false
		}}))
	rows, err := catalog.ParseCSV(bytes.NewReader(demo.CSV(false)))
	if err != nil {
		t.Fatal(err)
	}
	rows = rows[:3]
	for i := range rows {
		rows[i].Department = "区民政局"
	}
	call := func(do string, as service.Principal, body any) {
		if _, err := w.Call(do, as, body); err != nil {
			t.Fatalf("%s: %v", do, err)
		}
	}
	call("POST /t/"+home+"/items/import", servicetest.TenantAdmin(home), map[string]any{"file": "demo.csv", "rows": rows})
	form := url.Values{"name": {"王小明"}, "id_kind": {cases.Resident}, "id_number": {"11010519491231002X"}, "phone": {"13800138000"}, "truth": {"yes"}}
	call("POST /t/"+home+"/items/"+url.PathEscape(rows[0].Code)+"/apply", servicetest.Citizen(), form)
	w.Update(w.Division, func(tx *service.Tx) error {
		return tx.Record(service.Event{What: "node.founded", Subject: "n1"})
	})
	dir = t.TempDir()
	_, tenant := w.Tenant(home)
	for _, db := range []*service.DB{w.Division, tenant} {
		path := filepath.Join(dir, "db", filepath.FromSlash(string(db.ID())), "state.db")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Backup(t.Context(), path); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func fileOf(dir string) string { return filepath.Join(dir, "db", home, "main", "state.db") }

func divisionOf(dir string) string { return filepath.Join(dir, "db", "_division", "main", "state.db") }

// tampering is something done to one of two folders that agree.
type tampering struct {
	do       func(t *testing.T, other, dir string)
	database string
	verdict  Verdict
	words    []string
}

func tamperings(number string) map[string]tampering {
	return map[string]tampering{
		"a page's header is overwritten": {
			func(t *testing.T, _, dir string) {
				for i := range int64(8) {
					flip(t, fileOf(dir), 3*4096+i)
				}
			}, home, Contradicts, []string{"checksum"}},
		"the file's head is overwritten": {
			func(t *testing.T, _, dir string) { flip(t, fileOf(dir), 3) }, home, Contradicts, []string{"cannot be opened"}},
		"the file is cut": {
			func(t *testing.T, _, dir string) {
				if err := os.Truncate(fileOf(dir), 8*4096); err != nil {
					t.Fatal(err)
				}
			}, home, Contradicts, []string{dir0}},
		"an audit row is gone": {
			func(t *testing.T, _, dir string) { tamper(t, fileOf(dir), `DELETE FROM audit_event WHERE seq = 1`) },
			home, Contradicts, []string{"audit", "missing"}},
		"the newest audit row is gone": {
			func(t *testing.T, _, dir string) {
				tamper(t, divisionOf(dir), `DELETE FROM audit_event WHERE seq = (SELECT max(seq) FROM audit_event)`)
			}, "_division", Contradicts, []string{"audit", "truncated"}},
		"an audit row is rewritten": {
			func(t *testing.T, _, dir string) { tamper(t, divisionOf(dir), `UPDATE audit_event SET account = 'x'`) },
			"_division", Contradicts, []string{"audit", "altered at row 1"}},
		"a case's event is altered": {
			func(t *testing.T, _, dir string) { tamper(t, fileOf(dir), `UPDATE cases_event SET at = at - 1`) },
			home, Contradicts, []string{"case " + number}},
		"a case is gone": {
			func(t *testing.T, _, dir string) {
				tamper(t, fileOf(dir), `DELETE FROM cases_event`, `DELETE FROM cases_material`, `DELETE FROM cases_case`)
			}, home, Contradicts, []string{"cases"}},
		"a cell is changed on one replica": {
			func(t *testing.T, _, dir string) {
				tamper(t, fileOf(dir), `UPDATE catalog_item SET name = name || 'x'`)
			},
			home, Contradicts, []string{"other rows at the same index", "in catalog_item"}},
		"a reference leads nowhere": {
			func(t *testing.T, _, dir string) {
				tamper(t, divisionOf(dir), `CREATE TABLE x_a (id INTEGER PRIMARY KEY)`, `CREATE TABLE x_b (a INTEGER REFERENCES x_a (id))`, `INSERT INTO x_b VALUES (7)`)
			}, "_division", Contradicts, []string{"row 1 of x_b refers to a row of x_a"}},
		"the division has folded more than there is": {
			func(t *testing.T, other, dir string) {
				for _, d := range []string{dir, other} {
					tamper(t, fileOf(d), `UPDATE service_meta SET value = '0' WHERE key = 'epoch'`)
					tamper(t, divisionOf(d), `INSERT OR REPLACE INTO service_cursor VALUES ('`+home+`@0', 999)`)
				}
			}, home, Contradicts, []string{"folded its feed up to 999"}},
		"a feed holds what was never given out": {
			func(t *testing.T, _, dir string) {
				tamper(t, fileOf(dir), `UPDATE service_feed SET version = version + 999`)
			},
			home, Contradicts, []string{"its feeds hold version"}},
		"a replica is behind": {
			func(t *testing.T, _, dir string) {
				tamper(t, fileOf(dir), `UPDATE replication_state SET applied = applied - 2`, `DELETE FROM service_request`)
			}, home, NotCompared, []string{"behind by 2 entries"}},
		"a replica is missing": {
			func(t *testing.T, _, dir string) {
				if err := os.Remove(fileOf(dir)); err != nil {
					t.Fatal(err)
				}
			}, home, NotCompared, []string{"has no replica"}},
	}
}

func TestWhatContradictsItselfIsNamed(t *testing.T) {
	t.Parallel()
	good := stopped(t)
	other := copyTree(t, good)
	if v, err := Verify(t.Context(), []string{good, other}, nil); err != nil || v.Verdict != Agree || v.ExitCode() != exit.OK ||
		len(v.Databases) != 2 || v.Databases[1].Replicas[0].Cases != 1 || v.Databases[1].Replicas[0].Audit == 0 {
		t.Fatalf("untouched folders: %v\n%s", err, v.Text())
	}
	number := one(t, fileOf(good), `SELECT number FROM cases_case`)
	for name, c := range tamperings(number) {
		t.Run(name, func(t *testing.T) {
			left, right := copyTree(t, good), copyTree(t, good)
			c.do(t, left, right)
			v, err := Verify(t.Context(), []string{left, right}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if v.Verdict != c.verdict {
				t.Errorf("verdict %q, want %q\n%s", v.Verdict, c.verdict, v.Text())
			}
			for _, d := range v.Databases {
				if !strings.HasPrefix(string(d.Database), c.database+"/") {
					if d.Verdict != Agree {
						t.Errorf("%s is blamed:\n%s", d.Database, v.Text())
					}
					continue
				}
				notes := strings.Join(d.Notes, "\n")
				for _, w := range c.words {
					if !strings.Contains(notes, strings.ReplaceAll(w, dir0, right)) {
						t.Errorf("the notes do not say %q:\n%s", w, v.Text())
					}
				}
			}
		})
	}
}

// dir0 stands for the folder that was tampered with.
const dir0 = "<the tampered folder>"

func TestOfThreeReplicasTheOddOneIsNamed(t *testing.T) {
	t.Parallel()
	a := stopped(t)
	b, c := copyTree(t, a), copyTree(t, a)
	tamper(t, fileOf(b), `UPDATE catalog_item SET name = name || 'x'`)
	v, err := Verify(t.Context(), []string{a, b, c}, nil)
	if err != nil {
		t.Fatal(err)
	}
	notes := v.Databases[1].Notes
	if len(notes) != 1 || !strings.HasPrefix(notes[0], b+" and "+a) {
		t.Errorf("the notes are %q", notes)
	}
}

func TestAReplicaThatOnlyLacksEmptyEntriesAgrees(t *testing.T) {
	t.Parallel()
	a := stopped(t)
	b := copyTree(t, a)
	tamper(t, fileOf(b), `UPDATE replication_state SET applied = applied - 1`)
	if v, err := Verify(t.Context(), []string{a, b}, nil); err != nil || v.Verdict != Agree {
		t.Errorf("%v\n%s", err, v.Text())
	}
}

func TestARunningFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := replication.Open(replication.Options{Dir: dir, Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = Verify(t.Context(), []string{dir}, nil)
	says(t, err, exit.Failed, "is running", "systemctl stop")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Verify(t.Context(), []string{dir}, nil)
	says(t, err, exit.NotFound, "no database")
	_, err = Verify(t.Context(), []string{t.TempDir()}, nil)
	says(t, err, exit.NotFound, "no node's folder")
}
