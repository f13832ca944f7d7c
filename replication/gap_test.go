package replication

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"github.com/hashicorp/raft"
)

// TestAReplicaThatHeldGoesOnBehindAGap has a log as raft leaves it when a file is received:
// old entries, nothing up to the snapshot, and what came after it.
func TestAReplicaThatHeldGoesOnBehindAGap(t *testing.T) {
	t.Parallel()
	_, db := openOne(t, t.TempDir())
	update(t, db, `CREATE TABLE t(v)`)
	s := db.group.Load().snapshots
	_, last, err := db.entries().bounds()
	if err != nil {
		t.Fatal(err)
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	at := db.state
	s.mu.Lock() // The command is the last one up to there.
	s.pointer = &pointer{Format: pointerFormat, Index: last + 5, Term: at.term, Applied: at.applied, Configuration: servers("n1"), ConfigurationIndex: 1}
	s.pointer.name()
	s.mu.Unlock()
	after := &raft.Log{Index: last + 6, Term: at.term, Data: entry{base: at.lastcmd, engine: at.engine}.encode()}
	if err := db.entries().StoreLog(after); err != nil {
		t.Fatal(err)
	}
	why := errors.New("held")
	db.held.Store(&why)
	db.handed = after.Index
	db.mu.Unlock()
	err = db.catchUp()
	db.mu.Lock()
	if err != nil || db.state.applied != after.Index || db.held.Load() != nil {
		t.Errorf("it is at %d, not at %d: %v", db.state.applied, after.Index, err)
	}
}

// TestAFailureIsNoOtherChecksum interrupts the checksum of full-text tables once, at every point.
func TestAFailureIsNoOtherChecksum(t *testing.T) {
	t.Parallel()
	w, _ := newStore(t)
	for _, sql := range []string{
		`CREATE VIRTUAL TABLE f USING fts4(body)`, `CREATE VIRTUAL TABLE bare USING fts4(content="", body)`, `CREATE TABLE k(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID`,
		`INSERT INTO f WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20) SELECT 'text ' || n FROM c`,
		`INSERT INTO bare(docid, body) SELECT rowid, body FROM f`, `INSERT INTO k SELECT rowid, body FROM f`,
	} {
		if _, err := w.exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	calls := 0
	want, err := checksum(w, func() error { calls++; return nil })
	if err != nil || calls < 20 {
		t.Fatalf("%d looks (%v)", calls, err)
	}
	failed := 0
	for at := range calls {
		n := 0
		got, err := checksum(w, func() error {
			if n++; n == at+1 { // What comes after it would fail, too.
				w.interrupt()
			}
			return nil
		})
		if err != nil {
			failed++
		} else if !bytes.Equal(got[:], want[:]) {
			t.Errorf("interrupted at look %d of %d: another checksum", at, calls)
		}
	}
	if failed == 0 {
		t.Error("no interrupt was noticed")
	}
}

// TestACopyOfAFileThatIsWrongEnds lets a replica be found wrong while its file is sent.
func TestACopyOfAFileThatIsWrongEnds(t *testing.T) {
	t.Parallel()
	_, db := openOne(t, t.TempDir())
	update(t, db, `CREATE TABLE t(v)`)
	c, _, err := db.group.Load().snapshots.copyAt(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 100)); err != nil {
		t.Error(err)
	}
	why := ErrDamaged
	db.broken.Store(&why)
	if n, err := io.Copy(io.Discard, c); n > 0 || !errors.Is(err, ErrDamaged) {
		t.Errorf("%d bytes of it were sent (%v)", n, err)
	}
	if _, err := db.Backup(t.Context(), t.TempDir()+"/copy"); !errors.Is(err, ErrDamaged) {
		t.Errorf("a backup of it: %v", err)
	}
}

// TestAPageThatIsWholeInTheWALIsNoDamage tears a page of the main file that a checkpoint
// has not written back.
func TestAPageThatIsWholeInTheWALIsNoDamage(t *testing.T) {
	t.Parallel()
	_, db := openOne(t, t.TempDir())
	db.passes.mu.Lock() // Page 1 is in the main file.
	_, _, err := db.pass()
	db.passes.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	update(t, db, `CREATE TABLE t(v)`) // And now in the WAL too.
	f, err := os.OpenFile(db.path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("torn"), 4096-2000); err != nil {
		t.Fatal(err)
	}
	if _, err := scrub(t.Context(), db.path); !damaged(err) {
		t.Fatalf("the page is not torn: %v", err)
	}
	v, err := db.Verify(t.Context())
	if err != nil || !v.Equal {
		t.Errorf("%+v, %v", v, err)
	}
}

// TestAStopDoesNotWaitForAVerification stops a database while a verification, which has a
// read connection, waits for a copy of the file.
func TestAStopDoesNotWaitForAVerification(t *testing.T) {
	t.Parallel()
	e, db := openOne(t, t.TempDir())
	db.passes.mu.Lock() // As a copy does, for as long as it takes.
	db.mu.Lock()
	db.pin(db.state.applied)
	d := db.verdict.Load()
	db.mu.Unlock()
	stopped := make(chan error, 1)
	go func() { stopped <- e.CloseDB(db.id) }()
	<-d.done // Or the test runs into its time.
	if !errors.Is(d.err, context.Canceled) && !errors.Is(d.err, ErrClosed) {
		t.Errorf("the verification ended with %v", d.err)
	}
	db.passes.mu.Unlock()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestAScrubEndsWithItsContext looks at one that nobody awaits any more.
func TestAScrubEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w, path := newStore(t)
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := scrub(ctx, path); !errors.Is(err, context.Canceled) || n != 0 {
		t.Errorf("%d pages were read, %v", n, err)
	}
}

// TestAScrubFindsALostHeader clears the beginning of a file.
func TestAScrubFindsALostHeader(t *testing.T) {
	t.Parallel()
	w, path := newStore(t)
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[:100])
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := scrub(context.Background(), path); !damaged(err) {
		t.Errorf("%d pages are sound, %v", n, err)
	}
}

// TestAFailedSyncAtTheCloseEndsTheEngine: SQLite does not tell of it, and leaves the WAL.
func TestAFailedSyncAtTheCloseEndsTheEngine(t *testing.T) {
	t.Parallel()
	e, db := openOne(t, t.TempDir())
	update(t, db, `CREATE TABLE t(v)`)
	db.mu.Lock()
	db.w.auth.lost_sync = codeIOErrorSync
	db.mu.Unlock()
	if err := e.CloseDB(seeded); err == nil {
		t.Error("the close said nothing")
	}
	select {
	case err := <-e.Failed():
		t.Log(err)
	default:
		t.Error("the engine goes on")
	}
}
