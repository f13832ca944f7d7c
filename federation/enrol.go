package federation

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// Refusals of tokens and children, for errors.Is.
var (
	ErrTokenUnknown = errors.New("federation: there is no such token")
	ErrTokenSpent   = errors.New("federation: the token was used")
	ErrTokenExpired = errors.New("federation: the token has expired")
	ErrNoChild      = errors.New("federation: there is no such child")
)

// Token lets one division enrol as a child, once.
type Token struct {
	ID      string
	Ref     division.Ref // For whom.
	Secret  []byte       // Request and answer are proved by it.
	Replace bool         // Another authority may take the place of a child's.
	Created time.Time    // Filled in by MintToken.
	Expires time.Time
	Spent   time.Time // Zero: it can still be used.
	Request []byte    // What spent it, as SpendToken was told.
	Answer  []byte    // What that was answered.

	Asked    time.Time // Somebody came with it and waits for approval; zero: nobody.
	Asker    []byte    // Who, as AskToken was told.
	Print    string    // Fingerprint of his key, hexadecimal, for people to compare.
	Approved time.Time // He may use it; zero: not yet.
}

// State is where a child stands.
type State string

// States of a child.
const (
	Active State = "active"
	Held   State = "held" // Its rows and mails are refused, and it is told why; see Child.Reason.
)

// Reasons of a hold, message keys below "federation.held.".
const (
	HeldDuplicate = "duplicate" // Two divisions show its identity, or an old copy of it is back.
	HeldOperator  = "operator"  // By command.
)

// Child is a division that is enrolled here.
type Child struct {
	Ref      division.Ref
	Name     string // DNS name along the tree; its certificates are below it.
	State    State
	Reason   string    // Of Held.
	CA       []byte    // Its authority, DER, as this division signed it.
	Enrolled time.Time // Filled in by EnterChild.
}

// Parent is the division at which this one is enrolled.
type Parent struct {
	Ref      division.Ref
	Links    []string  // Leaf ports, host:port.
	Fixed    bool      // Links were given by command; what the parent advertises does not change them.
	Chain    [][]byte  // DER; this division's authority as the parent signed it first, the anchor last.
	Enrolled time.Time // Filled in by SetParent.

	Before division.Ref // The parent that it had before it moved; filled in by SetParent.
}

// keepToken is how long a token is kept after it has expired: so long its secret is good for
// asking again after an answer that was lost.
const keepToken = 30 * 24 * time.Hour

// MintToken enters tokens that can be used once each, and forgets those that expired long
// ago.
func MintToken(tx *service.Tx, tokens ...Token) error {
	if err := tx.Exec(`DELETE FROM federation_token WHERE expires < ?`, tx.Now().Add(-keepToken)); err != nil {
		return fmt.Errorf("forget old enrolment tokens: %w", err)
	}
	for _, t := range tokens {
		if err := tx.Exec(`INSERT INTO federation_token (id, ref, secret, created, expires, renew) VALUES (?, ?, ?, ?, ?, ?)`,
			t.ID, t.Ref.String(), t.Secret, tx.Now(), t.Expires, t.Replace); err != nil {
			return fmt.Errorf("mint an enrolment token for %s: %w", t.Ref, err)
		}
	}
	return nil
}

const tokenColumns = `id, ref, secret, renew, created, expires, spent, request, answer, asked, asker, print, approved`

// ReadToken returns a token, used or not, or ErrTokenUnknown.
func ReadToken(q service.Querier, id string) (Token, error) {
	t, err := scanToken(q.QueryRow(`SELECT `+tokenColumns+` FROM federation_token WHERE id = ?`, id))
	if errors.Is(err, replication.ErrNoRows) {
		return t, ErrTokenUnknown
	}
	return t, err
}

// ReadTokens returns the tokens that can still be used, the one that expires first first.
func ReadTokens(q service.Querier) ([]Token, error) {
	return readTokens(q, `spent IS NULL AND expires > ? ORDER BY expires, id`, q.Now())
}

