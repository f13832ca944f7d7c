package replication

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A replica whose log is damaged takes the log of another one with its file, and is then
// what that one was. It must not come back having forgotten what it acknowledged, or whom it
// elected; DESIGN.md argues that it has not:
//
//   - how far its log was is known: it takes a log that is not before that;
//   - that is not known, or the vote is not: every other voter says how far it is and in which
//     term, and it takes a log that is not before any of them, in the highest of the terms,
//     with the vote of that term spent.
//
// Until then it has no group: it votes for nobody and acknowledges nothing.

// askPatience bounds how long a node may take to say where it is.
const askPatience = 5 * time.Second

// loseLog begins the rebuild of a replica whose log is damaged. It is called before the group
// is started, or by raft's own goroutine, in which case nothing leaves the group any more.
// The caller holds mu.
func (db *DB) loseLog(reason error, c condition) error {
	err := fmt.Errorf("%w: the log of %s: %w", ErrDamaged, db.id, reason)
	if len(db.askable(nil)) == 0 {
		return db.engine.alone(err)
	}
	m := rebuildMark{Reason: err.Error(), Log: true, Last: c.last, Vote: c.vote != nil}
	before, rerr := readMark(db.dir())
	if rerr != nil {
		return rerr
	}
	if before != nil && before.Log {
		m = *before // What is in the log now may be half of what it was then.
	}
	if werr := writeMark(db.dir(), m); db.unsynced(werr) != nil {
		return fmt.Errorf("%w; write that down: %w", err, werr)
	}
	if db.logLost.Swap(true) {
		return nil
	}
	db.log.Error("the raft log of a replica is damaged; it serves nothing until it is rebuilt from another", "err", err)
	db.serveNothing(err)
	db.tasks.Add(1)
	go db.rebuild(func(ctx context.Context) error { return db.rebuildLog(ctx, m) })
	return nil
}

// askable are the other nodes that may have a replica, and those among known.
func (db *DB) askable(known map[NodeID]bool) []NodeID {
	all := map[NodeID]bool{}
	maps.Copy(all, known)
	for _, n := range db.founders {
		all[n] = true
	}
	if db.engine.opts.Nodes != nil {
		for _, n := range db.engine.opts.Nodes() {
			all[n] = true
		}
	}
	if p, err := readPointer(db.dir()); err == nil && p != nil {
		for _, s := range p.Configuration.Servers {
			all[NodeID(s.ID)] = true
		}
	}
	for _, n := range db.others() {
		all[n] = true
	}
	delete(all, db.engine.opts.Node)
	return slices.Sorted(maps.Keys(all))
}

// ask asks every other node where its replica is. missing are the voters that did not say.
func (db *DB) ask(ctx context.Context) (answers map[NodeID]fetchAnswer, missing map[NodeID]error) {
	answers, missing = map[NodeID]fetchAnswer{}, map[NodeID]error{}
	voters, asked := map[NodeID]bool{}, map[NodeID]bool{}
	if p, err := readPointer(db.dir()); err == nil && p != nil { // Who answers may not know them yet.
		for _, s := range p.Configuration.Servers {
			if s.Suffrage == raft.Voter {
				voters[NodeID(s.ID)] = true
			}
		}
	}
	for {
		again := false
		for _, n := range db.askable(voters) {
			if asked[n] {
				continue
			}
			asked[n], again = true, true
			short, cancel := context.WithTimeout(ctx, askPatience)
			s, err := db.engine.transport.fetch(short, db.id, n, fetchRequest{What: fetchPosition})
			cancel()
			if err != nil {
				missing[n] = err
				continue
			}
			s.close()
			answers[n] = s.fetchAnswer
			for _, m := range s.Members {
				if m.Voter {
					voters[m.Node] = true
				}
			}
		}
		if !again {
			break
		}
	}
	for n := range missing {
		if len(answers) > 0 && !voters[n] { // It has no replica.
			delete(missing, n)
		}
	}
	return answers, missing
}

