package replication_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// hostile statements, and how each must end: with one of our errors, or with a text that is
// part of SQLite's.
type hostile struct {
	name, sql string
	is        error
	says      string
}

const (
	forever = `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) `
	million = `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000000) `
)

// several is the element n times.
func several(element string, n int) string { return strings.Repeat(element+",", n-1) + element }

func hostileReads() []hostile {
	return []hostile{
		{"an endless recursion", forever + `SELECT count(*) FROM c`, replication.ErrTooSlow, ""},
		{"a cross join of 10^18 rows", million + `SELECT count(*) FROM c a, c b, c d`, replication.ErrTooSlow, ""},
		{"an endless sort", forever + `SELECT randomblob(500) FROM c ORDER BY 1`, nil, ""},
		{"a blob of 1 GB", `SELECT randomblob(1000000000)`, nil, "too big"},
		{"zeros of 1 GB", `SELECT hex(zeroblob(1000000000))`, nil, "too big"},
		{"a text of 1 GB", `SELECT printf('%.*c', 1000000000, 'x')`, nil, "too big"},
		{"a text that grows", million + `SELECT length(group_concat(hex(zeroblob(1000)))) FROM c`, nil, ""},
		{"a row of 3 GB", `SELECT ` + several(`randomblob(15000000)`, 200), replication.ErrTooMuch, "memory"},
		{"SQL of 2 MB", `SELECT '` + strings.Repeat("x", 2<<20) + `'`, replication.ErrTooMuch, ""},
		{"10,000 columns", `SELECT ` + several("1", 10_000), nil, "too many columns"},
		{"deep parentheses", `SELECT ` + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), nil, "sqlite:"},
		{"a deep expression", `SELECT ` + strings.Repeat("1+", 5000) + "1", nil, "too large"},
		{"deep queries", `SELECT ` + strings.Repeat("(SELECT ", 1500) + "1" + strings.Repeat(")", 1500), nil, "sqlite:"},
		{"100,000 parameters", `SELECT 1 IN (` + several("?", 100_000) + `)`, nil, "too many SQL variables"},
		{"a union of 1,000", strings.Repeat("SELECT 1 UNION ", 1000) + "SELECT 1", nil, "too many terms"},
		{"a pattern of 100 kB", `SELECT 'a' LIKE '` + strings.Repeat("%a", 50_000) + `'`, nil, "pattern too complex"},
		{"another file", `ATTACH 'x.db' AS x`, replication.ErrForbiddenSQL, ""},
		{"a copy elsewhere", `VACUUM INTO 'x.db'`, nil, ""},
		{"an extension", `SELECT load_extension('x.so')`, replication.ErrForbiddenSQL, ""},
		{"a tokenizer's address", `SELECT fts3_tokenizer('simple')`, replication.ErrForbiddenSQL, ""},
		{"a file's content", `SELECT readfile('/etc/passwd')`, nil, "no such function"},
		{"raw pages", `SELECT * FROM sqlite_dbpage`, nil, "no such table"},
		{"where the file is", `SELECT * FROM pragma_database_list`, replication.ErrForbiddenSQL, ""},
		{"a setting by a table", `SELECT * FROM pragma_wal_checkpoint`, nil, ""},
		{"the schema as a table", `PRAGMA writable_schema = ON`, replication.ErrForbiddenSQL, ""},
		{"the journal", `PRAGMA journal_mode = DELETE`, replication.ErrForbiddenSQL, ""},
		{"the cache", `PRAGMA cache_size = 1000000`, replication.ErrForbiddenSQL, ""},
		{"mapped memory", `PRAGMA mmap_size = 1000000000`, replication.ErrForbiddenSQL, ""},
		{"where temporary files are", `PRAGMA temp_store = 2`, replication.ErrForbiddenSQL, ""},
		{"two statements", `SELECT 1; DELETE FROM t`, replication.ErrForbiddenSQL, ""},
		{"a write", `DELETE FROM t`, replication.ErrForbiddenSQL, ""},
	}
}

