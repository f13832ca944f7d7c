package federation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// serveFeed takes rows of a neighbour, or answers how far they are, on the division
// database's leader. What is answered is committed.
func (f *Federation) serveFeed(ctx context.Context, from division.Ref, body []byte) ([]byte, error) {
	o, err := f.feeds.decodeOffer(body)
	if err != nil {
		return nil, service.ErrInvalid.With("detail", err.Error()).Because(err)
	}
	t := &taking{f: f, db: f.o.Division(), from: from, offer: o, next: rand.Text()}
	if t.db == nil {
		return nil, ErrUnreachable
	}
	p, err := t.run(ctx)
	if errors.Is(err, errMoved) {
		p, err = t.ask(ctx)
	}
	if err != nil {
		return nil, err
	}
	return encodePosition(p), nil
}

// taking is the work on one offer.
type taking struct {
	f     *Federation
	db    *service.DB
	from  division.Ref
	offer offer
	next  string // The token that is given out if rows are taken.
}

// errMoved: another offer of this neighbour was taken at the same time.
var errMoved = errors.New("federation: the position has moved meanwhile")

func (t *taking) run(ctx context.Context) (position, error) {
	r, what, err := t.look(ctx)
	if err != nil {
		return position{}, err
	}
	switch what {
	case proves:
		return t.ask(ctx)
	case lost, begins, copied:
		return t.meet(ctx)
	}
	if t.offer.After > r.version && !t.f.mutates(MutantGap) { // A gap: the answer says from where to go on.
		return position{Epoch: r.epoch, Version: r.version, Token: r.token}, nil
	}
	if t.f.mutates(MutantEarly) && t.offer.Through > r.version && t.offer.Turn%crashEvery == 0 {
		return position{Epoch: r.epoch, Version: t.offer.Through, Token: t.next}, nil
	}
	if len(t.offer.Rows) > 0 && !t.f.o.Room() {
		return position{}, ErrFull
	}
	if err := t.take(ctx, r); err != nil {
		return position{}, err
	}
	r, _, err = t.look(ctx)
	if err == nil && r.scan && r.version == t.offer.Head {
		r, err = t.sweep(ctx, r)
	}
	if err != nil {
		return position{}, err
	}
	if !r.scan && r.version == t.offer.Head {
		t.f.feeds.confirm(t.from, t.offer, t.f.o.Now())
	}
	return position{Epoch: r.epoch, Version: r.version, Token: r.token}, nil
}

// look reads where the neighbour stands, and judges the offer. The rows that it takes are
// judged again in their transaction.
func (t *taking) look(ctx context.Context) (r received, what verdict, err error) {
	err = t.db.View(ctx, replication.Leader, func(v *service.View) error {
		r, what, err = t.judge(v)
		return err
	})
	return r, what, err
}

func (t *taking) judge(q service.Querier) (received, verdict, error) {
	r, err := readReceived(q, t.from)
	if err != nil {
		return r, proves, err
	}
	if err := admit(q, r, t.from, t.offer.Stream); err != nil {
		return r, proves, err
	}
	mine, err := service.Epoch(q)
	if err != nil {
		return r, proves, err
	}
	if t.f.mutates(MutantNoProof) {
		t.offer.Proof = r.proof(t.from, t.offer.Epoch, mine)
	}
	if t.anyToken() && r.known && r.epoch == t.offer.Epoch {
		return r, takes, nil
	}
	what, err := judge(q, r, t.from, t.offer, mine)
	return r, what, err
}

// ask has the sender show that it lives.
func (t *taking) ask(ctx context.Context) (p position, err error) {
	err = t.db.View(ctx, replication.Leader, func(v *service.View) error {
		r, err := readReceived(v, t.from)
		if err != nil {
			return err
		}
		mine, err := service.Epoch(v)
		p = position{Epoch: t.offer.Epoch, Prove: r.proof(t.from, t.offer.Epoch, mine)}
		return err
	})
	return p, err
}

