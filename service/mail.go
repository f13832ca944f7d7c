package service

import (
	"fmt"
	"time"

	"tongban/division"
)

// Address is a tenant of a division.
type Address struct {
	Division division.Ref `json:"division"`
	Tenant   string       `json:"tenant"` // Slug.
}

// MailID names a mail for ever: the database that wrote it, that database's epoch when it
// did, and a number that grows by one with each mail of the database.
type MailID struct {
	Origin string `json:"origin"` // "<level>/<code>/<tenant>", of the sender.
	Epoch  string `json:"epoch"`
	Seq    int64  `json:"seq"`
}

// Mail is a message to a tenant of another division, or of this one: delivered exactly
// once, in any order.
type Mail struct {
	ID      MailID
	From    Address
	To      Address
	Kind    string // "<service>.<noun>", such as "cases.lodge".
	Format  int    // Version of the payload's format.
	Payload []byte
	Sent    time.Time
	Again   int // How often its sender has offered it anew after a refusal.
}

// MaxMail bounds a mail's payload, bytes.
const MaxMail = 256 << 10

// MailKind is what a service does with mails of one kind.
type MailKind struct {
	Name   string
	Format int // Newest format that Receive understands; 0 is taken as 1.

	// Receive runs once in an Update of the receiving tenant's database, in the transaction
	// that enters the mail into the inbox. reply travels back in the receipt (at most 64 KiB).
	// A returned *Error refuses the mail, with its reason, and what Receive wrote is undone: it
	// runs again only if the sender's operators offer the mail anew; an Error of code Internal, Unavailable or TooMany, any other error and a panic
	// leave the mail with the sender, who tries again.
	Receive func(tx *Tx, at Delivery, m Mail) (reply []byte, err error)

	// Settled runs in an Update of the sending tenant's database, in the transaction that
	// closes the mail. It runs again when the receiver was restored from a backup made
	// before the mail, and has received it anew, and when a mail that was refused was offered
	// anew by command: the newest receipt counts. nil: nothing.
	Settled func(tx *Tx, m Mail, r Receipt) error
}

// Delivery says where a mail arrives.
type Delivery struct {
	Site   Site
	Tenant Tenant
}

// MailState is where a mail stands with its sender.
type MailState string

// States of a mail.
const (
	MailWaiting   MailState = "waiting"   // Tried again for ever.
	MailDelivered MailState = "delivered" // The receiver has committed it.
	MailRefused   MailState = "refused"   // The receiver will not have it; see Reason.
)

// Receipt is what became of a mail.
type Receipt struct {
	State  MailState // MailDelivered or MailRefused.
	Reason string    // Of a refusal: the Error's reason.
	Reply  []byte
	At     time.Time // The receiver's commit.
}

// Outgoing is a mail as its sender's outbox has it.
type Outgoing struct {
	Mail
	State   MailState
	Reason  string    // Why it waits, or was refused: a message key below "federation.mail.", or a refusal's reason.
	Where   string    // Reference of the division that stopped it, or cannot be reached.
	Tried   time.Time // Last try whose outcome was new; zero: none.
	Settled time.Time
	Reply   []byte
}

// Send puts a mail into the outbox, in the transaction of the fact that it tells. It
// returns the mail's number in this database, for ReadOutgoing.
func (tx *Tx) Send(kind string, format int, to Address, payload []byte) (int64, error) {
	if len(payload) > MaxMail {
		return 0, fmt.Errorf("send a mail %s: %d bytes are over the limit of %d", kind, len(payload), MaxMail)
	}
	epoch, err := Epoch(tx)
	if err != nil {
		return 0, fmt.Errorf("send a mail %s: %w", kind, err)
	}
	seq, err := tx.Next("mail")
	if err != nil {
		return 0, fmt.Errorf("send a mail %s: %w", kind, err)
	}
	if err := tx.Exec(`INSERT INTO service_outbox (seq, epoch, division, tenant, kind, format, payload, sent, state)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'waiting')`,
		seq, epoch, to.Division.String(), to.Tenant, kind, format, payload, tx.Now()); err != nil {
		return 0, fmt.Errorf("send a mail %s: %w", kind, err)
	}
	return seq, nil
}

// OutboxColumns are what ScanOutgoing reads.
const OutboxColumns = `seq, epoch, division, tenant, kind, format, payload, sent, state, reason, at_division, tried, settled, reply, again`

// ReadOutgoing returns a mail of this database's outbox; replication.ErrNoRows when there
// is none. ID.Origin and From are not filled in: the outbox is its database's own.
func ReadOutgoing(q Querier, seq int64) (Outgoing, error) {
	return ScanOutgoing(q.QueryRow(`SELECT `+OutboxColumns+` FROM service_outbox WHERE seq = ?`, seq))
}

// ScanOutgoing reads a row of OutboxColumns.
func ScanOutgoing(row interface{ Scan(dest ...any) error }) (Outgoing, error) {
	var m Outgoing
	var to string
	var tried, settled *time.Time
	err := row.Scan(&m.ID.Seq, &m.ID.Epoch, &to, &m.To.Tenant, &m.Kind, &m.Format, &m.Payload, &m.Sent,
		(*string)(&m.State), &m.Reason, &m.Where, &tried, &settled, &m.Reply, &m.Again)
	if err != nil {
		return m, err
	}
	if tried != nil {
		m.Tried = *tried
	}
	if settled != nil {
		m.Settled = *settled
	}
	m.To.Division, err = division.ParseRef(to)
	return m, err
}
