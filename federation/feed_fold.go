package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// foldError is what a service's fold says of rows, or its panic.
type foldError struct {
	feed string
	err  error
}

func (e *foldError) Error() string { return fmt.Sprintf("fold feed %s: %v", e.feed, e.err) }
func (e *foldError) Unwrap() error { return e.err }

// ofRows tells whether an update failed for the rows in it: fewer of them may go. What is
// wrong with this machine or its leadership never parks a row.
func ofRows(err error) bool {
	var fold *foldError
	return errors.As(err, &fold) || errors.Is(err, replication.ErrTooSlow) || errors.Is(err, replication.ErrTooMuch)
}

// ofMachine tells whether an error inside a fold says nothing about the rows.
func ofMachine(err error) bool {
	for _, one := range []error{replication.ErrNotLeader, replication.ErrUnknownOutcome, replication.ErrOverloaded,
		replication.ErrClosed, replication.ErrReplaced, replication.ErrDisk, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}

// States of a row of federation_row.
const (
	stateFolded = "folded"
	stateNewer  = "newer"  // Of a feed or format that this program does not know yet: stored and relayed.
	stateParked = "parked" // Its fold failed; see its reason.
)

// maxReason bounds the reason of a parked row, bytes.
const maxReason = 500

// foldRows folds rows of a neighbour, notes their keys, and relays what is not this
// program's to fold. parked is why its one row is only noted.
func (f *Federation) foldRows(tx *service.Tx, from division.Ref, s service.Stream, mark int64, rows []service.FeedRow, parked error) error {
	groups := map[string][]service.FeedRow{}
	relayed, err := relays(tx, from)
	if err != nil {
		return err
	}
	for _, r := range rows {
		feed, known := f.feeds.byName(r.Feed)
		state := stateFolded
		switch {
		case parked != nil:
			state = stateParked
		case !known || r.Format > cmp.Or(feed.Format, 1) && len(r.Payload) > 0:
			state = stateNewer
		}
		tells := state != stateParked && (state == stateNewer || foldOf(feed, s) == nil)
		if state == stateFolded && !tells {
			groups[r.Feed] = append(groups[r.Feed], r)
		}
		if relayed && !tells { // What this program did not know before: it tells it in its own way now, or not at all.
			if err := f.retract(tx, from, s, r); err != nil {
				return err
			}
		}
		if tells {
			if err := f.tellOn(tx, from, s, r); err != nil {
				return err
			}
		}
		if err := note(tx, from, mark, r, state, parked); err != nil {
			return err
		}
	}
	for _, feed := range f.feeds.all() { // The directory's first: others ask it.
		if mine := groups[feed.Name]; len(mine) > 0 {
			if err := callFold(tx, foldOf(feed, s), from, feed.Name, mine); err != nil {
				return err
			}
		}
	}
	return nil
}

type foldFunc = func(tx *service.Tx, from division.Ref, rows []service.FeedRow) error

func foldOf(feed service.Feed, s service.Stream) foldFunc {
	if s == service.Up {
		return feed.FoldUp
	}
	return feed.FoldDown
}

// callFold runs a service's fold. A panic of it is an error of its rows.
func callFold(tx *service.Tx, fold foldFunc, from division.Ref, feed string, rows []service.FeedRow) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &foldError{feed, fmt.Errorf("panic: %v", p)}
		}
	}()
	err = fold(tx, from, rows)
	if err == nil || ofMachine(err) {
		return err
	}
	return &foldError{feed, err}
}

