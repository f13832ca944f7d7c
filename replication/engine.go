package replication

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Engine is one node's share of all its databases: one log store, one transport. Its
// methods are safe for concurrent use.
type Engine struct {
	opts        Options
	lock        *os.File
	logs        *logs
	transport   *transport
	checkpoints *checkpointer
	elections   *elections
	hints       *hints
	roster      roster
	compactor   *compactor // Solo has none.
	sleeper     *sleeper   // nil: files stay open.
	process     [8]byte    // Random: makes this process's proposals its own.
	proposals   atomic.Uint64
	closing     chan struct{}     // Closed by stop: the watchers end.
	watchers    sync.WaitGroup    // Of the disk, and mend.
	damages     chan damageReport // For mend.
	losing      sync.Once         // See lose.
	gone        chan struct{}     // Closed then.
	lost        chan error

	mu     sync.Mutex
	dbs    map[DatabaseID]*DB
	busy   map[DatabaseID]bool // Being opened or closed.
	work   sync.WaitGroup      // Those; one is added with mu held, before stop empties dbs.
	closed bool
}

const (
	handOverTimeout = 5 * time.Second // In Close.
)

func (o Options) withDefaults() (Options, error) {
	if o.Dir == "" || o.Node == "" {
		return o, errors.New("replication: Options.Dir and Options.Node are required")
	}
	if len(o.Hello) > maxHello {
		return o, fmt.Errorf("replication: Options.Hello has %d bytes, at most %d are allowed", len(o.Hello), maxHello)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.HeartbeatTimeout = cmp.Or(o.HeartbeatTimeout, time.Second)
	o.BalanceAfter = cmp.Or(o.BalanceAfter, 30*time.Second)
	o.MaxClosure = cmp.Or(o.MaxClosure, 100*time.Millisecond)
	o.MaxRead = cmp.Or(o.MaxRead, 10*time.Second)
	o.MaxBatch = cmp.Or(o.MaxBatch, 1024)
	o.MaxBatchBytes = cmp.Or(o.MaxBatchBytes, 1<<20)
	o.MaxQueue = cmp.Or(o.MaxQueue, 4096)
	o.IdleAfter = cmp.Or(o.IdleAfter, 30*time.Second)
	o.compaction = o.compaction.withDefaults()
	o.VerifyEvery = cmp.Or(o.VerifyEvery, time.Hour)
	dir, err := filepath.Abs(o.Dir)
	o.Dir = dir
	return o, err
}

// Open starts a node's engine. The databases are opened one by one with OpenDB.
func Open(opts Options) (*Engine, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	opts.Log = opts.Log.With("node", string(opts.Node))
	lock, err := lockDir(opts.Dir)
	if err != nil {
		return nil, err
	}
	disk := opts.hooks.logFS
	if disk == nil {
		disk = vfs.Default
	}
	l, err := openOrSalvage(opts.Dir, opts.Log, func(dir string, log *slog.Logger) (*logs, error) {
		return openLogsFS(opts.mutants.disk(disk), dir, log)
	})
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("open the log store: %w", err)
	}
	dial := opts.Dial
	if dial == nil {
		dial = func(context.Context, NodeID, string) (net.Conn, error) {
			return nil, errors.New("replication: this division has one node")
		}
	}
	e := &Engine{
		opts: opts, lock: lock, logs: l, checkpoints: newCheckpointer(opts.Log), compactor: newCompactor(opts.Log),
		transport: newTransport(opts.Node, dial, opts.Hello, opts.Log),
		dbs:       map[DatabaseID]*DB{}, busy: map[DatabaseID]bool{},
		damages: make(chan damageReport, 64), closing: make(chan struct{}), gone: make(chan struct{}), lost: make(chan error, 1),
	}
	e.transport.mutants = opts.mutants
	l.tellLost(e.lose)
	e.watchers.Go(e.watchDisk)
	if opts.IdleAfter > 0 {
		e.sleeper = newSleeper(opts.IdleAfter, opts.Log)
	}
	e.watchers.Go(e.mend)
	if opts.VerifyEvery > 0 {
		e.watchers.Go(func() { e.verifyAll(opts.VerifyEvery) })
	}
	_, _ = rand.Read(e.process[:]) // Never fails.
	e.detect()
	return e, nil
}

// lockDir makes dir and locks it against a second process.
func lockDir(dir string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o700); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("the data folder %s is in use by another process (%w)", dir, err)
	}
	return f, nil
}