// meet does what a sender that lives needs before it can send on: a new token, a new
// beginning, or a hold.
func (t *taking) meet(ctx context.Context) (position, error) {
	var p position
	var refusal error
	err := t.db.Update(ctx, func(tx *service.Tx) error {
		p, refusal = position{}, nil
		r, what, err := t.judge(tx)
		if err != nil {
			return err
		}
		mine, err := service.Epoch(tx)
		if err != nil {
			return err
		}
		switch what {
		case lost:
			r.token, r.before = t.next, t.offer.Token
		case begins:
			if r.known && r.epoch != t.offer.Epoch {
				if err := tx.Exec(`INSERT OR REPLACE INTO federation_retired (neighbour, epoch, at) VALUES (?, ?, ?)`,
					t.from.String(), r.epoch, tx.Now()); err != nil {
					return err
				}
			}
			at := r.version
			r = r.begin(t.offer.Epoch, t.next, mine)
			if t.f.mutates(MutantNoEpoch) {
				r.version, r.scan = at, false
			}
			// What is an answer away from a new beginning has shown this token.
			r.before = t.offer.Token
		case copied:
			refusal = ErrHeld.With("reason", HeldDuplicate)
			return hold(tx, r, t.from, t.offer.Stream)
		default:
			return errMoved
		}
		p = position{Epoch: r.epoch, Version: r.version, Token: r.token}
		return r.write(tx, t.from, t.offer.Stream)
	})
	if err != nil {
		return position{}, err
	}
	if refusal != nil {
		t.f.o.Log.Warn("two show the identity of a neighbour: its lines are closed until an operator frees one", "division", t.from.String())
	}
	return p, refusal
}

// take folds the offer's rows in chunks, each in one transaction with the cursor.
func (t *taking) take(ctx context.Context, r received) error {
	rows := t.offer.Rows
	for len(rows) > 0 && rows[0].Version <= r.version {
		rows = rows[1:]
	}
	if t.offer.Through <= r.version {
		return nil // All of it has been here.
	}
	at := r.version
	if len(t.offer.First) > 0 { // What cannot be folded now is parked when its turn comes.
		if err := t.commit(ctx, t.offer.First, at, at, nil); err != nil && !ofRows(err) {
			return err
		}
	}
	for len(rows) > 0 || at < t.offer.Through {
		part := rows[:t.f.feeds.chunk(rows)]
		rows = rows[len(part):]
		upto := t.offer.Through
		if len(rows) > 0 {
			upto = part[len(part)-1].Version
		}
		if err := t.fold(ctx, part, at, upto); err != nil {
			return err
		}
		at = upto
	}
	return nil
}

// slowTries is how often one row alone may be too slow before it is parked: the machine
// may be busy.
const slowTries = 3

// fold folds rows that move the cursor from one version to another. Rows that do not go
// together are tried in halves, and one that does not go alone is parked.
func (t *taking) fold(ctx context.Context, rows []service.FeedRow, at, upto int64) error {
	err := t.commit(ctx, rows, at, upto, nil)
	for try := 1; try < slowTries && len(rows) < 2 && errors.Is(err, replication.ErrTooSlow); try++ {
		err = t.commit(ctx, rows, at, upto, nil)
	}
	if err == nil || !ofRows(err) || len(rows) == 0 {
		return err
	}
	if len(rows) == 1 {
		t.f.o.Log.Warn("park a row of a feed", "division", t.from.String(), "feed", rows[0].Feed, "err", err)
		return t.commit(ctx, rows, at, upto, err)
	}
	half := len(rows) / 2
	t.f.feeds.slower(err, half)
	middle := rows[half-1].Version
	if err := t.fold(ctx, rows[:half], at, middle); err != nil {
		return err
	}
	return t.fold(ctx, rows[half:], middle, upto)
}

