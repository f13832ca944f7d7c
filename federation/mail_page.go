package federation

import (
	"context"
	"slices"
	"strconv"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

const perPage = 50 // Rows on a page.

// ErrBadFilter refuses a state or page that does not exist.
var ErrBadFilter = service.Refuse(service.Invalid, "federation.bad_filter")

// Outbox is a page of a department's outgoing mails, the oldest that wait first.
type Outbox struct {
	State  string       `json:"state"` // waiting, delivered, refused
	Page   int          `json:"page"`
	Per    int          `json:"per_page"`
	Total  int          `json:"total"`
	Counts []StateCount `json:"counts"`
	Rows   []OutboxRow  `json:"rows"`
}

// StateCount is how many mails are in a state.
type StateCount struct {
	State string `json:"state"`
	Count int    `json:"count"`
}

// OutboxRow is a mail without what it says.
type OutboxRow struct {
	Number   int64      `json:"number"`
	Kind     string     `json:"kind"`
	Division string     `json:"division"` // Full name.
	Ref      string     `json:"ref"`
	Tenant   string     `json:"tenant"`
	Sent     time.Time  `json:"sent"`
	Age      Age        `json:"age"` // While it waits.
	State    string     `json:"state"`
	Reason   string     `json:"reason,omitempty"`
	Where    string     `json:"where,omitempty"` // Full name of the division at which it stopped.
	Tried    *time.Time `json:"tried,omitempty"` // When that was found.
	Settled  *time.Time `json:"settled,omitempty"`
}

// Age is a duration in the largest unit of which it has one, or in seconds.
type Age struct {
	N    int    `json:"n"`
	Unit string `json:"unit"` // seconds, minutes, hours, days
}

func ageOf(d time.Duration) Age {
	switch {
	case d < time.Minute:
		return Age{max(0, int(d/time.Second)), "seconds"}
	case d < time.Hour:
		return Age{int(d / time.Minute), "minutes"}
	case d < 48*time.Hour:
		return Age{int(d / time.Hour), "hours"}
	}
	return Age{int(d / (24 * time.Hour)), "days"}
}

var mailStates = []string{string(service.MailWaiting), string(service.MailDelivered), string(service.MailRefused)}

// outbox shows where a department's mails are.
func outbox(ctx context.Context, r *service.Request) (service.Response, error) {
	q := r.HTTP.URL.Query()
	o := Outbox{State: q.Get("state"), Page: 1, Per: perPage, Rows: []OutboxRow{}}
	if o.State == "" {
		o.State = mailStates[0]
	}
	if p := q.Get("page"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 1_000_000 {
			return service.Response{}, ErrBadFilter
		}
		o.Page = n
	}
	if !slices.Contains(mailStates, o.State) {
		return service.Response{}, ErrBadFilter
	}
	err := r.View(ctx, func(v *service.View) error { return o.fill(v, r.Now()) })
	return service.Page("federation/outbox", "federation.menu_mail", o), err
}

// fill reads the page. Cost: the index of the states, and the page's rows.
func (o *Outbox) fill(q service.Querier, now time.Time) error {
	for _, state := range mailStates {
		c := StateCount{State: state}
		if err := q.QueryRow(`SELECT count(*) FROM service_outbox WHERE state = ?`, state).Scan(&c.Count); err != nil {
			return err
		}
		o.Counts = append(o.Counts, c)
		if state == o.State {
			o.Total = c.Count
		}
	}
	order := "DESC"
	if o.State == string(service.MailWaiting) {
		order = "ASC"
	}
	rows, err := q.Query(`SELECT seq, division, tenant, kind, sent, state, reason, at_division, tried, settled FROM service_outbox
		WHERE state = ? ORDER BY seq `+order+` LIMIT ? OFFSET ?`, o.State, o.Per, (o.Page-1)*o.Per)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		r, err := scanOutbox(rows, now)
		if err != nil {
			return err
		}
		o.Rows = append(o.Rows, r)
	}
	return rows.Err()
}

func scanOutbox(rows *replication.Rows, now time.Time) (r OutboxRow, err error) {
	err = rows.Scan(&r.Number, &r.Ref, &r.Tenant, &r.Kind, &r.Sent, &r.State, &r.Reason, &r.Where, &r.Tried, &r.Settled)
	r.Age = ageOf(now.Sub(r.Sent))
	r.Division, r.Where = fullName(r.Ref), fullName(r.Where)
	return r, err
}

// fullName returns the name of a reference; of what is none, the text itself.
func fullName(text string) string {
	ref, err := division.ParseRef(text)
	if text == "" || err != nil {
		return text
	}
	return division.FullName(ref)
}
