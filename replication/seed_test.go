package replication

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const seeded DatabaseID = "civil-affairs/main"

// seedFile makes a SQLite file as a backup holds it: of some 4 MiB, at some index.
func seedFile(t *testing.T) string {
	t.Helper()
	e, db := openNode(t, nil, "old", t.TempDir(), "old")
	defer func() { _ = e.Close() }()
	eventually(t, "the old division has a leader", db.IsLeader)
	update(t, db, `CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)`)
	for i := range 40 {
		update(t, db, `INSERT INTO t (text) VALUES (?)`, strings.Repeat(fmt.Sprint(i%10), 100_000))
	}
	path := filepath.Join(t.TempDir(), "backup.db")
	if _, err := db.Backup(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	return path
}

func update(t *testing.T, db *DB, sql string, args ...any) Index {
	t.Helper()
	return updateOn(t, []*DB{db}, sql, args...)
}

// updateOn updates on whichever replica leads: on a busy machine a leadership may move, or
// be lost and won again.
func updateOn(t *testing.T, dbs []*DB, sql string, args ...any) (at Index) {
	t.Helper()
	eventually(t, "somebody leads", func() bool {
		for _, db := range dbs {
			var err error
			at, err = db.Update(t.Context(), func(tx *Tx) error { return tx.Exec(sql, args...) })
			if err == nil {
				return true
			}
			if !errors.Is(err, ErrNotLeader) { // That one is certainly not applied.
				t.Fatal(err)
			}
		}
		return false
	})
	return at
}

// openNode opens an engine with the database; lan may be nil.
func openNode(t *testing.T, lan *testLAN, name NodeID, dir string, voters ...NodeID) (*Engine, *DB) {
	t.Helper()
	o := Options{Dir: dir, Node: name, Log: quiet(), HeartbeatTimeout: 50 * time.Millisecond, MaxClosure: 10 * time.Second}
	if lan != nil { // Long enough for a busy machine: no leader is lost by accident.
		o.Dial, o.HeartbeatTimeout = lan.dialer(name), time.Second
	}
	e, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {}
	if lan != nil {
		stop = lan.listen(name, e.ServeConn)
	}
	t.Cleanup(func() {
		stop()
		_ = e.Close()
	})
	db, err := e.OpenDB(seeded, DBOptions{Voters: voters})
	if err != nil {
		t.Fatal(err)
	}
	return e, db
}

// count counts the rows of t on this replica; -1 while there is no such table.
func count(t *testing.T, db *DB) int {
	t.Helper()
	n := -1
	err := db.View(t.Context(), Local, func(v *View) error { return v.QueryRow(`SELECT count(*) FROM t`).Scan(&n) })
	if err != nil && !strings.Contains(err.Error(), "no such table") {
		t.Fatal(err)
	}
	return n
}

func wantEqual(t *testing.T, at Index, dbs ...*DB) {
	t.Helper()
	var sums [][32]byte
	for _, db := range dbs {
		if err := db.WaitApplied(t.Context(), at); err != nil {
			t.Fatal(err)
		}
		sum, _, err := db.Checksum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, sum)
	}
	for _, s := range sums {
		if s != sums[0] {
			t.Fatalf("the replicas differ: %x", sums)
		}
	}
}

// addNode has whichever replica leads add a node.
func addNode(t *testing.T, n NodeID, dbs ...*DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	eventually(t, "a leader has added "+string(n), func() bool {
		for _, db := range dbs {
			err := db.AddNode(ctx, n)
			if err == nil {
				return true
			}
			if !errors.Is(err, ErrNotLeader) {
				t.Fatal(err)
			}
		}
		return false
	})
}

func TestASeededNodeServesAndFeedsNewOnes(t *testing.T) {
	t.Parallel()
	lan, dir1, dir2 := newTestLAN(t), t.TempDir(), t.TempDir()
	if err := Seed(dir1, "n1", seeded, seedFile(t)); err != nil {
		t.Fatal(err)
	}
	_, db1 := openNode(t, lan, "n1", dir1)
	eventually(t, "the seeded node leads", db1.IsLeader)
	if n := count(t, db1); n != 40 {
		t.Fatalf("%d rows were restored, want 40", n)
	}
	// A client's token of what was written after the backup, and is lost, is behind it.
	lost := WithIndex(t.Context(), 1_000_000)
	if err := db1.View(lost, Local, func(*View) error { return nil }); err != nil {
		t.Fatalf("a view with a token of the old group: %v", err)
	}
	update(t, db1, `INSERT INTO t (text) VALUES ('after the restore')`)

	e2, db2 := openNode(t, lan, "n2", dir2)
	addNode(t, "n2", db1)
	two := []*DB{db1, db2}
	wantEqual(t, updateOn(t, two, `INSERT INTO t (text) VALUES ('for two')`), two...)
	if n := count(t, db2); n != 42 {
		t.Fatalf("the second node has %d rows, want 42", n)
	}
	// It got the file and then the log, not the log alone. The log is empty if the file came last.
	first, err := db2.entries().FirstIndex()
	if p, ok := db2.group.Load().snapshots.latest(); err != nil || !ok || p.Received == 0 || first == 1 || first == 2 {
		t.Fatalf("the second node's log begins at %d (%v), after %+v", first, err, p)
	}
	if s := db2.Status(); s.Received != 1 {
		t.Errorf("the second node says that it received %d files", s.Received)
	}
	wantFiles(t, filepath.Join(dir2, "db", string(seeded)), pointerName)
	db2.engine.roster.mu.Lock()
	if n := db2.engine.roster.of["n1"]; n != 1 {
		t.Errorf("n1 is a member of %d databases of n2", n)
	}
	db2.engine.roster.mu.Unlock()
	if err := e2.CloseDB(seeded); err != nil {
		t.Fatal(err)
	}
	if p := e2.Peers(); len(p) != 0 {
		t.Errorf("a node without a database watches %+v", p)
	}

	if err := e2.Close(); err != nil { // It starts again from what it received.
		t.Fatal(err)
	}
	_, db2 = openNode(t, lan, "n2", dir2)
	_, db3 := openNode(t, lan, "n3", t.TempDir())
	addNode(t, "n3", db1, db2) // The second has the log from its copy on; it would send a file too.
	three := []*DB{db1, db2, db3}
	wantEqual(t, updateOn(t, three, `INSERT INTO t (text) VALUES ('for three')`), three...)
}

