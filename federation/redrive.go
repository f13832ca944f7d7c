package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"tongban/replication"
	"tongban/service"
)

// kindRedrive is a request of this division's own nodes to the leader of a database.
const kindRedrive = "redrive"

// redriveRows bounds what one request redrives: some seconds of folds.
const redriveRows = 200

// Redriven is what became of dead letters that were tried anew.
type Redriven struct {
	Rows    int          `json:"rows"`    // Parked rows that were folded.
	Mails   int          `json:"mails"`   // Mails that are being sent anew.
	Still   []DeadLetter `json:"still"`   // Rows that could not be folded again, with the reason of now; at most MaxDead.
	Unknown []string     `json:"unknown"` // IDs of what is no dead letter, or is none any more.
}

// redriveOrder says what of one database is to be tried anew: IDs, or All of it after After.
type redriveOrder struct {
	All   bool     `json:"all,omitempty"`
	Mails []int64  `json:"mails,omitempty"`
	Rows  []string `json:"rows,omitempty"` // IDs.
	After *rowKey  `json:"after,omitempty"`
	// AfterMail is After for mails: what fails again at once is not met twice.
	AfterMail int64 `json:"after_mail,omitempty"`
}

type rowKey struct {
	Neighbour string `json:"neighbour"`
	Feed      string `json:"feed"`
	Key       string `json:"key"`
}

// redriveAnswer is what became of it. Next: there is more after it.
type redriveAnswer struct {
	Done    int          `json:"done"`
	Still   []DeadLetter `json:"still,omitempty"`
	Unknown []string     `json:"unknown,omitempty"`
	Next    *rowKey      `json:"next,omitempty"`
	// NextMail is Next for mails; 0: there are no more.
	NextMail int64 `json:"next_mail,omitempty"`
}

// byOperator is whom the audit names for what is done by command.
var byOperator = service.Principal{Kind: service.Operator, Account: "operator", Name: "operator"}

// Redrive folds parked rows anew and offers mails anew that stopped or were refused: those
// with the IDs, or all (refused mails only by their ID: most were refused rightly). It may
// run on any node; the leaders of the databases do the work. Errors: ErrUnreachable when
// nobody leads one of them now, with what was done until then.
func (f *Federation) Redrive(ctx context.Context, ids []string, all bool) (Redriven, error) {
	out := Redriven{Still: []DeadLetter{}, Unknown: []string{}}
	rows, mails := redriveOrder{All: all}, map[string]*redriveOrder{}
	for _, id := range ids {
		slug, seq, ok := parseMailID(id)
		if !ok {
			rows.Rows = append(rows.Rows, id)
			continue
		}
		if mails[slug] == nil {
			mails[slug] = &redriveOrder{}
		}
		mails[slug].Mails = append(mails[slug].Mails, seq)
	}
	if all || len(rows.Rows) > 0 {
		if err := f.redriveIn(ctx, divisionDatabase, rows, &out.Rows, &out); err != nil {
			return out, err
		}
	}
	for _, t := range f.o.Tenants() {
		order := mails[t.Slug]
		delete(mails, t.Slug)
		if all {
			order = &redriveOrder{All: true}
		}
		_, db, ok := f.o.Database(t.Slug)
		switch {
		case order == nil:
		case !ok:
			out.unknown(t.Slug, order.Mails)
		default:
			before := len(out.Unknown)
			if err := f.redriveIn(ctx, db.ID(), *order, &out.Mails, &out); err != nil {
				return out, err
			}
			for i, id := range out.Unknown[before:] {
				out.Unknown[before+i] = "mail/" + t.Slug + "/" + id
			}
		}
	}
	for slug, order := range mails {
		out.unknown(slug, order.Mails)
	}
	return out, nil
}

func (r *Redriven) unknown(slug string, mails []int64) {
	for _, seq := range mails {
		r.Unknown = append(r.Unknown, fmt.Sprintf("mail/%s/%d", slug, seq))
	}
}

// redriveIn has the leader of a database carry out an order, part by part.
func (f *Federation) redriveIn(ctx context.Context, id replication.DatabaseID, o redriveOrder, done *int, out *Redriven) error {
	for {
		body, err := json.Marshal(o)
		if err != nil {
			return err
		}
		raw, err := f.o.Lead(ctx, id, kindRedrive, f.o.Self, body)
		if err != nil {
			return fmt.Errorf("redrive what is dead in %s: %w", id, err)
		}
		var a redriveAnswer
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("redrive what is dead in %s: %w", id, err)
		}
		*done += a.Done
		out.Still = append(out.Still, a.Still[:min(len(a.Still), max(0, MaxDead-len(out.Still)))]...)
		if a.Next == nil && a.NextMail == 0 {
			out.Unknown = append(out.Unknown, a.Unknown...)
			return nil
		}
		o.After, o.AfterMail = a.Next, a.NextMail
		o.Rows = a.Unknown // Those that were not met yet.
	}
}

