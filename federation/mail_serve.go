package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// postman is the program as it receives and sends mails.
var postman = service.Principal{Kind: service.System, Account: "worker:mail", Name: "tongban"}

// serveMail receives a mail on the leader of its receiver's database. On the division
// database's it says that there is no such receiver.
func (f *Federation) serveMail(ctx context.Context, id replication.DatabaseID, from division.Ref, body []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, service.ErrInvalid.With("detail", "no envelope: "+err.Error()).Because(err)
	}
	a, err := f.serve(ctx, id, from, e)
	if err != nil {
		a = f.couldNot(e, err)
	}
	return json.Marshal(a)
}

// couldNot says why a mail was not received, as far as its sender need know.
func (f *Federation) couldNot(e envelope, err error) mailAnswer {
	reason := stopFailed
	var stop *mailStop
	switch {
	case errors.As(err, &stop):
		reason = stop.reason
	case errors.Is(err, replication.ErrNotLeader), errors.Is(err, replication.ErrOverloaded), errors.Is(err, replication.ErrClosed),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, ErrUnreachable):
		reason = stopBusy
	case errors.Is(err, replication.ErrUnknownOutcome):
		reason = stopNoAnswer // The next try finds it in the inbox, or not.
	}
	f.o.Log.Warn("receive a mail", "from", mailOrigin(e.From), "to", e.To.Tenant, "kind", e.Kind, "seq", e.ID.Seq, "reason", reason, "err", err)
	return stopped(reason, f.o.Self)
}

// mailStop is an error that leaves a mail with its sender, for a reason that it is told.
type mailStop struct {
	reason string
	err    error
}

func (s *mailStop) Error() string { return s.reason + ": " + s.err.Error() }
func (s *mailStop) Unwrap() error { return s.err }

func stopf(reason, format string, args ...any) error {
	return &mailStop{reason, fmt.Errorf(format, args...)}
}

// serve opens the mail, receives it, and seals the receipt. What is answered without a
// receipt has changed nothing here.
func (f *Federation) serve(ctx context.Context, id replication.DatabaseID, from division.Ref, e envelope) (a mailAnswer, err error) {
	m, err := f.openMail(from, e)
	if err != nil {
		return a, err
	}
	var back Entry
	var epoch string
	err = f.viewDivision(ctx, func(v *service.View) error {
		if epoch, err = service.Epoch(v); err != nil || e.From.Division == f.o.Self {
			return err
		}
		back, err = ReadEntry(v, e.From.Division)
		return err
	})
	switch {
	case errors.Is(err, ErrNoDivision): // Before anything is received: the receipt could not be sealed.
		return a, &mailStop{stopNoReturn, err}
	case err != nil:
		return a, err
	case epoch == "":
		return a, stopf(stopBusy, "the division database has no schema yet")
	}
	r, err := f.accept(ctx, id, m)
	if err != nil {
		return a, err
	}
	r.ID, r.Epoch = m.ID, epoch
	l := letter{Receipt: &r}
	if e.From.Division == f.o.Self {
		a.Plain, err = json.Marshal(l)
		return a, err
	}
	a.Sealed, err = f.seal(back, l)
	return a, err
}

// openMail returns the mail if it is what its header says, from where the header says.
func (f *Federation) openMail(from division.Ref, e envelope) (m service.Mail, err error) {
	if e.To.Division != f.o.Self {
		return m, stopf(stopLoop, "a mail for %s came here", e.To.Division)
	}
	if from != f.o.Self {
		e.Plain = nil
	}
	l, err := f.open(e.From.Division, e.Sealed, e.Plain)
	if err != nil {
		return m, &mailStop{stopAltered, err}
	}
	if l.Mail == nil {
		return m, stopf(stopAltered, "the letter is no mail")
	}
	m = l.Mail.mail()
	if m.ID != e.ID || m.From != e.From || m.To != e.To || m.Kind != e.Kind || !m.Sent.Equal(e.Sent) || m.ID.Origin != mailOrigin(m.From) {
		return m, stopf(stopAltered, "the header is not that of the sealed mail")
	}
	return m, nil
}

