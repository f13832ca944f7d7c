package federation

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

const (
	// callTimeout bounds one offer on its way and back. A line of 64 kbit/s carries a batch
	// of firstBatch in a few seconds, and stalls for longer at times.
	callTimeout = 30 * time.Second
	// quickAnswer: a line that answers sooner gets larger batches.
	quickAnswer = 2 * time.Second
	// firstBatch is where the size of batches starts on a line, leastBatch where it ends; bytes.
	firstBatch = 64 << 10
	leastBatch = 4 << 10
	// maxLarge is how many batches above firstBatch are in memory at once, of all senders:
	// each takes up to 1.5 MiB as rows, as text and compressed.
	maxLarge = 24
	// A sender whose neighbour does not answer tries again after retryFirst, later and
	// later up to retryLast.
	retryFirst = time.Second
	retryLast  = time.Minute
	// maxProofs bounds how often in a row a sender shows that it lives.
	maxProofs = 4
)

var (
	errAhead     = errors.New("federation: the neighbour has more of this division than there is here: this is an old copy")
	errOvertaken = errors.New("federation: another leader of this division has sent meanwhile")
	errProof     = errors.New("federation: the neighbour asks again and again to be shown that this division lives")
)

// feedSender sends one stream to one neighbour, from the division database's leader.
type feedSender struct {
	f      *Federation
	db     *service.DB
	to     division.Ref
	stream service.Stream
	log    *slog.Logger

	run   string // Names this leadership's sender; see offer.Run.
	turn  int64
	size  int    // Bytes of the next batch.
	epoch string // Of this database.
	sent  sent
	first int64 // Up to here rows have been sent before their turn.
}

// sent is a row of federation_sent in the present epoch.
type sent struct {
	version int64
	token   string
	reason  string
}

func (f *Federation) newSender(db *service.DB, to division.Ref, s service.Stream) *feedSender {
	return &feedSender{f: f, db: db, to: to, stream: s, run: rand.Text()[:8], size: firstBatch,
		log: f.o.Log.With("division", to.String())}
}

// work sends until ctx ends.
func (s *feedSender) work(ctx context.Context) {
	retry := retryFirst
	for ctx.Err() == nil {
		changed := s.f.o.Wire.Changed()
		if !s.f.o.Wire.Connected(s.to) {
			wait(ctx, s.f.o.Beat, changed)
			continue
		}
		progress, err := s.talk(ctx)
		if ctx.Err() != nil {
			return
		}
		if progress {
			retry = retryFirst
		}
		if errors.Is(err, context.DeadlineExceeded) {
			s.size = max(s.size/2, leastBatch)
		}
		if err := s.complain(ctx, err); err != nil && ctx.Err() == nil {
			s.log.Warn("note why a neighbour takes nothing", "err", err)
		}
		if wait(ctx, jitter(retry), changed) {
			retry = retryFirst
		} else {
			retry = min(2*retry, retryLast)
		}
	}
}

// wait waits for d, or until changed is closed, which it reports, or ctx ends.
func wait(ctx context.Context, d time.Duration, changed <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-changed:
		return true
	}
	return false
}

// talk asks how far the neighbour is and sends what it lacks, until something fails.
// progress: the neighbour has answered.
func (s *feedSender) talk(ctx context.Context) (progress bool, err error) {
	at, err := s.ask(ctx)
	for {
		if err != nil {
			return progress, err
		}
		progress = true
		moved, changed := s.f.feeds.moved(s.stream), s.f.o.Wire.Changed()
		var sent bool
		if at, sent, err = s.step(ctx, at); err == nil && !sent {
			at, err = s.idle(ctx, at, moved, changed)
		}
	}
}

// step sends the next batch, if there is anything to send, and returns how far the
// neighbour is.
func (s *feedSender) step(ctx context.Context, at int64) (now int64, sent bool, err error) {
	size, give := s.share()
	defer give()
	o, err := s.batch(ctx, at, size)
	if err != nil || o.Through <= at {
		return at, false, err
	}
	now, err = s.send(ctx, o)
	return now, true, err
}

// share is how large the next batch may be; give it back when it was sent. A division has
// hundreds of children, to all of whom a change goes at once: a few have large batches in
// memory, and the others small ones rather than none.
func (s *feedSender) share() (size int, give func()) {
	if s.size <= firstBatch {
		return s.size, func() {}
	}
	select {
	case s.f.feeds.large <- struct{}{}:
		return s.size, func() { <-s.f.feeds.large }
	default:
		return firstBatch, func() {}
	}
}