func hostileWrites() []hostile {
	return []hostile{
		{"an endless recursion", `INSERT INTO t(v) ` + forever + `SELECT n FROM c`, replication.ErrTooSlow, ""},
		{"an endless condition", `DELETE FROM t WHERE v IN (` + forever + `SELECT n FROM c)`, replication.ErrTooSlow, ""},
		{"a cross join", `UPDATE t SET v = (` + million + `SELECT count(*) FROM c a, c b)`, replication.ErrTooSlow, ""},
		{"a blob of 1 GB", `INSERT INTO t(v) VALUES (randomblob(1000000000))`, nil, "too big"},
		{"a text of 1 GB", `INSERT INTO t(v) VALUES (printf('%.*c', 1000000000, 'x'))`, nil, "too big"},
		{"a row of 300 MB", `INSERT INTO w VALUES (` + several("randomblob(15000000)", 20) + `)`, nil, ""},
		{"SQL of 2 MB", `INSERT INTO t(v) VALUES ('` + strings.Repeat("x", 2<<20) + `')`, replication.ErrTooMuch, ""},
		{"10,000 columns", `CREATE TABLE x(` + strings.Join(letters(10_000), ",") + `)`, nil, "too many columns"},
		{"a chain of triggers", `INSERT INTO loop VALUES (1)`, nil, "too deep"},
		{"a view with an extension", `INSERT INTO t(v) SELECT * FROM evil`, nil, "unsafe use"},
		{"a trigger with an extension", `INSERT INTO trap VALUES (1)`, replication.ErrForbiddenSQL, ""},
		{"a trigger with a rowid", `INSERT INTO late VALUES (1)`, replication.ErrForbiddenSQL, ""},
		{"the last rowid", `INSERT INTO t(id) VALUES (9223372036854775807)`, replication.ErrForbiddenSQL, ""},
		{"two statements", `DELETE FROM t; DELETE FROM t`, replication.ErrForbiddenSQL, ""},
		{"the end of the transaction", `INSERT OR ROLLBACK INTO t(v) VALUES ('a')`, nil, "ended the whole transaction"},
		{"the same by a trigger", `INSERT INTO back VALUES (1)`, nil, "ended the whole transaction"},
		{"another file", `ATTACH 'x.db' AS x`, replication.ErrForbiddenSQL, ""},
		{"a file's end", `VACUUM`, nil, ""},
		{"the schema's table", `UPDATE sqlite_schema SET sql = 'x'`, nil, ""},
		{"a table of SQLite", `CREATE TABLE sqlite_x(a)`, nil, "sqlite:"},
	}
}

// TestHostileSQLHasADefinedAnswer lets one tenant's statements loose beside another tenant,
// whose changes must go on, and looks at the memory of the process.
func TestHostileSQLHasADefinedAnswer(t *testing.T) {
	o := replicationtest.Options(t, "n1")
	o.MaxClosure, o.MaxRead = 200*time.Millisecond, 200*time.Millisecond
	e, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var dbs [2]*replication.DB
	for i, id := range []replication.DatabaseID{"hostile/main", "other/main"} {
		if dbs[i], err = e.OpenDB(id, replication.DBOptions{Voters: []replication.NodeID{"n1"}}); err != nil {
			t.Fatal(err)
		}
		replicationtest.Await(t, "it leads", dbs[i].IsLeader)
	}
	db, other := dbs[0], dbs[1]
	exec(t, other, `CREATE TABLE t(v)`)
	exec(t, db, `CREATE TABLE t(id INTEGER PRIMARY KEY, v UNIQUE)`, `INSERT INTO t(v) VALUES ('a'), ('b')`,
		`CREATE TABLE w(`+strings.Join(letters(20), ",")+`)`,
		`CREATE TABLE loop(a)`, `CREATE TABLE pool(a)`, `CREATE TABLE trap(a)`, `CREATE TABLE late(a)`, `CREATE TABLE back(a)`,
		`CREATE TRIGGER l1 AFTER INSERT ON loop BEGIN INSERT INTO pool VALUES (1); END`,
		`CREATE TRIGGER b1 AFTER INSERT ON back BEGIN SELECT RAISE(ROLLBACK, 'no'); END`,
		`CREATE TRIGGER x1 AFTER INSERT ON trap BEGIN SELECT load_extension('x'); END`,
		`CREATE TRIGGER r1 AFTER INSERT ON late BEGIN INSERT INTO t(id) VALUES (9223372036854775807); END`,
		`CREATE VIEW evil AS SELECT load_extension('x')`)
	chain(t, db)
	stop, worst := make(chan struct{}), make(chan time.Duration)
	go func() { worst <- worstUpdate(t, other, stop) }()
	resetPeak()
	before, _, err := db.Checksum(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hostileReads() {
		h.check(t, "read", func() error {
			return db.View(ctx, replication.Local, func(v *replication.View) error {
				rows, err := v.Query(h.sql)
				if err != nil {
					return err
				}
				defer rows.Close()
				for rows.Next() {
				}
				return rows.Err()
			})
		})
	}
	for _, h := range hostileWrites() {
		h.check(t, "write", func() error {
			_, _, err := db.Exec(ctx, replication.Statement{SQL: `INSERT INTO t(v) VALUES ('before')`}, replication.Statement{SQL: h.sql})
			return err
		})
	}
	close(stop)
	t.Logf("the other's slowest update took %v, the process had %d MiB at most", <-worst, peak()>>20)
	if p := peak(); p > 512<<20 {
		t.Errorf("the process had %d MiB", p>>20)
	}
	if after, _, err := db.Checksum(ctx); err != nil || after != before {
		t.Errorf("something was left behind (%v)", err)
	}
}

// letters are n names of columns.
func letters(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = "c" + strconv.Itoa(i)
	}
	return out
}

