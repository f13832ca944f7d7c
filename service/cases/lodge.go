package cases

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
	"tongban/service/catalog"
)

// MailLodge is the mail by which a window lodges a case with another department.
const MailLodge = "cases.lodge"

const lodgeFormat = 1

// Reference names an item of any department of the tree, as search shows it:
// "county/511602/<tenant>/<code>".
type Reference struct {
	Division division.Ref
	Tenant   string
	Item     string
}

// String returns the reference as ParseReference reads it.
func (r Reference) String() string {
	return r.Division.String() + "/" + r.Tenant + "/" + r.Item
}

// ErrBadReference refuses what is no reference of an item.
var ErrBadReference = service.ErrInvalid.Field("ref", "cases.bad_reference")

// errNoSuchDivision refuses the reference of a division that neither the lists nor the
// directory have: nothing would ever be delivered there.
var errNoSuchDivision = service.ErrInvalid.Field("ref", "cases.no_such_division")

// ParseReference reads a reference. It returns ErrBadReference.
func ParseReference(text string) (Reference, error) {
	parts := strings.SplitN(strings.TrimSpace(text), "/", 4)
	if len(text) > 400 || len(parts) < 4 {
		return Reference{}, ErrBadReference
	}
	ref, err := division.ParseRef(parts[0] + "/" + parts[1])
	if err != nil {
		return Reference{}, ErrBadReference.Because(err)
	}
	r := Reference{ref, parts[2], strings.TrimSpace(parts[3])}
	if !goodSlug(r.Tenant) || r.Item == "" || len(r.Item) > catalog.MaxCode || strings.ContainsFunc(r.Item, isSpace) {
		return Reference{}, ErrBadReference
	}
	return r, nil
}

func isSpace(c rune) bool { return c <= ' ' || c == '\u3000' }

func goodSlug(s string) bool {
	return len(s) > 0 && len(s) <= 40 && !strings.ContainsFunc(s, func(c rune) bool {
		return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
	})
}

// Lodged is a case that was lodged here for another department, and how that stands.
// Applicant is personal data.
type Lodged struct {
	ID        int64             `json:"-"`
	Number    string            `json:"number"`
	Reference string            `json:"ref"`
	Division  string            `json:"division"` // Full name.
	Tenant    string            `json:"tenant"`
	Item      string            `json:"item"` // Name as the owner says it, else as the window does, else the code.
	Applicant Person            `json:"applicant"`
	Note      string            `json:"note,omitempty"`
	Lodged    time.Time         `json:"lodged"`
	State     service.MailState `json:"state"`
	Reason    string            `json:"reason,omitempty"`  // Why it waits, below "federation.mail.", or was refused.
	Where     string            `json:"where,omitempty"`   // Full name of the division at which it stopped.
	Settled   *time.Time        `json:"settled,omitempty"` // When the owner's answer came.
	Case      string            `json:"case,omitempty"`    // Number of the owner's case.
	Follow    string            `json:"follow,omitempty"`  // Where to follow that, at the owner's portal.
	Known     bool              `json:"known"`             // The directory has the owner's division.

	to     division.Ref
	secret []byte
}

const lodgedColumns = `l.id, l.number, l.secret, l.division, l.tenant, l.item, l.item_name, l.name, l.id_kind, l.id_number, l.phone,
	l.agent_name, l.agent_id, l.agent_phone, l.note, l.lodged, l.case_number, m.state, m.reason, m.at_division, m.settled`

// lodgedFrom joins each with its mail.
const lodgedFrom = ` FROM cases_lodged AS l JOIN service_outbox AS m ON m.seq = l.mail `