func readTokens(q service.Querier, where string, args ...any) ([]Token, error) {
	rows, err := q.Query(`SELECT `+tokenColumns+` FROM federation_token WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Token
	for rows.Next() {
		t, err := scanToken(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, rows.Err()
}

type scanner interface{ Scan(dest ...any) error }

func scanToken(row scanner) (Token, error) {
	var t Token
	var ref string
	var spent, asked, approved *time.Time
	err := row.Scan(&t.ID, &ref, &t.Secret, &t.Replace, &t.Created, &t.Expires, &spent, &t.Request, &t.Answer,
		&asked, &t.Asker, &t.Print, &approved)
	if err != nil {
		return t, err
	}
	for to, from := range map[*time.Time]*time.Time{&t.Spent: spent, &t.Asked: asked, &t.Approved: approved} {
		if from != nil {
			*to = *from
		}
	}
	t.Ref, err = division.ParseRef(ref)
	return t, err
}

// Check tells whether the token can be used at the time: ErrTokenSpent, ErrTokenExpired.
func (t Token) Check(now time.Time) error {
	switch {
	case !t.Spent.IsZero():
		return ErrTokenSpent
	case now.After(t.Expires):
		return ErrTokenExpired
	}
	return nil
}

// SpendToken uses a token up, and keeps what it was spent on and what was answered: who
// asks the same again is to get the same answer. Refusals: ErrTokenUnknown and those of
// Check.
func SpendToken(tx *service.Tx, id string, request, answer []byte) error {
	t, err := ReadToken(tx, id)
	if err == nil {
		err = t.Check(tx.Now())
	}
	if err != nil {
		return err
	}
	return tx.Exec(`UPDATE federation_token SET spent = ?, request = ?, answer = ? WHERE id = ?`, tx.Now(), request, answer, id)
}

// EnterChild enters a child, active from now on, or anew after a loss. Other tokens for it
// that were not used cannot be any more.
func EnterChild(tx *service.Tx, c Child) error {
	if err := dropTokens(tx, c.Ref); err != nil {
		return err
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO federation_child (ref, name, state, reason, ca, enrolled) VALUES (?, ?, 'active', '', ?, ?)`,
		c.Ref.String(), c.Name, c.CA, tx.Now()); err != nil {
		return fmt.Errorf("enter the child %s: %w", c.Ref, err)
	}
	if err := readmit(tx, c.Ref); err != nil {
		return err
	}
	return forgive(tx, c.Ref)
}

// RenewChild records that a child's authority was signed again, under its name of now.
func RenewChild(tx *service.Tx, ref division.Ref, name string, ca []byte) error {
	return change(tx, ref, `UPDATE federation_child SET name = ?, ca = ? WHERE ref = ?`, name, ca, ref.String())
}

// HoldChild closes a child's lines until FreeChild; reason is a message key below
// "federation.held.". Tokens for it that were not used cannot be any more: whoever holds one
// would let itself in again. It returns ErrNoChild.
func HoldChild(tx *service.Tx, ref division.Ref, reason string) error {
	if err := dropTokens(tx, ref); err != nil {
		return err
	}
	return change(tx, ref, `UPDATE federation_child SET state = 'held', reason = ? WHERE ref = ?`, reason, ref.String())
}

func dropTokens(tx *service.Tx, ref division.Ref) error {
	if err := tx.Exec(`DELETE FROM federation_token WHERE ref = ? AND spent IS NULL`, ref.String()); err != nil {
		return fmt.Errorf("drop the tokens for %s that were not used: %w", ref, err)
	}
	return nil
}

// FreeChild lets a child in again, whatever it was held for. It returns ErrNoChild.
func FreeChild(tx *service.Tx, ref division.Ref) error {
	if err := change(tx, ref, `UPDATE federation_child SET state = 'active', reason = '' WHERE ref = ?`, ref.String()); err != nil {
		return err
	}
	return forgive(tx, ref)
}

// forgive forgets by what a copy of the child would be found: an operator says that the
// one that comes next is the right one, also when it is the older. An empty token is no
// demand, and an epoch that is not retired is a new one.
func forgive(tx *service.Tx, ref division.Ref) error {
	if err := tx.Exec(`UPDATE federation_received SET token = '', before = '' WHERE neighbour = ?`, ref.String()); err != nil {
		return fmt.Errorf("free the child %s: %w", ref, err)
	}
	if err := tx.Exec(`DELETE FROM federation_retired WHERE neighbour = ?`, ref.String()); err != nil {
		return fmt.Errorf("free the child %s: %w", ref, err)
	}
	return nil
}

func change(tx *service.Tx, ref division.Ref, sql string, args ...any) error {
	done, err := tx.ExecResult(sql, args...)
	if err != nil {
		return fmt.Errorf("change the child %s: %w", ref, err)
	}
	if done.RowsAffected == 0 {
		return ErrNoChild
	}
	return nil
}

const childColumns = `ref, name, state, reason, ca, enrolled`

