package replication_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

func list(sqls ...string) []replication.Statement {
	var out []replication.Statement
	for _, s := range sqls {
		out = append(out, replication.Statement{SQL: s})
	}
	return out
}

// told is an answer in short: its error, its rows or its changes.
func told(a replication.Answer) string {
	switch {
	case a.Err != nil:
		return "error: " + a.Err.Error()
	case a.Columns != nil:
		return fmt.Sprint(a.Columns, a.Rows)
	}
	return fmt.Sprint(a.RowsAffected)
}

// executeTables are what the lists of these tests are about.
var executeTables = []string{`CREATE TABLE t(v UNIQUE)`, `CREATE TABLE r(a)`,
	`CREATE TRIGGER rt AFTER INSERT ON r BEGIN SELECT RAISE(ROLLBACK, 'no'); END`,
	`CREATE TABLE parent(id INTEGER PRIMARY KEY)`,
	`CREATE TABLE child(p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)`, `INSERT INTO t VALUES ('old')`}

func TestStatementsOfAListStandOnTheirOwn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, bad, want string
	}{
		{"a constraint", `INSERT INTO t VALUES ('old')`, "UNIQUE constraint failed"},
		{"no such table", `INSERT INTO nowhere VALUES (1)`, "no such table"},
		{"OR ROLLBACK ends the transaction", `INSERT OR ROLLBACK INTO t VALUES ('old')`, "ended the whole transaction"},
		{"a trigger ends the transaction", `INSERT INTO r VALUES (1)`, "ended the whole transaction"},
		{"a deferred foreign key", `INSERT INTO child VALUES (77)`, "FOREIGN KEY"},
		{"the last rowid", `INSERT INTO t(rowid, v) VALUES (9223372036854775807, 'x')`, "random"},
		{"a reserved name", `ALTER TABLE r RENAME TO replication_r`, "reserved"},
		{"a transaction of its own", `BEGIN`, "transaction"},
		{"two statements", `DELETE FROM t; DELETE FROM t`, "one statement"},
		{"too few parameters", `INSERT INTO t VALUES (?)`, "1 parameters, 0 values"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			nodes := replicationtest.Cluster(t, 3)
			db := nodes.DB(nodes.Leader())
			exec(t, db, executeTables...)
			answers, index, err := db.Execute(ctx, replication.ListOptions{},
				list(`INSERT INTO t VALUES ('a')`, c.bad, `INSERT INTO t VALUES ('b') RETURNING v`, `SELECT count(*) AS n FROM t`))
			if err != nil || len(answers) != 4 || index == 0 {
				t.Fatalf("%v, index %d, answers %v", err, index, answers)
			}
			if got := told(answers[1]); !strings.Contains(got, c.want) || !strings.HasPrefix(got, "error") {
				t.Errorf("the bad one: %s", got)
			}
			for i, want := range map[int]string{0: "1", 2: "[v] [[b]]", 3: "[n] [[3]]"} {
				if got := told(answers[i]); got != want {
					t.Errorf("answer %d is %s, not %s", i, got, want)
				}
			}
			nodes.Settle()

			answers, _, err = db.Execute(ctx, replication.ListOptions{Atomic: true}, list(`INSERT INTO t VALUES ('c')`, c.bad, `DELETE FROM t`))
			if c.name == "a deferred foreign key" { // Only the end of the transaction shows it.
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("atomic: %v, %v", answers, err)
				}
			} else if err == nil || len(answers) != 2 || !errors.Is(err, answers[1].Err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("atomic: %v, %v", answers, err)
			}
			if n := count(t, db, "t"); n != 3 {
				t.Errorf("%d rows after a list that was all or nothing", n)
			}
			exec(t, db, `INSERT INTO t VALUES ('z')`)
			nodes.Settle()
		})
	}
}

func TestAListSharesItsBatchWithOthers(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, executeTables...)
	run := func(o replication.ListOptions, sqls ...string) func(tx *replication.Tx) error {
		return func(*replication.Tx) error { _, _, err := db.Execute(ctx, o, list(sqls...)); return err }
	}
	hold, begun, done := make(chan struct{}), make(chan struct{}), make(chan error, 3)
	go func() {
		_, err := db.Update(ctx, func(tx *replication.Tx) error {
			close(begun)
			replication.HoldUntil(t, hold)
			return insert("first")(tx)
		})
		done <- err
	}()
	replication.Reached(t, begun)
	for i, fn := range []func(*replication.Tx) error{
		run(replication.ListOptions{}, `INSERT INTO t VALUES (1)`, `INSERT INTO r VALUES (1)`, `INSERT INTO t VALUES (2)`),
		run(replication.ListOptions{Atomic: true}, `INSERT INTO t VALUES (3)`, `INSERT OR ROLLBACK INTO t VALUES (1)`),
	} {
		go func() { done <- fn(nil) }()
		replicationtest.Await(t, "the list waits", func() bool { return replication.Waiting(db) == i+1 })
	}
	close(hold)
	failed := 0
	for range 3 {
		if err := <-done; err != nil {
			failed++
		}
	}
	if n := count(t, db, "t"); failed != 1 || n != 4 {
		t.Errorf("%d failed, %d rows", failed, n)
	}
}