// chain makes tables of which each fires the next, deeper than triggers may.
func chain(t *testing.T, db *replication.DB) {
	t.Helper()
	var stmts []string
	for i := range 150 {
		stmts = append(stmts, fmt.Sprintf(`CREATE TABLE pool%d(a)`, i))
	}
	stmts = append(stmts, `CREATE TRIGGER p AFTER INSERT ON pool BEGIN INSERT INTO pool0 VALUES (1); END`)
	for i := range 149 {
		stmts = append(stmts, fmt.Sprintf(`CREATE TRIGGER p%d AFTER INSERT ON pool%d BEGIN INSERT INTO pool%d VALUES (1); END`, i, i, i+1))
	}
	exec(t, db, stmts...)
}

func (h hostile) check(t *testing.T, kind string, run func() error) {
	t.Helper()
	began := time.Now()
	err := run()
	took := time.Since(began)
	switch {
	case err == nil:
		t.Errorf("%s, %s: no error", kind, h.name)
	case h.is != nil && !errors.Is(err, h.is):
		t.Errorf("%s, %s: not %v: %v", kind, h.name, h.is, err)
	case !strings.Contains(err.Error(), h.says):
		t.Errorf("%s, %s: not %q: %v", kind, h.name, h.says, err)
	case took > 5*time.Second: // 200 ms, on a loaded machine.
		t.Errorf("%s, %s: it took %v", kind, h.name, took)
	}
	if errors.Is(err, replication.ErrDisk) || errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("%s, %s: the machine is blamed: %v", kind, h.name, err)
	}
}

// worstUpdate changes the database until stop is closed, and returns the longest wait.
func worstUpdate(t *testing.T, db *replication.DB, stop <-chan struct{}) time.Duration {
	worst := time.Duration(0)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return worst
		case <-tick.C:
		}
		began := time.Now()
		if _, err := db.Update(ctx, insert("x")); err != nil {
			t.Errorf("the other's update: %v", err)
		}
		worst = max(worst, time.Since(began))
		if worst > 5*time.Second {
			t.Errorf("the other's update took %v", worst)
			return worst
		}
	}
}

// resetPeak makes peak count anew.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peak is the most memory that the process has had, in bytes; 0 if the system does not say.
func peak() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64)
	return n << 10
}

func TestAViewHasALimitedTime(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t, func(o *replication.Options) { o.MaxRead = 50 * time.Millisecond })
	err := db.View(ctx, replication.Local, func(v *replication.View) error {
		return v.QueryRow(forever + `SELECT count(*) FROM c`).Scan(new(int))
	})
	if !errors.Is(err, replication.ErrTooSlow) {
		t.Errorf("without a deadline of its own: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	err = db.View(short, replication.Local, func(v *replication.View) error {
		return v.QueryRow(forever + `SELECT count(*) FROM c`).Scan(new(int))
	})
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, replication.ErrTooSlow) {
		t.Errorf("with a shorter one: %v", err)
	}
}
