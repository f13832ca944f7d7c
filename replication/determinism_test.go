package replication_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	process "os/exec"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// drawing is a schema in which most values come from the clock and from chance.
var drawing = []string{
	`CREATE TABLE d(id INTEGER PRIMARY KEY, r DEFAULT (random()), b DEFAULT (hex(randomblob(9))),
		at DEFAULT CURRENT_TIMESTAMP, day DEFAULT CURRENT_DATE, ms DEFAULT (strftime('%J %f', 'now')), v)`,
	`CREATE TABLE l(id INTEGER PRIMARY KEY, of, r, at)`,
	`CREATE TABLE k(v UNIQUE)`,
	`INSERT INTO k VALUES (1)`,
	`CREATE VIEW chance AS SELECT random() AS r, datetime('now', 'subsec') AS at`,
	`CREATE TRIGGER dl AFTER INSERT ON d BEGIN
		INSERT INTO l(of, r, at) SELECT new.id, r, at FROM chance; END`,
	`CREATE TRIGGER du AFTER UPDATE ON d WHEN new.v = 'stop' BEGIN SELECT RAISE(ROLLBACK, 'stop'); END`,
}

// draw is one update of many kinds, some of which fail.
func draw(db *replication.DB, kind int) error {
	_, err := db.Update(ctx, func(tx *replication.Tx) error {
		var chance int64
		if err := tx.QueryRow(`SELECT random()`).Scan(&chance); err != nil {
			return err
		}
		if chance%2 == 0 { // The closure's own chance shifts nothing.
			var blob []byte
			if err := tx.QueryRow(`SELECT randomblob(?)`, 1+chance&7).Scan(&blob); err != nil {
				return err
			}
		}
		if err := tx.Exec(`INSERT INTO d(v) VALUES (random()), (date('now')), (lower(hex(randomblob(40))))`); err != nil {
			return err
		}
		switch kind % 7 {
		case 0:
			return tx.Exec(`UPDATE d SET v = random() WHERE id % 3 = abs(random()) % 3`)
		case 1:
			_ = tx.Exec(`INSERT INTO k VALUES (abs(random()) % 2 * 0 + 1)`) // Fails, and the update goes on.
			return tx.Exec(`INSERT INTO d(v) SELECT r FROM chance`)
		case 2:
			return tx.Exec(`INSERT OR ROLLBACK INTO k SELECT 1 WHERE random() IS NOT NULL`)
		case 3:
			return errors.New("not this time")
		case 4:
			return tx.Exec(`UPDATE d SET v = 'stop' WHERE id = 1`)
		case 5:
			if err := tx.Exec(`SELECT random()`); err != nil { // Not recorded: it only reads.
				return err
			}
			return tx.Exec(`INSERT INTO l(of, r, at) VALUES (last_insert_rowid(), random(), julianday()) RETURNING random()`)
		}
		return tx.Exec(`DELETE FROM d WHERE id = abs(random()) % 50`)
	})
	return err
}

func TestTimeAndChanceAreTheSameOnEveryReplica(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	now := time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC) // Also before the epoch.
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) { o.Now = func() time.Time { return now } })
	exec(t, c.DB(c.Leader()), drawing...)
	for round := range 4 {
		db := c.DB(c.Leader())
		for range 12 {
			kind := r.IntN(7)
			if err := draw(db, kind); err != nil && kind != 2 && kind != 3 && kind != 4 && !errors.Is(err, replication.ErrNotLeader) {
				t.Fatalf("kind %d: %v", kind, err)
			}
		}
		c.Settle()
		if round%2 == 1 {
			c.Lead(c.Names()[(round+1)%3])
		}
	}
	if n := count(t, c.DB(c.Leader()), "d"); n < 20 {
		t.Errorf("only %d rows", n)
	}
	if n := count(t, c.DB(c.Leader()), `(SELECT DISTINCT r FROM d)`); n != count(t, c.DB(c.Leader()), "d") {
		t.Errorf("%d different numbers in %d rows", n, count(t, c.DB(c.Leader()), "d"))
	}
}

// In one batch, so that those that fail take the transaction of the others with them.
func TestWhatIsExecutedAgainDrawsTheSame(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	db := c.DB(c.Leader())
	exec(t, db, drawing...)
	var fromRow, drawn int64
	keep := func(tx *replication.Tx) error {
		if err := tx.Exec(`INSERT INTO d(v) VALUES ('kept')`); err != nil {
			return err
		}
		return tx.QueryRow(`SELECT id, r FROM d ORDER BY id DESC`).Scan(&fromRow, &drawn)
	}
	lose := func(tx *replication.Tx) error {
		_ = tx.Exec(`INSERT INTO d(v) VALUES ('lost')`)
		return tx.Exec(`INSERT OR ROLLBACK INTO k VALUES (1)`)
	}
	refuse := func(tx *replication.Tx) error {
		return errors.Join(tx.Exec(`INSERT INTO d(v) VALUES ('refused')`), errors.New("refused"))
	}
	errs := together(t, db, insertInto("d"), refuse, keep, lose, insertInto("d"), lose, insertInto("l"))
	for i, bad := range []bool{false, true, false, true, false, true, false} {
		if (errs[i] != nil) != bad {
			t.Errorf("update %d: %v", i, errs[i])
		}
	}
	c.Settle()
	for name, db := range c.DBs() {
		var r int64
		err := db.View(ctx, replication.Local, func(v *replication.View) error {
			return v.QueryRow(`SELECT r FROM d WHERE id = ?`, fromRow).Scan(&r)
		})
		if err != nil || r != drawn {
			t.Errorf("%s has %d, the closure saw %d (%v)", name, r, drawn, err)
		}
	}
}

