package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// A division moves by enrolling at another parent. Its new entry of the directory, which it
// signs, tells the others: a former parent ends it as a child, and a division above both takes
// it from the new side. What the former side told stays until all has come by the new way,
// which the division itself says behind its last row (feedWhole): so nothing is missing
// meanwhile, and because each service keeps one value of a division's key, nothing counts twice.

// feedWhole says that all of a division that moved has come. Key: reference.
const feedWhole = "federation.whole"

// whole is the payload of feedWhole.
type whole struct {
	Since int64 `json:"since"` // Entry.Since.
}

// isNewer reports whether an entry that contradicts what is known is the newer of the two:
// an old one may still be on its way. known and child are what there is of it.
func isNewer(e Entry, known Entry, child *Child) bool {
	return e.Since > known.Since && (child == nil || e.Since > child.Enrolled.UnixMicro())
}

// followsMove reports whether a division that another child told of is below from by now: it
// has moved, or its parent has.
func followsMove(q service.Querier, from division.Ref, e Entry) (bool, error) {
	known, err := ReadEntry(q, e.Ref)
	if err != nil {
		return false, err
	}
	if known.Parent == e.Parent {
		return Below(q, from, e.Parent)
	}
	c, err := ReadChild(q, e.Ref)
	switch {
	case errors.Is(err, ErrNoChild):
		return isNewer(e, known, nil), nil
	case err != nil:
		return false, err
	}
	return isNewer(e, known, &c), nil
}

// movedAway reports whether an entry that the parent told says that a division of this one's
// side hangs elsewhere by now: it has moved, or its parent has.
func (f *Federation) movedAway(q service.Querier, e Entry) (bool, error) {
	if own, err := f.ownSide(q, e.Parent); err != nil || own || e.Parent.IsZero() {
		return false, err // A child tells of it.
	}
	known, err := ReadEntry(q, e.Ref)
	if err != nil && !errors.Is(err, ErrNoDivision) {
		return false, err
	}
	c, err := ReadChild(q, e.Ref)
	switch {
	case errors.Is(err, ErrNoChild):
		return known.Parent == e.Parent || isNewer(e, known, nil), nil
	case err != nil:
		return false, err
	}
	return isNewer(e, known, &c), nil
}

// recall enters what the parent told of a division of whom no child tells any more.
func (f *Federation) recall(tx *service.Tx, ref division.Ref) error {
	var row string
	err := tx.QueryRow(`SELECT row FROM federation_told WHERE ref = ?`, ref.String()).Scan(&row)
	if errors.Is(err, replication.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what the parent told of %s: %w", ref, err)
	}
	parent, ok, err := ReadParent(tx)
	if err != nil || !ok {
		return err
	}
	if err := tx.Exec(`DELETE FROM federation_told WHERE ref = ?`, ref.String()); err != nil {
		return err
	}
	return f.foldEntryDown(tx, parent.Ref, ref, division.Ref{}, false, []byte(row))
}

// endMoved ends a child that hangs elsewhere by now, if it is one.
func (f *Federation) endMoved(tx *service.Tx, e Entry) error {
	c, err := ReadChild(tx, e.Ref)
	if errors.Is(err, ErrNoChild) || err == nil && !isNewer(e, Entry{}, &c) {
		return nil // It was enrolled here since.
	}
	if err != nil {
		return err
	}
	if err := tx.Exec(`DELETE FROM federation_child WHERE ref = ?`, e.Ref.String()); err != nil {
		return fmt.Errorf("end the child %s, which has moved: %w", e.Ref, err)
	}
	if err := tx.Exec(`DELETE FROM federation_token WHERE ref = ?`, e.Ref.String()); err != nil {
		return fmt.Errorf("drop the tokens for %s: %w", e.Ref, err)
	}
	return tx.Record(service.Event{What: "federation.child_moved", Subject: e.Ref.String(), Who: worker,
		Detail: map[string]string{"to": e.Parent.String()}})
}

// foldWholeUp and foldWholeDown take that all of a division has come by its new way.
func (f *Federation) foldWholeUp(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	return foldWhole(tx, from, rows, service.Up, service.Down)
}

func (f *Federation) foldWholeDown(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	others := make([]service.FeedRow, 0, len(rows))
	for _, row := range rows {
		ref, err := division.ParseRef(row.Key)
		if err != nil {
			return err
		}
		switch own, err := f.ownSide(tx, ref); {
		case err != nil:
			return err
		case !own: // Of the others a child tells, and the parent has it from here.
			others = append(others, row)
		}
	}
	return foldWhole(tx, from, others, service.Down)
}

