package replication

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A replica that differs from the others, or whose file is damaged, serves nothing and
// rebuilds itself: it takes another replica's file. Its raft group goes on meanwhile, for
// the log is whole: it votes, and acknowledges entries, and applies none (see hold). What
// it is doing is written down in rebuild.json first, so that a crash does not let a file
// serve again that was found to differ:
//
//	rebuild.json           why, and what is damaged
//	state.db.damaged       the file that was replaced, for whoever wants to look; one is kept

const (
	rebuildName   = "rebuild.json"
	damagedSuffix = ".damaged"

	rebuildRetry    = 500 * time.Millisecond // After an attempt that failed, doubling up to
	maxRebuildRetry = 30 * time.Second
	// connectPatience is how long a copy that was offered waits for the log to get there.
	connectPatience = 5 * time.Second
)

// rebuildMark is what rebuild.json holds.
type rebuildMark struct {
	Reason string `json:"reason"`
	// Log: the log is damaged too, or instead. The group must not start then.
	Log bool `json:"log,omitempty"`
	// How far the log was; nil: that is not known any more.
	Last *position `json:"last,omitempty"`
	// Vote: the term or the vote cannot be read.
	Vote bool `json:"vote,omitempty"`
}

func writeMark(dir string, m rebuildMark) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, rebuildName)
	if err := writeDurably(path+partSuffix, append(b, '\n')); err != nil {
		return err
	}
	return errors.Join(os.Rename(path+partSuffix, path), syncDir(dir))
}

