package replication

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// openOne is a leading database on one node, with table t and one row.
func openOne(t *testing.T, dir string) (*Engine, *DB) {
	t.Helper()
	e, db := openNode(t, nil, "n1", dir, "n1")
	eventually(t, "it leads", db.IsLeader)
	return e, db
}

const endless = `WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c`

// TestAnInterruptBeforeTheFirstStepCounts asks for the end of a statement that has not
// begun: SQLite forgets that, and the statement would hold its connection for ever.
func TestAnInterruptBeforeTheFirstStepCounts(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	defer close(ended)
	var r running
	tx := &Tx{}
	for name, end := range map[string]func(c *conn){
		"of an update": func(*conn) { r.end(tx) },
		"of a view":    func(c *conn) { c.interruptUntil(ended) },
	} {
		c, err := openConn(filepath.Join(t.TempDir(), "x.db"), writerConn)
		if err != nil {
			t.Fatal(err)
		}
		defer c.close()
		r.set(tx, c)
		asked := make(chan struct{})
		go func() { close(asked); end(c) }()
		<-asked
		<-time.After(10 * time.Millisecond) // The interrupt comes first. A pass does not need it.
		_, err = c.exec(endless)
		r.set(nil, nil)
		var sq *sqlError
		if !errors.As(err, &sq) || sq.primary() != codeInterrupt {
			t.Errorf("a statement %s: %v", name, err)
		}
	}
}

// TestARefusalIsNotRemembered lets a cached query fail after another was refused.
func TestARefusalIsNotRemembered(t *testing.T) {
	t.Parallel()
	_, db := openOne(t, t.TempDir())
	err := db.View(t.Context(), Local, func(v *View) error {
		query := func(n int64) error { return v.QueryRow(`SELECT abs(?)`, n).Scan(new(int64)) }
		if err := query(1); err != nil {
			t.Error(err)
		}
		if _, err := v.Query(`PRAGMA journal_mode = DELETE`); !errors.Is(err, ErrForbiddenSQL) {
			t.Error(err)
		}
		return query(math.MinInt64)
	})
	if err == nil || errors.Is(err, ErrForbiddenSQL) || !strings.Contains(err.Error(), "overflow") {
		t.Error(err)
	}
}