func foldWhole(tx *service.Tx, from division.Ref, rows []service.FeedRow, streams ...service.Stream) error {
	for _, row := range rows {
		ref, err := division.ParseRef(row.Key)
		if err != nil {
			return err
		}
		if len(row.Payload) == 0 {
			done, err := tx.ExecResult(`DELETE FROM federation_whole WHERE ref = ? AND via = ?`, row.Key, from.String())
			if err != nil {
				return fmt.Errorf("take back that all of %s has come: %w", ref, err)
			}
			if done.RowsAffected > 0 {
				err = tellWhole(tx, ref, nil, streams...)
			}
			if err != nil {
				return err
			}
			continue
		}
		var w whole
		if err := json.Unmarshal(row.Payload, &w); err != nil {
			return err
		}
		if len(streams) > 1 { // Of a child.
			if below, err := Below(tx, from, ref); err != nil || !below {
				return errors.Join(err, fmt.Errorf("%s tells that all of %s has come, which is not below it as far as the directory knows", from, ref))
			}
		}
		if len(streams) == 1 { // The new way is not below this division: what it told of that is over.
			if own, err := isOther(tx, row.Key, from); err != nil {
				return err
			} else if own {
				if err := tellWhole(tx, ref, nil, service.Up); err != nil {
					return err
				}
			}
		}
		if err := enterWhole(tx, ref, w, from.String()); err != nil {
			return err
		}
		if err := tellWhole(tx, ref, row.Payload, streams...); err != nil {
			return err
		}
	}
	return nil
}

// isOther reports whether another neighbour than from has told that all of a division has come.
func isOther(q service.Querier, key string, from division.Ref) (other bool, err error) {
	err = q.QueryRow(`SELECT EXISTS (SELECT 1 FROM federation_whole WHERE ref = ? AND via NOT IN ('', ?))`, key, from.String()).Scan(&other)
	return other, err
}

func enterWhole(tx *service.Tx, ref division.Ref, w whole, via string) error {
	return tx.Exec(`INSERT OR REPLACE INTO federation_whole (ref, since, via) VALUES (?, ?, ?)`, ref.String(), w.Since, via)
}

func tellWhole(tx *service.Tx, ref division.Ref, payload []byte, streams ...service.Stream) error {
	for _, s := range streams {
		if err := tx.PublishTo(s, feedWhole, ref.String(), 1, payload); err != nil {
			return err
		}
	}
	return nil
}

// readWhole returns of which enrolment all of a division has come; zero: of none.
func readWhole(q service.Querier, ref division.Ref) (since int64, err error) {
	err = q.QueryRow(`SELECT coalesce((SELECT since FROM federation_whole WHERE ref = ?), 0)`, ref.String()).Scan(&since)
	if err != nil {
		return 0, fmt.Errorf("read whether all of %s has come: %w", ref, err)
	}
	return since, nil
}

// sayWhole tells, once after a move, that the new parent has taken all of this division.
func (f *Federation) sayWhole(ctx context.Context, db *service.DB) error {
	var w whole
	var due bool
	if err := db.View(ctx, replication.Local, func(v *service.View) error {
		parent, ok, err := ReadParent(v)
		if err != nil || !ok || parent.Before.IsZero() {
			return err
		}
		w.Since = parent.Enrolled.UnixMicro()
		said, err := readWhole(v, f.o.Self)
		if err != nil || said == w.Since {
			return err
		}
		e, err := ReadEntry(v, f.o.Self)
		if err != nil || e.Since != w.Since { // The others must know first where it hangs.
			return err
		}
		epoch, err := service.Epoch(v)
		if err != nil {
			return err
		}
		done, err := readSent(v, parent.Ref, epoch)
		if err != nil {
			return err
		}
		head, err := headOf(v, service.Up)
		due = done.token != "" && done.version == head
		return err
	}); err != nil || !due {
		return err
	}
	payload, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return db.Update(ctx, func(tx *service.Tx) error {
		if err := enterWhole(tx, f.o.Self, w, ""); err != nil {
			return err
		}
		return tellWhole(tx, f.o.Self, payload, service.Up)
	})
}

// former is a neighbour that this division has no more, of whom rows are left.
type former struct {
	ref    division.Ref
	stream service.Stream
	mark   int64
	next   division.Ref // The neighbour that tells of it, or in its place, now.
}

