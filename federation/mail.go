package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// envelope is a mail on its way. What a relay must know is in the clear; the mail itself
// is sealed for the receiver's division.
type envelope struct {
	ID   service.MailID  `json:"id"`
	From service.Address `json:"from"`
	To   service.Address `json:"to"`
	Kind string          `json:"kind"`
	Sent time.Time       `json:"sent"`

	Hops   int             `json:"hops"`           // Lines that it has crossed.
	Left   int64           `json:"left_ms"`        // So long the sender still waits for the answer.
	Hold   bool            `json:"hold,omitempty"` // A relay whose line is cut waits a while for it.
	Sealed []byte          `json:"sealed,omitempty"`
	Plain  json.RawMessage `json:"plain,omitempty"` // Instead of Sealed, inside one division only.
}

// letter is what is sealed: one of the two. A relay that has seen one can neither alter it
// nor pass it off as the other.
type letter struct {
	Mail    *mailLetter  `json:"mail,omitempty"`
	Receipt *mailReceipt `json:"receipt,omitempty"`
}

// mailLetter repeats the header, which the receiver compares.
type mailLetter struct {
	ID      service.MailID  `json:"id"`
	From    service.Address `json:"from"`
	To      service.Address `json:"to"`
	Kind    string          `json:"kind"`
	Sent    time.Time       `json:"sent"`
	Format  int             `json:"format"`
	Payload []byte          `json:"payload"`
	Again   int             `json:"again,omitempty"`
}

func (m mailLetter) mail() service.Mail {
	return service.Mail{ID: m.ID, From: m.From, To: m.To, Kind: m.Kind, Format: m.Format, Payload: m.Payload, Sent: m.Sent, Again: m.Again}
}

// mailReceipt says what became of a mail. Epoch is that of the receiver's division: a receipt
// from before its restore counts for nothing after it.
type mailReceipt struct {
	ID     service.MailID    `json:"id"`
	Epoch  string            `json:"epoch"`
	State  service.MailState `json:"state"`
	Reason string            `json:"reason,omitempty"`
	Reply  []byte            `json:"reply,omitempty"`
	At     time.Time         `json:"at"`
}

// mailAnswer is the answer to an envelope: a receipt, or where and why it stopped.
type mailAnswer struct {
	Stopped string          `json:"stopped,omitempty"` // A reason below "federation.mail.".
	At      division.Ref    `json:"at"`                // Which division it is that stopped it, or cannot be reached.
	Sealed  []byte          `json:"sealed,omitempty"`  // A letter to the sender's division.
	Plain   json.RawMessage `json:"plain,omitempty"`   // Likewise, inside one division.
}

// Reasons why a mail waits; their messages are "federation.mail.<reason>".
const (
	stopUnreachable = "unreachable" // There is no line to At.
	stopNoAnswer    = "no_answer"   // At did not answer in time; perhaps it has the mail.
	stopBusy        = "busy"        // At cannot serve it now: it starts, or has no leader.
	stopUnknown     = "unknown"     // At does not know the receiver's division.
	stopNoReturn    = "no_return"   // At does not know the sender's division, or whether it may send by this way.
	stopRestored    = "restored"    // At was restored, and what it says is not yet in the directory.
	stopSuspended   = "suspended"   // The receiving department is suspended.
	stopNewer       = "newer"       // At runs an older program, which does not know such mails.
	stopFailed      = "failed"      // At could not take it, for a reason that its operators must look at.
	stopAltered     = "altered"     // What arrived at At is not what was sent, or not by whom it says.
	stopLoop        = "loop"        // It went round in a circle.
	stopLeft        = "left"        // The receiver's division, or one above it, has left the tree.
	stopHeld        = "held"        // At passes on nothing of or to a neighbour of which there are two.
	stopHere        = "here"        // The receipt is there, and this department could not use it.
)

// stopReasons are all of them. A relay is not believed to have others: what it answers is
// stored beside each mail that waits for it, and shown.
var stopReasons = map[string]bool{stopUnreachable: true, stopNoAnswer: true, stopBusy: true, stopUnknown: true, stopNoReturn: true,
	stopRestored: true, stopSuspended: true, stopNewer: true, stopFailed: true, stopAltered: true, stopLoop: true, stopHeld: true, stopHere: true, stopLeft: true}

// Reasons of refusals that are the federation's own.
const (
	refuseNoTenant = "federation.mail.no_tenant"
	refuseClosed   = "federation.mail.closed"
)