// TestACopyThatIsNoDatabaseLeavesTheOldFile installs garbage of the right length.
func TestACopyThatIsNoDatabaseLeavesTheOldFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, db := openOne(t, dir)
	update(t, db, `CREATE TABLE t(v)`)
	garbage := lengthed(strings.Repeat("garbage ", 1000))
	if err := Install(db, bytes.NewReader(garbage)); err == nil {
		t.Error("garbage was installed")
	}
	update(t, db, `INSERT INTO t VALUES (1)`)
	if n := count(t, db); n != 1 {
		t.Errorf("%d rows", n)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	// And as a start finds it that was interrupted before the installation.
	folder := filepath.Join(dir, "db", string(seeded))
	garbage = garbage[streamHeader:]
	p := &pointer{Format: pointerFormat, ID: "9-900", Index: 900, Term: 9, Configuration: servers("n1"), ConfigurationIndex: 1, Received: int64(len(garbage))}
	if err := errors.Join(writePointer(folder, p), os.WriteFile(filepath.Join(folder, "snapshot-9-900.recv"), garbage, 0o600)); err != nil {
		t.Fatal(err)
	}
	e, err := Open(Options{Dir: dir, Node: "n1", Log: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.OpenDB(seeded, DBOptions{}); err == nil || !strings.Contains(err.Error(), "cannot be used") {
		t.Errorf("opened with %v", err)
	}
	f, err := OpenFile(filepath.Join(folder, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestAnotherLogStopsTheReplica gives a replica entries that its file cannot be followed
// by: without a check it would reject or skip them in silence.
func TestAnotherLogStopsTheReplica(t *testing.T) {
	t.Parallel()
	for name, foreign := range map[string]func(s state) *raft.Log{
		"based on an entry that it has not executed": func(s state) *raft.Log {
			return &raft.Log{Index: s.applied + 2, Term: s.term, Data: entry{base: s.applied + 1}.encode()}
		},
		"the newest in the file, of another term": func(s state) *raft.Log {
			return &raft.Log{Index: s.applied, Term: s.term - 1, Data: entry{}.encode()}
		},
		"an older one, of a later term": func(s state) *raft.Log {
			return &raft.Log{Index: s.applied - 1, Term: s.term + 1, Type: raft.LogConfiguration}
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, db := openOne(t, t.TempDir())
			update(t, db, `CREATE TABLE t(v)`)
			update(t, db, `INSERT INTO t VALUES (1)`)
			(&fsm{db}).Apply(foreign(db.state))
			if err := db.failure(); !errors.Is(err, errDiverged) {
				t.Error(err)
			}
		})
	}
}

// TestViewsWaitWhileACopyIsInstalled holds an installation up by a view that is at work.
func TestViewsWaitWhileACopyIsInstalled(t *testing.T) {
	t.Parallel()
	_, from := openOne(t, t.TempDir())
	_, db := openOne(t, t.TempDir())
	update(t, from, `CREATE TABLE t(v)`)
	update(t, from, `INSERT INTO t VALUES (1)`)
	path := filepath.Join(t.TempDir(), "copy")
	if _, err := from.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, patient := range []bool{true, false} {
		begun, held, installed, waited := make(chan struct{}), make(chan error, 1), make(chan error, 1), make(chan error, 1)
		goOn := make(chan struct{})
		go func() {
			held <- db.View(t.Context(), Local, func(v *View) error {
				close(begun)
				if patient {
					HoldUntil(t, goOn)
					return v.QueryRow(`SELECT 1`).Scan(new(int))
				}
				return v.QueryRow(endless).Scan(new(int))
			})
		}()
		Reached(t, begun)
		go func() { installed <- Install(db, bytes.NewReader(lengthed(string(file)))) }()
		eventually(t, "the installation waits", db.readers.waits)
		if patient {
			go func() {
				waited <- db.View(t.Context(), Local, func(v *View) error { return v.QueryRow(`SELECT count(*) FROM t`).Scan(new(int)) })
			}()
			close(goOn)
			if err := errors.Join(<-held, <-waited); err != nil {
				t.Errorf("the views before and after the installation: %v", err)
			}
		} else if err := <-held; !errors.Is(err, ErrReplaced) {
			t.Errorf("a view that held the installation up: %v", err)
		}
		if err := <-installed; err != nil {
			t.Error(err)
		}
		if n := count(t, db); n != 1 {
			t.Errorf("%d rows", n)
		}
	}
}

func (p *pool) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.draining != nil
}

// TestTheWALStaysShortUnderLoad writes without a pause for longer than the WAL may get.
func TestTheWALStaysShortUnderLoad(t *testing.T) {
	t.Parallel()
	_, db := openOne(t, t.TempDir())
	db.wal.restart = 4 * checkpointMin // Before anything is written.
	update(t, db, `CREATE TABLE t(v)`)
	row := strings.Repeat("x", 100_000) // 25 pages.
	longest, begunAnew := 0, 0
	before := 0
	for range 250 {
		update(t, db, `INSERT INTO t VALUES (?)`, row)
		db.mu.Lock()
		pages := db.w.walFrames()
		db.mu.Unlock()
		longest = max(longest, pages)
		if pages < before {
			begunAnew++
		}
		before = pages
	}
	t.Logf("at most %d pages, begun anew %d times", longest, begunAnew)
	if begunAnew == 0 {
		t.Errorf("the WAL grew to %d pages", longest)
	}
}

// TestTheWALStaysShortWithoutTheCheckpointer writes while nobody else writes back, as when the
// checkpointer has another database's long WAL before it.
func TestTheWALStaysShortWithoutTheCheckpointer(t *testing.T) {
	t.Parallel()
	_, db := openOne(t, t.TempDir())
	db.engine.checkpoints.close()
	db.mu.Lock()
	db.engine.checkpoints = &checkpointer{jobs: make(chan *DB, 1), stop: make(chan struct{})}
	db.wal.restart = 4 * checkpointMin
	db.mu.Unlock()
	update(t, db, `CREATE TABLE t(v)`)
	row := strings.Repeat("x", 1_000_000) // 245 pages.
	longest := 0
	for range 60 {
		update(t, db, `INSERT INTO t VALUES (?)`, row)
		db.mu.Lock()
		longest = max(longest, db.w.walFrames())
		db.mu.Unlock()
	}
	if most := 2*db.wal.restart + checkpointMin; longest > most || longest < db.wal.restart {
		t.Errorf("the WAL grew to %d pages, not to %d at most", longest, most)
	}
}

// TestALongReplayIsNotOneTransaction hands many entries over at once.
func TestALongReplayIsNotOneTransaction(t *testing.T) {
	t.Parallel()
	for turn, want := range map[time.Duration]int{0: 5, time.Hour: 1} {
		_, db := openOne(t, t.TempDir())
		update(t, db, `CREATE TABLE t(v)`)
		db.wal.turn = turn
		db.mu.Lock()
		at, before := db.state, db.wal.commits
		db.mu.Unlock()
		var logs []*raft.Log
		for i := range uint64(5) {
			base := at.lastcmd
			if i > 0 {
				base = at.applied + i
			}
			logs = append(logs, &raft.Log{Type: raft.LogCommand, Index: at.applied + i + 1, Term: at.term, Data: entry{base: base, engine: at.engine}.encode()})
		}
		(&fsm{db}).ApplyBatch(logs)
		db.mu.Lock()
		if commits := db.wal.commits - before; commits != want || db.state.applied != at.applied+5 {
			t.Errorf("five entries in turns of %v: %d transactions, not %d; at %d after %d", turn, commits, want, db.state.applied, at.applied)
		}
		db.mu.Unlock()
	}
}

// TestALateCommitDoesNotPanic counts commits after the engine has stopped.
func TestALateCommitDoesNotPanic(t *testing.T) {
	t.Parallel()
	c := newCheckpointer(quiet())
	c.close()
	c.add(&DB{})
}
