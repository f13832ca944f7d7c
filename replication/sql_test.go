package replication_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// setup is the schema of the tables of refused and allowed SQL.
var setup = []string{
	`CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v, n INTEGER)`,
	`CREATE TABLE u(id INTEGER PRIMARY KEY, v UNIQUE, CHECK (v <> 'bad'))`,
	`CREATE VIRTUAL TABLE f USING fts4(body, tokenize=unicode61)`,
	`CREATE VIEW w AS SELECT changes() AS r`,
	`INSERT INTO t(v) VALUES ('a'), ('b')`,
}

// refusedSQL must give ErrForbiddenSQL.
var refusedSQL = []string{
	`UPDATE t SET v = changes()`,
	`UPDATE t SET v = total_changes()`,
	`INSERT INTO t(v) SELECT r FROM w`,
	`DELETE FROM t WHERE v < (SELECT total_changes())`,
	`INSERT INTO u(v) VALUES (sqlite_version())`,
	`CREATE TABLE x(a DEFAULT (changes()))`,
	`ALTER TABLE u ADD COLUMN c DEFAULT (abs(changes()))`,
	`CREATE TABLE x AS SELECT sqlite_source_id() AS r`,
	`ATTACH ':memory:' AS other`,
	`DETACH main`,
	`BEGIN`,
	`COMMIT`,
	`END`,
	`ROLLBACK`,
	`SAVEPOINT s`,
	`RELEASE tx`,
	`ROLLBACK TO tx`,
	`PRAGMA journal_mode = DELETE`,
	`PRAGMA foreign_keys = OFF`,
	`PRAGMA defer_foreign_keys = ON`,
	`PRAGMA writable_schema = ON`,
	`PRAGMA user_version = 5`,
	`PRAGMA synchronous = OFF`,
	`PRAGMA wal_checkpoint(TRUNCATE)`,
	`SELECT load_extension('x')`,
	`SELECT fts3_tokenizer('simple')`,
	`CREATE TEMP TABLE x(a)`,
	`CREATE TABLE temp.x(a)`,
	`CREATE TEMP VIEW x AS SELECT 1`,
	`CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END`,
	`CREATE VIRTUAL TABLE x USING fts4aux(f)`,
	`CREATE VIRTUAL TABLE temp.x USING fts4(a)`,
	`ANALYZE`,
	`DELETE FROM sqlite_sequence`,
	`UPDATE sqlite_sequence SET seq = 9`,
	`UPDATE replication_state SET applied = 0`,
	`DELETE FROM replication_state`,
	`DROP TABLE replication_state`,
	`ALTER TABLE replication_state ADD COLUMN x`,
	`ALTER TABLE t RENAME TO replication_t`,
	`CREATE INDEX x ON replication_state(applied)`,
	`CREATE TRIGGER x AFTER UPDATE ON replication_state BEGIN SELECT 1; END`,
	`CREATE TABLE replication_x(a)`,
	`INSERT INTO t(v) VALUES (1); INSERT INTO t(v) VALUES (2)`,
	`INSERT INTO t(v) VALUES (1);;SELECT 1`,
	`INSERT INTO t(v) VALUES (1); nonsense`,
	``,
	`-- nothing`,
	`INSERT INTO t(id) VALUES (9223372036854775807)`,
	`INSERT INTO t(id) VALUES (9223372036854775807), (7)`,
	`UPDATE t SET id = 9223372036854775807 WHERE v = 'a'`,
	`INSERT INTO u(v) VALUES ('last')`,
	`UPDATE u SET v = 1`, // Its trigger asks for the count of changes.
}

func exec(t testing.TB, db *replication.DB, stmts ...string) {
	t.Helper()
	var list []replication.Statement
	for _, s := range stmts {
		list = append(list, replication.Statement{SQL: s})
	}
	var err error
	replicationtest.Await(t, "the database leads", func() bool { // It may lose that, and win it again.
		_, _, err = db.Exec(context.Background(), list...)
		return !errors.Is(err, replication.ErrNotLeader)
	})
	if err != nil {
		t.Fatalf("%q: %v", stmts, err)
	}
}

