package replication

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// A replica that cannot apply for now, because its disk is full, say, holds: raft goes on
// and keeps the entries in its log, the file stays as it is and is served, and the replica
// tries again until it can. What was handed over meanwhile it then takes from the log.

const (
	holdRetry   = time.Second            // Between two attempts of a replica that holds.
	holdAgain   = 100 * time.Millisecond // Before the first one: what was busy may be free.
	replayBatch = 256                    // Entries of one transaction when it catches up.
	// giveAwayAgain is how soon a leadership that has come back is given away again: the
	// others may be no better off.
	giveAwayAgain = 30 * time.Second
)

// fault says what an error means for the replica that met it.
type fault int

const (
	faultHere    fault = iota // Anything else: the replica stops.
	faultPassing              // The machine refused, and may not the next time.
	faultSync                 // An fsync failed: what is on the disk is not known.
	faultDamage               // The file differs from the others', or is damaged.
)

func faultOf(err error) fault {
	if errors.Is(err, errDiverged) || errors.Is(err, errReceived) {
		return faultDamage
	}
	var pages *damagedPages
	var sq *sqlError
	if errors.As(err, &pages) {
		return faultDamage
	}
	if !errors.As(err, &sq) {
		return faultHere
	}
	switch {
	case sq.lostSync():
		return faultSync
	case sq.damaged(), sq.code == codeIOErrorRead, sq.code == codeIOErrorShort:
		return faultDamage
	}
	switch sq.primary() {
	case codeFull, codeBusy, codeLocked, codeNoMemory, codeReadOnly, codeInterrupt, codeIOError, codeCantOpen, codeProtocol, codeNoLFS:
		return faultPassing
	}
	return faultHere
}

// machine looks at an error that says something about this machine alone: it wraps it in
// ErrDisk, reports damage, and ends the engine if an fsync has failed.
func (db *DB) machine(err error) error {
	if faultOf(err) == faultDamage {
		db.engine.report(db, err)
	}
	var sq *sqlError
	if !errors.As(err, &sq) || sq.deterministic() || sq.primary() == codeInterrupt {
		return err
	}
	if faultOf(err) == faultSync {
		db.engine.lose(fmt.Errorf("write database %s: %w", db.id, err))
	}
	if sq.primary() == codeFull {
		return fmt.Errorf("%w: disk full: %w; make room on the disk of %s, it goes on by itself", ErrDisk, err, db.engine.opts.Dir)
	}
	return fmt.Errorf("%w: %w", ErrDisk, err)
}

// refusal is why this replica takes no changes for now; nil if it does.
func (db *DB) refusal() error {
	if held := db.held.Load(); held != nil {
		return *held
	}
	if db.solo {
		return nil
	}
	return db.engine.logs.room(logReserveBytes)
}

// cannotApply decides what becomes of the replica after applyEntries has returned err. The
// caller holds mu.
func (db *DB) cannotApply(err error) {
	var sq *sqlError
	switch f := faultOf(err); {
	case f == faultDamage, errors.As(err, &sq) && sq.code == codeCorruptVTab: // The leader's index was not so.
		db.damaged(err)
		return
	case f == faultHere, db.solo:
		db.fail(err)
		return
	}
	db.hold(db.machine(err))
	if db.failed.Load() == nil {
		db.tasks.Add(1)
		go db.resume()
	}
}

// hold makes the replica apply nothing until held is nil again, and answers what waits.
// The caller holds mu.
func (db *DB) hold(why error) {
	why = fmt.Errorf("replica of %s waits at index %d: %w", db.id, db.state.applied, why)
	if !errors.Is(why, ErrDisk) {
		why = fmt.Errorf("%w: %w", ErrDisk, why)
	}
	if db.open != nil {
		db.open.err = why
	}
	db.rollback()
	db.held.Store(&why)
	db.queue.flush(why)
	db.log.Error("a replica cannot apply; it serves what it has, and tries again", "err", why)
}

// resume tries to catch up until it can, or the database stops.
func (db *DB) resume() {
	defer db.tasks.Done()
	for wait := holdAgain; ; wait = holdRetry {
		err := db.catchUp()
		if err == nil {
			db.log.Info("a replica applies again", "index", db.Applied())
			return
		}
		if errors.Is(err, errUnreadable) {
			if db.ended() || errors.Is(err, ErrClosed) {
				return
			}
			db.progress().cut()
			db.logFailed(err)
			return
		}
		if f := faultOf(err); f == faultHere || f == faultDamage {
			db.mu.Lock()
			db.held.Store(nil)
			db.cannotApply(err)
			db.mu.Unlock()
			return
		}
		_ = db.machine(err)
		db.giveAway()
		select {
		case <-time.After(wait):
		case <-db.stopping:
			return
		}
	}
}

