package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

const (
	copyChunk = 16 << 20 // Bytes copied between two looks at whether to go on.

	// writeBehindBytes are on their way to the disk at a time while a file is written that
	// will be synced: an fsync of all of it at its end would hold up everybody else's, those
	// of the raft log too.
	writeBehindBytes = 8 << 20
)

// Backup writes a consistent copy of this replica's file to path, which must not exist,
// while the database serves. It is byte for byte the file as of a commit, so that every
// rowid stays; it holds replication_state, and opens with OpenFile. All that was committed
// before the call is in it; the index is that of the copy.
//
// Writers go on meanwhile. It waits for the views that began before it: called within
// a view it waits until ctx ends.
func (db *DB) Backup(ctx context.Context, path string) (Index, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return 0, fmt.Errorf("back up %s: %w", db.id, err)
	}
	err = db.copyTo(ctx, f, true)
	if !db.solo {
		err = errors.Join(err, f.Sync())
	}
	var in state
	if err = errors.Join(err, f.Close()); err == nil {
		in, err = stateOf(path)
	}
	if err == nil && !db.solo {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("back up %s: %w", db.id, err), removeAll(path))
	}
	return Index(in.applied), nil
}

// copyLive returns an open copy of the file without a name, as of a commit that is not
// before the call, and what its row says.
func (db *DB) copyLive(ctx context.Context) (*os.File, state, error) {
	f, err := os.CreateTemp(db.dir(), filePrefix+"*"+copySuffix)
	if err != nil {
		return nil, state{}, err
	}
	var in state
	if err = db.copyTo(ctx, f, false); err == nil {
		in, err = stateOf(f.Name())
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err = errors.Join(err, os.Remove(f.Name())); err != nil {
		return nil, state{}, errors.Join(err, f.Close())
	}
	return f, in, nil
}

// copyTo copies the main file into f while no checkpoint changes it: it is the database as
// of some commit then, whatever the writer adds to the WAL. kept: f will be synced.
func (db *DB) copyTo(ctx context.Context, f *os.File, kept bool) error {
	if err := db.writeBack(ctx); err != nil {
		return err
	}
	defer db.passes.mu.Unlock()
	db.wal.copying.Store(true)
	defer db.wal.copying.Store(false)
	if err := db.failure(); err != nil { // What is known to be wrong goes to nobody.
		return err
	}
	from := db.passes.main
	info, err := from.Stat()
	if err != nil {
		return err
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var synced int64
	for at := int64(0); at < info.Size(); {
		if err := errors.Join(ctx.Err(), db.interrupted()); err != nil {
			return err
		}
		n, err := io.CopyN(f, from, min(copyChunk, info.Size()-at)) // copy_file_range.
		if at += n; err != nil {
			return err
		}
		if kept && !db.solo {
			synced = writeBehind(f, synced, at)
		}
	}
	return db.failure()
}

// writeBehind sends what was written to f to the disk as soon as there is enough of it,
// and waits for what it sent before. It returns how far it has got. The sync at the end
// tells what went wrong.
func writeBehind(f *os.File, synced, written int64) int64 {
	const start, wait = 2, 1 // SYNC_FILE_RANGE_WRITE, SYNC_FILE_RANGE_WAIT_BEFORE.
	fd := int(f.Fd())
	for ; written-synced >= writeBehindBytes; synced += writeBehindBytes {
		_ = syscall.SyncFileRange(fd, synced, writeBehindBytes, start)
		if before := synced - writeBehindBytes; before >= 0 {
			_ = syscall.SyncFileRange(fd, before, writeBehindBytes, wait)
		}
	}
	return synced
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// stateOf reads the row in a closed file.
func stateOf(path string) (state, error) {
	c, err := openConn(path, copyConn)
	if err != nil {
		return state{}, err
	}
	s, err := c.readState()
	return s, errors.Join(err, c.close())
}

// install makes the received file that waits the replica's.
func (db *DB) install(s *snapshotStore) error {
	db.running.interrupt()
	db.passes.mu.Lock() // No copy and no checkpoint of the old file.
	defer db.passes.mu.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.rollback()
	db.readers.drain()
	defer db.readers.resume()
	err := db.closeFiles()
	var w *conn
	var in state
	if err == nil {
		w, in, err = openStore(db.path) // Its finishInstall makes the swap.
	}
	if err != nil { // Without a connection it can do nothing more.
		err = db.unsynced(fmt.Errorf("open the installed copy: %w", err))
		db.fail(err)
		return err
	}
	s.installed()
	db.received.Add(1)
	db.w, db.state = w, in
	db.w.damaged = db.readers.damaged
	db.wal.seen = 0
	db.touch()
	db.noteOpen()
	db.applied.set(in.applied)
	return nil
}
