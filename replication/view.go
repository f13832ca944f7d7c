package replication

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/hashicorp/raft"
)

// View is one read snapshot. It must not be used after its function has returned, and by
// one goroutine at a time.
type View struct {
	db      *DB
	ctx     context.Context
	c       *conn
	pool    *pool
	now     time.Time
	applied Index
	newest  time.Time // Of the newest entry.
	open    map[*Rows]struct{}
	done    bool
}

type indexKey struct{}

// WithIndex makes every View under the returned context wait first until its replica has
// applied i: a client reads what it has written, on whichever node.
func WithIndex(ctx context.Context, i Index) context.Context {
	return context.WithValue(ctx, indexKey{}, i)
}

// View runs fn on a snapshot of the last committed state, beside the writer. All queries
// of fn see the same state. ctx ends a query that runs for too long.
//
// Errors: fn's own; ErrNotLeader (levels Leader and Linearizable elsewhere than on the
// leader), ctx's error, ErrClosed, ErrReplaced, and the error that stopped the replica.
func (db *DB) View(ctx context.Context, level Level, fn func(v *View) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := db.failure(); err != nil {
		return err
	}
	term := db.tenure.term()
	if err := db.mayRead(ctx, level, term); err != nil {
		return err
	}
	if i, ok := ctx.Value(indexKey{}).(Index); ok {
		if err := db.WaitApplied(ctx, i); err != nil {
			return err
		}
	}
	err := db.readLimited(ctx, fn)
	if err == nil && level == Leader {
		return db.confirm(ctx, term) // Or what fn read may have been old already.
	}
	return err
}

// readLimited is read for at most Options.MaxRead.
func (db *DB) readLimited(ctx context.Context, fn func(v *View) error) error {
	most := db.engine.opts.MaxRead
	if most < 0 {
		return db.read(ctx, fn)
	}
	limited, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("%w: a view may run for %v", ErrTooSlow, most))
	defer cancel()
	err := db.read(limited, fn)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil { // Of ours; it waited for a connection.
		return context.Cause(limited)
	}
	return err
}

// mayRead waits until this replica may serve a read of the level.
func (db *DB) mayRead(ctx context.Context, level Level, term uint64) error {
	if db.mutants.lacks(leadershipOfReads) {
		return nil
	}
	if db.solo {
		if level != Local && term == 0 {
			return db.notLeader()
		}
		return nil // What is committed is applied.
	}
	switch level {
	case Local:
		return nil
	case Leader:
		return db.confirm(ctx, term)
	case Linearizable:
		if term == 0 {
			return db.notLeader()
		}
		committed := db.raft().CommitIndex()
		if err := db.verify(ctx, term); err != nil {
			return err
		}
		return db.waitCommands(ctx, committed)
	}
	return fmt.Errorf("replication: there is no level %d", level)
}

// confirm makes sure that this node leads in term: by its lease, else by asking.
func (db *DB) confirm(ctx context.Context, term uint64) error {
	if db.mutants.lacks(leadershipOfReads) {
		return nil
	}
	if term == 0 {
		return db.notLeader()
	}
	if db.leased(term) {
		return nil
	}
	return db.verify(ctx, term)
}

// verify asks a majority whether this node leads in term. A leadership of a later term
// does not count: what was committed between the two may be unknown here.
func (db *DB) verify(ctx context.Context, term uint64) error {
	if db.solo {
		return nil
	}
	g := db.group.Load()
	life := g.life.hold()
	if db.hooks.beforeVerify != nil {
		db.hooks.beforeVerify()
	}
	began := time.Now()
	for {
		if db.tenure.term() != term {
			return db.notLeader()
		}
		if err := wait(ctx, life, g.raft.VerifyLeader()); err != nil || g.raft.CurrentTerm() != term {
			return errors.Join(db.notLeader(), ctx.Err())
		}
		// raft also takes an answer to what it had sent before it was asked.
		voters, err := db.voters()
		if err != nil {
			return err
		}
		if db.mutants.lacks(answerOfNow) || !g.progress.quorumSent(db.engine.opts.Node, voters, term).Before(began) {
			return nil
		}
	}
}

