package cases

import (
	"errors"
	"fmt"
	"time"

	"tongban/replication"
	"tongban/service"
)

// Case is one application and what became of it. Applicant is personal data.
type Case struct {
	ID            int64      `json:"-"`
	Number        string     `json:"number"`
	Item          string     `json:"item"` // Code of the item when the case was submitted.
	ItemName      string     `json:"item_name"`
	Instant       bool       `json:"instant"`        // 即办件: settled at once.
	StatutoryDays int        `json:"statutory_days"` // Working days to decide, by law …
	PromiseDays   int        `json:"promise_days"`   // … and as promised.
	ExtensionDays int        `json:"extension_days"` // Of the statutory limit; 0 or ExtensionDays.
	Applicant     Person     `json:"applicant"`
	Note          string     `json:"note,omitempty"` // What the applicant wrote.
	State         State      `json:"state"`
	Version       int        `json:"version"`   // Number of its events.
	Submitted     time.Time  `json:"submitted"` //
	Received      time.Time  `json:"received"`  // Day of receipt: of submission, or of what was submitted again.
	Accepted      *time.Time `json:"accepted,omitempty"`
	Silent        bool       `json:"silent"`    // Accepted because the department was silent.
	Corrected     bool       `json:"corrected"` // Corrections were asked for, once.
	Decided       *time.Time `json:"decided,omitempty"`
	Stops         []Stopped  `json:"stops,omitempty"`
	Materials     []Material `json:"materials,omitempty"`
	Events        []Event    `json:"events,omitempty"`
	Channel       *Channel   `json:"channel,omitempty"` // Nil: it was not lodged in another division.

	secret []byte
}

// Material is a thing to bring, as the item asked for it when the case was submitted.
type Material struct {
	Name     string `json:"name"`
	Kind     string `json:"kind,omitempty"` // original, copy, form; empty: not said.
	Required bool   `json:"required"`
	Shared   bool   `json:"shared"` // The department fetches it itself.
	Given    bool   `json:"given"`  // The applicant says that they have it.
}

// Last returns the newest event of one of the actions.
func (c Case) Last(actions ...Action) (Event, bool) {
	for i := len(c.Events) - 1; i >= 0; i-- {
		for _, a := range actions {
			if c.Events[i].Action == a {
				return c.Events[i], true
			}
		}
	}
	return Event{}, false
}

const caseColumns = `id, number, secret, item, item_name, instant, statutory, promise, extension, name, id_kind, id_number,
	phone, agent_name, agent_id, agent_phone, note, state, version, submitted, received, accepted, silent, corrected, decided`

func (c *Case) scan(row interface{ Scan(dest ...any) error }) error {
	p := &c.Applicant
	return row.Scan(&c.ID, &c.Number, &c.secret, &c.Item, &c.ItemName, &c.Instant, &c.StatutoryDays, &c.PromiseDays,
		&c.ExtensionDays, &p.Name, &p.IDKind, &p.IDNumber, &p.Phone, &p.AgentName, &p.AgentID, &p.AgentPhone, &c.Note,
		&c.State, &c.Version, &c.Submitted, &c.Received, &c.Accepted, &c.Silent, &c.Corrected, &c.Decided)
}

// ReadCase returns the case with the number, as people type it, with its materials, stops
// and events. It returns ErrBadNumber, or service.ErrNotFound.
func ReadCase(q service.Querier, number string) (Case, error) {
	n, err := ParseNumber(number)
	if err != nil {
		return Case{}, err
	}
	c, err := readWhere(q, `number = ?`, n.String())
	if err != nil {
		return c, err
	}
	if c.Materials, err = readMaterials(q, c.ID); err != nil {
		return c, err
	}
	if c.Events, err = readEvents(q, c.ID); err != nil {
		return c, err
	}
	c.Channel, err = readChannel(q, c.ID)
	return c, err
}

// readWhere returns a case with its stops only: what a move needs.
func readWhere(q service.Querier, cond string, arg any) (Case, error) {
	var c Case
	err := c.scan(q.QueryRow(`SELECT `+caseColumns+` FROM cases_case WHERE `+cond, arg))
	if errors.Is(err, replication.ErrNoRows) {
		return c, service.ErrNotFound
	}
	if err != nil {
		return c, fmt.Errorf("read a case: %w", err)
	}
	c.Stops, err = readStops(q, c.ID)
	return c, err
}

func readStops(q service.Querier, id int64) ([]Stopped, error) {
	return collect(q, func(rows *replication.Rows) (s Stopped, err error) {
		return s, rows.Scan(&s.From, &s.To, &s.Kind, &s.Days)
	}, `SELECT began, ended, kind, days FROM cases_stop WHERE case_id = ? ORDER BY began`, id)
}

func readMaterials(q service.Querier, id int64) ([]Material, error) {
	return collect(q, func(rows *replication.Rows) (m Material, err error) {
		return m, rows.Scan(&m.Name, &m.Kind, &m.Required, &m.Shared, &m.Given)
	}, `SELECT name, kind, required, shared, given FROM cases_material WHERE case_id = ? ORDER BY seq`, id)
}

// Receipts calls fn with the number of every case, in order of submission, and returns
// the first error.
func Receipts(q service.Querier, fn func(number string) error) error {
	return each(q, func(rows *replication.Rows) error {
		var number string
		if err := rows.Scan(&number); err != nil {
			return err
		}
		return fn(number)
	}, `SELECT number FROM cases_case ORDER BY id`)
}

// each calls fn for every row of a query.
func each(q service.Querier, fn func(rows *replication.Rows) error, sql string, args ...any) error {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// collect returns every row of a query.
func collect[T any](q service.Querier, scan func(rows *replication.Rows) (T, error), sql string, args ...any) ([]T, error) {
	var out []T
	err := each(q, func(rows *replication.Rows) error {
		v, err := scan(rows)
		out = append(out, v)
		return err
	}, sql, args...)
	return out, err
}
