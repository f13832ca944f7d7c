package replication

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	checkpointWAL   = 1 << 20         // Bytes of WAL from which a checkpoint is worth it.
	checkpointEvery = 200             // Commits between two looks at the WAL's size.
	checkpointTime  = 5 * time.Second // A checkpoint may take so long to get a connection.
)

// checkpointer writes the WALs of a node's databases back, one after another, in the
// background: the writer never does. A PASSIVE checkpoint waits for nobody.
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

// note counts a commit of db. It never blocks.
func (c *checkpointer) note(db *DB) {
	if db.commits.Add(1)%checkpointEvery != 0 {
		return
	}
	select {
	case c.jobs <- db:
	default: // The next look will find a larger WAL.
	}
}

func (c *checkpointer) run() {
	for {
		select {
		case db := <-c.jobs:
			if err := db.checkpoint(); err != nil && db.failure() == nil {
				c.log.Warn("checkpoint a database", "database", string(db.id), "err", err)
			}
		case <-c.stop:
			return
		}
	}
}

// close ends the goroutine; all databases are stopped by then.
func (c *checkpointer) close() {
	close(c.stop)
	c.done.Wait()
}

func (db *DB) checkpoint() error {
	info, err := os.Stat(db.path + "-wal")
	if err != nil || info.Size() < checkpointWAL {
		return nil // None, or not worth it.
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkpointTime)
	defer cancel()
	c, err := db.readers.get(ctx)
	if err != nil {
		return err
	}
	defer db.readers.put(c)
	_, err = c.exec("PRAGMA wal_checkpoint(PASSIVE)")
	return err
}