// lineReasons stop every mail to the division alike: one of them is sent to try.
var lineReasons = map[string]bool{stopUnreachable: true, stopNoAnswer: true, stopBusy: true, stopUnknown: true,
	stopNoReturn: true, stopRestored: true, stopHeld: true, stopLeft: true}

const (
	maxHops = 16 // The tree has four levels: six lines between the farthest.
	// maxReply bounds what Receive answers, bytes.
	maxReply = 64 << 10
	// maxRefusal bounds the reason of a refusal, a message key, bytes.
	maxRefusal = 100
	// mailTimeout is how long a sender waits for an answer: six lines of a second each way,
	// six commits, and maxHold; and mailPace more for a large mail on a line of 32 kbit/s.
	mailTimeout = 60 * time.Second
	mailPace    = 4 << 10 // Bytes a second.
	// hopMargin is the part of the time that a relay keeps to say where it ended.
	hopMargin = time.Second
	// maxHold is how long a relay waits for a line that is cut before it says so: a mail
	// is then delivered when the line is back, not when its sender tries again.
	maxHold = 30 * time.Second
	// maxHeld bounds the mails of one neighbour that may be held, here or further on: less
	// than the neighbour's requests that are served at once, so that other mails pass.
	maxHeld = 4
)

func stopped(reason string, at division.Ref) mailAnswer { return mailAnswer{Stopped: reason, At: at} }

// mailOrigin names a tenant's database in a MailID.
func mailOrigin(a service.Address) string { return a.Division.String() + "/" + a.Tenant }

// receiveMail relays a mail to the next hop, or has its receiver's leader receive it.
func (f *Federation) receiveMail(ctx context.Context, from division.Ref, body []byte) ([]byte, error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, service.ErrInvalid.With("detail", "no envelope: "+err.Error()).Because(err)
	}
	if left := time.Duration(e.Left) * time.Millisecond; left > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(left-hopMargin, left/2))
		defer cancel()
	}
	return json.Marshal(f.relay(ctx, from, e))
}

// relay passes on what the neighbour may have sent: mails from its side of the tree to
// another side. A neighbour cannot speak for a division elsewhere.
func (f *Federation) relay(ctx context.Context, from division.Ref, e envelope) mailAnswer {
	e.Hops++
	e.Plain = nil // Only this division's own senders are believed without a signature.
	if e.Hops > maxHops || e.From.Division == f.o.Self {
		return stopped(stopLoop, f.o.Self)
	}
	side, err := f.nextHop(ctx, e.From.Division)
	if errors.Is(err, errHeldChild) {
		return stopped(stopHeld, f.o.Self)
	}
	if err != nil || side != from {
		f.o.Log.Warn("a mail from a neighbour that may not send it", "neighbour", from, "from", e.From.Division, "to", e.To.Division, "err", err)
		return stopped(stopNoReturn, f.o.Self)
	}
	if e.Hold {
		e.Hold = f.held.take(from)
	}
	if e.Hold {
		defer f.held.give(from)
	}
	return f.pass(ctx, from, e)
}

// pass brings an envelope one step further and returns the answer of the receiver, or of
// whoever could not pass it on.
func (f *Federation) pass(ctx context.Context, from division.Ref, e envelope) mailAnswer {
	if e.To.Division == f.o.Self {
		return f.deliver(ctx, from, e)
	}
	next, err := f.nextHop(ctx, e.To.Division)
	switch {
	case errors.Is(err, ErrNoDivision):
		return stopped(stopUnknown, f.o.Self)
	case errors.Is(err, ErrLeft):
		return stopped(stopLeft, f.o.Self)
	case errors.Is(err, errHeldChild):
		return stopped(stopHeld, f.o.Self)
	case err != nil:
		f.o.Log.Warn("find the way of a mail", "to", e.To.Division, "err", err)
		return stopped(stopBusy, f.o.Self)
	case next == from: // The neighbour takes the division to be on this side.
		return stopped(stopUnknown, f.o.Self)
	}
	wait := maxHold
	if deadline, ok := ctx.Deadline(); ok { // Half of the rest is for the way behind the line.
		wait = min(wait, time.Until(deadline)/2)
	}
	hold, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for {
		changed := f.o.Wire.Changed()
		a, again := f.call(ctx, next, e)
		if !again || !e.Hold {
			return a
		}
		select {
		case <-changed:
		case <-hold.Done():
			return a
		}
	}
}