// newProposal makes an id that no process has used.
func (e *Engine) newProposal() proposalID {
	var id proposalID
	copy(id[:], e.process[:])
	binary.BigEndian.PutUint64(id[8:], e.proposals.Add(1))
	return id
}

// Close hands over the leaderships, for at most 5 s, and stops all.
func (e *Engine) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	e.mu.Unlock()
	if err := e.HandOver(ctx); err != nil {
		e.opts.Log.Warn("not every leadership was handed over before the stop", "err", err)
	}
	return e.stop()
}

// stop ends everything at once.
func (e *Engine) stop() error {
	e.mu.Lock()
	e.closed = true
	dbs := slices.Collect(maps.Values(e.dbs))
	e.dbs = map[DatabaseID]*DB{}
	e.mu.Unlock()
	errs := make([]error, len(dbs))
	var wg sync.WaitGroup
	for i, db := range dbs {
		wg.Go(func() { errs[i] = db.stop() })
	}
	wg.Wait()
	e.work.Wait() // An OpenDB stops what it has opened.
	close(e.closing)
	e.watchers.Wait()
	e.checkpoints.close()
	e.compactor.close()
	if e.sleeper != nil {
		e.sleeper.close()
	}
	errs = append(errs, e.transport.close(), e.closeLogs(), e.lock.Close())
	return errors.Join(errs...)
}

// closeLogs closes the log store, and seals it if all went well.
func (e *Engine) closeLogs() error {
	if err := e.logs.close(); err != nil || e.logs.failure() != nil {
		return err
	}
	return sealStore(e.logs.dir)
}

var databaseID = regexp.MustCompile(`^[a-z0-9_-]{1,40}/[a-z0-9_-]{1,40}$`)

// OpenDB opens a database of this node, or founds it (see DBOptions.Voters). A database
// that is open already, or still being closed, is an error.
func (e *Engine) OpenDB(id DatabaseID, o DBOptions) (*DB, error) {
	if !databaseID.MatchString(string(id)) {
		return nil, fmt.Errorf("replication: %q is no database id: <tenant>/<database>, both of [a-z0-9_-]{1,40}", id)
	}
	e.mu.Lock()
	if e.closed || e.dbs[id] != nil || e.busy[id] {
		defer e.mu.Unlock()
		switch {
		case e.closed:
			return nil, ErrClosed
		case e.busy[id]:
			return nil, fmt.Errorf("replication: database %s is being opened or closed", id)
		}
		return nil, fmt.Errorf("replication: database %s is open already", id)
	}
	e.busy[id] = true
	e.work.Add(1)
	e.mu.Unlock()
	defer e.work.Done()
	db, err := e.openDB(id, o)
	e.mu.Lock()
	delete(e.busy, id)
	closed := e.closed
	if err == nil && !closed {
		e.dbs[id] = db
	}
	e.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", id, e.unsynced(id, err))
	}
	if closed { // Not with mu held: it waits for OnLead, which may ask the engine.
		return nil, errors.Join(ErrClosed, db.stop())
	}
	return db, nil
}

// DB returns an open database.
func (e *Engine) DB(id DatabaseID) (*DB, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	db, ok := e.dbs[id]
	return db, ok
}

// Databases lists the open databases by id.
func (e *Engine) Databases() []DatabaseID {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.dbs))
}

// CloseDB stops one database; its files stay.
func (e *Engine) CloseDB(id DatabaseID) error {
	e.mu.Lock()
	db, ok := e.dbs[id]
	if ok {
		delete(e.dbs, id)
		e.busy[id] = true // Two at once would share the log and the votes in it.
		e.work.Add(1)
	}
	e.mu.Unlock()
	if !ok {
		return fmt.Errorf("replication: database %s is not open", id)
	}
	defer e.work.Done()
	err := db.stop()
	e.strike(db)
	e.mu.Lock()
	delete(e.busy, id)
	e.mu.Unlock()
	return err
}

// ServeConn serves an accepted connection of the node port whose peer is proven to be
// from; protocol is the ALPN name. It returns when the connection ends.
func (e *Engine) ServeConn(conn net.Conn, from NodeID, protocol string) error {
	return e.transport.serve(conn, from, protocol)
}

// PeerHello is what n said when its connection opened (Options.Hello); false if there is
// no connection.
func (e *Engine) PeerHello(n NodeID) ([]byte, bool) { return e.transport.peerHello(n) }