// rebuildLog takes the log and the file of another replica, and starts the group with them.
func (db *DB) rebuildLog(ctx context.Context, m rebuildMark) error {
	if g := db.group.Load(); g != nil {
		_ = g.shutdown() // The one whose log it was.
	}
	answers, missing := db.ask(ctx)
	var need position
	if m.Last != nil {
		need = *m.Last
	}
	spent := m.Vote || m.Last == nil
	var term uint64
	for _, a := range answers {
		if spent && need.before(a.position) {
			need = a.position
		}
		term = max(term, a.Term)
	}
	if spent && len(missing) > 0 || len(answers) == 0 {
		errs := []error{errors.New("its vote or the end of its log is lost, so every other voter must answer")}
		for n, err := range missing {
			errs = append(errs, fmt.Errorf("%s does not: %w", n, err))
		}
		return errors.Join(errs...)
	}
	errs := []error{fmt.Errorf("no other replica is at entry %d of term %d, where this one was", need.LastIndex, need.LastTerm)}
	for n, a := range answers {
		if a.position.before(need) {
			continue
		}
		err := db.takeLog(ctx, n, m, need, term)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("take the log of %s: %w", n, err))
	}
	return errors.Join(errs...)
}

// takeLog makes the log and the file of n this replica's, and starts the group. From then on
// it acknowledges entries that m knows nothing of: so m is gone from the disk before.
func (db *DB) takeLog(ctx context.Context, n NodeID, m rebuildMark, need position, term uint64) error {
	s, err := db.engine.transport.fetch(ctx, db.id, n, fetchRequest{What: fetchLog})
	if err != nil {
		return err
	}
	defer s.close()
	if s.position.before(need) {
		return errors.New("it has lost its end meanwhile")
	}
	defer db.receiving()()
	if err := writeMark(db.dir(), m); err != nil { // An earlier attempt may have removed it.
		return err
	}
	snapshots, err := newSnapshotStore(db.dir(), db, db.log)
	if err != nil {
		return err
	}
	entries, err := db.receive(s, snapshots)
	if err != nil {
		return err
	}
	if last := lastOf(s.Pointer, entries); last.before(need) {
		return errors.New("it sent less than it said")
	}
	db.step("received")
	store := db.entries()
	if own, err := store.GetUint64(nameTerm); err == nil {
		term = max(term, own)
	}
	if err := store.replace(entries, max(term, s.Term), m.Vote || m.Last == nil); err != nil {
		return err
	}
	db.step("log replaced")
	if err := db.install(snapshots); err != nil {
		return err
	}
	db.step("installed")
	if err := removeMark(db.dir()); err != nil {
		return err
	}
	db.step("unmarked")
	db.mu.Lock()
	db.handed = s.Pointer.Index
	db.mu.Unlock()
	db.logLost.Store(false)
	if err := db.engine.startGroup(db, snapshots); err != nil {
		return err
	}
	db.step("started")
	return db.serveAgain()
}

func lastOf(p *pointer, entries []*raft.Log) position {
	if len(entries) == 0 {
		return position{LastTerm: p.Term, LastIndex: p.Index}
	}
	l := entries[len(entries)-1]
	return position{LastTerm: l.Term, LastIndex: l.Index}
}

// guardedLog is the log as raft sees it. raft panics when it cannot read an entry; so when
// one is damaged the group is cut off, its replica applies nothing any more, and raft gets an
// entry that does nothing, with which it is stopped.
type guardedLog struct {
	*groupLog
	db *DB
	g  *group
}

var (
	_ raft.LogStore          = guardedLog{}
	_ raft.MonotonicLogStore = guardedLog{}
)

// GetLog reads one entry; see groupLog.
func (l guardedLog) GetLog(index uint64, e *raft.Log) error {
	err := l.groupLog.GetLog(index, e)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || errors.Is(err, ErrClosed) {
		return err
	}
	l.g.progress.cut()
	if !errors.Is(err, errStore) { // The engine ends for a damaged store.
		l.db.logFailed(err)
	}
	*e = raft.Log{Index: index, Type: raft.LogNoop}
	return nil
}

// logFailed is loseLog of a group that runs. The last entry is known: raft has it in memory,
// unless it is the damaged one.
func (db *DB) logFailed(err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.ended() || db.logLost.Load() {
		return
	}
	c, cerr := db.entries().check(db.group.Load().snapshots.position())
	if cerr != nil {
		return // The store is damaged, and the engine ends.
	}
	if lerr := db.loseLog(err, c); lerr != nil {
		db.fail(lerr)
	}
}
