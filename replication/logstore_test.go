package replication

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/hashicorp/raft"
	"go.uber.org/goleak"
)

// quiet swallows the records of a part under test.
func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// openTestLogs opens a log store on fs that the test closes at its end.
func openTestLogs(t testing.TB, fs vfs.FS) *logs {
	t.Helper()
	l, err := openLogsFS(fs, "log", quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.close() })
	return l
}

// checkLeaks reports goroutines that the test left behind, after its clean-ups.
func checkLeaks(t *testing.T) {
	t.Helper()
	ignore := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignore) })
}

// eventually polls until ok or fails the test saying what never came.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never came within 10 s: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// testEntries makes entries from..to of a term whose content tells index and term.
func testEntries(term, from, to uint64) []*raft.Log {
	var entries []*raft.Log
	for i := from; i <= to; i++ {
		entries = append(entries, &raft.Log{
			Index: i, Term: term, Type: raft.LogCommand, Data: fmt.Appendf(nil, "entry %d of term %d", i, term),
		})
	}
	return entries
}

func mustStore(t testing.TB, g *groupLog, entries []*raft.Log) {
	t.Helper()
	if err := g.StoreLogs(entries); err != nil {
		t.Fatal(err)
	}
}

// wantBounds checks first and last index.
func wantBounds(t testing.TB, g *groupLog, first, last uint64) {
	t.Helper()
	f, errF := g.FirstIndex()
	l, errL := g.LastIndex()
	if f != first || l != last || errF != nil || errL != nil {
		t.Fatalf("bounds are %d, %d (%v, %v), want %d, %d", f, l, errF, errL, first, last)
	}
}

func TestLogKeepsEntriesOverARestart(t *testing.T) {
	checkLeaks(t)
	fs := vfs.NewMem()
	l := openTestLogs(t, fs)
	at := time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC)
	want := []*raft.Log{
		{Index: 7, Term: 3, Type: raft.LogCommand, Data: []byte("text"), Extensions: []byte("more"), AppendedAt: at},
		{Index: 8, Term: 3, Type: raft.LogNoop},
		{Index: 9, Term: 1<<64 - 1, Type: raft.LogConfiguration, Data: make([]byte, 3<<20)},
	}
	mustStore(t, l.group("a/main"), want)
	mustStore(t, l.group("a/main2"), testEntries(1, 1, 2)) // Its name begins alike.
	for _, state := range []string{"before the restart", "after it"} {
		g := l.group("a/main")
		wantBounds(t, g, 7, 9)
		for _, w := range want {
			var e raft.Log
			if err := g.GetLog(w.Index, &e); err != nil {
				t.Fatalf("%s: %v", state, err)
			}
			if e.Index != w.Index || e.Term != w.Term || e.Type != w.Type || !e.AppendedAt.Equal(w.AppendedAt) ||
				string(e.Data) != string(w.Data) || string(e.Extensions) != string(w.Extensions) {
				t.Fatalf("%s: entry %d differs", state, w.Index)
			}
		}
		for _, index := range []uint64{0, 6, 10} {
			if err := g.GetLog(index, new(raft.Log)); err != raft.ErrLogNotFound { //nolint:errorlint // raft compares too.
				t.Fatalf("%s: entry %d: %v, want ErrLogNotFound", state, index, err)
			}
		}
		if err := l.close(); err != nil {
			t.Fatal(err)
		}
		l = openTestLogs(t, fs)
	}
}