// cutConn ends after some bytes were written to it.
type cutConn struct {
	net.Conn
	left atomic.Int64
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.left.Add(-int64(len(b))) < 0 {
		return 0, errors.Join(errors.New("the line is cut"), c.Close())
	}
	return c.Conn.Write(b)
}

func TestStreamsThatAreCutLeaveNothingHalfInstalled(t *testing.T) {
	t.Parallel()
	lan, dir1, dir2 := newTestLAN(t), t.TempDir(), t.TempDir()
	if err := Seed(dir1, "n1", seeded, seedFile(t)); err != nil {
		t.Fatal(err)
	}
	var streams atomic.Int64
	dial := lan.dialer("n1")
	e1, err := Open(Options{Dir: dir1, Node: "n1", Log: quiet(), HeartbeatTimeout: time.Second,
		Dial: func(ctx context.Context, to NodeID, protocol string) (net.Conn, error) {
			conn, err := dial(ctx, to, protocol)
			if err != nil || protocol != streamProtocol {
				return conn, err
			}
			// The first streams end after nothing, the head, 1 MiB, 2 MiB and 3 MiB.
			if n := streams.Add(1); n <= 5 {
				cut := &cutConn{Conn: conn}
				cut.left.Store([]int64{0, 300, 1 << 20, 2 << 20, 3 << 20}[n-1])
				return cut, nil
			}
			return conn, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	stop := lan.listen("n1", e1.ServeConn)
	t.Cleanup(func() {
		stop()
		_ = e1.Close()
	})
	db1, err := e1.OpenDB(seeded, DBOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the seeded node leads", db1.IsLeader)

	e2, db2 := openNode(t, lan, "n2", dir2)
	ctx, cancel := context.WithCancel(t.Context())
	added := make(chan error, 1)
	go func() { added <- db1.AddNode(ctx, "n2") }()
	for streams.Load() < 4 { // While streams break off, the replica is what it was: empty.
		if n := count(t, db2); n != -1 || db2.Applied() != 0 {
			t.Fatalf("%d rows at index %d of a stream that was cut", n, db2.Applied())
		}
		<-time.After(time.Millisecond)
	}
	if err := e2.Close(); err != nil { // A stop in the middle of it all.
		t.Fatal(err)
	}
	_, db2 = openNode(t, lan, "n2", dir2)
	eventually(t, "a stream came through", func() bool { return count(t, db2) == 40 })
	if err := <-added; err != nil {
		t.Fatal(err)
	}
	cancel()
	if n := streams.Load(); n < 6 {
		t.Fatalf("it took %d streams, five of which were cut", n)
	}
	two := []*DB{db1, db2}
	wantEqual(t, updateOn(t, two, `INSERT INTO t (text) VALUES ('after it')`), two...)
	wantFiles(t, filepath.Join(dir2, "db", string(seeded)), pointerName)
}

func TestSeedRefuses(t *testing.T) {
	t.Parallel()
	file := seedFile(t)
	dir := t.TempDir()
	text := filepath.Join(dir, "text.db")
	open := filepath.Join(dir, "open.db")
	if err := errors.Join(os.WriteFile(text, []byte("SQLite format 2"), 0o600), os.WriteFile(open, nil, 0o600), os.WriteFile(open+"-wal", []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	used := t.TempDir()
	e, _ := openNode(t, nil, "n1", used, "n1")
	if err := Seed(used, "n1", "other/main", file); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a folder in use: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	lost := t.TempDir() // The log of a database whose folder is gone.
	e, _ = openNode(t, nil, "n1", lost, "n1")
	if err := errors.Join(e.Close(), os.RemoveAll(filepath.Join(lost, "db", "civil-affairs"))); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir string
		node      NodeID
		id        DatabaseID
		file      string
		want      string
	}{
		{"a bad id", dir, "n1", "../main", file, "no database id"},
		{"no node", dir, "", seeded, file, "no node"},
		{"no file", dir, "n1", seeded, filepath.Join(dir, "none.db"), "no such file"},
		{"no SQLite file", dir, "n1", seeded, text, "no SQLite file"},
		{"a file that was not closed", dir, "n1", seeded, open, "make a backup"},
		{"a database that is there", used, "n1", seeded, file, "already"},
		{"a log that is there", lost, "n1", seeded, file, "empty data folder"},
	}
	for _, test := range tests {
		err := Seed(test.dir, test.node, test.id, test.file)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "db", "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("refused seeds left %q (%v)", left, err)
	}
	// What a crash before the decision leaves does not stand in the way.
	making := filepath.Join(dir, "db", "civil-affairs", ".seed-main")
	if err := errors.Join(os.MkdirAll(making, 0o700), os.WriteFile(filepath.Join(making, "state.db"), []byte("half"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := Seed(dir, "n1", seeded, file); err != nil {
		t.Fatal(err)
	}
	if err := Seed(dir, "n1", seeded, file); err == nil {
		t.Error("a second seed replaced the first")
	}
}
