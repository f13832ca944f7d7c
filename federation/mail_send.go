package federation

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

const (
	maxFlying     = 16      // Mails of one tenant on their way at once …
	maxFlyingLine = 4       // … of these to one division: a slow one leaves room for the others …
	maxProbes     = 8       // … and to divisions that could not be reached before.
	maxWaiting    = 100_000 // Waiting mails that a sender knows of at once: some 10 MB.
	minBackoff    = time.Second
	// maxBackoff bounds how long a mail still waits after a far line is back, of which the
	// sender hears nothing. One mail a minute and division that is cut off costs little.
	maxBackoff = time.Minute
	// directoryEvery is how soon a sender notices that the directory has changed.
	directoryEvery = time.Second
	// markRows bounds a change of many rows: a transaction must stay below the closure's time.
	markRows = 500
)

// sender sends the mails of one tenant's database while this node leads it. What waits is
// in the database; when to try again is in memory, and begins anew with a leadership.
type sender struct {
	f       *Federation
	env     service.Env
	from    service.Address
	waiting []*outgoing // By seq.
	after   int64       // Mails up to here are known.
	lines   map[division.Ref]*mailLine
	flying  int
	probes  int // Of these: to divisions that could not be reached before.
	done    chan flown
	look    time.Time // When to look into the directory; zero: when it changes.
}

// outgoing is a mail that waits.
type outgoing struct {
	seq    int64
	to     division.Ref
	flying bool
	probe  bool // It flies to see whether the division can be reached again.
	tries  int
	next   time.Time
	failed bool // The last try failed for a reason of the line's.

	reason string // As the database has it.
	where  string
}

// mailLine is what is known of the way to a division.
type mailLine struct {
	flying int
	stop   mailAnswer // Why the last mail stopped, if for a reason of the line's.
	tries  int
	next   time.Time
	epoch  string // That of the division in the directory, for which the outbox was looked through.
}

// flown is the outcome of a try.
type flown struct {
	mail   *outgoing
	gone   bool   // It waits no more.
	epoch  string // Of the receiver, by the receipt.
	answer mailAnswer
}

// runMail sends what waits in a tenant's outbox until ctx ends with the leadership.
func (f *Federation) runMail(ctx context.Context, env service.Env) error {
	s := &sender{f: f, env: env, from: service.Address{Division: f.o.Self, Tenant: env.Tenant.Slug},
		lines: map[division.Ref]*mailLine{}, done: make(chan flown, maxFlying)}
	tries, cancel := context.WithCancel(ctx)
	defer s.land()
	defer cancel()
	if err := s.run(ctx, tries); ctx.Err() == nil {
		return err
	}
	return nil
}

// land waits for the mails that are on their way.
func (s *sender) land() {
	for ; s.flying > 0; s.flying-- {
		<-s.done
	}
}

func (s *sender) run(ctx, tries context.Context) error {
	if s.f.o.Division() == nil {
		return errors.New("send mails: the division database is not open yet")
	}
	if err := s.known(ctx); err != nil {
		return err
	}
	s.look = time.Now()
	wire, directory := s.f.o.Wire.Changed(), s.f.o.Division().AppliedChanged() // Taken anew only when seen: several may come at once.
	redriven := s.f.redriven.heard()
	for {
		applied := s.env.DB.AppliedChanged()
		if err := s.load(ctx); err != nil {
			return err
		}
		if !s.look.IsZero() && !time.Now().Before(s.look) {
			s.look = time.Time{}
			if err := s.compare(ctx); err != nil {
				return err
			}
		}
		s.start(tries)
		watched := directory
		if len(s.lines) == 0 {
			watched = nil // Nobody was ever written to: nothing there matters.
		}
		timer := time.NewTimer(s.sleep())
		select {
		case <-ctx.Done():
		case <-applied:
		case <-wire:
			wire = s.f.o.Wire.Changed()
			s.hurry(nil)
		case <-watched:
			directory = s.f.o.Division().AppliedChanged()
			if s.look.IsZero() {
				s.look = time.Now().Add(directoryEvery)
			}
		case <-redriven:
			redriven = s.f.redriven.heard()
			s.anew()
		case d := <-s.done:
			s.landed(ctx, d)
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
	}
}

// known finds every division that the outbox has a mail to, sent or not.
func (s *sender) known(ctx context.Context) error {
	return s.env.DB.View(ctx, replication.Local, func(v *service.View) error {
		for last := ""; ; {
			var to *string // One probe of the index for each division.
			if err := v.QueryRow(`SELECT min(division) FROM service_outbox WHERE division > ?`, last).Scan(&to); err != nil || to == nil {
				return err
			}
			ref, err := division.ParseRef(*to)
			if err != nil {
				return fmt.Errorf("read the outbox: %w", err)
			}
			s.line(ref)
			last = *to
		}
	})
}

func (s *sender) line(to division.Ref) *mailLine {
	l := s.lines[to]
	if l == nil {
		l = &mailLine{}
		s.lines[to] = l
	}
	return l
}

// load takes up new mails. Those to a division that cannot be reached say so at once.
func (s *sender) load(ctx context.Context) error {
	fresh := map[division.Ref]bool{}
	err := s.env.DB.View(ctx, replication.Local, func(v *service.View) error {
		rows, err := v.Query(`SELECT seq, division, reason, at_division FROM service_outbox WHERE state = 'waiting' AND seq > ?
			ORDER BY seq LIMIT ?`, s.after, maxWaiting-len(s.waiting))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m, to := &outgoing{}, ""
			if err := rows.Scan(&m.seq, &to, &m.reason, &m.where); err != nil {
				return err
			}
			if m.to, err = division.ParseRef(to); err != nil {
				return fmt.Errorf("read the outbox: %w", err)
			}
			s.after = m.seq
			at, found := slices.BinarySearchFunc(s.waiting, m.seq, func(o *outgoing, seq int64) int { return cmp.Compare(o.seq, seq) })
			if !found {
				s.waiting = slices.Insert(s.waiting, at, m)
				fresh[m.to] = true
			}
		}
		return rows.Err()
	})
	if err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	for to := range fresh {
		if l := s.line(to); l.stop.Stopped != "" {
			s.mark(ctx, to, l.stop)
		}
	}
	return nil
}

