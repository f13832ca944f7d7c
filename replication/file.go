package replication

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// File is the state.db of a stopped replica, or a Backup, opened for looking. It is a
// Querier, and not safe for concurrent use.
type File struct {
	c     *conn
	state state
}

var _ Querier = (*File)(nil)

// OpenFile opens the SQLite file at path. The replica must be stopped, else: ErrInUse.
func OpenFile(path string) (*File, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open a replica's file: %w", err)
	}
	c, err := openConn(path, fileConn)
	if err != nil {
		return nil, inUse(path, err)
	}
	f := &File{c: c}
	if _, err = c.exec("BEGIN"); err == nil {
		f.state, err = c.readState()
	}
	if err != nil {
		c.close()
		return nil, inUse(path, fmt.Errorf("%s is no replica's file: %w", path, err))
	}
	return f, nil
}

// inUse is ErrInUse if err says that the file is locked.
func inUse(path string, err error) error {
	var sq *sqlError
	if errors.As(err, &sq) && sq.primary() == codeBusy {
		return fmt.Errorf("open %s: %w", path, ErrInUse)
	}
	return err
}

// Close closes the file.
func (f *File) Close() error { return f.c.close() }

// Applied is the index of the newest entry in the file.
func (f *File) Applied() Index { return Index(f.state.applied) }

// Now is the time of the newest entry in the file.
func (f *File) Now() time.Time { return unixMicro(f.state.time) }

// Checksum is what DB.Checksum is at the same index.
func (f *File) Checksum() ([32]byte, error) { return checksum(f.c, func() error { return nil }) }

// Query runs one SELECT. The Rows must be closed or read to the end.
func (f *File) Query(sql string, args ...any) (*Rows, error) {
	return stream(f.c, sql, args, reading, func() error { return nil })
}

// QueryRow runs one SELECT of which the first row is wanted.
func (f *File) QueryRow(sql string, args ...any) *Row {
	rows, err := f.Query(sql, args...)
	return &Row{rows: rows, err: err}
}