func TestLogDeletesOnlyItsBeginningOrItsEnd(t *testing.T) {
	checkLeaks(t)
	tests := []struct {
		name        string
		min, max    uint64
		first, last uint64
		refused     bool
	}{
		{"the beginning", 1, 4, 5, 20, false},
		{"the end", 9, 10, 1, 8, false},
		{"past the end is the end", 9, 99, 1, 8, false},
		{"all", 1, 20, 0, 0, false},
		{"the beginning up to the gap", 1, 10, 15, 20, false},
		{"the beginning up to inside the gap", 1, 12, 15, 20, false},
		{"nothing below", 0, 0, 1, 20, false},
		{"nothing above", 21, 30, 1, 20, false},
		{"an empty range", 5, 4, 1, 20, false},
		{"the middle is refused", 3, 4, 1, 20, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fs := vfs.NewMem()
			l := openTestLogs(t, fs)
			g := l.group("a/main")
			mustStore(t, g, testEntries(1, 1, 10))
			if strings.HasPrefix(test.name, "the end") || strings.HasPrefix(test.name, "past") {
				if test.last > 10 {
					t.Fatal("the table is wrong")
				}
			} else {
				mustStore(t, g, testEntries(2, 15, 20)) // As after an installed snapshot.
			}
			neighbour := l.group("a/main2")
			mustStore(t, neighbour, testEntries(1, 1, 3))
			if err := g.DeleteRange(test.min, test.max); (err != nil) != test.refused {
				t.Fatalf("refused: %v, want %v", err, test.refused)
			}
			wantBounds(t, g, test.first, test.last)
			wantBounds(t, neighbour, 1, 3)
			if err := l.close(); err != nil {
				t.Fatal(err)
			}
			l = openTestLogs(t, fs)
			wantBounds(t, l.group("a/main"), test.first, test.last)
			wantBounds(t, l.group("a/main2"), 1, 3)
		})
	}
}

func TestLogRefusesEntriesOutOfOrder(t *testing.T) {
	checkLeaks(t)
	l := openTestLogs(t, vfs.NewMem())
	g := l.group("a/main")
	mustStore(t, g, testEntries(1, 1, 5))
	if err := g.StoreLogs(testEntries(2, 5, 6)); err == nil {
		t.Fatal("an acknowledged entry was overwritten without being deleted")
	}
	if err := g.StoreLogs(append(testEntries(2, 6, 6), testEntries(2, 8, 8)...)); err == nil {
		t.Fatal("a hole was stored")
	}
	wantBounds(t, g, 1, 5)
}

func TestLogServesTheNewEntryAfterAConflict(t *testing.T) {
	checkLeaks(t)
	l := openTestLogs(t, vfs.NewMem())
	g := l.group("a/main")
	mustStore(t, g, testEntries(1, 1, 5))
	if err := g.DeleteRange(3, 5); err != nil {
		t.Fatal(err)
	}
	mustStore(t, g, testEntries(2, 3, 3))
	var e raft.Log
	if err := g.GetLog(3, &e); err != nil || e.Term != 2 {
		t.Fatalf("entry 3 is of term %d (%v), want 2", e.Term, err)
	}
	if err := g.GetLog(4, &e); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("entry 4: %v, want ErrLogNotFound", err)
	}
	mustStore(t, g, testEntries(3, 5, 5)) // After a snapshot at 4: a gap over a deleted entry.
	if err := g.GetLog(4, &e); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("entry 4 in the gap: %v, want ErrLogNotFound", err)
	}
}

func TestLogKeepsTermAndVote(t *testing.T) {
	checkLeaks(t)
	fs := vfs.NewCrashableMem()
	l := openTestLogs(t, fs)
	g := l.group("a/main")
	if n, err := g.GetUint64([]byte("CurrentTerm")); n != 0 || err != nil {
		t.Fatalf("an unknown number is %d, %v; want 0, nil", n, err)
	}
	if v, err := g.Get([]byte("LastVoteCand")); v != nil || err != nil {
		t.Fatalf("an unknown value is %q, %v; want nil, nil", v, err)
	}
	if err := errors.Join(g.SetUint64([]byte("CurrentTerm"), 7), g.Set([]byte("LastVoteCand"), []byte("n2"))); err != nil {
		t.Fatal(err)
	}
	// What a power cut leaves: only what was synced.
	after := openTestLogs(t, fs.CrashClone(vfs.CrashCloneCfg{})).group("a/main")
	if n, err := after.GetUint64([]byte("CurrentTerm")); n != 7 || err != nil {
		t.Fatalf("the term is %d, %v; want 7", n, err)
	}
	if v, err := after.Get([]byte("LastVoteCand")); string(v) != "n2" || err != nil {
		t.Fatalf("the vote is %q, %v; want n2", v, err)
	}
}