// note keeps a row's key, and its payload while it waits or is parked.
func note(tx *service.Tx, from division.Ref, mark int64, r service.FeedRow, state string, parked error) error {
	if len(r.Payload) == 0 && state != stateParked {
		return tx.Exec(`DELETE FROM federation_row WHERE neighbour = ? AND feed = ? AND key = ?`, from.String(), r.Feed, r.Key)
	}
	var payload []byte
	var at *time.Time
	reason := ""
	if state != stateFolded {
		payload = r.Payload
		// Since when this version waits, in this state.
		err := tx.QueryRow(`SELECT at FROM federation_row WHERE neighbour = ? AND feed = ? AND key = ? AND state = ? AND version = ?`,
			from.String(), r.Feed, r.Key, state, r.Version).Scan(&at)
		if err != nil && !errors.Is(err, replication.ErrNoRows) {
			return fmt.Errorf("read since when a row waits: %w", err)
		}
		if at == nil {
			now := tx.Now()
			at = &now
		}
	}
	if parked != nil {
		reason = parked.Error()
		reason = reason[:min(len(reason), maxReason)]
	}
	return tx.Exec(`INSERT OR REPLACE INTO federation_row (neighbour, feed, key, version, mark, format, state, reason, payload, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, from.String(), r.Feed, r.Key, r.Version, mark, r.Format, state, reason, payload, at)
}

// waiting is a row that was not folded when it came.
type waiting struct {
	from   division.Ref
	stream service.Stream
	state  string
	row    service.FeedRow
}

// refoldRows bounds a look at the rows that wait.
const refoldRows = 200

// refold folds what waited for a newer program, and tries again what was parked, until
// nothing goes that did not go before. A row may have come before what it needs, such as
// the entry of its division in the directory.
func (f *Federation) refold(ctx context.Context, db *service.DB) error {
	for {
		done, err := f.refoldOnce(ctx, db)
		if err != nil || done == 0 {
			return err
		}
	}
}

func (f *Federation) refoldOnce(ctx context.Context, db *service.DB) (done int, err error) {
	after := waiting{}
	for {
		list, err := readWaiting(ctx, db, after)
		if err != nil || len(list) == 0 {
			return done, err
		}
		after = list[len(list)-1]
		for _, w := range list {
			feed, known := f.feeds.byName(w.row.Feed)
			if w.state == stateNewer && (!known || w.row.Format > cmp.Or(feed.Format, 1)) {
				continue
			}
			err := f.refoldRow(ctx, db, w, nil)
			if err != nil && ofRows(err) && w.state == stateNewer {
				err = f.refoldRow(ctx, db, w, err) // It is known now, and wrong.
			}
			if err != nil && !ofRows(err) {
				return done, err
			}
			if err == nil {
				done++
			}
		}
	}
}

func readWaiting(ctx context.Context, db *service.DB, after waiting) (list []waiting, err error) {
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		rows, err := v.Query(`SELECT w.neighbour, r.stream, w.state, w.feed, w.key, w.version, w.format, w.payload
			FROM federation_row w INDEXED BY federation_row_state JOIN federation_received r ON r.neighbour = w.neighbour
			WHERE w.state <> 'folded' AND (w.neighbour, w.feed, w.key) > (?, ?, ?)
			ORDER BY w.neighbour, w.feed, w.key LIMIT ?`, after.from.String(), after.row.Feed, after.row.Key, refoldRows)
		if err != nil {
			return fmt.Errorf("read the rows that wait: %w", err)
		}
		defer rows.Close()
		for rows.Next() {
			var w waiting
			var from string
			if err := rows.Scan(&from, (*string)(&w.stream), &w.state, &w.row.Feed, &w.row.Key, &w.row.Version,
				&w.row.Format, &w.row.Payload); err != nil {
				return err
			}
			if w.from, err = division.ParseRef(from); err != nil {
				return err
			}
			list = append(list, w)
		}
		return rows.Err()
	})
	return list, err
}

// refoldRow folds one row that waits, unless it was replaced meanwhile. parked is why it is
// only noted.
func (f *Federation) refoldRow(ctx context.Context, db *service.DB, w waiting, parked error) error {
	return db.Update(ctx, func(tx *service.Tx) error { return f.refoldIn(tx, w, parked) })
}

func (f *Federation) refoldIn(tx *service.Tx, w waiting, parked error) error {
	var mark, version int64
	err := tx.QueryRow(`SELECT mark, version FROM federation_row WHERE neighbour = ? AND feed = ? AND key = ? AND state = ?`,
		w.from.String(), w.row.Feed, w.row.Key, w.state).Scan(&mark, &version)
	if errors.Is(err, replication.ErrNoRows) || err == nil && version != w.row.Version {
		return nil
	}
	if err != nil {
		return err
	}
	return f.foldRows(tx, w.from, w.stream, mark, []service.FeedRow{w.row}, parked)
}