// start sends what may be sent now. Of the mails to a division that could not be reached
// it sends one, the least tried.
func (s *sender) start(ctx context.Context) {
	now := time.Now()
	probe := map[division.Ref]*outgoing{}
	for _, m := range s.waiting {
		l := s.line(m.to)
		if m.flying || m.next.After(now) || s.flying >= maxFlying {
			continue
		}
		if l.stop.Stopped == "" {
			if l.flying < maxFlyingLine {
				s.fly(ctx, m, m.tries > 0)
			}
			continue
		}
		if p := probe[m.to]; l.flying == 0 && !l.next.After(now) && (p == nil || m.tries < p.tries) {
			probe[m.to] = m
		}
	}
	for _, m := range probe {
		if s.flying < maxFlying && s.probes < maxProbes {
			m.probe = true
			s.probes++
			s.fly(ctx, m, true)
		}
	}
}

// fly has a mail tried. hold: whoever cannot pass it on waits a while for the line; the
// first try is to say soon how it stands.
func (s *sender) fly(ctx context.Context, m *outgoing, hold bool) {
	m.flying = true
	s.line(m.to).flying++
	s.flying++
	go func() { s.done <- s.try(ctx, m, hold) }()
}

// landed takes note of an outcome.
func (s *sender) landed(ctx context.Context, d flown) {
	m, l, now := d.mail, s.line(d.mail.to), time.Now()
	if m.probe {
		s.probes--
	}
	m.flying, m.probe = false, false
	l.flying--
	s.flying--
	if d.gone || !lineReasons[d.answer.Stopped] {
		if l.stop.Stopped != "" { // The way is open: all others may go at once.
			l.stop, l.tries = mailAnswer{}, 0
			s.hurry(&m.to)
		}
	}
	if d.gone {
		if d.epoch != l.epoch { // It settled beside a look at the directory, or before the first.
			l.epoch, s.look = "", now
		}
		s.waiting = slices.DeleteFunc(s.waiting, func(o *outgoing) bool { return o == m })
		if len(s.waiting) == maxWaiting-1 {
			s.after = 0 // There may be some that were not taken up.
		}
		return
	}
	m.tries++
	m.next = now.Add(backoff(m.tries))
	m.failed = lineReasons[d.answer.Stopped]
	if m.failed {
		l.stop = d.answer
		l.tries++
		l.next = now.Add(backoff(l.tries))
		s.mark(ctx, m.to, d.answer)
		return
	}
	s.note(ctx, m, d.answer)
}

// hurry has the mails tried now that waited for a line: to one division, or to all.
func (s *sender) hurry(to *division.Ref) {
	for ref, l := range s.lines {
		if to == nil || ref == *to {
			l.next, l.tries = time.Time{}, 0
		}
	}
	for _, m := range s.waiting {
		if m.failed && (to == nil || m.to == *to) {
			m.next = time.Time{}
		}
	}
}

// anew has every mail tried now, and looks for those that wait again.
func (s *sender) anew() {
	s.after = 0
	s.hurry(nil)
	for _, m := range s.waiting {
		m.next = time.Time{}
	}
}

// sleep is how long nothing is to be done: until the next try or look into the directory.
func (s *sender) sleep() time.Duration {
	next := time.Now().Add(maxBackoff)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	sooner(s.look)
	for _, m := range s.waiting {
		l := s.lines[m.to]
		if m.flying || l.flying > 0 && l.stop.Stopped != "" || s.flying >= maxFlying {
			continue // Its landing wakes the sender.
		}
		at := m.next
		if l.stop.Stopped != "" && l.next.After(at) {
			at = l.next
		}
		if at.After(time.Now()) {
			sooner(at)
		}
	}
	return time.Until(next)
}

