package replication

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"
)

// NodeID names a node within its division, such as "n1".
type NodeID string

// DatabaseID names a database within its division: "<tenant>/<database>", such as
// "civil-affairs/main". Both parts match [a-z0-9_-]{1,40}. It is also its path below
// Options.Dir/db.
type DatabaseID string

// Index is a position in a database's raft log. As an index token it travels with a
// client, so that a reader on any node can wait for what the client has written.
type Index uint64

// Level says how fresh a [DB.View] must be.
type Level int

const (
	// Local reads this replica as it is.
	Local Level = iota
	// Leader reads on the leader while its lease holds; elsewhere ErrNotLeader.
	Leader
	// Linearizable reads on the leader after its leadership was confirmed by a majority
	// and everything committed before the call is applied; elsewhere ErrNotLeader.
	Linearizable
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotLeader: this node does not lead the database. Certainly not applied.
	ErrNotLeader = errors.New("replication: this node does not lead the database")
	// ErrUnknownOutcome: the change may or may not commit. Only an idempotency key in
	// the same transaction makes it retryable.
	ErrUnknownOutcome = errors.New("replication: the outcome of the change is unknown")
	// ErrOverloaded: the queue of the database is full. Certainly not applied.
	ErrOverloaded = errors.New("replication: too many changes are waiting")
	// ErrTooSlow: the closure used more than Options.MaxClosure, certainly not applied; or a
	// View more than Options.MaxRead.
	ErrTooSlow = errors.New("replication: it took too long")
	// ErrTooMuch: the closure wrote more than Options.MaxBatchBytes, or a statement needs
	// more memory or temporary files than one may. Certainly not applied.
	ErrTooMuch = errors.New("replication: this is too much at once; make several of it")
	// ErrForbiddenSQL: a statement that replication cannot allow. Certainly not applied.
	ErrForbiddenSQL = errors.New("replication: this SQL is not allowed")
	// ErrClosed: the database or engine is closed.
	ErrClosed = errors.New("replication: closed")
	// ErrInUse: another process has the file open, such as the node whose replica it is.
	ErrInUse = errors.New("replication: another process uses this file; is the node running?")
	// ErrReplaced: a View ran too long while the replica's file was being replaced by a
	// newer copy. What it has read does not count; it can be read again.
	ErrReplaced = errors.New("replication: this replica receives a new copy of its file; read again")
	// ErrDamaged: this replica differs from the others, or its file or log is damaged. It
	// serves nothing until it has rebuilt itself from another one.
	ErrDamaged = errors.New("replication: this replica is damaged and is being rebuilt")
	// ErrDisk: this node's disk refused (full, I/O error). A change is certainly not applied,
	// unless the error is ErrUnknownOutcome as well.
	ErrDisk = errors.New("replication: the disk refused")
)

// Options are the parts of an Engine. A zero field takes the default stated beside it.
type Options struct {
	Dir  string // Required. log/ and db/ are created below it. Locked while open.
	Node NodeID // Required.
	// Dial connects to the node port of another node for the given protocol (an ALPN
	// name: "tongban-raft/1" or "tongban-stream/1"). Nil: a division of one node.
	Dial func(ctx context.Context, to NodeID, protocol string) (net.Conn, error)
	// Hello is told to every peer when a connection opens (see Engine.PeerHello); at
	// most 4 KiB. The service layer puts its schema versions there.
	Hello []byte
	// Backup names the newest backup that is known to this node, for the operator of a
	// replica that no other can repair. Nil or "": none.
	Backup func() string
	// Nodes are the nodes of the division that may have replicas, for a replica that has
	// lost the list in its log. Nil: those that DBOptions.Voters names.
	Nodes func() []NodeID
	Log   *slog.Logger     // slog.Default().
	Now   func() time.Time // time.Now. The only clock that replicated state sees.

	HeartbeatTimeout time.Duration // 1 s. A node that is silent for so long is down.
	// BalanceAfter is how long a node must have been up until the databases whose home it is
	// are handed to it. 30 s; negative: never.
	BalanceAfter  time.Duration
	MaxClosure    time.Duration // 100 ms: the longest that one closure may run.
	MaxRead       time.Duration // 10 s: the longest that one View may run; negative: for ever.
	MaxBatch      int           // 1,024 closures a raft entry.
	MaxBatchBytes int           // 1 MiB a raft entry.
	MaxQueue      int           // 4,096 closures waiting per database.
	IdleAfter     time.Duration // 30 s without use: a database's files are closed. Negative: never.
	// VerifyEvery is about how often the replicas of a database that has changed are
	// compared (see DB.Verify). 0: an hour; negative: never.
	VerifyEvery time.Duration

	mutants    mutants // Tests of the tests.
	hooks      hooks
	compaction compaction
}

// DBOptions say how one database is opened.
type DBOptions struct {
	// Voters are the nodes that found the group. A node that is in the list bootstraps
	// an empty replica with exactly this list; one that is not waits until the leader
	// adds it. Ignored when the replica has state.
	Voters []NodeID
	// OnLead runs on each gain of leadership, after the barrier, in a goroutine of its
	// own; ctx ends when the leadership does, and the next OnLead waits until this one
	// has returned.
	OnLead func(ctx context.Context, db *DB)
}

// Statement is one SQL statement with its parameters (nil, int64, float64, string,
// []byte, bool, time.Time; ints of other sizes are widened).
type Statement struct {
	SQL  string
	Args []any
}

// Named is an argument for the parameters of a name (:name, @name, $name), without that
// sign. Statements of [DB.Execute] and queries take it; it may stand beside others, which
// fill the remaining parameters in their order.
type Named struct {
	Name  string
	Value any
}

// Result is what a statement changed.
type Result struct {
	LastInsertID int64
	RowsAffected int64
}

// Querier reads: a *Tx inside an Update, a *View inside a DB.View.
type Querier interface {
	// Query runs one SELECT. The Rows must be closed or read to the end.
	Query(sql string, args ...any) (*Rows, error)
	// QueryRow runs one SELECT of which the first row is wanted; its Scan returns
	// ErrNoRows when there is none.
	QueryRow(sql string, args ...any) *Row
	// Now is the time of the transaction: of the entry in a Tx, of the call in a View.
	Now() time.Time
}

// ErrNoRows is returned by Row.Scan when the query had no row.
var ErrNoRows = errors.New("replication: no row")

// Status is a database's condition on this node.
type Status struct {
	Database DatabaseID `json:"database"`
	Leader   NodeID     `json:"leader"`   // Empty: none known.
	Role     string     `json:"role"`     // leader, follower, candidate, rebuilding, stopped
	Term     uint64     `json:"term"`     //
	Applied  Index      `json:"applied"`  // Last entry in the SQLite file.
	LogLast  Index      `json:"log_last"` // Last entry in the log.
	Voters   []NodeID   `json:"voters"`
	Err      string     `json:"err,omitempty"` // Why it is stopped.
	// Held is why it takes no changes, or applies none, for now: a full disk. It serves what
	// it has, and goes on by itself.
	Held string `json:"held,omitempty"`
	// Doubt says that the replicas differ and that no majority tells which is right.
	Doubt   string `json:"doubt,omitempty"`
	Rebuilt int    `json:"rebuilt,omitempty"` // How often since the start it was rebuilt from another replica.
	// Received is how often since the start the leader sent it the whole file: the log no
	// longer had what it lacked.
	Received int `json:"received,omitempty"`
}

// Member is one server of a database's raft configuration.
type Member struct {
	Node  NodeID
	Voter bool
}