// call sends an envelope over one line. again: it certainly did not arrive.
func (f *Federation) call(ctx context.Context, next division.Ref, e envelope) (a mailAnswer, again bool) {
	if deadline, ok := ctx.Deadline(); ok {
		e.Left = max(1, time.Until(deadline).Milliseconds())
	}
	body, err := json.Marshal(e)
	if err != nil || len(body) > MaxMessage {
		f.o.Log.Error("write an envelope", "bytes", len(body), "err", err)
		return stopped(stopFailed, f.o.Self), false
	}
	reply, err := f.o.Wire.Call(ctx, next, KindMail, body)
	return f.answered(next, reply, err)
}

// answered turns what Wire.Call or Lead returned of the division at into its answer.
// again: the envelope certainly did not arrive.
func (f *Federation) answered(at division.Ref, body []byte, err error) (a mailAnswer, again bool) {
	var refusal *service.Error
	switch {
	case errors.Is(err, ErrUnreachable):
		return stopped(stopUnreachable, at), true
	case errors.As(err, &refusal) && refusal.Code == service.Unavailable:
		return stopped(stopBusy, at), false
	case errors.As(err, &refusal):
		f.o.Log.Warn("a mail was refused unread", "at", at, "err", err)
		return stopped(stopNewer, at), false
	case err != nil:
		return stopped(stopNoAnswer, at), false
	}
	if err := json.Unmarshal(body, &a); err != nil || a.Stopped == "" && a.Sealed == nil && a.Plain == nil {
		f.o.Log.Warn("read the answer to a mail", "at", at, "err", err)
		return stopped(stopFailed, at), false
	}
	if a.Stopped != "" && !stopReasons[a.Stopped] { // Perhaps a newer program's.
		a.Stopped = stopFailed
	}
	return a, false
}

// deliver has the leader of the receiver's database receive the mail. A tenant that this
// node does not know is looked for by the division database's leader.
func (f *Federation) deliver(ctx context.Context, from division.Ref, e envelope) mailAnswer {
	body, err := json.Marshal(e)
	if err != nil {
		f.o.Log.Error("write an envelope", "err", err)
		return stopped(stopFailed, f.o.Self)
	}
	id := divisionDatabase
	if _, db, ok := f.o.Database(e.To.Tenant); ok {
		id = db.ID()
	}
	reply, err := f.o.Lead(ctx, id, KindMail, from, body)
	a, _ := f.answered(f.o.Self, reply, err)
	if a.Stopped == stopUnreachable {
		a.Stopped = stopBusy // Here it is not a line that is missing but a leader.
	}
	return a
}

// holds count, for each neighbour, its mails that may be held.
type holds struct {
	mu sync.Mutex
	of map[division.Ref]int
}

// take reports whether one more may be; give it back.
func (h *holds) take(of division.Ref) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[division.Ref]int{}
	}
	if h.of[of] >= maxHeld {
		return false
	}
	h.of[of]++
	return true
}

func (h *holds) give(of division.Ref) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of[of]--
}

// seal closes a letter for a division.
func (f *Federation) seal(to Entry, l letter) ([]byte, error) {
	plain, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	sealed, err := f.o.Letters.Seal(to, plain)
	if err != nil {
		return nil, fmt.Errorf("seal a letter to %s: %w", to.Ref, err)
	}
	return sealed, nil
}

// open reads a letter that the division has signed. plain is believed in its stead when
// it comes from this division itself.
func (f *Federation) open(by division.Ref, sealed []byte, plain json.RawMessage) (l letter, err error) {
	if by == f.o.Self && sealed == nil {
		return l, json.Unmarshal(plain, &l)
	}
	from, text, err := f.o.Letters.Open(sealed)
	if err != nil {
		return l, fmt.Errorf("open a letter that says it is from %s: %w", by, err)
	}
	if from != by {
		return l, fmt.Errorf("open a letter: it says that it is from %s, and %s has signed it", by, from)
	}
	return l, json.Unmarshal(text, &l)
}

// viewDivision reads this node's replica of the division database.
func (f *Federation) viewDivision(ctx context.Context, fn func(v *service.View) error) error {
	db := f.o.Division()
	if db == nil {
		return ErrUnreachable
	}
	return db.View(ctx, replication.Local, fn)
}

var errHeldChild = errors.New("federation: the neighbour is held")

// nextHop returns the neighbour over which a division is reached. It returns errHeldChild
// for a child that was shut out.
func (f *Federation) nextHop(ctx context.Context, to division.Ref) (next division.Ref, err error) {
	err = f.viewDivision(ctx, func(v *service.View) error {
		if next, err = NextHop(v, f.o.Self, to); err != nil {
			return err
		}
		c, err := ReadChild(v, next)
		switch {
		case errors.Is(err, ErrNoChild): // It is the parent.
			return nil
		case err == nil && c.State == Held:
			return errHeldChild
		}
		return err
	})
	return next, err
}
