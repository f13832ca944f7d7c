package replication

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

func (e *Engine) openDB(id DatabaseID, o DBOptions) (*DB, error) {
	path := filepath.Join(e.opts.Dir, "db", filepath.FromSlash(string(id)), "state.db")
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := makeFolder(filepath.Join(e.opts.Dir, "db"), filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	db := &DB{
		id: id, engine: e, path: path, log: e.opts.Log.With("database", string(id)),
		onLead: o.OnLead, founders: o.Voters, mutants: e.opts.mutants, hooks: e.opts.hooks,
		opened: make(chan struct{}), stopping: make(chan struct{}), quorum: make(chan struct{}, 1), batches: make(chan struct{}, 1),
	}
	damage, err := db.openFile()
	if err != nil {
		return nil, err
	}
	db.readers.open(path, db.noteOpen, db.touch)
	db.wal.restart, db.wal.turn = restartWAL, applyTime
	db.applied.set(db.state.applied)
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
	if err := e.startRaft(db, damage); err != nil {
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

// openFile opens the replica's file. One that is damaged is moved aside, if there are others
// to rebuild it from, and the returned damage says what was wrong with it: an empty one takes
// its place until then, which is never served.
func (db *DB) openFile() (damage damageFound, err error) {
	damage.pointer, err = setPointerAside(db.dir())
	if err != nil {
		return damage, err
	}
	db.w, db.state, err = openStore(db.path)
	if err == nil {
		db.watchDamage()
		return damage, nil
	}
	if faultOf(err) != faultDamage {
		return damage, err
	}
	damage.file = err
	if len(db.askable(nil)) == 0 {
		return damage, db.engine.alone(fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	mark, err := readMark(db.dir())
	if err == nil && mark == nil {
		err = writeMark(db.dir(), rebuildMark{Reason: damage.file.Error()})
	}
	if err == nil {
		err = keepDamaged(db.path)
	}
	if err == nil {
		err = dropReceived(db.dir())
	}
	if err == nil {
		db.w, db.state, err = openStore(db.path)
	}
	if err != nil {
		return damage, errors.Join(damage.file, err)
	}
	db.watchDamage()
	return damage, nil
}

// damageFound is what openFile has found.
type damageFound struct {
	file    error // nil: the file can be opened.
	pointer bool  // The snapshot's pointer cannot be read, and was moved aside.
}

// watchDamage hears of damage that the write connection meets.
func (db *DB) watchDamage() {
	db.readers.damaged = func(err error) { db.engine.report(db, err) }
	db.w.damaged = db.readers.damaged
}

// startRaft joins the database to its group, unless its log is damaged, and begins the
// rebuild of what is.
func (e *Engine) startRaft(db *DB, found damageFound) error {
	db.logs = e.logs.group(db.id)
	snapshots, err := newSnapshotStore(db.dir(), db, db.log)
	if err != nil {
		return err
	}
	mark, err := readMark(db.dir())
	if err != nil {
		return err
	}
	lost, c, err := db.checkLog(snapshots, found.pointer)
	if err != nil {
		return err
	}
	if lost == nil && mark != nil && mark.Log {
		lost = errors.New(mark.Reason)
	}
	if lost != nil {
		if err := e.startIdle(db, snapshots); err != nil {
			return err
		}
		db.mu.Lock()
		defer db.mu.Unlock()
		return db.loseLog(lost, c)
	}
	damage := found.file
	if p, _ := snapshots.latest(); damage == nil && db.state.applied < p.Applied {
		damage = fmt.Errorf("%s holds index %d, but its snapshot held %d, and the log begins after that: the file has lost its end", db.path, db.state.applied, p.Applied)
	}
	if damage == nil && mark != nil {
		damage = errors.New(mark.Reason)
	}
	if damage != nil {
		damage = fmt.Errorf("%w: replica of %s: %w", ErrDamaged, db.id, damage)
		if len(db.askable(nil)) == 0 {
			return e.alone(damage)
		}
		if err := writeMark(db.dir(), rebuildMark{Reason: damage.Error()}); err != nil {
			return err
		}
		db.log.Error("a replica is damaged; it serves nothing until it is rebuilt from another", "err", damage)
		db.broken.Store(&damage)
	}
	if err := e.startGroup(db, snapshots); err != nil {
		return err
	}
	if damage != nil {
		db.tasks.Add(1)
		go db.rebuild(db.rebuildFile)
	}
	return nil
}

// startGroup starts the group with the log and the file as they are.
func (e *Engine) startGroup(db *DB, snapshots *snapshotStore) error {
	store := db.entries()
	transport := e.transport.group(db.id)
	transport.onInstall(db.receiving)
	transport.onAppend(func(q *raft.AppendEntriesRequest) { skipHeld(q, snapshots) })
	g := &group{snapshots: snapshots, progress: newProgress(transport), halted: make(chan struct{})}
	notices := make(chan bool)
	config := e.raftConfig(db, notices)
	exists, err := raft.HasExistingState(store, store, snapshots)
	if err == nil && !exists {
		err = db.found(config, store, g, db.founders)
	}
	if err != nil {
		return errors.Join(err, g.progress.Close())
	}
	if g.raft, err = raft.NewRaft(config, &fsm{db}, guardedLog{store, db, g}, store, snapshots, g.progress); err != nil {
		return errors.Join(err, g.progress.Close())
	}
	g.progress.db = db
	serve := db.serveFetch
	transport.fetched.Store(&serve)
	if db.group.Swap(g) == nil {
		close(db.opened)
	}
	g.raft.RegisterObserver(raft.NewObserver(nil, false, db.observe))
	db.tasks.Add(1)
	go db.watchLeadership(g, notices)
	e.elections.look(db)
	e.enter(db)
	if db.ended() { // Its stop may have missed this group.
		return g.shutdown()
	}
	return nil
}

// startIdle stands in for the group of a replica whose log is damaged: it knows nobody, and
// has stopped.
func (e *Engine) startIdle(db *DB, snapshots *snapshotStore) error {
	g := &group{snapshots: snapshots, progress: newProgress(e.transport.silent(db.id)), halted: make(chan struct{})}
	none := raft.NewInmemStore()
	var err error
	if g.raft, err = raft.NewRaft(e.raftConfig(db, make(chan bool)), &fsm{db}, none, none, raft.NewInmemSnapshotStore(), g.progress); err != nil {
		return err
	}
	if db.group.Swap(g) == nil {
		close(db.opened)
	}
	return g.shutdown()
}

// checkLog reads the log. lost is what is wrong with it; the error is another one.
func (db *DB) checkLog(snapshots *snapshotStore, noPointer bool) (lost error, c condition, err error) {
	store := db.entries()
	base := snapshots.position()
	if c, err = store.check(base); err != nil {
		return nil, c, err
	}
	if noPointer && c.last != nil && c.last.LastIndex == 0 {
		c.last = nil
	}
	if c.damaged() || noPointer {
		return errors.Join(c.entries, c.vote), c, nil
	}
	forgot := func(format string, args ...any) (error, condition, error) {
		lost := fmt.Errorf(format, args...)
		return lost, condition{entries: lost, vote: lost}, nil
	}
	exists, err := raft.HasExistingState(store, store, snapshots)
	switch last := max(c.last.LastIndex, base.LastIndex); {
	case err != nil:
		return nil, c, err
	case !exists && db.state.applied > 0:
		return forgot("%s holds index %d, but the log has nothing of this database: the log folder is lost or another's", db.path, db.state.applied)
	case db.state.applied > last:
		return forgot("%s holds index %d, but the log ends at %d: the log has lost its end", db.path, db.state.applied, last)
	}
	return nil, c, nil
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