func TestLogReportsDamageInsteadOfServingIt(t *testing.T) {
	checkLeaks(t)
	tests := []struct {
		name string
		harm func(t *testing.T, l *logs, g *groupLog)
	}{
		{"a flipped bit in an entry", func(t *testing.T, l *logs, g *groupLog) { rewrite(t, l, g.keys.entry(2), flipLast) }},
		{"a flipped bit in a checksum", func(t *testing.T, l *logs, g *groupLog) { rewrite(t, l, g.keys.entry(2), flipFirst) }},
		{"an entry cut short", func(t *testing.T, l *logs, g *groupLog) {
			rewrite(t, l, g.keys.entry(2), func(b []byte) []byte { return b[:len(b)-1] })
		}},
		{"an empty value", func(t *testing.T, l *logs, g *groupLog) {
			rewrite(t, l, g.keys.entry(2), func(b []byte) []byte { return nil })
		}},
		{"another entry's value", func(t *testing.T, l *logs, g *groupLog) {
			other, err := g.get(g.keys.entry(1))
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, l, g.keys.entry(2), func([]byte) []byte { return other })
		}},
		{"a format of the future", func(t *testing.T, l *logs, g *groupLog) {
			key := g.keys.entry(2)
			rewrite(t, l, key, func(b []byte) []byte { b[4] = 99; seal(key, b); return b })
		}},
		{"an unknown type", func(t *testing.T, l *logs, g *groupLog) {
			key := g.keys.entry(2)
			rewrite(t, l, key, func(b []byte) []byte { b[5] = 77; seal(key, b); return b })
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := openTestLogs(t, vfs.NewMem())
			g := l.group("a/main")
			mustStore(t, g, testEntries(1, 1, 3))
			l.cache.forget(g, 1, 3)
			test.harm(t, l, g)
			var e raft.Log
			err := g.GetLog(2, &e)
			if err == nil || errors.Is(err, raft.ErrLogNotFound) {
				t.Fatalf("GetLog: %v, want an error about damage", err)
			}
			if !strings.Contains(err.Error(), "a/main") || !strings.Contains(err.Error(), "2") {
				t.Fatalf("%q does not name entry and database", err)
			}
			if err := g.GetLog(3, &e); err != nil {
				t.Fatalf("a sound entry beside it: %v", err)
			}
		})
	}
	l := openTestLogs(t, vfs.NewMem())
	g := l.group("a/main")
	if err := g.SetUint64([]byte("CurrentTerm"), 7); err != nil {
		t.Fatal(err)
	}
	rewrite(t, l, g.keys.value([]byte("CurrentTerm")), flipLast)
	if _, err := g.GetUint64([]byte("CurrentTerm")); !errors.Is(err, errCorrupt) {
		t.Fatalf("a damaged term: %v, want an error", err)
	}
}

func flipLast(b []byte) []byte  { b[len(b)-1] ^= 1; return b }
func flipFirst(b []byte) []byte { b[0] ^= 1; return b }

// rewrite changes a stored value behind the store's back.
func rewrite(t *testing.T, l *logs, key []byte, change func([]byte) []byte) {
	t.Helper()
	value, closer, err := l.db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	value = change(append([]byte(nil), value...))
	if err := errors.Join(closer.Close(), l.db.Set(key, value, pebble.NoSync)); err != nil {
		t.Fatal(err)
	}
}

// walSync matches the fsync of the log's write-ahead file.
func walSync(op errorfs.Op) bool {
	return strings.HasSuffix(op.Path, ".log") && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData)
}

