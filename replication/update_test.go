package replication_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

var ctx = context.Background()

// count is SELECT count(*) FROM what, read locally.
func count(t testing.TB, db *replication.DB, what string) int {
	t.Helper()
	var n int
	err := db.View(ctx, replication.Local, func(v *replication.View) error {
		return v.QueryRow(`SELECT count(*) FROM ` + what).Scan(&n)
	})
	if err != nil {
		t.Fatalf("count %s: %v", what, err)
	}
	return n
}

// together runs updates so that they share a batch: the first holds its turn until all
// are queued.
func together(t testing.TB, db *replication.DB, fns ...func(tx *replication.Tx) error) []error {
	t.Helper()
	errs := make([]error, len(fns))
	hold := make(chan struct{})
	var wg sync.WaitGroup
	begun := make(chan struct{})
	wg.Go(func() {
		_, err := db.Update(ctx, func(*replication.Tx) error { close(begun); replication.HoldUntil(t, hold); return nil })
		if err != nil {
			t.Errorf("the update that holds the others: %v", err)
		}
	})
	replication.Reached(t, begun)
	for i, fn := range fns {
		wg.Go(func() { _, errs[i] = db.Update(ctx, fn) })
		replicationtest.Await(t, "the update waits", func() bool { return replication.Waiting(db) == i+1 })
	}
	close(hold)
	wg.Wait()
	return errs
}

func insert(v any) func(tx *replication.Tx) error {
	return func(tx *replication.Tx) error { return tx.Exec(`INSERT INTO t(v) VALUES (?)`, v) }
}

func TestAnUpdateSeesThoseBeforeItInItsBatch(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(v UNIQUE)`)
	errs := together(t, db, insert(1), insert(1), func(tx *replication.Tx) error {
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM t`).Scan(&n); err != nil || n != 1 {
			t.Errorf("the third sees %d rows, %v", n, err)
		}
		return insert(2)(tx)
	})
	if errs[0] != nil || errs[1] == nil || errs[2] != nil || count(t, db, "t") != 2 {
		t.Errorf("errors %v, %d rows", errs, count(t, db, "t"))
	}
}

func TestOnlyTheUpdateThatFailsIsUndone(t *testing.T) {
	t.Parallel()
	late := errors.New("late refusal")
	for _, c := range []struct {
		name string
		bad  func(tx *replication.Tx) error
		want string
	}{
		{"it returns an error", func(tx *replication.Tx) error { return errors.Join(insert("x")(tx), late) }, "late refusal"},
		{"INSERT OR ROLLBACK ends the transaction", func(tx *replication.Tx) error {
			_ = insert("x")(tx)
			return tx.Exec(`INSERT OR ROLLBACK INTO t(v) VALUES ('a')`)
		}, "ended the whole transaction"},
		{"INSERT OR ROLLBACK and nobody looks", func(tx *replication.Tx) error {
			_ = tx.Exec(`INSERT OR ROLLBACK INTO t(v) VALUES ('a')`)
			_ = insert("x")(tx)
			return nil
		}, "ended the whole transaction"},
		{"RAISE(ROLLBACK) in a trigger", func(tx *replication.Tx) error {
			_ = insert("x")(tx)
			_ = tx.Exec(`INSERT INTO r VALUES (1)`)
			return nil
		}, "ended the whole transaction"},
		{"a deferred foreign key stays violated", func(tx *replication.Tx) error {
			return errors.Join(insert("x")(tx), tx.Exec(`INSERT INTO child VALUES (77)`))
		}, "deferred foreign key"},
		{"it writes too much", func(tx *replication.Tx) error { return insert(strings.Repeat("x", 2<<20))(tx) }, "more than"},
		{"its SQL is too long", func(tx *replication.Tx) error {
			for _, s := range []string{"x", "y", "z"} {
				if err := tx.Exec(`INSERT INTO t(v) VALUES ('` + strings.Repeat(s, 400<<10) + `')`); err != nil {
					return err
				}
			}
			return nil
		}, "more than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			db := replicationtest.One(t)
			exec(t, db, `CREATE TABLE t(v UNIQUE)`, `CREATE TABLE r(a)`,
				`CREATE TRIGGER rt AFTER INSERT ON r BEGIN SELECT RAISE(ROLLBACK, 'no'); END`,
				`CREATE TABLE parent(id INTEGER PRIMARY KEY)`,
				`CREATE TABLE child(p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)`)
			errs := together(t, db, insert("a"), insert("b"), c.bad, insert("c"))
			if errs[0] != nil || errs[1] != nil || errs[3] != nil {
				t.Errorf("the others: %v", errs)
			}
			if errs[2] == nil || !strings.Contains(errs[2].Error(), c.want) {
				t.Errorf("the one that fails: %v", errs[2])
			}
			if n := count(t, db, "t"); n != 3 {
				t.Errorf("%d rows", n)
			}
			insertAfter := together(t, db, insert("d"))
			if insertAfter[0] != nil || count(t, db, "t") != 4 {
				t.Errorf("afterwards: %v", insertAfter)
			}
		})
	}
}