// accept receives the mail, or finds what became of it when it came before.
func (f *Federation) accept(ctx context.Context, id replication.DatabaseID, m service.Mail) (mailReceipt, error) {
	tenant, db, ok := f.o.Database(m.To.Tenant)
	if !ok {
		if id != divisionDatabase {
			return mailReceipt{}, stopf(stopBusy, "this node does not know the tenant %q yet", m.To.Tenant)
		}
		// Not kept: there is no database to keep it in, and to ask again has the same answer.
		return mailReceipt{State: service.MailRefused, Reason: refuseNoTenant, At: f.o.Now()}, nil
	}
	if id != db.ID() {
		return mailReceipt{}, stopf(stopBusy, "the tenant %q was not known everywhere yet", m.To.Tenant)
	}
	var r mailReceipt
	var found bool
	err := db.View(ctx, replication.Local, func(v *service.View) (err error) {
		r, found, err = readReceipt(v, m)
		return err
	})
	if err != nil || found {
		return r, err
	}
	kind, ok := f.kind(m.Kind)
	switch {
	case m.From.Division != f.o.Self && !f.o.Room(): // A refusal is stored too.
		return r, stopf(stopBusy, "the last of the disk is for this division's own")
	case tenant.State == "closed":
		return f.refuse(ctx, db, m, refuseClosed)
	case tenant.State != "active":
		return r, stopf(stopSuspended, "the tenant %q is %s", tenant.Slug, tenant.State)
	case !ok || kind.Receive == nil || m.Format > max(1, kind.Format):
		return r, stopf(stopNewer, "this program does not know mails %s of format %d", m.Kind, m.Format)
	}
	r, err = f.receive(ctx, db, kind, service.Delivery{Site: f.o.Site, Tenant: tenant}, m)
	var refusal *service.Error
	if errors.As(err, &refusal) {
		switch refusal.Code {
		case service.Internal, service.Unavailable, service.TooMany: // Of the moment, not of the mail.
		default:
			return f.refuse(ctx, db, m, refusal.Reason)
		}
	}
	return r, err
}

// receive runs the kind's Receive in the transaction that enters the mail into the inbox.
func (f *Federation) receive(ctx context.Context, db *service.DB, kind service.MailKind, at service.Delivery, m service.Mail) (r mailReceipt, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("receive a mail %s: panic: %v\n%s", m.Kind, p, debug.Stack())
		}
	}()
	err = db.Update(ctx, func(tx *service.Tx) error {
		var found bool
		var err error
		if r, found, err = readReceipt(tx, m); err != nil || found {
			return err
		}
		reply, err := kind.Receive(tx, at, m)
		if err != nil {
			return err
		}
		if len(reply) > maxReply {
			return fmt.Errorf("the reply to a mail %s has %d bytes, more than %d", m.Kind, len(reply), maxReply)
		}
		r = mailReceipt{State: service.MailDelivered, Reply: reply, At: tx.Now()}
		return enterInbox(tx, m, r)
	})
	return r, err
}

// refuse enters the refusal, in a transaction of its own: what Receive wrote is undone.
func (f *Federation) refuse(ctx context.Context, db *service.DB, m service.Mail, reason string) (r mailReceipt, err error) {
	err = db.Update(ctx, func(tx *service.Tx) error {
		var found bool
		var err error
		if r, found, err = readReceipt(tx, m); err != nil || found {
			return err
		}
		r = mailReceipt{State: service.MailRefused, Reason: reason, At: tx.Now()}
		return enterInbox(tx, m, r)
	})
	return r, err
}

func enterInbox(tx *service.Tx, m service.Mail, r mailReceipt) error {
	if err := tx.Exec(`INSERT INTO service_inbox (origin, epoch, seq, kind, state, reason, reply, at, again)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (origin, epoch, seq) DO UPDATE SET
			state = excluded.state, reason = excluded.reason, reply = excluded.reply, at = excluded.at, again = excluded.again`,
		m.ID.Origin, m.ID.Epoch, m.ID.Seq, m.Kind, string(r.State), r.Reason, r.Reply, r.At, m.Again); err != nil {
		return fmt.Errorf("enter a mail into the inbox: %w", err)
	}
	return tx.Record(service.Event{What: "federation.mail_received", Subject: mailSubject(m), Who: postman, Refused: r.Reason,
		Detail: map[string]string{"kind": m.Kind}})
}

// mailSubject names a mail in the audits of both sides.
func mailSubject(m service.Mail) string {
	return fmt.Sprintf("%s/%s/%d", m.ID.Origin, m.ID.Epoch, m.ID.Seq)
}

// readReceipt returns what became of a mail that the inbox holds. A refusal is not the last
// word when the sender has offered the mail anew since: nothing of it was kept.
func readReceipt(q service.Querier, m service.Mail) (r mailReceipt, found bool, err error) {
	var again int
	err = q.QueryRow(`SELECT state, reason, reply, at, again FROM service_inbox WHERE origin = ? AND epoch = ? AND seq = ?`,
		m.ID.Origin, m.ID.Epoch, m.ID.Seq).Scan((*string)(&r.State), &r.Reason, &r.Reply, &r.At, &again)
	if errors.Is(err, replication.ErrNoRows) || err == nil && r.State == service.MailRefused && m.Again > again {
		return mailReceipt{}, false, nil
	}
	return r, err == nil, err
}

func (f *Federation) kind(name string) (service.MailKind, bool) {
	for _, d := range f.o.Definitions() {
		for _, k := range d.Mail {
			if k.Name == name {
				return k, true
			}
		}
	}
	return service.MailKind{}, false
}