func (l *Lodged) scan(row interface{ Scan(dest ...any) error }) error {
	var code, where, to string
	p := &l.Applicant
	err := row.Scan(&l.ID, &l.Number, &l.secret, &to, &l.Tenant, &code, &l.Item, &p.Name, &p.IDKind, &p.IDNumber, &p.Phone,
		&p.AgentName, &p.AgentID, &p.AgentPhone, &l.Note, &l.Lodged, &l.Case, (*string)(&l.State), &l.Reason, &where, &l.Settled)
	if err != nil {
		return err
	}
	if l.to, err = division.ParseRef(to); err != nil {
		return err
	}
	l.Reference, l.Division, l.Where = Reference{l.to, l.Tenant, code}.String(), division.FullName(l.to), where
	if at, err := division.ParseRef(where); err == nil {
		l.Where = division.FullName(at)
	}
	if l.Item == "" {
		l.Item = code
	}
	if l.State == service.MailWaiting { // Again, after a restore of the owner: its number is then another.
		l.Case, l.Settled = "", nil
	}
	return nil
}

// readLodged returns the lodged case with the number; service.ErrNotFound.
func readLodged(q service.Querier, number string) (l Lodged, err error) {
	err = l.scan(q.QueryRow(`SELECT `+lodgedColumns+lodgedFrom+`WHERE l.number = ?`, number))
	if errors.Is(err, replication.ErrNoRows) {
		return l, service.ErrNotFound
	}
	if err != nil {
		return l, fmt.Errorf("read a lodged case: %w", err)
	}
	return l, nil
}

// lodgement is what the mail says.
type lodgement struct {
	Number     string `json:"number"` // The window's.
	Secret     []byte `json:"secret"` // Hash, with the window's number: the secret itself stays with the applicant.
	Item       string `json:"item"`
	Person     Person `json:"person"`
	Note       string `json:"note"`
	Truth      bool   `json:"truth"`
	Division   string `json:"division"`   // Full name of the window's division …
	Department string `json:"department"` // … and its department's.
}

// maxNumber bounds what an owner says is the number of its case, characters.
const maxNumber = 60

// lodgeReply is the answer to it.
type lodgeReply struct {
	Number   string `json:"number"`
	ItemName string `json:"item_name"`
}

// lodging is what the window is told. It is personal data.
type lodging struct {
	Person
	Ref      string `json:"ref"`
	ItemName string `json:"item_name,omitempty"` // As search shows it.
	Note     string `json:"note,omitempty"`
	Truth    bool   `json:"truth"`
}

func (l lodging) check(now time.Time) *service.Error {
	wrong := Application{Person: l.Person, Note: l.Note, Truth: l.Truth}.check(now)
	if _, err := ParseReference(l.Ref); err != nil {
		if wrong == nil {
			wrong = service.ErrInvalid
		}
		wrong = wrong.Field("ref", "cases.bad_reference")
	}
	return wrong
}

// lodge enters a lodging that was checked, with the mail to the owner.
func lodge(tx *service.Tx, site service.Site, tenant service.Tenant, in lodging, secret string, who service.Principal) (Lodged, error) {
	ref, err := ParseReference(in.Ref)
	if err != nil {
		return Lodged{}, err
	}
	n, err := nextNumber(tx, site.Code, tenant.Number)
	if err != nil {
		return Lodged{}, err
	}
	number, p := n.String(), in.Person
	hash := secretHash(number, secret)
	payload, err := json.Marshal(lodgement{Number: number, Secret: hash, Item: ref.Item, Person: p, Note: in.Note, Truth: in.Truth,
		Division: site.Full, Department: tenant.Name})
	if err != nil {
		return Lodged{}, err
	}
	mail, err := tx.Send(MailLodge, lodgeFormat, service.Address{Division: ref.Division, Tenant: ref.Tenant}, payload)
	if err != nil {
		return Lodged{}, err
	}
	if err := tx.Exec(`INSERT INTO cases_lodged (number, secret, mail, division, tenant, item, item_name, name, id_kind, id_number,
		phone, agent_name, agent_id, agent_phone, note, account, lodged, case_number)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '')`,
		number, hash, mail, ref.Division.String(), ref.Tenant, ref.Item, in.ItemName, p.Name, p.IDKind, p.IDNumber,
		p.Phone, p.AgentName, p.AgentID, p.AgentPhone, in.Note, who.Account, tx.Now()); err != nil {
		return Lodged{}, fmt.Errorf("write a lodged case: %w", err)
	}
	if err := tx.Record(service.Event{What: "cases.lodged", Subject: number, Who: who,
		Detail: map[string]string{"item": ref.String()}}); err != nil {
		return Lodged{}, err
	}
	return readLodged(tx, number)
}

