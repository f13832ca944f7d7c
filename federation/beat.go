package federation

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

const (
	// downGrace is how long a child's line may be down before it is silent: lines re-land in
	// seconds, also when a node dies.
	downGrace = 10 * time.Second
	// refoldRest, and refoldShare times what a pass over the rows that wait took, is the least
	// rest after it.
	refoldRest, refoldShare = time.Second, 20
	// feedSilent tells which divisions below are silent. Key: reference.
	feedSilent = "federation.silent"
)

// silence is the payload of feedSilent.
type silence struct {
	AsOf time.Time `json:"as_of"` // Zero: never confirmed.
}

// beating is what the beat remembers of one leadership.
type beating struct {
	f      *Federation
	db     *service.DB
	began  time.Time
	looked time.Time                  // When all was last stored that was to be.
	rested time.Time                  // When rows that wait may be tried again.
	down   map[division.Ref]time.Time // Since when a child's line is down.
}

// beat stores what was confirmed, tells which children are silent, keeps this division's
// own entry, and tries again what waits: every Options.Beat, and when one of them calls.
func (f *Federation) beat(ctx context.Context, db *service.DB) {
	f.feeds.strays.Store(true)
	b := &beating{f: f, db: db, began: f.o.Now(), down: map[division.Ref]time.Time{}}
	for ctx.Err() == nil {
		line := f.o.Wire.Changed()
		pause, err := b.step(ctx)
		if err != nil && ctx.Err() == nil {
			f.o.Log.Warn("store how fresh the neighbours' rows are", "err", err)
		}
		if err := f.enterSelf(ctx, db); err != nil && ctx.Err() == nil {
			f.o.Log.Warn("enter this division in its directory", "err", err)
			pause = min(pause, lookAgain) // A new division's records are there in a moment.
		}
		if again, err := b.moves(ctx); err != nil && ctx.Err() == nil {
			f.o.Log.Warn("give up what former neighbours told", "err", err)
		} else if again {
			pause = min(pause, lookAgain)
		}
		timer := time.NewTimer(min(pause, b.refold(ctx)))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-line:
		case <-f.feeds.kick:
		}
		timer.Stop()
	}
}

// moves does what is left of moves, of this division and of others.
func (b *beating) moves(ctx context.Context) (again bool, err error) {
	if err := b.f.sayWhole(ctx, b.db); err != nil {
		return false, err
	}
	return b.f.giveUp(ctx, b.db)
}

// refold folds rows that wait, if something has come for which they may have waited, and
// returns how soon to look again. A child that sends rubbish must not keep the leader busy:
// after each pass comes a rest that is much longer.
func (b *beating) refold(ctx context.Context) time.Duration {
	if !b.f.feeds.retry.Load() {
		return b.f.o.Beat
	}
	if rest := time.Until(b.rested); rest > 0 {
		return rest
	}
	b.f.feeds.retry.Store(false) // Before the pass: what comes during it counts for the next.
	began := time.Now()
	if err := b.f.refold(ctx, b.db); err != nil && ctx.Err() == nil {
		b.f.feeds.retry.Store(true)
		b.f.o.Log.Warn("fold rows that wait", "err", err)
	}
	b.rested = time.Now().Add(max(refoldRest, refoldShare*time.Since(began)))
	return b.f.o.Beat
}

// step stores what is due, in one update, and returns how long it can wait for the next.
func (b *beating) step(ctx context.Context) (pause time.Duration, err error) {
	now := b.f.o.Now()
	due := now.Sub(b.looked) >= b.f.o.Beat
	confirmed := b.f.feeds.confirmations()
	var was map[division.Ref]time.Time // Own children that are told as silent.
	var children map[division.Ref]time.Time
	var strays []stray
	if err := b.db.View(ctx, replication.Local, func(v *service.View) error {
		if children, err = readConfirmed(v); err != nil {
			return err
		}
		if was, err = readOwnSilent(v); err != nil {
			return err
		}
		if due && b.f.feeds.strays.Swap(false) {
			var told bool
			strays, told, err = readStrays(v)
			b.f.feeds.strays.CompareAndSwap(false, !told || len(strays) > 0)
		}
		return err
	}); err != nil {
		return downGrace, err
	}
	is, soon := b.silentNow(children, confirmed, was, now)
	b.f.feeds.awaits(is)
	if due && len(confirmed) > 0 || len(strays) > 0 || !maps.EqualFunc(is, was, time.Time.Equal) {
		if err := b.db.Update(ctx, func(tx *service.Tx) error {
			for from, at := range confirmed {
				// By the database's clock, which never runs backwards when leaders change.
				if err := storeConfirmed(tx, from, tx.Now().Add(at.Sub(now))); err != nil {
					return err
				}
			}
			if err := tellSilent(tx, was, is); err != nil {
				return err
			}
			return b.f.dropStrays(tx, strays)
		}); err != nil {
			return downGrace, err
		}
		b.f.feeds.storedConfirmations(confirmed)
		due = true
	}
	if due {
		b.looked = now
	}
	pause = b.f.o.Beat - now.Sub(b.looked)
	if soon {
		pause = min(pause, downGrace)
	}
	return pause, nil
}

