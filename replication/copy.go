package replication

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/mattn/go-sqlite3"
)

const backupPages = 4096 // Pages (16 MiB) copied between two looks at the context.

// Backup writes a consistent copy of this replica's file to path, which must not exist,
// while the database serves. The copy is made page by page, so that every rowid stays; it
// holds replication_state, and opens with OpenFile. The index is that of the copy.
func (db *DB) Backup(ctx context.Context, path string) (Index, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("back up %s: %w", db.id, err)
	}
	f.Close()
	var at Index
	err = db.read(ctx, func(v *View) error { // Pins a committed state.
		at = v.applied
		return v.c.copyFile(path, func() error {
			if db.closed.Load() { // Before the stop waits for the views' end.
				return ErrClosed
			}
			return v.usable()
		})
	})
	if err == nil {
		err = errors.Join(syncFile(path), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("back up %s: %w", db.id, err), removeAll(path, path+"-wal", path+"-shm", path+"-journal"))
	}
	return at, nil
}

// copyFile copies the state that c's transaction reads into the file at path. check is
// asked now and then whether to go on.
func (c *conn) copyFile(path string, check func() error) error {
	opened, err := (&sqlite3.SQLiteDriver{}).Open("file:" + escapePath(path) + "?vfs=tongban&_mutex=no&_journal_mode=OFF&_synchronous=OFF")
	if err != nil {
		return err
	}
	dest := opened.(*sqlite3.SQLiteConn)
	defer dest.Close()
	expectSums(dest, c.sums())
	c.copied(true)
	defer c.copied(false)
	b, err := dest.Backup("main", c.raw, "main")
	if err != nil {
		return err
	}
	for done := false; !done; {
		if err := check(); err != nil {
			return errors.Join(err, b.Finish())
		}
		if done, err = b.Step(backupPages); err != nil {
			return errors.Join(err, b.Finish())
		}
	}
	return b.Finish()
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// install replaces the replica's file by the copy that r streams: 8 bytes of length,
// big-endian, then the file. See finishInstall for what a crash leaves.
func (db *DB) install(r io.Reader) error {
	if err := receive(db.path, r); err != nil {
		return errors.Join(err, removeAll(db.path+partSuffix))
	}
	db.running.interrupt()
	db.mu.Lock()
	defer db.mu.Unlock()
	db.rollback()
	db.readers.drain()
	defer db.readers.resume()
	err := db.w.close()
	var w *conn
	var s state
	if err == nil {
		w, s, err = openStore(db.path) // Its finishInstall makes the swap.
	}
	if err != nil { // Without a connection it can do nothing more.
		err = fmt.Errorf("open the installed copy: %w", err)
		db.fail(err)
		return err
	}
	db.w, db.state = w, s
	db.applied.set(s.applied)
	return nil
}

// receive writes the stream to <path>.new, whole and durable, or not at all.
func receive(path string, r io.Reader) error {
	var size uint64
	if err := binary.Read(r, binary.BigEndian, &size); err != nil {
		return fmt.Errorf("read the length: %w", err)
	}
	f, err := os.OpenFile(path+partSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(r, int64(size)))
	if err == nil && uint64(n) != size {
		err = io.ErrUnexpectedEOF
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := looksWhole(path + partSuffix); err != nil { // The file that is there stays.
		return fmt.Errorf("the received copy cannot be used: %w", err)
	}
	if err := os.Rename(path+partSuffix, path+newSuffix); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// looksWhole opens a received copy and reads its applied index.
func looksWhole(path string) error {
	c, err := openConn(path, copyConn)
	if err != nil {
		return err
	}
	_, err = c.readState()
	return errors.Join(err, c.close())
}