// readMark returns nil if there is none. One that cannot be read says the worst.
func readMark(dir string) (*rebuildMark, error) {
	b, err := os.ReadFile(filepath.Join(dir, rebuildName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	m := &rebuildMark{}
	if err := json.Unmarshal(b, m); err != nil {
		return &rebuildMark{Reason: "its " + rebuildName + " cannot be read", Log: true, Vote: true}, nil
	}
	return m, nil
}

func removeMark(dir string) error {
	if err := os.Remove(filepath.Join(dir, rebuildName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return syncDir(dir) // Also of a removal that an earlier call has made.
}

// keepDamaged moves the file at path aside, if it is being rebuilt.
func keepDamaged(path string) error {
	if _, err := os.Stat(filepath.Join(filepath.Dir(path), rebuildName)); err != nil {
		return nil
	}
	if err := removeAll(path+damagedSuffix, path+damagedSuffix+"-wal"); err != nil {
		return err
	}
	for _, suffix := range []string{"-wal", ""} {
		if err := os.Rename(path+suffix, path+damagedSuffix+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return syncDir(filepath.Dir(path))
}

// errSuperseded ends the rebuild of a file: the log is damaged too, and its rebuild replaces
// both.
var errSuperseded = errors.New("replication: the log is rebuilt as well")

// damageReport is damage that was met by a reader, or by whoever checks.
type damageReport struct {
	db  *DB
	err error
}

// report tells of damage. It never blocks and takes no lock: what is forgotten will be met
// again.
func (e *Engine) report(db *DB, err error) {
	select {
	case e.damages <- damageReport{db, err}:
	default:
	}
}

// mend begins the rebuilds of what is reported.
func (e *Engine) mend() {
	for {
		select {
		case f := <-e.damages:
			f.db.mu.Lock()
			f.db.damaged(f.err)
			f.db.mu.Unlock()
		case <-e.closing:
			return
		}
	}
}

// damaged begins the rebuild of this replica's file, or, if there is no other replica,
// stops it. The caller holds mu.
func (db *DB) damaged(err error) {
	if db.failure() != nil {
		return
	}
	err = fmt.Errorf("%w: replica of %s at index %d: %w", ErrDamaged, db.id, db.state.applied, err)
	if db.solo || len(db.others()) == 0 {
		db.fail(db.engine.alone(err))
		return
	}
	if merr := writeMark(db.dir(), rebuildMark{Reason: err.Error()}); db.unsynced(merr) != nil {
		db.log.Warn("write down that a replica is being rebuilt", "err", merr)
	}
	db.log.Error("a replica is damaged; it serves nothing until it is rebuilt from another", "err", err)
	db.serveNothing(err)
	db.tasks.Add(1)
	go db.rebuild(db.rebuildFile)
}

// serveNothing ends all that uses the file. The caller holds mu.
func (db *DB) serveNothing(why error) {
	db.broken.Store(&why)
	if db.open != nil {
		db.open.dead, db.open.err = true, why
		db.open = nil
	}
	if db.w.inTransaction() {
		_, _ = db.w.exec("ROLLBACK") // The connection is closed with the file.
	}
	db.queue.flush(why)
	db.applied.notify()
}

// alone is err of a replica that no other can repair.
func (e *Engine) alone(err error) error {
	text := "restore the division from a backup"
	if e.opts.Backup != nil {
		if newest := e.opts.Backup(); newest != "" {
			text += "; the newest that is known here is " + newest
		} else {
			text += "; none is known here"
		}
	}
	return fmt.Errorf("%w; there is no other replica to repair it from: %s", err, text)
}

// others are the nodes with a replica beside this one, the leader's first.
func (db *DB) others() []NodeID {
	if db.solo || db.group.Load() == nil {
		return nil
	}
	members, err := db.Members()
	if err != nil {
		return nil
	}
	leader, _ := db.Leader()
	var out []NodeID
	for _, m := range members {
		if m.Node != db.engine.opts.Node {
			out = append(out, m.Node)
		}
	}
	slices.SortStableFunc(out, func(a, b NodeID) int {
		switch {
		case a == leader:
			return -1
		case b == leader:
			return 1
		}
		return 0
	})
	return out
}

// rebuild repeats once until it has done its work, or the database stops.
func (db *DB) rebuild(once func(ctx context.Context) error) {
	defer db.tasks.Done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stopped := make(chan struct{})
	defer close(stopped)
	go func() {
		select {
		case <-db.stopping:
			cancel()
		case <-stopped:
		}
	}()
	for wait := rebuildRetry; ; wait = min(2*wait, maxRebuildRetry) {
		begun := time.Now()
		err := once(ctx)
		if db.ended() || errors.Is(err, errSuperseded) {
			return
		}
		if errors.Is(db.unsynced(err), errUnsynced) {
			return
		}
		if err == nil {
			db.rebuilt.Add(1)
			db.log.Info("a replica was rebuilt", "index", db.Applied(), "took", time.Since(begun))
			return
		}
		db.log.Warn("rebuild a replica; it is tried again", "after", wait, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// ended says whether the replica has stopped for good.
func (db *DB) ended() bool { return db.closed.Load() || db.failed.Load() != nil }

// rebuildFile takes the file of another replica.
func (db *DB) rebuildFile(ctx context.Context) error {
	if db.logLost.Load() {
		return errSuperseded
	}
	if db.raft().State() == raft.Leader {
		if err := db.TransferLeadership(ctx); err != nil && !errors.Is(err, ErrNotLeader) {
			db.log.Warn("hand over the leadership of a damaged replica", "err", err)
		}
	}
	errs := []error{errors.New("no other replica could give its file")}
	for _, n := range db.others() {
		err := db.rebuildFrom(ctx, n)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (db *DB) rebuildFrom(ctx context.Context, n NodeID) error {
	s, err := db.engine.transport.fetch(ctx, db.id, n, fetchRequest{What: fetchFile})
	if err != nil {
		return err
	}
	defer s.close()
	if err := db.awaitConnection(ctx, s.Pointer); err != nil {
		return fmt.Errorf("take the file of %s: %w", n, err)
	}
	defer db.receiving()()
	if db.logLost.Load() {
		return errSuperseded
	}
	if db.broken.Load() == nil { // raft has received one meanwhile.
		return nil
	}
	snapshots := db.group.Load().snapshots
	if _, err := db.receive(s, snapshots); err != nil {
		return fmt.Errorf("take the file of %s: %w", n, err)
	}
	db.step("received")
	if err := db.install(snapshots); err != nil {
		return err
	}
	db.step("installed")
	return db.cured()
}

// awaitConnection waits until the log and a copy meet: the log has the copy's last entry,
// of the same term, or begins right after it.
func (db *DB) awaitConnection(ctx context.Context, p *pointer) error {
	store, own := db.entries(), pointer{}
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	for {
		own, _ = db.group.Load().snapshots.latest()
		if p.Index < own.Index {
			return fmt.Errorf("it is at %d, before our log", p.Index)
		}
		if p.Index == own.Index {
			return nil
		}
		var l raft.Log
		err := store.GetLog(p.Index, &l)
		if err == nil && l.Term == p.Term {
			return nil
		}
		if err != nil && !errors.Is(err, raft.ErrLogNotFound) {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("our log has not reached its entry %d: %w", p.Index, ctx.Err())
		}
	}
}

// receive keeps the file of s, and reads the entries that follow it: it is decided for when
// this returns nil.
func (db *DB) receive(s *fetchStream, snapshots *snapshotStore) ([]*raft.Log, error) {
	p := s.Pointer
	sink, err := snapshots.Create(raft.SnapshotVersionMax, p.Index, p.Term, p.Configuration, p.ConfigurationIndex, nil)
	if err != nil {
		return nil, err
	}
	if _, err = sink.Write(binary.BigEndian.AppendUint64(nil, uint64(s.Size))); err == nil {
		err = s.file(sink)
	}
	var entries []*raft.Log
	if err == nil {
		entries, err = s.entries()
	}
	if err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return entries, sink.Close()
}

// cured ends the rebuild of a replica whose file was replaced: it applies from the log what
// was handed over meanwhile.
func (db *DB) cured() error {
	if db.broken.Load() == nil {
		return nil
	}
	if err := db.unmark(); err != nil {
		return err
	}
	db.step("unmarked")
	return db.serveAgain()
}

// unmark removes the mark, unless it is that of the log by now.
func (db *DB) unmark() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.logLost.Load() {
		return errSuperseded
	}
	return removeMark(db.dir())
}

// serveAgain is the last step of a rebuild.
func (db *DB) serveAgain() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.ended() {
		return nil
	}
	if db.logLost.Load() { // Meanwhile.
		return errSuperseded
	}
	db.grown.asked = false // The compactor has passed over a replica that was broken.
	why := fmt.Errorf("%w: the replica was rebuilt, and catches up", ErrNotLeader)
	db.held.Store(&why)
	db.broken.Store(nil)
	db.tasks.Add(1)
	go db.resume()
	return nil
}

// step is where a test lets the process end.
func (db *DB) step(name string) {
	if db.hooks.rebuildStep != nil {
		db.hooks.rebuildStep(name)
	}
}

// dropReceived removes received files that wait to be installed: one of them is damaged.
func dropReceived(dir string) error {
	list, err := filepath.Glob(filepath.Join(dir, filePrefix+"*"+recvSuffix))
	return errors.Join(err, removeAll(list...), syncDir(dir))
}