// backoff is the pause after so many failed tries: doubled each time, and spread, so that
// what failed together does not come back together.
func backoff(tries int) time.Duration {
	d := min(maxBackoff, minBackoff<<min(tries-1, 20))
	return d/2 + rand.N(d/2+1)
}

// try sends a mail once, and settles it when there is a receipt.
func (s *sender) try(ctx context.Context, m *outgoing, hold bool) (out flown) {
	out = flown{mail: m, answer: stopped(stopHere, s.f.o.Self)}
	defer func() {
		if p := recover(); p != nil {
			s.env.Log.Error("send a mail", "seq", m.seq, "err", fmt.Errorf("panic: %v", p))
		}
	}()
	row, err := s.read(ctx, m.seq)
	if err != nil {
		s.warn(ctx, "read a mail", m, err)
		return out
	}
	if row.State != service.MailWaiting {
		out.gone = true
		return out
	}
	entry, epoch, err := s.entry(ctx, m.to)
	if err != nil {
		out.answer = stopped(stopBusy, s.f.o.Self)
		if errors.Is(err, ErrNoDivision) {
			out.answer = stopped(stopUnknown, s.f.o.Self)
		} else {
			s.warn(ctx, "read the directory", m, err)
		}
		return out
	}
	e, err := s.envelope(row.Mail, entry)
	if err != nil {
		s.warn(ctx, "write a mail", m, err)
		return out
	}
	e.Hold = hold
	timed, cancel := context.WithTimeout(ctx, mailTimeout+time.Duration(len(e.Sealed)/mailPace)*time.Second)
	defer cancel()
	out.answer = s.f.pass(timed, s.f.o.Self, e)
	if out.answer.Stopped != "" {
		return out
	}
	r, err := s.receipt(row.ID, m.to, out.answer)
	switch {
	case err != nil:
		s.warn(ctx, "read a receipt", m, err)
		out.answer = stopped(stopAltered, m.to)
	case r.Epoch != epoch: // What it says would be forgotten with the next look at the directory.
		out.answer = stopped(stopRestored, m.to)
	default:
		if err := s.settle(ctx, row, r); err != nil {
			s.warn(ctx, "settle a mail", m, err)
			out.answer = stopped(stopHere, s.f.o.Self)
			return out
		}
		out.gone, out.epoch = true, r.Epoch
	}
	return out
}

func (s *sender) warn(ctx context.Context, what string, m *outgoing, err error) {
	if ctx.Err() == nil {
		s.env.Log.Warn(what, "seq", m.seq, "to", m.to, "err", err)
	}
}

func (s *sender) read(ctx context.Context, seq int64) (o service.Outgoing, err error) {
	err = s.env.DB.View(ctx, replication.Local, func(v *service.View) error {
		o, err = service.ReadOutgoing(v, seq)
		return err
	})
	o.From, o.ID.Origin = s.from, mailOrigin(s.from)
	return o, err
}

// entry returns the directory's row of a division, and its epoch: of this division its own.
func (s *sender) entry(ctx context.Context, to division.Ref) (e Entry, epoch string, err error) {
	err = s.f.viewDivision(ctx, func(v *service.View) error {
		if to == s.f.o.Self {
			epoch, err = service.Epoch(v)
			return err
		}
		e, err = ReadEntry(v, to)
		epoch = e.Epoch
		return err
	})
	return e, epoch, err
}

func (s *sender) envelope(m service.Mail, to Entry) (envelope, error) {
	e := envelope{ID: m.ID, From: m.From, To: m.To, Kind: m.Kind, Sent: m.Sent}
	l := letter{Mail: &mailLetter{m.ID, m.From, m.To, m.Kind, m.Sent, m.Format, m.Payload, m.Again}}
	var err error
	if m.To.Division == s.f.o.Self {
		e.Plain, err = json.Marshal(l)
		return e, err
	}
	e.Sealed, err = s.f.seal(to, l)
	return e, err
}

// receipt opens the answer of the receiver's division.
func (s *sender) receipt(id service.MailID, by division.Ref, a mailAnswer) (mailReceipt, error) {
	l, err := s.f.open(by, a.Sealed, a.Plain)
	if err != nil {
		return mailReceipt{}, err
	}
	r := l.Receipt
	if r == nil || r.ID != id || r.State != service.MailDelivered && r.State != service.MailRefused {
		return mailReceipt{}, errors.New("the letter is no receipt of this mail")
	}
	if len(r.Reply) > maxReply || len(r.Reason) > maxRefusal {
		return mailReceipt{}, fmt.Errorf("the receipt has a reply of %d bytes and a reason of %d, over the limits", len(r.Reply), len(r.Reason))
	}
	return *r, nil
}