func TestRefusedSQL(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, setup...)
	exec(t, db, `CREATE TABLE dated(a, b AS (date(a)))`, `CREATE TRIGGER late AFTER UPDATE ON u BEGIN INSERT INTO t(v) VALUES (changes()); END`,
		`CREATE TRIGGER last AFTER INSERT ON u WHEN new.v = 'last' BEGIN INSERT INTO t(id) VALUES (9223372036854775807); END`)
	before, _, err := db.Checksum(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range refusedSQL {
		_, _, err := db.Exec(context.Background(), replication.Statement{SQL: sql})
		if !errors.Is(err, replication.ErrForbiddenSQL) {
			t.Errorf("%s: the error is %v", sql, err)
		}
	}
	for _, sql := range []string{
		`UPDATE sqlite_master SET sql = ''`,
		`DELETE FROM sqlite_schema`,
		`DROP TABLE sqlite_sequence`,
		`VACUUM`,
		`VACUUM INTO 'copy.db'`,
		`CREATE INDEX ti ON t(date('now'))`, // SQLite: an index, a generated column and a
		`CREATE INDEX ti ON t(random())`,    // partial index depend on the row alone.
		`CREATE INDEX ti ON t(v) WHERE v < random()`,
		`CREATE TABLE g(a, b AS (random()))`,
		`INSERT INTO dated(a) VALUES ('now')`,
		`INSERT INTO f_content VALUES (1, 'x')`,
		`DROP TABLE f_content`,
		`INSERT INTO "no such table" VALUES (1)`,
		`INSERT INTO t(v) VALUES (?)`,
	} {
		if _, _, err := db.Exec(context.Background(), replication.Statement{SQL: sql}); err == nil {
			t.Errorf("%s: no error", sql)
		}
	}
	after, _, err := db.Checksum(context.Background())
	if err != nil || after != before {
		t.Errorf("a refused statement left something behind (%v)", err)
	}
}

func TestRefusedSQLLeavesNothing(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, setup...)
	before, _, _ := db.Checksum(context.Background())
	for _, sql := range []string{`ALTER TABLE t RENAME TO replication_t`, `INSERT INTO t(id) VALUES (9223372036854775807)`} {
		_, err := db.Update(context.Background(), func(tx *replication.Tx) error {
			if err := tx.Exec(`INSERT INTO t(v) VALUES ('with it')`); err != nil {
				return err
			}
			_ = tx.Exec(sql) // A closure that does not look.
			return nil
		})
		if !errors.Is(err, replication.ErrForbiddenSQL) {
			t.Errorf("%s: %v", sql, err)
		}
	}
	if after, _, _ := db.Checksum(context.Background()); after != before {
		t.Error("a refused update left something behind")
	}
}