// serveRedrive carries out an order on the leader of its database.
func (f *Federation) serveRedrive(ctx context.Context, id replication.DatabaseID, body []byte) ([]byte, error) {
	var o redriveOrder
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, service.ErrInvalid.With("detail", "no order: "+err.Error()).Because(err)
	}
	var a redriveAnswer
	var err error
	if id == divisionDatabase {
		a, err = f.redriveParked(ctx, o)
	} else {
		a, err = f.redriveMails(ctx, id, o)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// redriveParked folds parked rows one by one, each with its row of the audit.
func (f *Federation) redriveParked(ctx context.Context, o redriveOrder) (a redriveAnswer, err error) {
	db := f.o.Division()
	wanted := map[string]bool{}
	for _, id := range o.Rows {
		wanted[id] = true
	}
	after := waiting{}
	if o.After != nil {
		after.from, after.row.Feed, after.row.Key = refOf(o.After.Neighbour), o.After.Feed, o.After.Key
	}
	list, err := readWaiting(ctx, db, after)
	if err != nil {
		return a, err
	}
	for _, w := range list {
		if w.state != stateParked || !o.All && !wanted[w.id()] {
			continue
		}
		delete(wanted, w.id())
		failed, err := f.redriveRow(ctx, db, w)
		if err != nil {
			return a, err
		}
		if failed == nil {
			a.Done++
		} else {
			a.Still = append(a.Still, DeadLetter{ID: w.id(), State: DeadParked, Kind: w.row.Feed, Of: w.from.String(), What: w.row.Key, Reason: failed.Error()})
		}
	}
	if len(list) == refoldRows && (o.All || len(wanted) > 0) {
		last := list[len(list)-1]
		a.Next = &rowKey{last.from.String(), last.row.Feed, last.row.Key}
	}
	for _, id := range o.Rows {
		if wanted[id] {
			a.Unknown = append(a.Unknown, id)
		}
	}
	return a, nil
}

// redriveRow folds one row, or notes why it could not be.
func (f *Federation) redriveRow(ctx context.Context, db *service.DB, w waiting) (failed, err error) {
	try := func(parked error) error {
		return db.Update(ctx, func(tx *service.Tx) error {
			if err := f.refoldIn(tx, w, parked); err != nil {
				return err
			}
			refused := ""
			if parked != nil {
				refused = "federation.parked"
			}
			return tx.Record(service.Event{What: "federation.redriven", Subject: w.id(), Who: byOperator, Refused: refused,
				Detail: map[string]string{"from": w.from.String(), "feed": w.row.Feed}})
		})
	}
	failed = try(nil)
	if failed == nil || !ofRows(failed) {
		return nil, failed
	}
	return failed, try(failed)
}

// redriveMails has mails wait again that were refused, and all that stopped tried now.
func (f *Federation) redriveMails(ctx context.Context, id replication.DatabaseID, o redriveOrder) (a redriveAnswer, err error) {
	db, err := f.databaseOf(id)
	if err != nil {
		return a, err
	}
	if o.All {
		if o.Mails, err = stuckMails(ctx, db, o.AfterMail); err != nil {
			return a, err
		}
		if n := len(o.Mails); n == redriveRows {
			a.NextMail = o.Mails[n-1]
		}
	}
	for part := o.Mails; len(part) > 0; part = part[min(redriveRows, len(part)):] {
		some := part[:min(redriveRows, len(part))]
		var done int
		var unknown []string
		if err := db.Update(ctx, func(tx *service.Tx) error {
			done, unknown = 0, nil
			for _, seq := range some {
				was, err := redriveMail(tx, seq)
				if err != nil {
					return err
				}
				if was {
					done++
				} else {
					unknown = append(unknown, fmt.Sprint(seq))
				}
			}
			return nil
		}); err != nil {
			return a, fmt.Errorf("offer mails anew: %w", err)
		}
		a.Done, a.Unknown = a.Done+done, append(a.Unknown, unknown...)
	}
	f.redriven.ring()
	return a, nil
}

// redriveMail reports whether the mail was a dead letter. One that was refused waits again,
// and counts how often it is offered: by that its receiver knows that it is not the refused
// one repeated. One that stopped waits already; why stays with it until that is another.
func redriveMail(tx *service.Tx, seq int64) (was bool, err error) {
	m, err := service.ReadOutgoing(tx, seq)
	refused := m.State == service.MailRefused
	switch {
	case errors.Is(err, replication.ErrNoRows):
		return false, nil
	case err != nil:
		return false, err
	case !refused && (m.State != service.MailWaiting || !stuck(m.Reason)):
		return false, nil
	}
	if refused {
		if err := tx.Exec(`UPDATE service_outbox SET state = 'waiting', reason = '', at_division = '', tried = NULL, settled = NULL,
			receiver = '', again = again + 1 WHERE seq = ?`, seq); err != nil {
			return false, err
		}
	}
	return true, tx.Record(service.Event{What: "federation.redriven", Subject: fmt.Sprintf("mail/%d", seq), Who: byOperator,
		Detail: map[string]string{"kind": m.Kind, "to": mailOrigin(m.To), "reason": m.Reason}})
}

// stuck is stuckReasons for one.
func stuck(reason string) bool {
	return reason == stopFailed || reason == stopAltered || reason == stopLoop || reason == stopHere || reason == stopNewer
}

func stuckMails(ctx context.Context, db *service.DB, after int64) (seqs []int64, err error) {
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		rows, err := v.Query(`SELECT seq FROM service_outbox WHERE state = 'waiting' AND seq > ? AND reason IN `+stuckReasons+` ORDER BY seq LIMIT ?`, after, redriveRows)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var seq int64
			if err := rows.Scan(&seq); err != nil {
				return err
			}
			seqs = append(seqs, seq)
		}
		return rows.Err()
	})
	return seqs, err
}

// databaseOf returns the department's database with the ID.
func (f *Federation) databaseOf(id replication.DatabaseID) (*service.DB, error) {
	for _, t := range f.o.Tenants() {
		if _, db, ok := f.o.Database(t.Slug); ok && db.ID() == id {
			return db, nil
		}
	}
	return nil, service.ErrNotFound
}

// bell wakes all who listen.
type bell struct {
	mu   sync.Mutex
	next chan struct{}
}

// heard returns a channel that is closed when the bell rings next.
func (b *bell) heard() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}
