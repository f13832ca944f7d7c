package replication

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// state is the row that every entry carries forward in its own transaction.
type state struct {
	applied uint64 // Index of the last entry in the file.
	term    uint64 // Its term.
	lastcmd uint64 // Index of the last entry that was executed, not rejected.
	time    int64  // Its time, Unix microseconds.
	engine  uint64 // The newest engineVersion of those that were executed.
}

const (
	createState = `CREATE TABLE IF NOT EXISTS replication_state(
		id INTEGER PRIMARY KEY CHECK (id = 1),
		applied INTEGER NOT NULL, term INTEGER NOT NULL,
		lastcmd INTEGER NOT NULL, time INTEGER NOT NULL, engine INTEGER NOT NULL) STRICT`
	firstState = `INSERT OR IGNORE INTO replication_state VALUES (1, 0, 0, 0, 0, 0)`
	writeState = `UPDATE replication_state SET applied = ?, term = ?, lastcmd = ?, time = ?, engine = ? WHERE id = 1`
	readState  = `SELECT applied, term, lastcmd, time, engine FROM replication_state WHERE id = 1`
)

func (c *conn) readState() (state, error) {
	var applied, term, lastcmd, time, engine int64
	if err := c.one(readState, &applied, &term, &lastcmd, &time, &engine); err != nil {
		return state{}, fmt.Errorf("read the applied index: %w", err)
	}
	if err := checkEngine(uint64(engine)); err != nil {
		return state{}, err
	}
	return state{uint64(applied), uint64(term), uint64(lastcmd), time, uint64(engine)}, nil
}

func (c *conn) writeState(s state) error {
	_, err := c.exec(writeState, int64(s.applied), int64(s.term), int64(s.lastcmd), s.time, int64(s.engine))
	return err
}

// openStore opens the file of a replica for writing, makes it if there is none, and
// finishes an installation that a crash interrupted.
func openStore(path string) (*conn, state, error) {
	if err := finishInstall(path); err != nil {
		return nil, state{}, err
	}
	copied, err := copiedFrames(path)
	if err != nil {
		return nil, state{}, err
	}
	w, err := openConn(path, writerConn)
	if err != nil {
		return nil, state{}, err
	}
	s, err := prepareStore(w)
	if err == nil && w.frames() < copied { // After the recovery.
		err = newSQLError(codeCorrupt, fmt.Sprintf("its WAL is damaged in frame %d, of %d that are in the file in part", w.frames()+1, copied))
	}
	if err != nil {
		w.close()
		return nil, state{}, fmt.Errorf("open %s: %w", path, err)
	}
	return w, s, nil
}

func prepareStore(w *conn) (state, error) {
	for _, sql := range []string{createState, firstState, fmt.Sprintf("PRAGMA journal_size_limit=%d", walSizeLimit)} {
		if _, err := w.exec(sql); err != nil {
			return state{}, err
		}
	}
	return w.readState()
}

// A received file becomes the replica in steps that a crash may cut anywhere: it is
// written to a .part; whole and durable it becomes .recv; the pointer that names it is the
// decision; finishInstall takes it from there, and again after a crash. The old file's -wal
// must go before the new file has its name, or SQLite would replay one into the other.

// finishInstall gives the received file that the pointer beside path names, if there is
// one, the name path. No connection to the old file is open: the last one to close would
// delete the new file's -wal by name.
func finishInstall(path string) error {
	dir := filepath.Dir(path)
	p, err := readPointer(dir)
	if err != nil || p == nil || p.Received == 0 {
		return err
	}
	recv := recvPath(dir, p.ID)
	info, err := os.Stat(recv)
	if errors.Is(err, os.ErrNotExist) {
		return nil // Done already.
	} else if err != nil {
		return err
	}
	if info.Size() != p.Received {
		return fmt.Errorf("%w: it has %d bytes, not %d", errReceived, info.Size(), p.Received)
	}
	if _, err := stateOf(recv); err != nil { // The file that is there stays.
		return fmt.Errorf("%w: %w", errReceived, err)
	}
	if err := keepDamaged(path); err != nil {
		return err
	}
	if err := removeAll(path+"-wal", path+"-wal-mark", path+"-shm"); err != nil {
		return err
	}
	if err := syncDir(dir); err != nil {
		return err
	}
	if err := os.Rename(recv, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// errReceived: a file that was received and decided for is damaged.
var errReceived = errors.New("the received copy cannot be used")

func removeAll(paths ...string) error {
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// errUnsynced: an fsync failed. A second one that succeeds would prove nothing.
var errUnsynced = errors.New("an fsync failed")

func synced(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%w: %w", errUnsynced, err)
	}
	return nil
}

// unsynced ends the engine if err tells of a failed fsync, and returns it.
func (db *DB) unsynced(err error) error { return db.engine.unsynced(db.id, err) }

func (e *Engine) unsynced(id DatabaseID, err error) error {
	if errors.Is(err, errUnsynced) || err != nil && faultOf(err) == faultSync {
		e.lose(fmt.Errorf("write database %s, or beside it: %w", id, err))
	}
	return err
}

// makeFolder makes a folder two levels below base, with the names of both on the disk: what
// is written into it is lost with a name that is not.
func makeFolder(base, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(syncDir(filepath.Dir(dir)), syncDir(base))
}

// syncDir makes the names in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(synced(d), d.Close())
}

// resetState makes the closed file at path the base of a new group that starts at term,
// gap entries after its newest one, and returns that index. The time stays, so that it
// never runs backwards.
func resetState(path string, gap, term uint64) (index uint64, err error) {
	w, s, err := openStore(path)
	if err != nil {
		return 0, err
	}
	s.applied += gap
	s.lastcmd, s.term = s.applied, term
	return s.applied, errors.Join(w.writeState(s), w.close())
}