func TestADeferredForeignKeyMayBeMendedInTheUpdate(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE parent(id INTEGER PRIMARY KEY)`,
		`CREATE TABLE child(p REFERENCES parent(id) DEFERRABLE INITIALLY DEFERRED)`)
	_, err := db.Update(ctx, func(tx *replication.Tx) error {
		return errors.Join(tx.Exec(`INSERT INTO child VALUES (7)`), tx.Exec(`INSERT INTO parent VALUES (7)`))
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAStatementThatFailsOnAConstraintMayBeFollowed(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(v UNIQUE)`, `INSERT INTO t VALUES (5)`)
	_, err := db.Update(ctx, func(tx *replication.Tx) error {
		// OR FAIL keeps the rows before the one that fails.
		if err := tx.Exec(`INSERT OR FAIL INTO t VALUES (3), (4), (5), (6)`); err == nil {
			t.Error("no error")
		}
		return insert(7)(tx)
	})
	if err != nil || count(t, db, "t") != 4 {
		t.Errorf("%v, %d rows", err, count(t, db, "t"))
	}
}

func TestAPanicEndsItsOwnUpdateOnly(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(v)`)
	var got any
	errs := together(t, db, insert(1))
	func() {
		defer func() { got = recover() }()
		_, _ = db.Update(ctx, func(tx *replication.Tx) error {
			_ = insert(2)(tx)
			panic("boom")
		})
	}()
	done := make(chan struct{})
	go func() { // t.FailNow in a closure does this.
		defer close(done)
		_, _ = db.Update(ctx, func(tx *replication.Tx) error { _ = insert(3)(tx); runtime.Goexit(); return nil })
	}()
	<-done
	if got != "boom" || errs[0] != nil || count(t, db, "t") != 1 {
		t.Errorf("recovered %v, %v, %d rows", got, errs, count(t, db, "t"))
	}
	if _, err := db.Update(ctx, insert(4)); err != nil {
		t.Error(err)
	}
}

func TestASlowClosureIsAbandoned(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t, func(o *replication.Options) { o.MaxClosure = 150 * time.Millisecond })
	exec(t, db, `CREATE TABLE t(v)`)
	const forever = `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) `
	for name, slow := range map[string]func(tx *replication.Tx) error{
		"in a query": func(tx *replication.Tx) error {
			_ = insert("x")(tx)
			return tx.QueryRow(forever + `SELECT count(*) FROM c`).Scan(new(int))
		},
		"in a write": func(tx *replication.Tx) error {
			_ = insert("x")(tx)
			return tx.Exec(forever + `INSERT INTO t SELECT count(*) FROM c`)
		},
		"in its own code, then in a write": func(tx *replication.Tx) error {
			_ = insert("x")(tx)
			for tx.QueryRow(`SELECT 1`).Scan(new(int)) == nil {
			}
			_ = insert("y")(tx)
			return nil
		},
	} {
		errs := together(t, db, insert("a"), slow, insert("b"))
		if errs[0] != nil || errs[2] != nil || !errors.Is(errs[1], replication.ErrTooSlow) {
			t.Errorf("%s: %v", name, errs)
		}
	}
	_, _, err := db.Exec(ctx, replication.Statement{SQL: forever + `INSERT INTO t SELECT count(*) FROM c`})
	if !errors.Is(err, replication.ErrTooSlow) {
		t.Errorf("a list: %v", err)
	}
	if n := count(t, db, "t"); n != 6 {
		t.Errorf("%d rows", n)
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t, func(o *replication.Options) { o.MaxQueue = 3 })
	exec(t, db, `CREATE TABLE t(v)`)
	hold, begun := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = db.Update(ctx, func(*replication.Tx) error { close(begun); replication.HoldUntil(t, hold); return nil })
	})
	replication.Reached(t, begun)
	cancelled, cancel := context.WithCancel(ctx)
	errs := make([]error, 3)
	for i := range errs {
		wg.Go(func() { _, errs[i] = db.Update(cancelled, insert(i)) })
	}
	replicationtest.Await(t, "three wait", func() bool { return replication.Waiting(db) == 3 })
	if _, err := db.Update(ctx, insert(9)); !errors.Is(err, replication.ErrOverloaded) {
		t.Errorf("the fourth: %v", err)
	}
	cancel()
	replicationtest.Await(t, "they gave up", func() bool { return replication.Left(db) == 3 })
	close(hold)
	wg.Wait()
	for _, err := range errs {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that left: %v", err)
		}
	}
	if n := count(t, db, "t"); n != 0 {
		t.Errorf("%d rows of callers that left before their turn", n)
	}
}

func TestTimeNeverRunsBackwards(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 6789, time.UTC)
	var mu sync.Mutex
	db := replicationtest.One(t, func(o *replication.Options) {
		o.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	exec(t, db, `CREATE TABLE t(v)`)
	var seen []time.Time
	stamp := func(tx *replication.Tx) error { seen = append(seen, tx.Now()); return insert(tx.Now())(tx) }
	for _, step := range []time.Duration{time.Second, 0, -time.Hour, 2 * time.Hour} {
		mu.Lock()
		now = now.Add(step)
		mu.Unlock()
		if _, err := db.Update(ctx, stamp); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"03:04:06.000006", "03:04:06.000007", "03:04:06.000008", "04:04:06.000006"} {
		if got := seen[i].Format("15:04:05.000000"); got != want {
			t.Errorf("update %d has %s, not %s", i, got, want)
		}
	}
}

func TestATxEndsWithItsClosure(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(v)`)
	var kept *replication.Tx
	if _, err := db.Update(ctx, func(tx *replication.Tx) error { kept = tx; return insert(1)(tx) }); err != nil {
		t.Fatal(err)
	}
	if err := insert(2)(kept); err == nil {
		t.Error("an ended Tx wrote")
	}
	if err := kept.QueryRow(`SELECT 1`).Scan(new(int)); err == nil {
		t.Error("an ended Tx read")
	}
	var v *replication.View
	_ = db.View(ctx, replication.Local, func(view *replication.View) error { v = view; return nil })
	if err := v.QueryRow(`SELECT 1`).Scan(new(int)); err == nil {
		t.Error("an ended View read")
	}
}

