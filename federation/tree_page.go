package federation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/service"
)

// PermTree sees the division's place in the tree.
var PermTree = service.Permission{Name: "federation.tree",
	Roles: []service.Role{service.RoleDivisionAdmin, service.RoleOperator}}

// TreePage is the division's place in the tree, and how fresh what crosses its lines is.
type TreePage struct {
	Ref      division.Ref `json:"ref"`
	Parent   *Line        `json:"parent"` // nil: it has none.
	Children []Line       `json:"children"`
	Silent   []SilentRow  `json:"silent"`
	Parked   []ParkedRow  `json:"parked"` // At most perPage.
	Waiting  int          `json:"waiting"`
	Queues   []Queue      `json:"queues"` // In which something waits.
	Kept     int          `json:"kept"`   // Mails in the inboxes, kept so that none is received twice.
	Known    int          `json:"known"`  // Divisions of the directory.
}

// Line is a neighbour and what crosses the line to it.
type Line struct {
	Ref       division.Ref `json:"ref"`
	Name      string       `json:"name"`
	State     string       `json:"state"`            // up, down, held
	Reason    string       `json:"reason,omitempty"` // Of a hold, or why the neighbour takes nothing: a message key.
	Lag       int          `json:"lag"`              // Rows that it has not acknowledged.
	Contact   *time.Time   `json:"contact"`          // When it last answered or confirmed; nil: never.
	Age       Age          `json:"age"`
	Confirmed *time.Time   `json:"confirmed"` // When it last confirmed that there is nothing newer; nil: never.
}

// SilentRow is a division below that is not heard of as it should be.
type SilentRow struct {
	Ref  division.Ref `json:"ref"`
	Name string       `json:"name"`
	AsOf *time.Time   `json:"as_of"` // nil: never heard of.
	Age  Age          `json:"age"`
}

// ParkedRow is a row that could not be folded.
type ParkedRow struct {
	From   string `json:"from"` // Name.
	Feed   string `json:"feed"`
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// tree is GET /federation.
func (f *Federation) tree(ctx context.Context, r *service.Request) (service.Response, error) {
	out := TreePage{Ref: f.o.Self, Children: []Line{}, Silent: []SilentRow{}, Parked: []ParkedRow{}}
	now := r.Now()
	err := r.View(ctx, func(v *service.View) (err error) {
		parent, ok, err := ReadParent(v)
		if err != nil {
			return err
		}
		if ok {
			line, err := f.line(v, parent.Ref, service.Up, now)
			if err != nil {
				return err
			}
			out.Parent = &line
		}
		children, err := ReadChildren(v)
		if err != nil {
			return err
		}
		for _, c := range children {
			line, err := f.line(v, c.Ref, service.Down, now)
			if err != nil {
				return err
			}
			if c.State == Held {
				line.State, line.Reason = "held", "federation.held."+c.Reason
			}
			out.Children = append(out.Children, line)
		}
		if out.Silent, err = silentRows(v, now); err != nil {
			return err
		}
		if err := v.QueryRow(`SELECT (SELECT count(*) FROM federation_row INDEXED BY federation_row_state WHERE state <> 'folded' AND state = 'newer'), count(*) FROM federation_directory`).
			Scan(&out.Waiting, &out.Known); err != nil {
			return err
		}
		out.Parked, err = parkedRows(v)
		return err
	})
	if err != nil {
		return service.Response{}, fmt.Errorf("read the place in the tree: %w", err)
	}
	queues, err := f.Queues(ctx)
	if err != nil {
		return service.Response{}, err
	}
	out.Queues = []Queue{}
	for _, q := range queues {
		switch {
		case q.Kind == QueueInbox:
			out.Kept += q.Size
		case q.Size+q.Refused > 0:
			out.Queues = append(out.Queues, q)
		}
	}
	return service.Page("federation/tree", "federation.menu_tree", out), nil
}

// line reads what crosses the line to a neighbour; stream is what goes there.
func (f *Federation) line(q service.Querier, to division.Ref, stream service.Stream, now time.Time) (Line, error) {
	l := Line{Ref: to, Name: division.FullName(to), State: "down"}
	if f.o.Wire != nil && f.o.Wire.Connected(to) {
		l.State = "up"
	}
	epoch, err := service.Epoch(q)
	if err != nil {
		return l, err
	}
	done, err := readSent(q, to, epoch)
	if err != nil {
		return l, err
	}
	if err := q.QueryRow(`SELECT count(*) FROM service_feed WHERE stream = ? AND version > ?`,
		string(stream), done.version).Scan(&l.Lag); err != nil {
		return l, err
	}
	var answered, confirmed *time.Time
	var held bool
	if err := q.QueryRow(`SELECT (SELECT at FROM federation_sent WHERE neighbour = ?1 AND token <> ''),
		(SELECT confirmed FROM federation_received WHERE neighbour = ?1),
		coalesce((SELECT held FROM federation_received WHERE neighbour = ?1), 0)`, to.String()).
		Scan(&answered, &confirmed, &held); err != nil {
		return l, err
	}
	l.Confirmed, l.Contact, l.Reason = confirmed, later(answered, confirmed), done.reason
	if l.Contact != nil {
		l.Age = ageOf(now.Sub(*l.Contact))
	}
	if held {
		l.State, l.Reason = "held", "federation.held."+HeldDuplicate
	}
	return l, nil
}

func later(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.After(*a) {
		return b
	}
	return a
}

func silentRows(q service.Querier, now time.Time) ([]SilentRow, error) {
	silent, err := readSilent(q)
	if err != nil {
		return nil, err
	}
	list := []SilentRow{}
	left, err := ReadRevocations(q)
	if err != nil {
		return nil, err
	}
	places, err := ReadPlaces(q)
	if err != nil {
		return nil, err
	}
	for _, p := range places { // For their order.
		at, ok := silent[p.Ref]
		if _, gone := left[p.Ref]; !ok || gone { // Of one that has left nothing is expected.
			continue
		}
		row := SilentRow{Ref: p.Ref, Name: division.FullName(p.Ref)}
		if !at.IsZero() {
			row.AsOf, row.Age = &at, ageOf(now.Sub(at))
		}
		list = append(list, row)
	}
	return list, nil
}

func parkedRows(q service.Querier) ([]ParkedRow, error) {
	rows, err := q.Query(`SELECT neighbour, feed, key, reason FROM federation_row INDEXED BY federation_row_state
		WHERE state <> 'folded' AND state = 'parked' ORDER BY neighbour, feed, key LIMIT ?`, perPage)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []ParkedRow{}
	for rows.Next() {
		var p ParkedRow
		var from string
		if err := rows.Scan(&from, &p.Feed, &p.Key, &p.Reason); err != nil {
			return nil, err
		}
		ref, err := division.ParseRef(from)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read a parked row of %q", from), err)
		}
		p.From = division.FullName(ref)
		list = append(list, p)
	}
	return list, rows.Err()
}