// errUnreadable: an entry that raft has handed over cannot be read again.
var errUnreadable = errors.New("read the log")

// catchUp applies from the log what raft has handed over, and ends the hold. The lock is
// not held throughout: raft hands over more meanwhile.
func (db *DB) catchUp() error {
	var next uint64
	for {
		done, err := db.catchUpFrom(&next)
		if done || err != nil {
			return err
		}
	}
}

func (db *DB) catchUpFrom(next *uint64) (done bool, err error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.failure() != nil {
		return true, nil
	}
	// Up to its snapshot the file has everything, and the log may have a gap before that.
	*next = max(*next, db.state.applied+1, db.group.Load().snapshots.base()+1)
	var logs []*raft.Log
	for ; *next <= db.handed && len(logs) < replayBatch; *next++ {
		first, err := db.logs.FirstIndex()
		if err != nil {
			return false, err
		}
		if first == 0 || *next < first { // Compacted: a snapshot had it, and so has the file.
			if *next = first; first == 0 {
				*next = db.handed + 1
				break
			}
		}
		l := new(raft.Log)
		if err := db.logs.GetLog(*next, l); err != nil {
			return false, fmt.Errorf("%w: entry %d: %w", errUnreadable, *next, err)
		}
		logs = append(logs, l)
	}
	if len(logs) > 0 {
		n, err := db.applyMarked(logs)
		if err != nil {
			db.rollback()
			*next = min(logs[0].Index, db.state.applied+1)
			return false, err
		}
		*next = logs[n-1].Index + 1
	}
	if *next <= db.handed {
		return false, nil
	}
	db.held.Store(nil)
	return true, nil
}

// giveAway hands a leadership over, if this node has it and there is somebody to take it.
func (db *DB) giveAway() {
	if db.solo || db.raft().State() != raft.Leader {
		return
	}
	now := time.Now().UnixNano()
	last := db.givenAway.Load()
	if last != 0 && now-last < int64(giveAwayAgain) || !db.givenAway.CompareAndSwap(last, now) {
		return
	}
	voters, err := db.voters()
	if err != nil || len(voters) < 2 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTimeout)
	defer cancel()
	if err := db.TransferLeadership(ctx); err != nil && !errors.Is(err, ErrNotLeader) {
		db.log.Warn("hand over the leadership of a replica that takes no changes", "err", err)
	}
}

// watchDisk hands over the leaderships of this node while its disk has too little room to
// take changes.
func (e *Engine) watchDisk() {
	tick := time.NewTicker(logReserveEvery)
	defer tick.Stop()
	short := false
	for {
		select {
		case <-tick.C:
		case <-e.closing:
			return
		}
		err := e.logs.room(logReserveBytes)
		if was := short; was != (err != nil) {
			short = !was
			if short {
				e.opts.Log.Error("the disk is nearly full; this node takes no changes until there is room", "err", err)
			} else {
				e.opts.Log.Info("the disk has room again; this node takes changes")
			}
		}
		if !short {
			continue
		}
		for _, id := range e.Databases() {
			if db, ok := e.DB(id); ok {
				db.giveAway()
			}
		}
	}
}

// lose ends what this process can vouch for: an fsync or a write of its log has failed.
// Nothing leaves the node any more, and Failed tells.
func (e *Engine) lose(err error) {
	e.losing.Do(func() {
		e.opts.Log.Error("an fsync failed; this process cannot know what is on the disk and must be started again", "err", err)
		if e.transport != nil {
			e.transport.cancel()
		}
		e.lost <- fmt.Errorf("the disk of %s failed an fsync or a write: %w", e.opts.Dir, err)
		close(e.gone)
	})
}

// Failed delivers, once, the error after which this process can vouch for nothing any more:
// an fsync failed, and a second one that succeeds would prove nothing, for the kernel may
// have dropped the pages. The node is cut off from the others already. End the process; a
// new one reads what the disk has.
func (e *Engine) Failed() <-chan error { return e.lost }