func TestAllowedSQL(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, setup...)
	for _, sql := range []string{
		`INSERT INTO t(v) VALUES (1); -- a comment`,
		`INSERT INTO t(v) VALUES (abs(-1) || upper('x') || printf('%d', 3)) ;; `,
		`INSERT INTO u(v) VALUES ('x') ON CONFLICT(v) DO UPDATE SET v = excluded.v RETURNING id`,
		`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 9) INSERT INTO t(v) SELECT n FROM c`,
		`UPDATE t SET n = (SELECT count(*) FROM u)`,
		`DELETE FROM t WHERE id = 1`,
		`INSERT INTO f(body) VALUES ('a b c')`,
		`UPDATE f SET body = 'd e' WHERE docid = 1`,
		`INSERT INTO f(f) VALUES ('optimize')`,
		`CREATE TABLE p(id INTEGER PRIMARY KEY, t INTEGER REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED, d DEFAULT 'current_time random()')`,
		`CREATE INDEX pi ON p(t) WHERE t > 0`,
		`CREATE TRIGGER pt AFTER INSERT ON p BEGIN UPDATE t SET n = 1; INSERT INTO f(body) VALUES ('from a trigger'); END`,
		`INSERT INTO p(t) VALUES (2)`,
		`ALTER TABLE p ADD COLUMN z DEFAULT 7`,
		`ALTER TABLE p RENAME COLUMN z TO zz`,
		`ALTER TABLE p DROP COLUMN zz`,
		`ALTER TABLE p RENAME TO pp`,
		`ALTER TABLE f RENAME TO ff`,
		`REINDEX`,
		`DROP TRIGGER pt`,
		`DROP INDEX pi`,
		`DROP TABLE pp`,
		`DROP TABLE ff`,
		`DROP VIEW w`,
		`DROP TABLE t`,
		`CREATE TABLE wr(a PRIMARY KEY, g GENERATED ALWAYS AS (a + 1) VIRTUAL) WITHOUT ROWID`,
		`CREATE VIRTUAL TABLE rt USING rtree(id, a, b)`,
		`INSERT INTO rt VALUES (1, 0, 1)`,
		`SELECT count(*) FROM u`,
		`PRAGMA table_info(u)`,
	} {
		if _, _, err := db.Exec(context.Background(), replication.Statement{SQL: sql}); err != nil {
			t.Errorf("%s: %v", sql, err)
		}
	}
}

func TestQueriesOnlyRead(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, setup...)
	ctx := context.Background()
	for _, sql := range []string{
		`INSERT INTO t(v) VALUES (1)`, `INSERT INTO t(v) VALUES (1) RETURNING id`, `DELETE FROM t`, `CREATE TABLE x(a)`,
		`BEGIN`, `COMMIT`, `ATTACH 'x' AS y`, `PRAGMA journal_mode = OFF`, `PRAGMA query_only = OFF`, `SELECT 1; SELECT 2`,
		`SELECT load_extension('x')`,
	} {
		_ = db.View(ctx, replication.Local, func(v *replication.View) error {
			if _, err := v.Query(sql); !errors.Is(err, replication.ErrForbiddenSQL) {
				t.Errorf("view: %s: %v", sql, err)
			}
			return nil
		})
		_, _ = db.Update(ctx, func(tx *replication.Tx) error {
			if _, err := tx.Query(sql); !errors.Is(err, replication.ErrForbiddenSQL) {
				t.Errorf("update: %s: %v", sql, err)
			}
			return nil
		})
	}
	err := db.View(ctx, replication.Local, func(v *replication.View) error {
		var n int
		var day string
		if err := v.QueryRow(`SELECT count(*), date('now') FROM pragma_table_info('t')`).Scan(&n, &day); err != nil {
			return err
		}
		if n != 3 {
			t.Errorf("t has %d columns", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestSplitSQL(t *testing.T) {
	t.Parallel()
	script := `
-- first; not a statement
CREATE TABLE a(x TEXT DEFAULT 'a;b'); /* ; */
CREATE TRIGGER r AFTER INSERT ON a BEGIN
  UPDATE a SET x = ';'; -- inner;
  DELETE FROM a;
END;
;;
INSERT INTO a VALUES ('it''s; fine')
-- the end;
`
	got, err := replication.SplitSQL(script)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || !strings.Contains(got[1], "DELETE FROM a;\nEND;") || !strings.HasPrefix(got[2], "INSERT") {
		t.Errorf("split into %d: %q", len(got), got)
	}
	for _, bad := range []string{`INSERT INTO a VALUES ('x;`, `CREATE TRIGGER r AFTER INSERT ON a BEGIN DELETE FROM a;`, `SELECT "a`} {
		if got, err := replication.SplitSQL(bad); err == nil {
			t.Errorf("%s: split into %q", bad, got)
		}
	}
	for _, empty := range []string{"", " ", ";", "-- x", "/* x */ ; -- y"} {
		if got, err := replication.SplitSQL(empty); err != nil || len(got) != 0 {
			t.Errorf("%q: %q, %v", empty, got, err)
		}
	}
	db := replicationtest.One(t)
	exec(t, db, slices.Concat(got)...)
}