func TestARunawayReadEndsWithItsContext(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err := db.View(short, replication.Local, func(v *replication.View) error {
		return v.QueryRow(`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c`).Scan(new(int))
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if n := count(t, db, "sqlite_schema"); n != 1 {
		t.Errorf("the next view of the connection: %d", n)
	}
}

func TestAViewSeesOneState(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1), (2), (3)`)
	err := db.View(ctx, replication.Local, func(v *replication.View) error {
		rows, err := v.Query(`SELECT v FROM t ORDER BY v`)
		if err != nil {
			return err
		}
		n := 0
		for rows.Next() {
			if _, err := db.Update(ctx, insert(fmt.Sprint("more", n))); err != nil {
				return err
			}
			n++
		}
		var after int
		if err := v.QueryRow(`SELECT count(*) FROM t`).Scan(&after); err != nil || n != 3 || after != 3 {
			t.Errorf("%d rows, then %d (%v)", n, after, err)
		}
		_, err = v.Query(`SELECT v FROM t`) // Left open: the view closes it.
		return err
	})
	if err != nil || count(t, db, "t") != 6 {
		t.Errorf("%v, %d rows", err, count(t, db, "t"))
	}
}

func TestWithIndexWaits(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(v)`)
	at := db.Applied()
	short, cancel := context.WithTimeout(replication.WithIndex(ctx, at+1), 20*time.Millisecond)
	defer cancel()
	if err := db.View(short, replication.Local, func(*replication.View) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an index that has not come: %v", err)
	}
	changed := db.AppliedChanged()
	done := make(chan error, 1)
	go func() {
		done <- db.View(replication.WithIndex(ctx, at+1), replication.Local, func(v *replication.View) error {
			if v.Applied() < at+1 {
				return fmt.Errorf("the view is at %d", v.Applied())
			}
			return nil
		})
	}()
	if _, err := db.Update(ctx, insert(1)); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	<-changed
}