func TestAListIsBounded(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t, func(o *replication.Options) { o.MaxClosure = time.Second })
	exec(t, db, executeTables...)
	runaway := `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT `
	for _, c := range []struct {
		name string
		o    replication.ListOptions
		bad  string
		want error
	}{
		{"time", replication.ListOptions{}, runaway + `count(*) FROM c`, replication.ErrTooSlow},
		{"time, writing", replication.ListOptions{}, `INSERT INTO t ` + runaway + `n FROM c`, replication.ErrTooSlow},
		{"rows", replication.ListOptions{MaxRows: 10}, runaway + `n FROM c`, replication.ErrTooMuch},
		{"bytes", replication.ListOptions{MaxBytes: 1000}, runaway + `zeroblob(100) FROM c`, replication.ErrTooMuch},
		{"what it writes", replication.ListOptions{}, `INSERT INTO t VALUES ('` + strings.Repeat("x", 2<<20) + `')`, replication.ErrTooMuch},
	} {
		if _, _, err := db.Execute(ctx, c.o, list(`INSERT INTO t VALUES ('a')`, c.bad)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		answers, _, err := db.Execute(ctx, c.o, list(`INSERT INTO t VALUES ('a')`, `INSERT INTO r VALUES (1)`, c.bad, `DELETE FROM t`))
		if err != nil || len(answers) != 4 || answers[0].Err != nil || !errors.Is(answers[2].Err, c.want) || !errors.Is(answers[3].Err, c.want) {
			t.Errorf("%s, after a statement that ended the transaction: %v, %v", c.name, answers, err)
		}
		exec(t, db, `DELETE FROM t WHERE v = 'a'`)
		if n := count(t, db, "t"); n != 1 {
			t.Errorf("%s: %d rows", c.name, n)
		}
	}
}

func TestArgumentsMayBeNamed(t *testing.T) {
	t.Parallel()
	nodes := replicationtest.Cluster(t, 3)
	db := nodes.DB(nodes.Leader())
	exec(t, db, `CREATE TABLE t(a, b, c)`)
	named := func(n string, v any) replication.Named { return replication.Named{Name: n, Value: v} }
	answers, _, err := db.Execute(ctx, replication.ListOptions{}, []replication.Statement{
		{SQL: `INSERT INTO t VALUES (:a, @b, $a)`, Args: []any{named("b", 2), named("a", "x")}},
		{SQL: `INSERT INTO t VALUES (:a, ?, ?)`, Args: []any{5, named("a", []byte{1}), 6}},
		{SQL: `INSERT INTO t VALUES (:a, :b, 1)`, Args: []any{named("a", 1)}},
		{SQL: `INSERT INTO t VALUES (:a, 1, 1)`, Args: []any{named("a", 1), 2}},
		{SQL: `SELECT typeof(a), b, c FROM t WHERE b = :b`, Args: []any{named("b", 5)}},
	})
	if err != nil || told(answers[0]) != "1" || told(answers[1]) != "1" || !strings.Contains(told(answers[2]), ":b") ||
		!strings.Contains(told(answers[3]), "1 values more") || told(answers[4]) != "[typeof(a) b c] [[blob 5 6]]" {
		t.Errorf("%v, %v", err, answers)
	}
	err = db.View(ctx, replication.Local, func(v *replication.View) error {
		var n int
		if err := v.QueryRow(`SELECT count(*) FROM t WHERE a = $x AND c = :x`, named("x", "x")).Scan(&n); err != nil || n != 1 {
			t.Errorf("%v, %d rows", err, n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	nodes.Settle()
}

func TestAQueryShowsTheColumnsOfTheNewestSchema(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(a INTEGER)`, `INSERT INTO t VALUES (1)`)
	look := func() (columns, types []string, values []any) {
		err := db.View(ctx, replication.Local, func(v *replication.View) error {
			rows, err := v.Query(`SELECT * FROM t`)
			if err != nil {
				return err
			}
			defer rows.Close()
			rows.Next()
			columns, types, values = rows.Columns(), rows.Types(), rows.Values()
			return rows.Err()
		})
		if err != nil {
			t.Fatal(err)
		}
		return columns, types, values
	}
	look()
	exec(t, db, `ALTER TABLE t ADD COLUMN b VARCHAR(5) DEFAULT 'x'`)
	if c, ty, v := look(); fmt.Sprint(c, ty, v) != "[a b] [INTEGER VARCHAR(5)] [1 x]" {
		t.Errorf("%v %v %v", c, ty, v)
	}
}

func TestAListHasTheTimeAndChanceOfItsEntry(t *testing.T) {
	t.Parallel()
	nodes := replicationtest.Cluster(t, 3)
	db := nodes.DB(nodes.Leader())
	exec(t, db, executeTables...)
	answers, _, err := db.Execute(ctx, replication.ListOptions{}, list(`INSERT INTO t VALUES (random())`, `SELECT random()`,
		`INSERT OR ROLLBACK INTO t VALUES ('old')`, `INSERT INTO t VALUES ('old')`, `INSERT INTO t VALUES (hex(randomblob(8))) RETURNING v`,
		`INSERT INTO t VALUES (strftime('%J', 'now'))`, `INSERT INTO child VALUES (9)`, `INSERT INTO t VALUES (random()), (random())`))
	for i, failed := range []bool{false, false, true, true, false, false, true, false} {
		if err != nil || (answers[i].Err != nil) != failed {
			t.Fatalf("%v, statement %d: %v", err, i, answers[i].Err)
		}
	}
	var v string
	if err := db.View(ctx, replication.Local, func(view *replication.View) error {
		return view.QueryRow(`SELECT v FROM t WHERE v = ?`, answers[4].Rows[0][0]).Scan(&v)
	}); err != nil {
		t.Errorf("what RETURNING showed is not in the table: %v", err)
	}
	nodes.Settle()
}
