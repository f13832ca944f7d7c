package replication

import (
	"context"
	"errors"
	"net"
	"time"
)

var errNotYet = errors.New("replication: not built yet")

// Engine is one node's share of every database placed on it.
type Engine struct{}

// Open starts an engine.
func Open(opts Options) (*Engine, error) { return nil, errNotYet }

// Close hands over every leadership (bounded), then stops all.
func (e *Engine) Close() error { return nil }

// OpenDB opens or founds a database.
func (e *Engine) OpenDB(id DatabaseID, o DBOptions) (*DB, error) { return nil, errNotYet }

// DB returns an open database.
func (e *Engine) DB(id DatabaseID) (*DB, bool) { return nil, false }

// Databases lists the open databases in order.
func (e *Engine) Databases() []DatabaseID { return nil }

// CloseDB closes one database.
func (e *Engine) CloseDB(id DatabaseID) error { return nil }

// ServeConn serves an accepted, authenticated connection of the node port.
func (e *Engine) ServeConn(conn net.Conn, from NodeID, protocol string) error { return errNotYet }

// PeerHello is the last Hello of a peer with a live connection.
func (e *Engine) PeerHello(n NodeID) ([]byte, bool) { return nil, false }

// HandOver transfers every leadership away.
func (e *Engine) HandOver(ctx context.Context) error { return nil }

// DB is one database and the raft group that orders its changes.
type DB struct{}

// ID is the database's name.
func (db *DB) ID() DatabaseID { return "" }

// Update runs fn inside the database's write transaction.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) (Index, error) { return 0, errNotYet }

// Exec is Update for a statement list.
func (db *DB) Exec(ctx context.Context, stmts ...Statement) ([]Result, Index, error) {
	return nil, 0, errNotYet
}

// View runs fn on a read snapshot.
func (db *DB) View(ctx context.Context, level Level, fn func(v *View) error) error { return errNotYet }

// WithIndex makes a View under the returned context wait for i.
func WithIndex(ctx context.Context, i Index) context.Context { return ctx }

// WaitApplied waits until this replica applied i.
func (db *DB) WaitApplied(ctx context.Context, i Index) error { return errNotYet }

// Applied is the last index in the SQLite file.
func (db *DB) Applied() Index { return 0 }

// AppliedChanged is closed at the next change of Applied.
func (db *DB) AppliedChanged() <-chan struct{} { return nil }

// Leader is who leads, as this node knows.
func (db *DB) Leader() (NodeID, bool) { return "", false }

// IsLeader says whether this node leads and is ready for updates.
func (db *DB) IsLeader() bool { return false }

// Status is the database's condition on this node.
func (db *DB) Status() Status { return Status{} }

// Members lists the servers of the group.
func (db *DB) Members() ([]Member, error) { return nil, errNotYet }

// AddNode makes n a voter.
func (db *DB) AddNode(ctx context.Context, n NodeID) error { return errNotYet }

// RemoveNode removes n.
func (db *DB) RemoveNode(ctx context.Context, n NodeID) error { return errNotYet }

// TransferLeadership hands the leadership to another voter.
func (db *DB) TransferLeadership(ctx context.Context) error { return errNotYet }

// Checksum is over the logical rows of every table of this replica.
func (db *DB) Checksum(ctx context.Context) (sum [32]byte, at Index, err error) {
	return sum, 0, errNotYet
}

// Backup writes a consistent copy of the SQLite file to path.
func (db *DB) Backup(ctx context.Context, path string) (Index, error) { return 0, errNotYet }

// Tx is a closure's view of the write transaction.
type Tx struct{}

// Exec runs one recorded statement.
func (tx *Tx) Exec(sql string, args ...any) error { return errNotYet }

// ExecResult is Exec with its result.
func (tx *Tx) ExecResult(sql string, args ...any) (Result, error) { return Result{}, errNotYet }

// Query reads.
func (tx *Tx) Query(sql string, args ...any) (*Rows, error) { return nil, errNotYet }

// QueryRow reads one row.
func (tx *Tx) QueryRow(sql string, args ...any) *Row { return nil }

// Now is the entry's time.
func (tx *Tx) Now() time.Time { return time.Time{} }

// View is a read snapshot.
type View struct{}

// Query reads.
func (v *View) Query(sql string, args ...any) (*Rows, error) { return nil, errNotYet }

// QueryRow reads one row.
func (v *View) QueryRow(sql string, args ...any) *Row { return nil }

// Now is the time of the call.
func (v *View) Now() time.Time { return time.Time{} }

// Applied is the index of the snapshot.
func (v *View) Applied() Index { return 0 }

// Rows is the answer of a query.
type Rows struct{}

// Next moves to the next row.
func (r *Rows) Next() bool { return false }

// Scan copies the row.
func (r *Rows) Scan(dest ...any) error { return errNotYet }

// Columns are the names.
func (r *Rows) Columns() []string { return nil }

// Err is what ended the iteration.
func (r *Rows) Err() error { return nil }

// Close ends it.
func (r *Rows) Close() error { return nil }

// Row is the first row of a query.
type Row struct{}

// Scan copies it.
func (r *Row) Scan(dest ...any) error { return errNotYet }

// File is a look at a stopped replica's file.
type File struct{}

// OpenFile opens a stopped replica's state.db read-only.
func OpenFile(path string) (*File, error) { return nil, errNotYet }

// Close closes it.
func (f *File) Close() error { return nil }

// Applied is the file's index.
func (f *File) Applied() Index { return 0 }

// Checksum is the same as DB.Checksum.
func (f *File) Checksum() ([32]byte, error) { return [32]byte{}, errNotYet }

// Query reads.
func (f *File) Query(sql string, args ...any) (*Rows, error) { return nil, errNotYet }

// QueryRow reads one row.
func (f *File) QueryRow(sql string, args ...any) *Row { return nil }

// Now is the time of the file's newest entry.
func (f *File) Now() time.Time { return time.Time{} }

// SplitSQL splits a script into its statements.
func SplitSQL(script string) ([]string, error) { return nil, errNotYet }

// resetState makes the closed file at path start at the given index and term.
func resetState(path string, index Index, term uint64) error { return errNotYet }
