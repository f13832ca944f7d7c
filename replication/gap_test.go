package replication

import (
	"bytes"
	"errors"
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

// TestAFailureIsNoOtherChecksum interrupts the checksum of full-text tables at every point.
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
			if n++; n > at {
				w.interrupt()
			}
			return nil
		})
		if err != nil {
			failed++
		} else if !bytes.Equal(got[:], want[:]) {
			t.Errorf("interrupted from look %d of %d on: another checksum", at, calls)
		}
	}
	if failed == 0 {
		t.Error("no interrupt was noticed")
	}
}