func TestOneFsyncServesAllGroupsThatWait(t *testing.T) {
	checkLeaks(t)
	const groups = 64
	var syncs atomic.Int64
	var held atomic.Bool
	begun, release := make(chan struct{}), make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if walSync(op) && held.Load() && syncs.Add(1) == 1 {
			close(begun)
			HoldUntil(t, release)
		}
		return nil
	}))
	l := openTestLogs(t, fs)
	for i := range groups { // Bounds are read before.
		wantBounds(t, l.group(DatabaseID(fmt.Sprintf("t%d/main", i))), 0, 0)
	}
	held.Store(true)
	before := l.db.Metrics().WAL.BytesIn
	var done sync.WaitGroup
	store := func(i int) {
		done.Go(func() {
			if err := l.group(DatabaseID(fmt.Sprintf("t%d/main", i))).StoreLogs(testEntries(1, 1, 1)); err != nil {
				t.Error(err)
			}
		})
	}
	store(0)
	select {
	case <-begun: // The first fsync is under way and does not end.
	case <-time.After(10 * time.Second):
		close(release)
		t.Fatal("never came within 10 s: an fsync")
	}
	one := l.db.Metrics().WAL.BytesIn - before
	for i := 1; i < groups; i++ {
		store(i)
	}
	eventually(t, "all groups wait for an fsync", func() bool {
		return l.db.Metrics().WAL.BytesIn-before >= one*groups
	})
	close(release)
	done.Wait()
	held.Store(false)
	if n := syncs.Load(); n > 3 {
		t.Fatalf("%d fsyncs for %d groups, want at most 3", n, groups)
	}
}

func TestAFailedFsyncIsNeverAcknowledgedNorRetried(t *testing.T) {
	checkLeaks(t)
	mem := vfs.NewCrashableMem()
	var broken atomic.Bool
	l := openTestLogs(t, errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if broken.Load() && walSync(op) {
			return errorfs.ErrInjected
		}
		return nil
	})))
	g := l.group("a/main")
	mustStore(t, g, testEntries(1, 1, 3))
	broken.Store(true)
	if err := g.StoreLogs(testEntries(1, 4, 4)); !errors.Is(err, ErrDisk) {
		t.Fatalf("an append whose fsync failed: %v, want ErrDisk", err)
	}
	broken.Store(false) // The disk pretends to be well again.
	if err := g.StoreLogs(testEntries(1, 4, 4)); !errors.Is(err, ErrDisk) {
		t.Fatalf("the append after it: %v, want ErrDisk", err)
	}
	if err := l.group("b/main").SetUint64([]byte("CurrentTerm"), 2); !errors.Is(err, ErrDisk) {
		t.Fatalf("a term after it: %v, want ErrDisk", err)
	}
	wantBounds(t, g, 1, 3)
	if err := g.GetLog(4, new(raft.Log)); !errors.Is(err, raft.ErrLogNotFound) {
		t.Fatalf("the entry that was not acknowledged: %v, want ErrLogNotFound", err)
	}
	after := openTestLogs(t, mem.CrashClone(vfs.CrashCloneCfg{})).group("a/main")
	wantBounds(t, after, 1, 3)
}

