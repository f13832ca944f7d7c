package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Limits of a node's log store. It serves every group of the node, so they are per
// node, not per database.
const (
	// logMemTableBytes is one memtable. Several entries of the largest batch fit; a
	// small one is flushed often, a large one makes a restart replay more.
	logMemTableBytes = 8 << 20
	// logMemTables may wait for their flush before writers are held back.
	logMemTables = 4
	// logBlockCacheBytes caches blocks of old entries: read only to catch up a
	// follower, mostly once, so a large cache would hold nothing twice.
	logBlockCacheBytes = 8 << 20
	// logOpenTables is how many table files stay open.
	logOpenTables = 64
	// logEntryCacheBytes of recent entries are kept decoded: each is read back once by
	// every follower's replication and once to apply it, within milliseconds.
	logEntryCacheBytes = 16 << 20
	// logFormat is written down, not "the newest": a newer Pebble must not change the
	// files so that the release before can no longer be returned to.
	logFormat = pebble.FormatValueSeparation
	// logReserveBytes of the disk stay free. Below, a leader takes no updates, so that
	// what raft itself writes (elections, their first entries) and the checkpoint of
	// what is in SQLite's WAL still have room.
	logReserveBytes = 64 << 20
	// logLastBytes stay free even so: below, entries of other leaders are refused too,
	// and only terms and votes are written: raft ends the process when it cannot.
	logLastBytes = 16 << 20
	// logReserveEvery is how often a node looks whether it must hand its leaderships over.
	logReserveEvery = time.Second
	// logRoomFor is how long an answer about the free space holds. It is short because
	// another process may fill the disk at gigabytes a second, and a write that finds no
	// room ends the process; asking costs microseconds.
	logRoomFor = 5 * time.Millisecond
)

// logs is the one raft log store of a node: the entries, terms and votes of all its
// groups in one Pebble, so that one fsync serves every group that waits for one.
//
// After an fsync or write has failed nothing is written any more (the kernel may have
// dropped the pages, so a second fsync that succeeds proves nothing): every append
// returns ErrDisk until the node is restarted.
type logs struct {
	db    *pebble.DB
	fs    vfs.FS
	dir   string
	log   *slog.Logger
	cache *entryCache
	lost  atomic.Pointer[func(error)] // Hears of the first failed write; nil: nobody.

	// use is held shared by each operation and exclusively by close: Pebble panics
	// when it is used after Close.
	use    sync.RWMutex
	closed bool

	mu      sync.Mutex
	groups  map[DatabaseID]*groupLog
	failed  error     // First write error; wraps ErrDisk.
	free    uint64    // Bytes of the disk.
	checked time.Time // When free was asked for.
}

// openLogs opens or makes the log store in dir. It is locked until close: a second
// process that opens it is refused.
func openLogs(dir string, log *slog.Logger) (*logs, error) {
	// The last folder is left to Pebble, which syncs the names of those only that it makes.
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("make the raft log's folder: %w", err)
	}
	return openLogsFS(vfs.Default, dir, log)
}

func openLogsFS(fs vfs.FS, dir string, log *slog.Logger) (*logs, error) {
	if log == nil {
		log = slog.Default()
	}
	cache := pebble.NewCache(logBlockCacheBytes)
	defer cache.Unref() // The DB holds its own reference.
	l := &logs{
		fs: fs, dir: dir, log: log,
		cache:  newEntryCache(logEntryCacheBytes),
		groups: make(map[DatabaseID]*groupLog),
	}
	options := &pebble.Options{
		// Else Pebble calls Fatalf over a block that a compaction cannot read.
		EventListener:               &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) { _ = l.damaged(i.Details) }},
		FS:                          fs,
		Cache:                       cache,
		MemTableSize:                logMemTableBytes,
		MemTableStopWritesThreshold: logMemTables,
		MaxOpenFiles:                logOpenTables,
		FormatMajorVersion:          logFormat,
		Logger:                      pebbleLogger{log},
	}
	db, err := pebble.Open(dir, options)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("open the raft log in %s: %w; the folder must belong to the user that runs the node", dir, err)
		}
		return nil, fmt.Errorf("open the raft log in %s (is another process using it?): %w", dir, err)
	}
	l.db = db
	return l, nil
}