// commit moves the cursor with the rows in one transaction. parked is why its one row is
// not folded; nil: it is.
func (t *taking) commit(ctx context.Context, rows []service.FeedRow, at, upto int64, parked error) error {
	err := t.db.Update(ctx, func(tx *service.Tx) error {
		r, err := readReceived(tx, t.from)
		if err != nil {
			return err
		}
		if err := admit(tx, r, t.from, t.offer.Stream); err != nil {
			return err
		}
		mine, err := service.Epoch(tx)
		if err != nil {
			return err
		}
		if !t.goesOn(r, mine, at) {
			return errMoved
		}
		if err := t.f.foldRows(tx, t.from, t.offer.Stream, r.mark, rows, parked); err != nil {
			return err
		}
		if t.f.mutates(MutantApart) && t.offer.Turn%crashEvery == 0 {
			return nil
		}
		r.version, r.token, r.before = upto, t.next, t.offer.Token
		if err := r.write(tx, t.from, t.offer.Stream); err != nil || r.scan || upto < t.offer.Head {
			return err
		}
		return storeConfirmed(tx, t.from, tx.Now())
	})
	// Only now: rows may wait for an entry of the directory, which may also have come
	// between the fold that failed and the parking.
	if err == nil && (parked != nil || slices.ContainsFunc(rows, func(r service.FeedRow) bool { return r.Feed == feedDirectory || r.Feed == feedRevoked })) {
		t.f.feeds.retry.Store(true)
		t.f.feeds.hurry()
	}
	return err
}

// goesOn tells whether what this offer, or its last chunk, found is still so.
func (t *taking) goesOn(r received, mine string, at int64) bool {
	if t.anyToken() {
		return r.epoch == t.offer.Epoch
	}
	return r.epoch == t.offer.Epoch && r.mine == mine && r.version == at && (r.token == t.offer.Token || r.token == t.next)
}

func (t *taking) anyToken() bool { return t.f.mutates(MutantNoTokens) || t.f.mutates(MutantGap) }

// sweep ends a scan: what the neighbour had before and has no more is folded as gone.
func (t *taking) sweep(ctx context.Context, r received) (received, error) {
	var feed, key string
	for !t.f.mutates(MutantNoSweep) {
		rows, err := t.unseen(ctx, r, feed, key)
		if err != nil {
			return r, err
		}
		if len(rows) == 0 {
			break
		}
		if err := t.drop(ctx, r, rows); err != nil {
			return r, err
		}
		feed, key = rows[len(rows)-1].Feed, rows[len(rows)-1].Key
	}
	err := t.db.Update(ctx, func(tx *service.Tx) error {
		now, err := readReceived(tx, t.from)
		if err != nil || now.mark != r.mark || now.version != r.version {
			return err
		}
		r = now
		r.scan = false
		return r.write(tx, t.from, t.offer.Stream)
	})
	return r, err
}

// unseen returns keys after one of a feed that the scan has not met, as rows that are gone.
func (t *taking) unseen(ctx context.Context, r received, feed, key string) (list []service.FeedRow, err error) {
	err = t.db.View(ctx, replication.Local, func(v *service.View) error {
		rows, err := v.Query(`SELECT feed, key, format FROM federation_row
			WHERE neighbour = ? AND (feed, key) > (?, ?) AND mark <> ? ORDER BY feed, key LIMIT ?`,
			t.from.String(), feed, key, r.mark, maxChunk)
		if err != nil {
			return fmt.Errorf("read what %s lacks: %w", t.from, err)
		}
		defer rows.Close()
		for rows.Next() {
			row := service.FeedRow{Version: r.version}
			if err := rows.Scan(&row.Feed, &row.Key, &row.Format); err != nil {
				return err
			}
			list = append(list, row)
		}
		return rows.Err()
	})
	return list, err
}

// drop folds rows that are gone, in halves if they do not go together.
func (t *taking) drop(ctx context.Context, r received, rows []service.FeedRow) error {
	commit := func(parked error) error {
		return t.db.Update(ctx, func(tx *service.Tx) error {
			now, err := readReceived(tx, t.from)
			if err != nil {
				return err
			}
			if now.mark != r.mark || now.version != r.version {
				return errMoved
			}
			return t.f.foldRows(tx, t.from, t.offer.Stream, r.mark, rows, parked)
		})
	}
	err := commit(nil)
	if err == nil || !ofRows(err) {
		return err
	}
	if len(rows) == 1 {
		return commit(err)
	}
	half := len(rows) / 2
	if err := t.drop(ctx, r, rows[:half]); err != nil {
		return err
	}
	return t.drop(ctx, r, rows[half:])
}
