package replication

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// The writer adds to the WAL, and a checkpointer writes it back into the file beside it.
// SQLite begins the WAL anew only if all of it was written back when a transaction begins,
// and beside a busy writer there is always something new. So when a pass has left a long
// one, the goroutine that applies makes the last, short pass itself: nothing is committed
// meanwhile. Of one twice as long it also awaits the pass that is under way: a pass ends
// with an fsync of all that it wrote, and everybody's fsyncs wait for that.

// All in pages of the WAL.
const (
	checkpointMin     = 256                    // Less is not worth a pass.
	checkpointNew     = 4096                   // So many new ones are, and
	checkpointCommits = 200                    // so are so many commits.
	restartWAL        = 8192                   // From here on it must begin anew: 32 MiB.
	walSizeLimit      = 2 * restartWAL * 4_096 // Bytes that its file keeps when it does.
)

// copyLook is how often a writer that awaits a pass looks whether the file is being copied
// instead, which takes seconds.
const copyLook = 2 * time.Millisecond

// Between two passes that a view has held up.
const (
	writeBackWait    = 2 * time.Millisecond
	maxWriteBackWait = 100 * time.Millisecond
)

// wal is what the writer knows of its WAL. restart and turn do not change; commits and
// seen are guarded by DB.mu.
type wal struct {
	commits int           // Since the last pass was asked for.
	seen    int           // Pages then.
	restart int           // restartWAL.
	turn    time.Duration // applyTime.
	pages   atomic.Int64  // After the last commit.
	kept    int           // Pages when keepWALShort could not begin it anew, for a view needs it. Its own.
	long    atomic.Bool   // A pass has left a long one.
	copying atomic.Bool   // The file is being copied: no pass for seconds.
}

// checkpointer makes the passes over the WALs of a node's databases, one after another, in
// the background. They are PASSIVE: they wait for nobody.
type checkpointer struct {
	log  *slog.Logger
	jobs chan *DB
	stop chan struct{} // jobs is never closed: a database that is late may still write.
	done sync.WaitGroup
}

func newCheckpointer(log *slog.Logger) *checkpointer {
	c := &checkpointer{log: log, jobs: make(chan *DB, 1024), stop: make(chan struct{})}
	c.done.Go(c.run)
	return c
}

// add asks for a pass over db's WAL. It never blocks.
func (c *checkpointer) add(db *DB) {
	select {
	case c.jobs <- db:
	default: // It will be asked for again.
	}
}

func (c *checkpointer) run() {
	for {
		select {
		case db := <-c.jobs:
			db.passes.mu.Lock()
			_, _, err := db.pass()
			db.passes.mu.Unlock()
			if err != nil && db.interrupted() == nil && db.failure() == nil {
				c.log.Warn("checkpoint a database", "database", string(db.id), "err", err)
			}
		case <-c.stop:
			return
		}
	}
}

// close ends the goroutine.
func (c *checkpointer) close() {
	close(c.stop)
	c.done.Wait()
}

// passes are the checkpoints of one database: one at a time, on a connection of their own,
// for the readers' may all be in use. Lock order: passes.mu, then DB.mu.
type passes struct {
	mu sync.Mutex
	c  *conn
	// main is the database file, to copy and to sync it. It is closed after all of SQLite's
	// connections: closing it drops SQLite's locks on the file, which keep other programs
	// from taking the WAL away.
	main *os.File
}

// pass makes one checkpoint beside the writer. Of the pages that the WAL held when it began
// it has written back those up to back: the main file is the database as of that commit.
// Less than all: a reader needs the rest kept apart. The caller holds passes.mu.
func (db *DB) pass() (all, back int, err error) {
	p := &db.passes
	if err := db.interrupted(); err != nil {
		return 0, 0, err
	}
	if p.main == nil {
		if p.main, err = os.Open(db.path); err != nil {
			return 0, 0, err
		}
		db.noteOpen()
	}
	db.mu.Lock()
	asleep := db.w == nil
	db.mu.Unlock()
	if asleep { // Its last close has left no WAL.
		return 0, 0, nil
	}
	if p.c == nil {
		if p.c, err = openConn(db.path, readerConn); err != nil {
			return 0, 0, err
		}
		if db.solo {
			if _, err := p.c.exec("PRAGMA synchronous=OFF"); err != nil {
				return 0, 0, err
			}
		}
	}
	all, back, err = p.c.checkpoint()
	if all >= db.wal.restart {
		db.wal.long.Store(true)
	}
	return all, back, db.machine(err)
}

