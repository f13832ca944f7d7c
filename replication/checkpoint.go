package replication

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// The writer adds to the WAL, and a checkpointer writes it back into the file beside it.
// SQLite begins the WAL anew only if all of it was written back when a transaction begins,
// and beside a busy writer there is always something new. So when a pass has left a long
// one, the writer makes the last, short pass itself, between two transactions.

// All in pages of the WAL.
const (
	checkpointMin     = 256                    // Less is not worth a pass.
	checkpointNew     = 4096                   // So many new ones are, and
	checkpointCommits = 200                    // so are so many commits.
	restartWAL        = 8192                   // From here on it must begin anew: 32 MiB.
	walSizeLimit      = 2 * restartWAL * 4_096 // Bytes that its file keeps when it does.

	checkpointTime = 5 * time.Second // A checkpoint may take so long to get a connection.
)

// wal is what the writer knows of its WAL. restart does not change; the rest but long is
// guarded by DB.mu.
type wal struct {
	commits int         // Since the last pass was asked for.
	seen    int         // Pages then.
	restart int         // restartWAL.
	long    atomic.Bool // A pass has left a long one.
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
			if err := db.machine(db.checkpoint()); err != nil && db.failure() == nil {
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

// keepWALShort follows a commit. The caller holds mu.
func (db *DB) keepWALShort() {
	pages := db.w.walFrames()
	if pages < db.wal.seen { // It has begun anew.
		db.wal.seen = 0
	}
	db.wal.commits++
	if pages >= checkpointMin && (db.wal.commits >= checkpointCommits || pages-db.wal.seen >= checkpointNew) {
		db.wal.commits, db.wal.seen = 0, pages
		db.engine.checkpoints.add(db)
	}
	if db.wal.long.Swap(false) && pages >= db.wal.restart {
		if _, err := db.w.checkpoint(); db.machine(err) != nil {
			db.log.Warn("checkpoint a database between two transactions", "err", err)
		}
	}
}

// checkpoint makes one pass beside the writer.
func (db *DB) checkpoint() error {
	ctx, cancel := context.WithTimeout(context.Background(), checkpointTime)
	defer cancel()
	c, err := db.readers.get(ctx)
	if err != nil {
		return err
	}
	defer db.readers.put(c)
	pages, err := c.checkpoint()
	if pages >= db.wal.restart {
		db.wal.long.Store(true)
	}
	return err
}

// checkpoint writes back what no reader still needs to be kept apart, and returns the
// pages that the WAL holds.
func (c *conn) checkpoint() (pages int, err error) {
	var busy, all, back int64
	if err := c.one("PRAGMA wal_checkpoint(PASSIVE)", &busy, &all, &back); err != nil {
		return 0, fmt.Errorf("checkpoint: %w", err)
	}
	return int(all), nil
}
