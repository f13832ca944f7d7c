package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftTimeout is what raft's timers are set to. They are a last resort: elections are begun
// by election.go, commits are told by hints.go, and what stands still is moved by stall.go.
const raftTimeout = 10 * time.Minute

const never = 100 * 365 * 24 * time.Hour // For raft's timers that must not fire.

// raftConfig is how every group runs: elections from outside, no snapshots of its own
// accord.
func (e *Engine) raftConfig(db *DB, notices chan<- bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(e.opts.Node)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = raftTimeout, raftTimeout, raftTimeout
	c.CommitTimeout = raftTimeout / 2
	c.MaxAppendEntries = 256
	c.SnapshotInterval, c.SnapshotThreshold = never, math.MaxUint64 // See compactor.
	c.TrailingLogs = e.opts.compaction.trailing
	c.NoSnapshotRestoreOnStart = true // The file is the state; see openDB.
	c.ShutdownOnRemove = false
	c.NotifyCh = notices
	c.NoLegacyTelemetry = true
	c.Logger = hclog.New(&hclog.LoggerOptions{
		Name: "raft", Level: hclog.Info, DisableTime: true, Output: raftLog{db.log},
	})
	return c
}

// raftLog writes raft's lines to a slog.Logger. What raft calls a warning is daily life.
type raftLog struct{ log *slog.Logger }

func (r raftLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, "[ERROR] "); ok {
		r.log.Warn(rest)
	} else {
		r.log.Debug(text)
	}
	return len(line), nil
}

func (e *Engine) openDB(id DatabaseID, o DBOptions) (*DB, error) {
	path := filepath.Join(e.opts.Dir, "db", filepath.FromSlash(string(id)), "state.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	w, s, err := openStore(path)
	if err != nil {
		return nil, err
	}
	db := &DB{
		id: id, engine: e, path: path, log: e.opts.Log.With("database", string(id)),
		onLead: o.OnLead, mutants: e.opts.mutants, hooks: e.opts.hooks,
		w: w, state: s, opened: make(chan struct{}), stopping: make(chan struct{}), quorum: make(chan struct{}, 1),
	}
	db.readers.open(path, db.noteOpen, db.touch)
	db.wal.restart = restartWAL
	db.applied.set(s.applied)
	if walIsEmpty(path) { // What is needed of it is known.
		err, db.w = db.w.close(), nil
		if err != nil {
			return nil, err
		}
	}
	db.queue.max = e.opts.MaxQueue
	db.queue.start = func() {
		db.tasks.Add(1)
		go db.evaluate()
	}
	if err := e.startRaft(db, o); err != nil {
		return nil, errors.Join(err, db.w.close())
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.w != nil {
		db.touch()
		db.noteOpen()
	}
	return db, nil
}

// startRaft joins the database to its group.
func (e *Engine) startRaft(db *DB, o DBOptions) error {
	store := e.logs.group(db.id)
	snapshots, err := newSnapshotStore(db.dir(), db, db.log)
	if err != nil {
		return err
	}
	db.logs = store
	transport := e.transport.group(db.id)
	transport.onInstall(db.receiving)
	g := &group{snapshots: snapshots, progress: newProgress(transport), halted: make(chan struct{})}
	notices := make(chan bool)
	config := e.raftConfig(db, notices)
	if err := db.prepareGroup(config, store, g, o.Voters); err != nil {
		return errors.Join(err, g.progress.Close())
	}
	if g.raft, err = raft.NewRaft(config, &fsm{db}, store, store, snapshots, g.progress); err != nil {
		return errors.Join(err, g.progress.Close())
	}
	g.progress.db = db
	db.group.Store(g)
	close(db.opened)
	g.raft.RegisterObserver(raft.NewObserver(nil, false, db.observe))
	db.tasks.Add(1)
	go db.watchLeadership(g, notices)
	e.elections.look(db)
	e.watchMembers(db)
	return nil
}

// prepareGroup founds the group if this node is one of its founders and has nothing yet,
// and refuses to start a replica whose parts do not belong together.
func (db *DB) prepareGroup(config *raft.Config, log *groupLog, g *group, voters []NodeID) error {
	exists, err := raft.HasExistingState(log, log, g.snapshots)
	if err != nil {
		return err
	}
	if !exists {
		if db.state.applied > 0 {
			return fmt.Errorf("%s holds index %d, but the log has nothing of this database: the log folder is lost or another's; restore from a backup", db.path, db.state.applied)
		}
		return db.found(config, log, g, voters)
	}
	return db.wantWhole(log, g.snapshots)
}

// wantWhole refuses a file and a log between which something is missing.
func (db *DB) wantWhole(log *groupLog, snapshots *snapshotStore) error {
	p, _ := snapshots.latest()
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	if db.state.applied > max(last, p.Index) {
		return fmt.Errorf("%s holds index %d, but the log ends at %d: the log has lost its end; rebuild this replica from the others", db.path, db.state.applied, last)
	}
	if db.state.applied < p.Applied {
		return fmt.Errorf("%s holds index %d, but its snapshot held %d, and the log begins after that: the file has lost its end; rebuild this replica from the others", db.path, db.state.applied, p.Applied)
	}
	if last <= p.Index {
		return nil
	}
	if err := log.GetLog(p.Index+1, new(raft.Log)); errors.Is(err, raft.ErrLogNotFound) {
		return fmt.Errorf("the log of %s has no entry %d, which follows its snapshot: the log has lost its beginning; rebuild this replica from the others", db.id, p.Index+1)
	} else if err != nil {
		return err
	}
	return nil
}

func (db *DB) found(config *raft.Config, log *groupLog, g *group, voters []NodeID) error {
	var c raft.Configuration
	founder := false
	for _, v := range voters {
		founder = founder || v == db.engine.opts.Node
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(v), Address: raft.ServerAddress(v)})
	}
	if !founder {
		return nil
	}
	return raft.BootstrapCluster(config, log, log, g.snapshots, g.progress, c)
}