// Channel says at which window of another division a case was lodged.
type Channel struct {
	Number     string `json:"number"`     // The window's.
	Division   string `json:"division"`   // Reference.
	Name       string `json:"name"`       // Full name of the division.
	Department string `json:"department"` //
}

// ErrBadLodging refuses a lodging that is not what a window would have sent.
var ErrBadLodging = service.Refuse(service.Unprocessable, "cases.lodging_malformed")

// receiveLodged makes a case of a lodging, as of an application. The window has checked it,
// and is not believed. Refusals: ErrBadLodging, catalog.ErrNoItem.
func (h *handlers) receiveLodged(tx *service.Tx, at service.Delivery, m service.Mail) ([]byte, error) {
	var l lodgement
	if err := json.Unmarshal(m.Payload, &l); err != nil {
		return nil, ErrBadLodging.Because(err)
	}
	a := Application{Person: l.Person.normal(), Item: l.Item, Note: plain(l.Note), Truth: l.Truth}
	ch := Channel{Number: l.Number, Division: m.From.Division.String(), Name: line(l.Division), Department: line(l.Department)}
	n, err := ParseNumber(l.Number)
	if err != nil || n.Division != string(m.From.Division.Code) || n.String() != l.Number || len(l.Secret) != len(secretHash("", "")) ||
		a.check(tx.Now()) != nil || utf8.RuneCountInString(ch.Name) > maxName || utf8.RuneCountInString(ch.Department) > maxName {
		return nil, ErrBadLodging
	}
	window := service.Principal{Kind: service.System, Account: "window:" + m.From.Division.String() + "/" + m.From.Tenant,
		Name: ch.Name + " " + ch.Department}
	c, err := apply(tx, h.cal, at.Site.Code, at.Tenant, a, func(string) []byte { return l.Secret }, by{window, Applicant})
	if errors.Is(err, ErrDayFull) {
		return nil, service.ErrUnavailable.Because(err) // Tomorrow there are numbers again.
	}
	if err != nil {
		return nil, err
	}
	if err := tx.Exec(`INSERT INTO cases_channel (case_id, number, division, division_name, department) VALUES (?, ?, ?, ?, ?)`,
		c.ID, ch.Number, ch.Division, ch.Name, ch.Department); err != nil {
		return nil, fmt.Errorf("write the window of case %s: %w", c.Number, err)
	}
	return json.Marshal(lodgeReply{c.Number, c.ItemName})
}

// settledLodged takes note of the owner's answer; why it refused is with the mail.
func settledLodged(tx *service.Tx, m service.Mail, r service.Receipt) error {
	var reply lodgeReply
	if r.State == service.MailDelivered {
		if err := json.Unmarshal(r.Reply, &reply); err != nil {
			return fmt.Errorf("read the answer to a lodging: %w", err)
		}
	}
	return tx.Exec(`UPDATE cases_lodged SET case_number = ?, item_name = CASE WHEN ?2 = '' THEN item_name ELSE ?2 END WHERE mail = ?3`,
		cut(line(reply.Number), maxNumber), cut(line(reply.ItemName), maxItemName), m.ID.Seq)
}

// readChannel returns where a case was lodged; nil: here, or online.
func readChannel(q service.Querier, id int64) (*Channel, error) {
	var c Channel
	err := q.QueryRow(`SELECT number, division, division_name, department FROM cases_channel WHERE case_id = ?`, id).
		Scan(&c.Number, &c.Division, &c.Name, &c.Department)
	if errors.Is(err, replication.ErrNoRows) {
		return nil, nil
	}
	return &c, err
}