// idle waits for rows to send, and asks once each Options.Beat.
func (s *feedSender) idle(ctx context.Context, at int64, moved, changed <-chan struct{}) (int64, error) {
	timer := time.NewTimer(s.f.o.Beat)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return at, ctx.Err()
		case <-moved:
			return at, nil
		case <-timer.C:
			return s.ask(ctx)
		case <-changed:
			changed = s.f.o.Wire.Changed()
			if !s.f.o.Wire.Connected(s.to) {
				return at, ErrUnreachable
			}
		}
	}
}

// ask asks how far the neighbour is.
func (s *feedSender) ask(ctx context.Context) (int64, error) {
	var head int64
	if err := s.db.View(ctx, replication.Local, func(v *service.View) (err error) {
		if s.epoch, err = service.Epoch(v); err != nil {
			return err
		}
		if s.sent, err = readSent(v, s.to, s.epoch); err != nil {
			return err
		}
		head, err = headOf(v, s.stream)
		return err
	}); err != nil {
		return 0, err
	}
	s.first = 0
	at := min(s.sent.version, head)
	return s.exchange(ctx, offer{After: at, Through: at, Head: head})
}

// batch reads the rows after a version that one offer of most bytes may hold.
func (s *feedSender) batch(ctx context.Context, after int64, most int) (o offer, err error) {
	err = s.db.View(ctx, replication.Local, func(v *service.View) error {
		o = offer{After: after}
		if o.Head, err = headOf(v, s.stream); err != nil {
			return err
		}
		rows, err := v.Query(`SELECT feed, key, version, format, payload FROM service_feed
			WHERE stream = ? AND version > ? ORDER BY version LIMIT ?`, string(s.stream), after, maxRows)
		if err != nil {
			return fmt.Errorf("read rows for %s: %w", s.to, err)
		}
		defer rows.Close()
		size := 0
		for size < most && rows.Next() {
			var r service.FeedRow
			if err := rows.Scan(&r.Feed, &r.Key, &r.Version, &r.Format, &r.Payload); err != nil {
				return err
			}
			size += len(r.Key) + len(r.Payload) + rowOverhead
			o.Rows = append(o.Rows, r)
		}
		o.Through = o.Head
		if n := len(o.Rows); n > 0 && (size >= most || n == maxRows) {
			o.Through = o.Rows[n-1].Version
		}
		if err := rows.Err(); err != nil || o.Through == o.Head {
			return err
		}
		o.First, err = readFirst(v, s.stream, max(o.Through, s.first))
		return err
	})
	return o, err
}

// readFirst reads the rows after a version that cannot wait behind all that is before them.
func readFirst(q service.Querier, s service.Stream, after int64) (list []service.FeedRow, err error) {
	first := `["` + feedRevoked + `"]`
	if s == service.Up { // Figures of a division that nobody knows yet would only be parked.
		first = `["` + feedRevoked + `","` + feedDirectory + `"]`
	}
	rows, err := q.Query(`SELECT feed, key, version, format, payload FROM service_feed
		WHERE stream = ? AND feed IN (SELECT value FROM json_each(?)) AND version > ? ORDER BY version LIMIT ?`,
		string(s), first, after, maxFirst)
	if err != nil {
		return nil, fmt.Errorf("read the rows that go first: %w", err)
	}
	defer rows.Close()
	for size := 0; size < maxFirstBytes && rows.Next(); {
		var r service.FeedRow
		if err := rows.Scan(&r.Feed, &r.Key, &r.Version, &r.Format, &r.Payload); err != nil {
			return nil, err
		}
		size += len(r.Key) + len(r.Payload)
		list = append(list, r)
	}
	return list, rows.Err()
}

// send sends one batch, and suits the size of the next to the line.
func (s *feedSender) send(ctx context.Context, o offer) (int64, error) {
	began := time.Now()
	at, err := s.exchange(ctx, o)
	if n := len(o.First); err == nil && n > 0 && at >= o.Through { // Not when it was only asked to prove that it lives.
		s.first = o.First[n-1].Version
	}
	if err == nil && time.Since(began) < quickAnswer {
		s.size = min(2*s.size, maxBatch)
	}
	return at, err
}