// silentNow returns the silent children and as of when they are. soon: a line is down, and
// its grace not over.
func (b *beating) silentNow(children, confirmed, was map[division.Ref]time.Time, now time.Time) (is map[division.Ref]time.Time, soon bool) {
	is = map[division.Ref]time.Time{}
	for child, last := range children {
		at, heard := confirmed[child]
		if at.After(last) {
			last = at
		}
		down := false
		if b.f.o.Wire.Connected(child) {
			delete(b.down, child)
		} else {
			if b.down[child].IsZero() {
				b.down[child] = now
			}
			down = now.Sub(b.down[child]) >= downGrace
			soon = soon || !down
		}
		// Nobody could confirm anything before this node led.
		limit := silentAfter / BeatEvery * b.f.o.Beat
		old := now.Sub(last) > limit && now.Sub(b.began) > limit
		told, silent := was[child]
		switch {
		case silent && !heard && !last.After(told):
			is[child] = told // Nothing was heard since.
		case down || old:
			is[child] = last
		}
	}
	return is, soon
}

// tellSilent stores which children are silent, and tells it upwards.
func tellSilent(tx *service.Tx, was, is map[division.Ref]time.Time) error {
	for child, at := range is {
		if told, ok := was[child]; ok && told.Equal(at) {
			continue
		}
		if err := enterSilent(tx, child, at, ""); err != nil {
			return err
		}
	}
	for child := range was {
		if _, still := is[child]; !still {
			if err := dropSilent(tx, child); err != nil {
				return err
			}
		}
	}
	return nil
}

func enterSilent(tx *service.Tx, ref division.Ref, asOf time.Time, via string) error {
	stored := int64(0)
	if !asOf.IsZero() {
		stored = asOf.UnixMicro()
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO federation_silent (ref, as_of, via) VALUES (?, ?, ?)`, ref.String(), stored, via); err != nil {
		return fmt.Errorf("enter that %s is silent: %w", ref, err)
	}
	payload, err := json.Marshal(silence{asOf})
	if err != nil {
		return err
	}
	return tx.PublishTo(service.Up, feedSilent, ref.String(), 1, payload)
}

func dropSilent(tx *service.Tx, ref division.Ref) error {
	if err := tx.Exec(`DELETE FROM federation_silent WHERE ref = ?`, ref.String()); err != nil {
		return fmt.Errorf("enter that %s is heard of again: %w", ref, err)
	}
	return tx.PublishTo(service.Up, feedSilent, ref.String(), 1, nil)
}

// foldSilent takes from a child which divisions below it are silent.
func foldSilent(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	for _, r := range rows {
		ref, err := division.ParseRef(r.Key)
		if err != nil {
			return err
		}
		if len(r.Payload) == 0 { // The directory may not know the division, yet or any more.
			var told int
			err := tx.QueryRow(`SELECT count(*) FROM federation_silent WHERE ref = ? AND via = ?`, r.Key, from.String()).Scan(&told)
			if err == nil && told > 0 {
				err = dropSilent(tx, ref)
			}
			if err != nil {
				return err
			}
			continue
		}
		below, err := Below(tx, from, ref)
		if err != nil {
			return err
		}
		if ref == from || !below {
			return fmt.Errorf("%s tells that %s is silent, which is not below it as far as the directory knows", from, ref)
		}
		var s silence
		if err := json.Unmarshal(r.Payload, &s); err != nil {
			return err
		}
		if err := enterSilent(tx, ref, s.AsOf, from.String()); err != nil {
			return err
		}
	}
	return nil
}

// storeConfirmed stores that a neighbour had nothing newer at a time.
func storeConfirmed(tx *service.Tx, from division.Ref, at time.Time) error {
	if err := tx.Exec(`UPDATE federation_received SET confirmed = ?2 WHERE neighbour = ?1 AND (confirmed IS NULL OR confirmed < ?2)`,
		from.String(), at); err != nil {
		return fmt.Errorf("store the confirmation of %s: %w", from, err)
	}
	return nil
}

// readOwnSilent returns the children of whom this division tells that they are silent.
func readOwnSilent(q service.Querier) (map[division.Ref]time.Time, error) {
	rows, err := q.Query(`SELECT ref, nullif(as_of, 0) FROM federation_silent WHERE via = '' ORDER BY ref`)
	if err != nil {
		return nil, fmt.Errorf("read the silent children: %w", err)
	}
	return scanTimes(rows)
}

// confirmations returns what was confirmed and is not stored.
func (f *feeds) confirmations() map[division.Ref]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.confirmed)
}

func (f *feeds) storedConfirmations(done map[division.Ref]time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for from, at := range done {
		if f.confirmed[from].Equal(at) {
			delete(f.confirmed, from)
		}
	}
}

// awaits says whose next confirmation is to wake the beat.
func (f *feeds) awaits(silent map[division.Ref]time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.silent = map[division.Ref]bool{}
	for ref := range silent {
		f.silent[ref] = true
	}
}