// interrupted says why no checkpoint and no copy may go on: the files are being closed or
// replaced, or an fsync has failed.
func (db *DB) interrupted() error {
	select {
	case <-db.engine.gone:
		return ErrDisk
	default:
	}
	if db.closed.Load() {
		return ErrClosed
	}
	if db.installs.Load() > 0 {
		return ErrReplaced
	}
	return nil
}

// writeBack returns with passes.mu locked, once the main file has all that was committed
// before the call; with an error it is not locked. It waits for the views that began
// before. The main file need not be durable then.
func (db *DB) writeBack(ctx context.Context) error {
	goal := -1
	for wait := writeBackWait; ; wait = min(2*wait, maxWriteBackWait) {
		db.passes.mu.Lock()
		all, back, err := db.pass()
		if err == nil && goal < 0 {
			goal = all
		}
		// A shorter WAL has begun anew, which it does only when all of it was written back.
		if err == nil && (back >= goal || all < goal) {
			return nil
		}
		db.passes.mu.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return fmt.Errorf("write the WAL of %s back, beside views that have lasted since before: %w", db.id, ctx.Err())
		case <-db.stopping:
			return ErrClosed
		}
	}
}

// makeDurable returns once all that was committed before the call is in the main file and
// on the disk.
func (db *DB) makeDurable(ctx context.Context) error {
	if err := db.writeBack(ctx); err != nil {
		return err
	}
	defer db.passes.mu.Unlock()
	// SQLite syncs the file only when nothing was committed while it wrote back.
	if err := db.passes.main.Sync(); err != nil {
		err = fmt.Errorf("%w: sync %s: %w", ErrDisk, db.path, err)
		db.engine.lose(err) // The next sync would succeed, without what this one has lost.
		return err
	}
	return nil
}

// noteWAL follows a commit. The caller holds mu.
func (db *DB) noteWAL() {
	pages := db.w.walFrames()
	if pages < db.wal.seen { // It has begun anew.
		db.wal.seen = 0
	}
	db.wal.pages.Store(int64(pages))
	db.wal.commits++
	if pages >= checkpointMin && (db.wal.commits >= checkpointCommits || pages-db.wal.seen >= checkpointNew) {
		db.wal.commits, db.wal.seen = 0, pages
		db.engine.checkpoints.add(db)
	}
}

// keepWALShort has the WAL begin anew if it is long. It is called by the goroutine that
// commits, between two transactions, and may take as long as a pass.
func (db *DB) keepWALShort() {
	w, pages := &db.wal, int(db.wal.pages.Load())
	if pages < w.kept {
		w.kept = 0
	}
	must := pages >= 2*w.restart
	if !must && !(pages >= w.restart && w.long.Load()) || w.kept > 0 && pages < w.kept+checkpointNew {
		return
	}
	for !db.passes.mu.TryLock() {
		if !must || w.copying.Load() {
			return
		}
		time.Sleep(copyLook)
	}
	defer db.passes.mu.Unlock()
	all, back, err := db.pass()
	if err != nil && db.interrupted() == nil && db.failure() == nil {
		db.log.Warn("checkpoint a database between two transactions", "err", err)
	}
	w.long.Store(false) // As it is after every long pass.
	if w.kept = 0; err != nil || back < all {
		w.kept = pages
	}
}

// checkpoint writes back what no reader still needs to be kept apart: back of the all pages
// that the WAL holds.
func (c *conn) checkpoint() (all, back int, err error) {
	var busy, pages, written int64
	if err := c.one("PRAGMA wal_checkpoint(PASSIVE)", &busy, &pages, &written); err != nil {
		return 0, 0, fmt.Errorf("checkpoint: %w", err)
	}
	if busy != 0 || pages < 0 { // Not beside passes.mu, but for another program.
		return 0, 0, fmt.Errorf("checkpoint: %w", &sqlError{code: codeBusy, text: "another program makes one"})
	}
	return int(pages), int(written), nil
}