// leased says whether no other node can lead: this one does, in term, and the promises of a
// majority of the voters hold (see lease.go). In a term in which the leadership was to be
// handed over there is no lease.
func (db *DB) leased(term uint64) bool {
	if db.solo {
		return true
	}
	g := db.group.Load()
	if db.tenure.term() != term || g.raft.State() != raft.Leader || db.transferred.Load() == term {
		return false
	}
	voters, held := 0, 0
	for _, s := range db.servers() {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		n := NodeID(s.ID)
		if n == db.engine.opts.Node || db.engine.transport.peer(n).held(g.progress.acked(n, term).promises) {
			held++
		}
	}
	return 2*held > voters
}

// waitCommands waits until every command up to the committed index is applied. The other
// kinds of entry never reach the file, so the index itself may not.
func (db *DB) waitCommands(ctx context.Context, committed uint64) error {
	for i := committed; i > uint64(db.Applied()); i-- {
		var l raft.Log
		if err := db.logs.GetLog(i, &l); err != nil {
			return fmt.Errorf("read log entry %d: %w", i, err)
		}
		if l.Type == raft.LogCommand {
			return db.WaitApplied(ctx, Index(i))
		}
	}
	return nil
}

// answered makes f end with life. The futures of VerifyLeader, Apply and Barrier are never
// answered when raft stops while they are in one of its channels, although they have a field
// for that.
func answered(f raft.Future, life chan struct{}) raft.Future {
	if p := reflect.ValueOf(f); p.Kind() == reflect.Pointer && p.Elem().Kind() == reflect.Struct {
		if stop := p.Elem().FieldByName("ShutdownCh"); stop.IsValid() && stop.CanSet() && stop.IsNil() {
			stop.Set(reflect.ValueOf(life))
		}
	}
	return f
}

// wait is f.Error bounded by ctx and life.
func wait(ctx context.Context, life chan struct{}, f raft.Future) error {
	f = answered(f, life)
	if ctx.Done() == nil {
		return f.Error()
	}
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// read runs fn on a connection of the pool.
func (db *DB) read(ctx context.Context, fn func(v *View) error) error {
	c, err := db.readers.get(ctx)
	if err != nil {
		return err
	}
	v := &View{db: db, ctx: ctx, c: c, pool: &db.readers, now: db.engine.opts.Now().UTC().Truncate(time.Microsecond), open: map[*Rows]struct{}{}}
	c.setTime(v.now.UnixMicro())
	ended, fired := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		c.interruptUntil(ended)
	})
	defer func() {
		close(ended)
		if !stop() {
			<-fired // Or it could meet the next view of this connection.
		}
		v.end()
		db.readers.put(c)
	}()
	if err := v.begin(); err != nil {
		return errors.Join(err, v.usable())
	}
	return fn(v)
}

// begin pins the snapshot: SQLite takes it at the first read.
func (v *View) begin() error {
	if _, err := v.c.exec("BEGIN"); err != nil {
		return err
	}
	s, err := v.c.readState()
	v.applied, v.newest = Index(s.applied), unixMicro(s.time)
	return err
}

func (v *View) end() {
	v.done = true
	for r := range v.open {
		r.Close()
	}
	if v.c.inTransaction() {
		_, _ = v.c.exec("ROLLBACK") // Nothing to lose; put drops a connection that is still in one.
	}
}

func (v *View) usable() error {
	if v.done {
		return errors.New("replication: the view has ended; it must not be used any more")
	}
	if err := v.pool.ends(); err != nil {
		return err
	}
	if cause := context.Cause(v.ctx); errors.Is(cause, ErrTooSlow) {
		return cause
	}
	return v.ctx.Err()
}

// Query runs one SELECT. The Rows must be closed or read to the end.
func (v *View) Query(sql string, args ...any) (*Rows, error) {
	rows, err := stream(v.c, sql, args, reading, v.usable)
	if err != nil {
		return nil, err
	}
	v.open[rows] = struct{}{}
	release := rows.closer
	rows.closer = func() { delete(v.open, rows); release() }
	return rows, nil
}

// QueryRow runs one SELECT of which the first row is wanted.
func (v *View) QueryRow(sql string, args ...any) *Row {
	rows, err := v.Query(sql, args...)
	return &Row{rows: rows, err: err}
}

// Now is the time of the call.
func (v *View) Now() time.Time { return v.now }

// Applied is the index of the snapshot.
func (v *View) Applied() Index { return v.applied }

// Newest is the time of the newest entry in the snapshot.
func (v *View) Newest() time.Time { return v.newest }
