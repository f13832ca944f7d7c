package replication

import (
	"errors"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/hashicorp/raft"
	"github.com/mattn/go-sqlite3"
)

// Waiting is the number of updates in the queue whose callers wait.
func Waiting(db *DB) int { return db.queue.count(waiting) }

// Left is the number of updates in the queue whose callers have gone.
func Left(db *DB) int { return db.queue.count(left) }

func (q *queue) count(state int32) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, r := range q.waiting {
		if r.state.Load() == state {
			n++
		}
	}
	return n
}

// PowerCut copies the SQLite files of a replica as they are now; after its stop, lose puts
// them back with the end of the WAL missing, as a power cut may leave them; without r all
// that is not synced is missing.
func PowerCut(t testing.TB, db *DB) (lose func(r *rand.Rand)) {
	db.passes.mu.Lock() // No checkpoint,
	defer db.passes.mu.Unlock()
	db.mu.Lock() // and no commit.
	defer db.mu.Unlock()
	s := db.group.Load().snapshots
	s.mu.Lock()
	s.waits = true // And from now on no pointer, which would be to a later file.
	s.mu.Unlock()
	files := map[string][]byte{}
	for _, suffix := range []string{"", "-wal", "-wal-mark"} {
		b, err := os.ReadFile(db.path + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		files[db.path+suffix] = b
	}
	durable, err := durableWAL(db.path)
	if err != nil {
		t.Fatal(err)
	}
	return func(r *rand.Rand) {
		wal := db.path + "-wal"
		if n := len(files[wal]); n > 0 {
			kept := durable
			if r != nil {
				kept += r.IntN(max(1, n-durable))
			}
			files[wal] = files[wal][:min(n, kept)]
		}
		for path, b := range files {
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Name is the engine's node.
func Name(e *Engine) NodeID { return e.opts.Node }

// Dir is the engine's data folder.
func Dir(e *Engine) string { return e.opts.Dir }

// Crash copies into dir what a kill (power: a power cut) leaves of an engine's databases at
// one moment, at which it calls log for its log store. The engine goes on afterwards.
func Crash(e *Engine, dir string, power bool, r *rand.Rand, log func() error) error {
	e.mu.Lock()
	dbs := slices.Collect(maps.Values(e.dbs))
	e.mu.Unlock()
	for _, db := range dbs {
		db.passes.mu.Lock() // No checkpoint,
		defer db.passes.mu.Unlock()
		db.mu.Lock() // and no commit.
		defer db.mu.Unlock()
	}
	if err := log(); err != nil {
		return err
	}
	return copyCrashed(filepath.Join(e.opts.Dir, "db"), filepath.Join(dir, "db"), power, r)
}

// copyCrashed copies the files of databases. The order makes it one moment's: a pointer
// before the file that it points to.
func copyCrashed(from, to string, power bool, r *rand.Rand) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return e.Name() == pointerName }); i >= 0 {
		entries[0], entries[i] = entries[i], entries[0]
	}
	for _, e := range entries {
		path, dest := filepath.Join(from, e.Name()), filepath.Join(to, e.Name())
		if e.IsDir() {
			if err := copyCrashed(path, dest, power, r); err != nil {
				return err
			}
			continue
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		if n := len(b); power && n > 0 && strings.HasSuffix(path, ".db-wal") {
			durable, err := durableWAL(strings.TrimSuffix(path, "-wal"))
			if err != nil {
				return err
			}
			b = b[:min(n, durable+r.IntN(max(1, n-durable)))]
		}
		if err := os.WriteFile(dest, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// durableWAL is the length of the WAL that a checkpoint has synced, because it has copied
// it into the file. None may be under way.
func durableWAL(path string) (int, error) {
	c, err := openConn(path, readerConn)
	if err != nil {
		return 0, err
	}
	var busy, all, back int64
	err = c.one("PRAGMA wal_checkpoint(NOOP)", &busy, &all, &back)
	if err = errors.Join(err, c.close()); err != nil || back == 0 {
		return 0, err
	}
	return 32 + int(back)*(24+4096), nil
}

// BeforePropose makes f run on the evaluator between evaluation and proposal.
func BeforePropose(o *Options, f func()) { o.hooks.beforePropose = f }

// Direct executes SQL on one replica behind the log's back.
func Direct(t testing.TB, db *DB, sql string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if _, err := db.w.exec(sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Install is what a follower does with a received copy.
func Install(db *DB, r io.Reader) error {
	s := db.group.Load().snapshots
	p, _ := s.latest()
	sink, err := s.Create(1, max(p.Index, uint64(db.Applied()))+100, db.raft().CurrentTerm(), raft.Configuration{}, 1, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(sink, r); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return err
	}
	return (&fsm{db}).Restore(io.NopCloser(strings.NewReader("")))
}

// Compact makes the engine cut its logs whenever they have grown by some entries, and keep
// trailing ones before.
func Compact(o *Options, entries, trailing uint64) {
	o.compaction = compaction{entries: entries, bytes: snapshotBytes, trailing: trailing, held: heldBytes, retry: 20 * time.Millisecond}
}

// Snapshot cuts the log now.
func Snapshot(db *DB) error { return db.snapshot() }

// OnSkip makes f hear of each entry that is in the file already.
func OnSkip(o *Options, f func(index uint64)) { o.hooks.onSkip = f }

// LogBounds are the first and the last entry in the log of a replica.
func LogBounds(t testing.TB, db *DB) (first, last uint64) {
	first, last, err := db.entries().bounds()
	if err != nil {
		t.Fatal(err)
	}
	return first, last
}

// SampleEntry is an encoded entry with every kind of value.
func SampleEntry() []byte {
	var r recorder
	for range 2 {
		r.begin()
		r.add(recorded{sql: "INSERT", failure: 19, rowid: -5, changes: 1 << 40, args: []any{nil, int64(-7), 2.5, "text", []byte{1}, []byte{}}})
		r.add(recorded{sql: "UPDATE", rowid: 1})
		r.keep()
	}
	r.begin()
	r.add(recorded{sql: "DROPPED"})
	r.drop()
	return r.entry(proposalID{1, 2}, 300, -4).encode()
}

// ReadEntry decodes an entry to its end.
func ReadEntry(b []byte) error {
	e, err := decodeEntry(b)
	if err != nil {
		return err
	}
	return e.each(func(bool) error { return nil }, func(recorded) error { return nil })
}

// LogIn puts the log store of an engine on another disk.
func LogIn(o *Options, fs vfs.FS) { o.hooks.logFS = fs }

// FillDisk makes the engine of db believe that its disk is full until restore is called.
func FillDisk(db *DB) (restore func()) {
	l := db.engine.logs
	set := func(free uint64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.free, l.checked = free, time.Now().Add(time.Hour)
	}
	set(0)
	return func() { set(math.MaxUint64) }
}

// FailSyncs makes the fsyncs of the engine's log fail while failing is set.
func FailSyncs(o *Options, failing *atomic.Bool) {
	o.hooks.logFS = errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if failing.Load() {
				return syscall.EIO
			}
		}
		return nil
	}))
}

// openForeign opens a database as any program would.
func openForeign(t testing.TB, path string) *sqlite3.SQLiteConn {
	t.Helper()
	c, err := (&sqlite3.SQLiteDriver{}).Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*sqlite3.SQLiteConn)
}

// RebuildStep makes f run at each step of a rebuild.
func RebuildStep(o *Options, f func(step string)) { o.hooks.rebuildStep = f }

// FlipEntry damages the value of the entry at index of db's log, which is not cached.
func FlipEntry(t testing.TB, db *DB, index uint64) {
	g := db.entries()
	key := g.keys.entry(index)
	value, err := g.get(key)
	if err != nil {
		t.Fatal(err)
	}
	value[len(value)-1] ^= 1
	g.logs.cache.forget(g, index, index)
	if err := g.logs.db.Set(key, value, pebble.Sync); err != nil {
		t.Fatal(err)
	}
}

// FlipVote damages the vote of db's group.
func FlipVote(t testing.TB, db *DB) {
	g := db.entries()
	for _, name := range [][]byte{nameVote, nameTerm} {
		key := g.keys.value(name)
		value, err := g.get(key)
		if err != nil {
			continue
		}
		value[len(value)-1] ^= 1
		if err := g.logs.db.Set(key, value, pebble.Sync); err != nil {
			t.Fatal(err)
		}
	}
}

// ReadEntryOf reads an entry as raft does.
func ReadEntryOf(db *DB, index uint64) error {
	g := db.group.Load()
	return guardedLog{db.entries(), db, g}.GetLog(index, new(raft.Log))
}

// PassedOver says whether the compactor was asked to cut db's log, and has dealt with that.
func PassedOver(db *DB) bool {
	c := db.engine.compactor
	c.mu.Lock()
	_, due := c.due[db]
	c.mu.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.grown.asked && !due
}

// Hold makes a replica apply nothing until release is called, or, if that is leave, until it
// stops.
func Hold(db *DB) (release, leave func()) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.hold(errors.New("a test holds it"))
	db.tasks.Add(1)
	return func() { go db.resume() }, db.tasks.Done
}

// Handed is the last entry that raft has handed over to db.
func Handed(db *DB) uint64 {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.handed
}