// ReadChildren returns all children in the order of their references.
func ReadChildren(q service.Querier) ([]Child, error) {
	rows, err := q.Query(`SELECT ` + childColumns + ` FROM federation_child ORDER BY ref`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []Child
	for rows.Next() {
		c, err := scanChild(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, rows.Err()
}

// ReadChild returns a child, or ErrNoChild.
func ReadChild(q service.Querier, ref division.Ref) (Child, error) {
	c, err := scanChild(q.QueryRow(`SELECT `+childColumns+` FROM federation_child WHERE ref = ?`, ref.String()))
	if errors.Is(err, replication.ErrNoRows) {
		return c, ErrNoChild
	}
	return c, err
}

func scanChild(row scanner) (Child, error) {
	var c Child
	var ref string
	err := row.Scan(&ref, &c.Name, (*string)(&c.State), &c.Reason, &c.CA, &c.Enrolled)
	if err != nil {
		return c, err
	}
	c.Ref, err = division.ParseRef(ref)
	return c, err
}

// SetParent enters where this division is enrolled, or what has changed about that; the
// time of the enrolment stays while the parent does. Another parent than before is a move: it
// is told all anew, and what the former one told stays until the new one has told all.
func SetParent(tx *service.Tx, p Parent) error {
	before, ok, err := ReadParent(tx)
	if err != nil {
		return err
	}
	if ok && before.Ref != p.Ref {
		if err := tx.Exec(`DELETE FROM federation_sent WHERE neighbour IN (?, ?)`, before.Ref.String(), p.Ref.String()); err != nil {
			return fmt.Errorf("move to the parent %s: %w", p.Ref, err)
		}
		if err := tx.Exec(`DELETE FROM federation_told`); err != nil {
			return fmt.Errorf("move to the parent %s: %w", p.Ref, err)
		}
		if err := FreeParent(tx, p.Ref); err != nil {
			return err
		}
	}
	links, err := json.Marshal(p.Links)
	if err != nil {
		return err
	}
	chain, err := json.Marshal(p.Chain)
	if err != nil {
		return err
	}
	if err := tx.Exec(`INSERT INTO federation_parent (id, ref, links, fixed, chain, enrolled) VALUES (1, ?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET links = excluded.links, fixed = excluded.fixed, chain = excluded.chain,
			ref = excluded.ref, before = CASE WHEN ref = excluded.ref THEN before ELSE ref END,
			enrolled = CASE WHEN ref = excluded.ref THEN enrolled ELSE excluded.enrolled END`,
		p.Ref.String(), string(links), p.Fixed, string(chain), tx.Now()); err != nil {
		return fmt.Errorf("enter the parent %s: %w", p.Ref, err)
	}
	return nil
}

// ReadParent returns the parent; false: this division has none.
func ReadParent(q service.Querier) (Parent, bool, error) {
	var p Parent
	var ref, links, chain, before string
	err := q.QueryRow(`SELECT ref, links, fixed, chain, enrolled, before FROM federation_parent WHERE id = 1`).
		Scan(&ref, &links, &p.Fixed, &chain, &p.Enrolled, &before)
	if errors.Is(err, replication.ErrNoRows) {
		return Parent{}, false, nil
	}
	if err != nil {
		return Parent{}, false, err
	}
	if p.Ref, err = division.ParseRef(ref); err != nil {
		return Parent{}, false, err
	}
	if err := p.Before.UnmarshalText([]byte(before)); err != nil {
		return Parent{}, false, err
	}
	if err := json.Unmarshal([]byte(links), &p.Links); err != nil {
		return Parent{}, false, fmt.Errorf("read the parent's links: %w", err)
	}
	if err := json.Unmarshal([]byte(chain), &p.Chain); err != nil {
		return Parent{}, false, fmt.Errorf("read the parent's chain: %w", err)
	}
	return p, true, nil
}

// SetLink enters where a node of this division takes links of children, host:port.
func SetLink(tx *service.Tx, node replication.NodeID, address string) error {
	return tx.Exec(`INSERT OR REPLACE INTO federation_link (node, address) VALUES (?, ?)`, string(node), address)
}

// ReadLinks returns where nodes of this division take links of children, host:port; nodes
// that were removed are among them.
func ReadLinks(q service.Querier) (map[replication.NodeID]string, error) {
	rows, err := q.Query(`SELECT node, address FROM federation_link`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	links := map[replication.NodeID]string{}
	for rows.Next() {
		var node, address string
		if err := rows.Scan(&node, &address); err != nil {
			return nil, err
		}
		links[replication.NodeID(node)] = address
	}
	return links, rows.Err()
}

// ParentHeld reports whether rows of the parent are refused because two have shown its
// identity; see FreeParent.
func ParentHeld(q service.Querier, parent division.Ref) (bool, error) {
	var held bool
	err := q.QueryRow(`SELECT held FROM federation_received WHERE neighbour = ?`, parent.String()).Scan(&held)
	if errors.Is(err, replication.ErrNoRows) {
		return false, nil
	}
	return held, err
}
