package replication_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// openFiles lists what this process has open below dir.
func openFiles(t testing.TB, dir string) (files []string) {
	links, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("NOT RUN: what is open cannot be told here: %v", err)
	}
	for _, l := range links {
		if to, err := os.Readlink("/proc/self/fd/" + l.Name()); err == nil && strings.HasPrefix(to, dir+"/") {
			files = append(files, to)
		}
	}
	return files
}

// TestIdleDatabasesHoldNoFiles lets many databases fall asleep, wakes them in all ways at
// once while others fall asleep, and stops them.
func TestIdleDatabasesHoldNoFiles(t *testing.T) {
	t.Parallel()
	const many, busy, idle = 300, 20, 200 * time.Millisecond
	o := replicationtest.Options(t, "n1")
	o.HeartbeatTimeout, o.IdleAfter = 20*time.Millisecond, idle
	open := func() (*replication.Engine, []*replication.DB) {
		e, err := replication.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		var dbs []*replication.DB
		for i := range many {
			db, err := e.OpenDB(replication.DatabaseID(fmt.Sprintf("t%d/main", i)), replication.DBOptions{Voters: []replication.NodeID{"n1"}})
			if err != nil {
				t.Fatal(err)
			}
			dbs = append(dbs, db)
		}
		for _, db := range dbs {
			replicationtest.Await(t, "it leads", db.IsLeader)
		}
		return e, dbs
	}
	asleep := func() {
		t.Helper()
		replicationtest.Await(t, "no file is open", func() bool { return len(openFiles(t, filepath.Join(o.Dir, "db"))) == 0 })
	}
	e, dbs := open()
	for i, db := range dbs {
		if exec(t, db, counterSchema...); i < busy {
			for range 60 { // More than may be replayed.
				exec(t, db, `UPDATE counter SET n = n + 1`)
			}
		}
	}
	asleep()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	skipped := 0
	replication.OnSkip(&o, func(uint64) { skipped++ })
	e, dbs = open()
	if files := openFiles(t, filepath.Join(o.Dir, "db")); skipped > 4*many+16*busy || len(files) > 0 {
		t.Errorf("the start has replayed %d entries and opened %d files", skipped, len(files))
	}
	useAsTheyFallAsleep(t, dbs[:10], idle)
	asleep()
	for _, db := range dbs {
		if n := count(t, db, "done"); n != 0 {
			t.Errorf("%d rows", n)
		}
	}
	if err := e.Close(); err != nil { // With hundreds of readers open.
		t.Fatal(err)
	}
}

// useAsTheyFallAsleep does all that needs the files, at about the moment when they close.
func useAsTheyFallAsleep(t *testing.T, dbs []*replication.DB, idle time.Duration) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i, db := range dbs {
		for kind := range 4 {
			wg.Go(func() {
				for round := range 4 {
					<-time.After(idle + time.Duration(rand.Int64N(int64(idle/2)))) // No pass needs that.
					var err error
					switch kind {
					case 0:
						_, err = db.Update(ctx, func(tx *replication.Tx) error { return tx.Exec(`UPDATE counter SET n = n + 1`) })
					case 1:
						err = db.View(ctx, replication.Linearizable, func(v *replication.View) error {
							return v.QueryRow(`SELECT n FROM counter`).Scan(new(int))
						})
					case 2:
						_, _, err = db.Checksum(ctx)
					default:
						_, err = db.Backup(ctx, filepath.Join(dir, fmt.Sprint(i, "-", round)))
					}
					if err != nil {
						t.Errorf("kind %d: %v", kind, err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, db := range dbs {
		err := db.View(ctx, replication.Local, func(v *replication.View) error {
			var n int
			if err := v.QueryRow(`SELECT n FROM counter`).Scan(&n); err != nil || n == 64 {
				return err
			}
			return errors.New("an update is lost")
		})
		if err != nil {
			t.Error(err)
		}
	}
}