func TestLogKeepsAReserveOnTheDisk(t *testing.T) {
	checkLeaks(t)
	fs := vfs.NewMem()
	l := openTestLogs(t, fs)
	g := l.group("a/main")
	free := func(bytes uint64) {
		fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: bytes})
		l.checked = l.checked.Add(-10 * time.Millisecond) // As if so long had passed: another process can fill a disk that fast.
	}
	free(logReserveBytes - 1)
	if err := l.room(logReserveBytes); !errors.Is(err, ErrDisk) || !strings.Contains(err.Error(), "make room") {
		t.Fatalf("the room on a nearly full disk: %v, want ErrDisk and what to do", err)
	}
	mustStore(t, g, testEntries(1, 1, 1)) // What raft itself has to write.
	free(logLastBytes - 1)
	if err := g.StoreLogs(testEntries(1, 2, 2)); !errors.Is(err, ErrDisk) {
		t.Fatalf("an append to a full disk: %v, want ErrDisk", err)
	}
	if err := g.DeleteRange(1, 1); !errors.Is(err, ErrDisk) { // raft could not replace them.
		t.Fatalf("a deletion of the log's end on a full disk: %v, want ErrDisk", err)
	}
	wantBounds(t, g, 1, 1)
	if err := g.SetUint64([]byte("CurrentTerm"), 2); err != nil { // raft panics when it cannot.
		t.Fatalf("a term on a full disk: %v", err)
	}
	free(logReserveBytes)
	if err := l.room(logReserveBytes); err != nil {
		t.Fatalf("after room was made: %v", err)
	}
	mustStore(t, g, testEntries(1, 2, 2))
	if err := g.DeleteRange(2, 2); err != nil {
		t.Fatal(err)
	}
	free(1)
	mustStore(t, g, testEntries(2, 2, 2)) // What replaces a deleted end is not refused.
}

func TestAClosedLogAnswersErrClosed(t *testing.T) {
	checkLeaks(t)
	l := openTestLogs(t, vfs.NewMem())
	g := l.group("a/main")
	mustStore(t, g, testEntries(1, 1, 1))
	l.cache.forget(g, 1, 1)
	if err := errors.Join(l.close(), l.close()); err != nil {
		t.Fatal(err)
	}
	_, first := l.group("b/main").FirstIndex()
	_, get := g.Get([]byte("x"))
	for what, err := range map[string]error{
		"FirstIndex": first, "Get": get,
		"GetLog": g.GetLog(1, new(raft.Log)), "StoreLogs": g.StoreLogs(testEntries(1, 2, 2)),
		"DeleteRange": g.DeleteRange(1, 1), "Set": g.Set([]byte("x"), nil),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v, want ErrClosed", what, err)
		}
	}
}

func TestASecondProcessCannotOpenTheLog(t *testing.T) {
	checkLeaks(t)
	dir := t.TempDir()
	l, err := openLogs(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.close() }()
	if second, err := openLogs(dir, quiet()); err == nil {
		_ = second.close()
		t.Fatal("the log was opened twice")
	} else if !strings.Contains(err.Error(), "another process") {
		t.Fatalf("%q does not say why", err)
	}
}

func TestEntryCacheStaysWithinItsBytes(t *testing.T) {
	checkLeaks(t)
	l := openTestLogs(t, vfs.NewMem())
	l.cache = newEntryCache(10_000)
	a, b := l.group("a/main"), l.group("b/main")
	for i := uint64(1); i <= 500; i++ {
		mustStore(t, a, testEntries(1, i, i))
		mustStore(t, b, testEntries(1, i, i))
		if i%7 == 0 && i > 10 { // A conflict now and then.
			if err := a.DeleteRange(i, i); err != nil {
				t.Fatal(err)
			}
			mustStore(t, a, testEntries(2, i, i))
		}
	}
	if l.cache.bytes > 10_000 || len(l.cache.queue) > 200 {
		t.Fatalf("the cache holds %d bytes, a queue of %d", l.cache.bytes, len(l.cache.queue))
	}
	if n := len(a.cached) + len(b.cached); n == 0 || n > 100 {
		t.Fatalf("%d entries are cached", n)
	}
	var e raft.Log
	for i := uint64(1); i <= 500; i++ { // Cached or not, the same.
		want := uint64(1)
		if i%7 == 0 && i > 10 {
			want = 2
		}
		if err := a.GetLog(i, &e); err != nil || e.Term != want || e.Index != i {
			t.Fatalf("entry %d is of term %d (%v), want %d", i, e.Term, err, want)
		}
	}
}