func insertInto(table string) func(*replication.Tx) error {
	return func(tx *replication.Tx) error { return tx.Exec(`INSERT INTO ` + table + ` DEFAULT VALUES`) }
}

func TestSQLTimeIsThatOfTheEntry(t *testing.T) {
	t.Parallel()
	now := time.Date(2031, 2, 28, 23, 59, 58, 123_456_000, time.UTC)
	db := replicationtest.One(t, func(o *replication.Options) { o.Now = func() time.Time { return now } })
	exec(t, db, `CREATE TABLE t(a, b, c, d, e)`)
	var tick string
	_, err := db.Update(ctx, func(tx *replication.Tx) error {
		if err := tx.QueryRow(`SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')`).Scan(&tick); err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO t VALUES (CURRENT_TIMESTAMP, date(), strftime('%Y-%m-%d %H:%M:%f'), datetime('now', 'localtime'), unixepoch())`)
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"2031-02-28 23:59:58", "2031-02-28", "2031-02-28 23:59:58.123", "2031-02-28 23:59:58"}
	err = db.View(ctx, replication.Local, func(v *replication.View) error {
		got, at := make([]string, 5), int64(0)
		if err := v.QueryRow(`SELECT a, b, c, d, datetime('now'), e FROM t`).Scan(&got[0], &got[1], &got[2], &got[3], &got[4], &at); err != nil {
			return err
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("column %d is %s", i, got[i])
			}
		}
		if tick != want[2] || got[4] != want[0] || at != now.Unix() {
			t.Errorf("a query of the update says %s, the view %s, unixepoch %d", tick, got[4], at)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestLocaltimeIsUTC runs itself in a process of another time zone.
func TestLocaltimeIsUTC(t *testing.T) {
	t.Parallel()
	if os.Getenv("TZ") != "Asia/Shanghai" {
		cmd := process.Command(os.Args[0], "-test.run=^TestLocaltimeIsUTC$")
		cmd.Env = append(os.Environ(), "TZ=Asia/Shanghai")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("in Shanghai: %v\n%s", err, out)
		}
		return
	}
	db := replicationtest.One(t)
	err := db.View(ctx, replication.Local, func(v *replication.View) error {
		var a, b, c string
		if err := v.QueryRow(`SELECT datetime(0, 'unixepoch', 'localtime'), datetime(0, 'unixepoch', 'utc'), datetime(0, 'unixepoch')`).Scan(&a, &b, &c); err != nil {
			return err
		}
		if a != c || b != c {
			return fmt.Errorf("local %s, utc %s, plain %s", a, b, c)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestChanceIsEvenAndNeverTheSmallestInteger(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(r)`,
		`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 4000) INSERT INTO t SELECT abs(random()) % 8 FROM c`)
	err := db.View(ctx, replication.Local, func(v *replication.View) error {
		rows, err := v.Query(`SELECT r, count(*) FROM t GROUP BY r`)
		if err != nil {
			return err
		}
		defer rows.Close()
		seen := 0
		for rows.Next() {
			var r, n int
			if err := rows.Scan(&r, &n); err != nil {
				return err
			}
			if n < 350 || n > 650 { // 500, and 7 standard deviations.
				t.Errorf("%d comes %d times", r, n)
			}
			seen++
		}
		if seen != 8 {
			t.Errorf("%d of 8 come", seen)
		}
		return rows.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestALastRowIDDoesNotComeFromAnotherUpdate(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, `CREATE TABLE t(id INTEGER PRIMARY KEY, v)`, `INSERT INTO t VALUES (77, 1)`)
	_, err := db.Update(ctx, func(tx *replication.Tx) error {
		var n int64
		if err := tx.QueryRow(`SELECT last_insert_rowid()`).Scan(&n); err != nil || n != 0 {
			return fmt.Errorf("before it writes: %d, %w", n, err)
		}
		if err := tx.Exec(`INSERT INTO t(v) VALUES (last_insert_rowid())`); err != nil {
			return err
		}
		if err := tx.QueryRow(`SELECT v FROM t WHERE id = last_insert_rowid()`).Scan(&n); err != nil || n != 0 {
			return fmt.Errorf("in its first row: %d, %w", n, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