// readFormer returns the former neighbours whose rows are to be given up, because all has
// come by the new way.
func (f *Federation) readFormer(q service.Querier) (list []former, err error) {
	rows, err := q.Query(`SELECT neighbour, stream, mark FROM federation_received
		WHERE stream = 'up' AND neighbour NOT IN (SELECT ref FROM federation_child)
				AND neighbour NOT IN (SELECT ref FROM federation_revocation WHERE via = '')
			OR stream = 'down' AND neighbour NOT IN (SELECT ref FROM federation_parent) ORDER BY neighbour`)
	if err != nil {
		return nil, fmt.Errorf("read the former neighbours: %w", err)
	}
	defer rows.Close()
	var all []former
	for rows.Next() {
		var one former
		var ref string
		if err := rows.Scan(&ref, (*string)(&one.stream), &one.mark); err != nil {
			return nil, err
		}
		if one.ref, err = division.ParseRef(ref); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	for _, one := range all {
		if ready, err := f.replaced(q, &one); err != nil {
			return nil, err
		} else if ready {
			list = append(list, one)
		}
	}
	return list, nil
}

// replaced reports whether all that a former neighbour told has come by the new way.
func (f *Federation) replaced(q service.Querier, one *former) (bool, error) {
	parent, ok, err := ReadParent(q)
	if err != nil {
		return false, err
	}
	one.next = parent.Ref
	if one.stream == service.Up {
		e, err := ReadEntry(q, one.ref)
		if errors.Is(err, ErrNoDivision) || err == nil && e.Parent == f.o.Self {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if since, err := readWhole(q, one.ref); err != nil || since != e.Since {
			return false, err
		}
		if one.next, _, err = viaOf(q, one.ref); err != nil {
			return false, err
		}
	} else if !ok {
		return false, nil
	}
	r, err := readReceived(q, one.next)
	if err != nil || !r.known || r.scan {
		return false, err
	}
	var confirmed *time.Time
	err = q.QueryRow(`SELECT confirmed FROM federation_received WHERE neighbour = ?`, one.next.String()).Scan(&confirmed)
	if err != nil {
		return false, fmt.Errorf("read the confirmation of %s: %w", one.next, err)
	}
	return confirmed != nil && (one.stream == service.Up || confirmed.After(parent.Enrolled)), nil
}

// giveUpRows is how many rows of a former neighbour one transaction gives up.
const giveUpRows = 100

// giveUp folds the rows that former neighbours told, and that did not come by the new way, as
// gone, some of each; more: there is more to do.
func (f *Federation) giveUp(ctx context.Context, db *service.DB) (more bool, err error) {
	var list []former
	if err := db.View(ctx, replication.Local, func(v *service.View) error {
		list, err = f.readFormer(v)
		return err
	}); err != nil {
		return false, err
	}
	for _, one := range list {
		var n int
		err := db.Update(ctx, func(tx *service.Tx) error {
			n, err = f.giveUpSome(tx, one, giveUpRows)
			return err
		})
		if err != nil && ofRows(err) { // One by one: at most one is in the way.
			f.o.Log.Warn("give up rows of a former neighbour", "division", one.ref.String(), "err", err)
			err = db.Update(ctx, func(tx *service.Tx) error {
				n, err = f.giveUpSome(tx, one, 1)
				if err != nil && ofRows(err) {
					return errGiveUp
				}
				return err
			})
			if errors.Is(err, errGiveUp) {
				err = db.Update(ctx, func(tx *service.Tx) error { return forgetFirst(tx, one) })
			}
		}
		if err != nil {
			return false, err
		}
		more = more || n > 0
	}
	return more, nil
}

var errGiveUp = errors.New("federation: a row of a former neighbour cannot be given up")

// forgetFirst forgets the row that is in the way.
func forgetFirst(tx *service.Tx, one former) error {
	return tx.Exec(`DELETE FROM federation_row WHERE neighbour = ?1 AND (feed, key) = (SELECT feed, key FROM federation_row
		WHERE neighbour = ?1 ORDER BY feed, key LIMIT 1)`, one.ref.String())
}

// giveUpSome gives up at most so many rows; the last of them takes the neighbour's cursor with it.
func (f *Federation) giveUpSome(tx *service.Tx, one former, most int) (n int, err error) {
	now, err := f.readFormer(tx)
	if err != nil {
		return 0, err
	}
	still := false
	for _, other := range now {
		still = still || other == one
	}
	if !still {
		return 0, nil // It is a neighbour again.
	}
	gone, n, err := readGivenUp(tx, one, most)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		for _, table := range []string{"federation_received", "federation_retired", "federation_sent"} {
			if err := tx.Exec(`DELETE FROM `+table+` WHERE neighbour = ?`, one.ref.String()); err != nil {
				return 0, fmt.Errorf("forget the former neighbour %s: %w", one.ref, err)
			}
		}
		return 0, nil
	}
	return n, f.foldRows(tx, one.ref, one.stream, one.mark, gone, nil)
}

// readGivenUp reads the next rows of a former neighbour, and forgets those that the new way
// has brought under the same key: they are not gone.
func readGivenUp(tx *service.Tx, one former, most int) (gone []service.FeedRow, n int, err error) {
	rows, err := tx.Query(`SELECT a.feed, a.key, a.version, a.format, EXISTS (SELECT 1 FROM federation_row b
			WHERE b.neighbour = ? AND b.feed = a.feed AND b.key = a.key AND b.state <> 'parked')
		FROM federation_row a WHERE a.neighbour = ? ORDER BY a.feed, a.key LIMIT ?`, one.next.String(), one.ref.String(), most)
	if err != nil {
		return nil, 0, fmt.Errorf("read what %s told: %w", one.ref, err)
	}
	var brought []service.FeedRow
	for rows.Next() {
		var r service.FeedRow
		var again bool
		if err := rows.Scan(&r.Feed, &r.Key, &r.Version, &r.Format, &again); err != nil {
			return nil, 0, errors.Join(err, rows.Close())
		}
		r.Version++ // That it is gone is newer than what it was.
		if n++; again {
			brought = append(brought, r)
		} else {
			gone = append(gone, r)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, 0, err
	}
	for _, r := range brought {
		if err := tx.Exec(`DELETE FROM federation_row WHERE neighbour = ? AND feed = ? AND key = ?`, one.ref.String(), r.Feed, r.Key); err != nil {
			return nil, 0, err
		}
	}
	return gone, n, nil
}