// group is the log and stable store of one database. Calls for one id return one value;
// it finds its first and last entry on first use.
func (l *logs) group(id DatabaseID) *groupLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.groups[id]
	if g == nil {
		g = &groupLog{logs: l, id: id, keys: newGroupKeys(id), cached: make(map[uint64]*cachedEntry)}
		l.groups[id] = g
	}
	return g
}

// close waits for the operations under way and closes the store. Later operations
// return ErrClosed.
func (l *logs) close() error {
	l.use.Lock()
	defer l.use.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if err := l.db.Close(); err != nil && l.failure() == nil { // Else it is told already.
		return fmt.Errorf("close the raft log: %w", err)
	}
	return nil
}

// enter begins an operation; the caller must leave when it returned nil.
func (l *logs) enter() error {
	l.use.RLock()
	if l.closed {
		l.use.RUnlock()
		return ErrClosed
	}
	return nil
}

func (l *logs) leave() { l.use.RUnlock() }

// commit makes a batch durable: it returns nil only after the fsync that covers it.
// Pebble's log writer lets one fsync serve all batches that were waiting when it began.
func (l *logs) commit(b *pebble.Batch) error {
	if err := l.failure(); err != nil {
		return err
	}
	// Apply would end the process on a failed fsync; SyncWait hands the error out.
	if err := l.db.ApplyNoSyncWait(b, pebble.Sync); err != nil {
		return l.fail(err)
	}
	if err := b.SyncWait(); err != nil {
		return l.fail(err)
	}
	return nil
}

func (l *logs) fail(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = fmt.Errorf("write the raft log: %w: %w", ErrDisk, err)
		if lost := l.lost.Load(); lost != nil {
			(*lost)(l.failed)
		}
	}
	return l.failed
}

// tellLost has f hear of the first failed write, also of one that came before: a compaction
// begins with the opening of the store, and may meet damage at once.
func (l *logs) tellLost(f func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost.Store(&f)
	if l.failed != nil {
		f(l.failed)
	}
}

func (l *logs) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// room refuses when fewer than reserve bytes of the disk are free, or a write has failed.
func (l *logs) room(reserve uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if now := time.Now(); now.Sub(l.checked) >= logRoomFor {
		l.checked, l.free = now, math.MaxUint64
		// A file system that cannot tell (in memory) has no reserve.
		if usage, err := l.fs.GetDiskUsage(l.dir); err == nil {
			l.free = usage.AvailBytes
		}
	}
	if l.free >= reserve {
		return nil
	}
	return fmt.Errorf("%w: %d MiB free, %d MiB must stay free; make room on the disk of %s",
		ErrDisk, l.free>>20, reserve>>20, l.dir)
}

// pebbleLogger turns Pebble's chatter into debug records.
type pebbleLogger struct{ log *slog.Logger }

// Infof implements pebble.Logger.
func (p pebbleLogger) Infof(format string, args ...any) {
	p.log.Debug("raft log store", "text", lazyText{format, args})
}

// Errorf implements pebble.Logger.
func (p pebbleLogger) Errorf(format string, args ...any) {
	p.log.Warn("raft log store", "text", lazyText{format, args})
}

// Fatalf is called when Pebble cannot go on (its own records cannot be written, an
// invariant is broken) and must not return.
func (p pebbleLogger) Fatalf(format string, args ...any) {
	p.log.Error("raft log store: cannot go on", "text", lazyText{format, args})
	panic("replication: raft log store: " + fmt.Sprintf(format, args...))
}

// lazyText is formatted only when the record is written.
type lazyText struct {
	format string
	args   []any
}

// LogValue is called by handlers that are enabled for the record's level.
func (t lazyText) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf(t.format, t.args...)) }
