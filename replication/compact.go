package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The log is cut when it has grown by so much since the last snapshot. A snapshot is a
// pointer and costs a checkpoint and a few fsyncs, whatever the size of the file.
const (
	snapshotEntries = 8192
	snapshotBytes   = 64 << 20
	// trailingEntries before a snapshot stay, so that a replica that was away for a moment
	// is fed from the log, and one whose last entries nobody else has finds where it agrees.
	trailingEntries = 256
	// heldBytes is how long a log may get for a member that is fed, before that one has to
	// take a copy of the file once more.
	heldBytes = 256 << 20

	snapshotsAtOnce = 2                      // A node's.
	snapshotSpread  = 500 * time.Millisecond // Databases that grow alike are not cut at once.
	snapshotRetry   = 2 * time.Second        // After one that could not be made.
	snapshotTime    = time.Minute            // Views may hold one up for so long.
)

// compaction says when a log is cut; the tests' is tiny.
type compaction struct {
	entries, bytes, trailing, held uint64
	spread, retry                  time.Duration
}

func (c compaction) withDefaults() compaction {
	if c.entries == 0 {
		c = compaction{snapshotEntries, snapshotBytes, trailingEntries, heldBytes, snapshotSpread, snapshotRetry}
	}
	return c
}

// grown is how much a log has grown since the last snapshot. Guarded by DB.mu.
type grown struct {
	entries, bytes uint64
	asked          bool // The compactor knows.
}

// add counts entries that were applied.
func (db *DB) grow(logs []*raft.Log) {
	g, limit := &db.grown, db.engine.opts.compaction
	for _, l := range logs {
		g.entries++
		g.bytes += uint64(len(l.Data)) + cachedOverhead
	}
	if !g.asked && (g.entries >= limit.entries || g.bytes >= limit.bytes) && db.engine.compactor != nil {
		g.asked = true
		db.engine.compactor.add(db, limit.spread)
	}
}

// compactor takes the snapshots of a node's databases that are due, a few at a time.
type compactor struct {
	log   *slog.Logger
	mu    sync.Mutex
	due   map[*DB]time.Time
	wake  chan struct{}
	ctx   context.Context // Ends with close.
	end   context.CancelFunc
	slots chan struct{}
	done  sync.WaitGroup
}

func newCompactor(log *slog.Logger) *compactor {
	c := &compactor{log: log, due: map[*DB]time.Time{}, wake: make(chan struct{}, 1), slots: make(chan struct{}, snapshotsAtOnce)}
	c.ctx, c.end = context.WithCancel(context.Background())
	c.done.Go(c.run)
	return c
}

func (c *compactor) close() {
	c.end()
	c.done.Wait()
}

// add asks for a snapshot of db, at some time within spread.
func (c *compactor) add(db *DB, spread time.Duration) {
	at := time.Now().Add(time.Duration(rand.Int64N(int64(spread) + 1)))
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.due[db]; known {
		return
	}
	c.due[db] = at
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// next takes a database that is due; otherwise it says how long until one is.
func (c *compactor) next() (db *DB, wait time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait = never
	for d, at := range c.due {
		if left := time.Until(at); left < wait {
			db, wait = d, left
		}
	}
	if wait > 0 {
		return nil, wait
	}
	delete(c.due, db)
	return db, 0
}

func (c *compactor) run() {
	for {
		db, wait := c.next()
		if db == nil {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-c.wake:
				timer.Stop()
			case <-c.ctx.Done():
				timer.Stop()
				return
			}
			continue
		}
		c.done.Go(func() { c.compact(db) }) // Mostly it waits; see Persist.
	}
}

// compact takes a snapshot of db, now or, if it cannot be taken now, later.
func (c *compactor) compact(db *DB) {
	if db.failure() != nil {
		return
	}
	err := errHeld
	if !db.holdsLog() {
		err = db.snapshot()
	}
	if err == nil || db.failure() != nil {
		return
	}
	if !errors.Is(err, errHeld) {
		c.log.Debug("the log of a database is cut later", "database", string(db.id), "err", err)
	}
	c.add(db, db.engine.opts.compaction.retry)
}

// errHeld: the log is kept for a member that needs it.
var errHeld = errors.New("replication: the log is kept for a member that is being fed")

// holdsLog says whether the log is needed as it is: a copy of the file is on its way to a
// member, or one that is up is still being fed what would be cut. Within limits: a member
// that never gets there must not fill the disk.
func (db *DB) holdsLog() bool {
	limit := db.engine.opts.compaction
	db.mu.Lock()
	bytes, applied := db.grown.bytes, db.state.applied
	db.mu.Unlock()
	if bytes >= limit.held {
		return false
	}
	if db.group.Load().snapshots.busy() {
		return true
	}
	term := db.tenure.term()
	if term == 0 {
		return false
	}
	members, err := db.Members()
	if err != nil {
		return true
	}
	for _, m := range members {
		if m.Node == db.engine.opts.Node || !db.engine.reaches(m.Node) {
			continue
		}
		if db.progress().acked(m.Node, term).last+limit.trailing < applied {
			return true
		}
	}
	return false
}

// reaches says whether n is up.
func (e *Engine) reaches(n NodeID) bool {
	up, _ := e.transport.up(n)
	return up
}

// snapshot makes all that is applied durable in the file, moves the pointer there, and cuts
// the log. Nothing new is no error.
func (db *DB) snapshot() error {
	db.snapping.Lock()
	defer db.snapping.Unlock()
	db.mu.Lock()
	counted := db.grown
	db.mu.Unlock()
	err := db.raft().Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	db.grown = grown{entries: db.grown.entries - counted.entries, bytes: db.grown.bytes - counted.bytes}
	return nil
}

// receiving runs while raft receives a file. raft would take a snapshot of its own that ends
// after that for the newer one, and tell the others that its log ends there; so none is
// under way then. It ends one that is.
func (db *DB) receiving() (end func()) {
	db.installs.Add(1)
	db.snapping.Lock()
	return func() {
		db.snapping.Unlock()
		db.installs.Add(-1)
	}
}

// fileSnapshot is the replica's file as of an entry.
type fileSnapshot struct {
	db *DB
	at uint64
}

// Snapshot notes where the file is. raft's index for it may be above: that of an entry that
// never reaches the file.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	db := f.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.failure(); err != nil {
		return nil, err
	}
	if held := db.held.Load(); held != nil { // raft's index counts what has not been applied.
		return nil, *held
	}
	return &fileSnapshot{db, db.state.applied}, nil
}

// Persist returns once all that the snapshot stands for is in the main file and on the
// disk. raft cuts the log only after that, and after the sink has kept the pointer.
func (s *fileSnapshot) Persist(sink raft.SnapshotSink) error {
	k, ok := sink.(*snapshotSink)
	if !ok {
		return fmt.Errorf("replication: a snapshot for a %T", sink)
	}
	// After a start the file is ahead of the entries that raft has shown again.
	k.pointer.Applied = min(s.at, k.pointer.Index)
	if s.db.mutants.lacks(checkpointFirst) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), snapshotTime)
	defer cancel()
	slots := s.db.engine.compactor.slots
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-s.db.stopping:
		return ErrClosed
	}
	return s.db.makeDurable(ctx)
}

// Release has nothing to do.
func (s *fileSnapshot) Release() {}

var _ raft.FSMSnapshot = (*fileSnapshot)(nil)
