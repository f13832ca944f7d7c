package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// A database that nobody uses has no connection: its files are closed after
// Options.IdleAfter, and opened again by what needs them, in about a millisecond. Its raft
// group goes on; what raft asks of it is answered from memory.

const (
	closingAtOnce = 4  // Databases of a node that are being closed.
	fewEntries    = 16 // So many may be replayed at a start: no snapshot for them.
)

// sleeper closes what is idle. It has a timer only while something is open.
type sleeper struct {
	after time.Duration
	log   *slog.Logger
	mu    sync.Mutex
	awake map[*DB]bool // Whether one is being closed just now.
	wake  chan struct{}
	stop  chan struct{}
	slots chan struct{}
	done  sync.WaitGroup
}

func newSleeper(after time.Duration, log *slog.Logger) *sleeper {
	s := &sleeper{
		after: after, log: log, awake: map[*DB]bool{},
		wake: make(chan struct{}, 1), stop: make(chan struct{}), slots: make(chan struct{}, closingAtOnce),
	}
	s.done.Go(s.run)
	return s
}

func (s *sleeper) close() {
	close(s.stop)
	s.done.Wait()
}

// add is told that db has opened a file.
func (s *sleeper) add(db *DB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.awake[db]; known {
		return
	}
	s.awake[db] = false
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// remove is told that db has closed all of them.
func (s *sleeper) remove(db *DB) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.awake, db)
}

// idle lists what nobody has used for long, and says whether there is anything open.
func (s *sleeper) idle() (dbs []*DB, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for db, closing := range s.awake {
		if !closing && db.unused(s.after) {
			s.awake[db] = true
			dbs = append(dbs, db)
		}
	}
	return dbs, len(s.awake) > 0
}

func (s *sleeper) run() {
	for open := false; ; {
		var tick <-chan time.Time
		if open {
			tick = time.After(max(s.after/4, time.Millisecond))
		}
		select {
		case <-tick:
		case <-s.wake:
			open = true
			continue
		case <-s.stop:
			return
		}
		var dbs []*DB
		if dbs, open = s.idle(); len(dbs) > 0 && !s.round(dbs) {
			return
		}
	}
}

// round closes databases, and gives back the memory that they held. It returns when all but
// the last few are closed; false: the node stops.
func (s *sleeper) round(dbs []*DB) bool {
	var closing sync.WaitGroup
	for _, db := range dbs {
		select {
		case s.slots <- struct{}{}:
		case <-s.stop:
			return false
		}
		closing.Add(1)
		s.done.Go(func() {
			defer closing.Done()
			defer func() { <-s.slots }()
			s.put(db)
		})
	}
	s.done.Go(func() {
		closing.Wait()
		returnMemory()
	})
	return true
}

func (s *sleeper) put(db *DB) {
	if err := db.sleep(s.after); err != nil && db.failure() == nil {
		s.log.Warn("close the files of an idle database", "database", string(db.id), "err", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.awake[db] { // Not closed: later then.
		s.awake[db] = false
	}
}

// noteOpen follows the opening of a connection or a file of the database. The caller holds
// the lock that guards it, as sleep does when it closes them.
func (db *DB) noteOpen() {
	if s := db.engine.sleeper; s != nil {
		s.add(db)
	}
}

// touch follows each use of the files.
func (db *DB) touch() { db.used.Store(time.Now().UnixNano()) }

func (db *DB) unused(after time.Duration) bool {
	return time.Since(time.Unix(0, db.used.Load())) >= after
}

// wakeUp opens the write connection if it is closed. The caller holds mu.
func (db *DB) wakeUp() error {
	db.touch()
	if db.w != nil {
		return nil
	}
	w, err := openConn(db.path, writerConn)
	if err != nil {
		return err
	}
	in, err := prepareStore(w)
	if err == nil && in != db.state {
		err = fmt.Errorf("%w: the file was changed while it was closed", errDiverged)
	}
	if err != nil {
		return errors.Join(err, w.close())
	}
	db.w = w
	db.w.damaged = db.readers.damaged
	db.wal.commits, db.wal.seen = 0, 0
	db.noteOpen()
	return nil
}

// sleep closes all files of a database that nobody has used for so long. The snapshot
// makes the next start replay nothing.
func (db *DB) sleep(after time.Duration) error {
	db.mu.Lock()
	entries := db.grown.entries
	db.mu.Unlock()
	if entries > fewEntries && db.failure() == nil && !db.holdsLog() {
		if err := db.snapshot(); err != nil {
			db.log.Debug("an idle database takes no snapshot", "err", err)
		}
	}
	db.passes.mu.Lock()
	defer db.passes.mu.Unlock()
	all, back, err := db.pass() // What a close would write back it would do with mu held.
	if err != nil || back < all {
		return err
	}
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.open != nil || db.pending != nil || db.closed.Load() || !db.unused(after) {
		return nil
	}
	return db.readers.closeIdle(func() error {
		err := db.closeFiles()
		db.engine.sleeper.remove(db)
		return err
	})
}

// closeFiles closes all but the readers, which are closed already: the last connection
// takes the WAL away. The caller holds passes.mu and mu.
func (db *DB) closeFiles() error {
	p := &db.passes
	err := errors.Join(p.c.close(), db.w.close())
	db.w, p.c = nil, nil
	if p.main != nil {
		err = errors.Join(err, p.main.Close())
		p.main = nil
	}
	return db.unsynced(err)
}

// walIsEmpty says whether all of the database is in its main file.
func walIsEmpty(path string) bool {
	info, err := os.Stat(path + "-wal")
	return errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
}