// exchange makes an offer, shows that this sender lives if it is asked to, and stores the
// acknowledgement: only then may more be sent.
func (s *feedSender) exchange(ctx context.Context, o offer) (int64, error) {
	o.Stream, o.Epoch, o.Token, o.Run = s.stream, s.epoch, s.sent.token, s.run
	for range maxProofs {
		s.turn++
		o.Turn = s.turn
		p, err := s.call(ctx, o)
		if err != nil {
			return 0, err
		}
		if p.Prove != "" {
			if err := s.lives(ctx); err != nil {
				return 0, err
			}
			o.Proof, o.Rows, o.First, o.Through = p.Prove, nil, nil, o.After
			continue
		}
		if p.Epoch != s.epoch {
			return 0, fmt.Errorf("federation: %s answers for another epoch", s.to)
		}
		if p.Version > o.Head {
			return 0, errAhead
		}
		return p.Version, s.store(ctx, sent{version: p.Version, token: p.Token})
	}
	return 0, errProof
}

// lives makes sure that this node leads its division, and has its newest token. It is asked
// after the neighbour has demanded a proof: a leader that was elected before shows another
// token, one that is elected after makes the proof void. A former leader that does not know
// it yet would pass for a copy.
func (s *feedSender) lives(ctx context.Context) error {
	return s.db.View(ctx, replication.Linearizable, func(v *service.View) error {
		epoch, err := service.Epoch(v)
		if err != nil {
			return err
		}
		now, err := readSent(v, s.to, epoch)
		if err == nil && (epoch != s.epoch || now.token != s.sent.token) {
			err = errOvertaken
		}
		return err
	})
}

// call carries one offer over the wire.
func (s *feedSender) call(ctx context.Context, o offer) (position, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := s.f.o.Wire.Call(ctx, s.to, KindFeed, s.f.feeds.encodeOffer(o))
	if err != nil {
		return position{}, err
	}
	return decodePosition(raw)
}

// store keeps the acknowledgement.
func (s *feedSender) store(ctx context.Context, now sent) error {
	if now == s.sent {
		return nil
	}
	if err := s.db.Update(ctx, func(tx *service.Tx) error { return writeSent(tx, s.to, s.stream, s.epoch, now) }); err != nil {
		return fmt.Errorf("store what %s has acknowledged: %w", s.to, err)
	}
	s.sent = now
	return nil
}

// complain logs why the neighbour takes nothing, and keeps it if it said so itself.
func (s *feedSender) complain(ctx context.Context, err error) error {
	var refusal *service.Error
	switch {
	case errors.Is(err, ErrUnreachable):
		return nil // The line shows it.
	case errors.As(err, &refusal) && refusal.Code != service.Unavailable && refusal.Code != service.Internal:
		if refusal.Reason == s.sent.reason {
			return nil
		}
		s.log.Warn("a neighbour refuses this division's rows", "err", err)
		s.sent.reason = refusal.Reason
		return s.db.Update(ctx, func(tx *service.Tx) error {
			return tx.Exec(`INSERT INTO federation_sent (neighbour, stream, epoch, version, token, at, reason)
				VALUES (?, ?, ?, 0, '', ?, ?) ON CONFLICT (neighbour) DO UPDATE SET reason = excluded.reason`,
				s.to.String(), string(s.stream), s.epoch, tx.Now(), refusal.Reason)
		})
	}
	s.log.Debug("send rows to a neighbour", "err", err)
	return nil
}

// readSent returns what a neighbour has acknowledged of this epoch's rows.
func readSent(q service.Querier, to division.Ref, epoch string) (sent, error) {
	var s sent
	err := q.QueryRow(`SELECT version, token, reason FROM federation_sent WHERE neighbour = ? AND epoch = ?`,
		to.String(), epoch).Scan(&s.version, &s.token, &s.reason)
	if errors.Is(err, replication.ErrNoRows) {
		return sent{}, nil
	}
	if err != nil {
		return s, fmt.Errorf("read what %s has acknowledged: %w", to, err)
	}
	return s, nil
}

func writeSent(tx *service.Tx, to division.Ref, stream service.Stream, epoch string, s sent) error {
	return tx.Exec(`INSERT OR REPLACE INTO federation_sent (neighbour, stream, epoch, version, token, at, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?)`, to.String(), string(stream), epoch, s.version, s.token, tx.Now(), s.reason)
}

// headOf is the newest version of a stream.
func headOf(q service.Querier, s service.Stream) (head int64, err error) {
	err = q.QueryRow(`SELECT last FROM service_sequence WHERE name = ?`, "feed:"+string(s)).Scan(&head)
	if errors.Is(err, replication.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the head of a stream: %w", err)
	}
	return head, nil
}
