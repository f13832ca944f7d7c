package federation

import (
	"context"
	"fmt"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// Kinds of queues.
const (
	QueueMail   = "mail"   // Mails of a department that wait to be received elsewhere.
	QueueInbox  = "inbox"  // Mails that a department has received. Nothing waits: they are kept so that none is received twice.
	QueueHome   = "home"   // Rows of a department that the division database does not have yet.
	QueueUp     = "up"     // Rows that the parent has not acknowledged.
	QueueDown   = "down"   // Rows that a child has not acknowledged.
	QueueNewer  = "newer"  // Rows of a neighbour that wait for a newer program.
	QueueParked = "parked" // Rows of a neighbour that could not be folded.
)

// Queue is what waits at one place, as this node's replicas have it.
type Queue struct {
	Kind   string     `json:"kind"`
	Of     string     `json:"of"`     // Slug of a department, or reference of a neighbour.
	Name   string     `json:"name"`   // Of it, for people.
	Size   int        `json:"size"`   // Mails or rows.
	Oldest *time.Time `json:"oldest"` // When the oldest was sent, published, received or put aside; null: there is none.
	Age    *int64     `json:"age_s"`  // Since then, seconds.
	// Stopped are the waiting mails that somebody must look at (see DeadLetter), and Refused
	// those that were sent back and are not in Size.
	Stopped int `json:"stopped,omitempty"`
	Refused int `json:"refused,omitempty"`
}

// Aged is Age in the unit in which people say it.
func (q Queue) Aged() Age {
	if q.Age == nil {
		return ageOf(0)
	}
	return ageOf(time.Duration(*q.Age) * time.Second)
}

func (q *Queue) since(at *time.Time, now time.Time) {
	if at == nil || at.IsZero() {
		return
	}
	age := int64(max(0, now.Sub(*at)).Seconds())
	q.Oldest, q.Age = at, &age
}

// stuckReasons are why a mail waits that no line and no time will help: somebody must look
// at it, at the division where it stopped.
const stuckReasons = `('` + stopFailed + `', '` + stopAltered + `', '` + stopLoop + `', '` + stopHere + `', '` + stopNewer + `')`

// Queues reads all queues of this division: those of the neighbours first, then of each
// department. Cost: a look at every row that waits and at the index of the inboxes.
func (f *Federation) Queues(ctx context.Context) ([]Queue, error) {
	list := []Queue{}
	now := f.o.Now()
	err := f.viewDivision(ctx, func(v *service.View) (err error) {
		list, err = neighbourQueues(v, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the queues of the neighbours: %w", err)
	}
	for _, t := range f.o.Tenants() {
		_, db, ok := f.o.Database(t.Slug)
		if !ok {
			continue // It is closed, or not opened yet.
		}
		own, err := f.tenantQueues(ctx, t, db, now)
		if err != nil {
			return nil, fmt.Errorf("read the queues of the tenant %s: %w", t.Slug, err)
		}
		list = append(list, own...)
	}
	return list, nil
}

// neighbourQueues reads the queues that are in the division database.
func neighbourQueues(q service.Querier, now time.Time) ([]Queue, error) {
	list := []Queue{}
	epoch, err := service.Epoch(q)
	if err != nil {
		return nil, err
	}
	parent, enrolled, err := ReadParent(q)
	if err != nil {
		return nil, err
	}
	if enrolled {
		one, err := feedQueue(q, QueueUp, parent.Ref, epoch, now)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	children, err := ReadChildren(q)
	if err != nil {
		return nil, err
	}
	for _, c := range children {
		one, err := feedQueue(q, QueueDown, c.Ref, epoch, now)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	waits, err := waitingQueues(q, now)
	return append(list, waits...), err
}

// feedQueue is what a neighbour has not acknowledged of the stream to it; a queue of that
// direction has the stream's name.
func feedQueue(q service.Querier, stream string, to division.Ref, epoch string, now time.Time) (Queue, error) {
	one := Queue{Kind: stream, Of: to.String(), Name: division.FullName(to)}
	done, err := readSent(q, to, epoch)
	if err != nil {
		return one, err
	}
	return one, one.fill(q, service.Stream(stream), done.version, now)
}

// fill counts the rows of a stream after a version. Only the newest version of a key is
// kept, so the oldest is the one that changed first of those that did not change again.
func (one *Queue) fill(q service.Querier, stream service.Stream, after int64, now time.Time) error {
	var at *time.Time
	if err := q.QueryRow(`SELECT count(*), (SELECT at FROM service_feed WHERE stream = ?1 AND version > ?2 ORDER BY version LIMIT 1)
		FROM service_feed WHERE stream = ?1 AND version > ?2`, string(stream), after).Scan(&one.Size, &at); err != nil {
		return fmt.Errorf("count the rows that wait for %s: %w", one.Of, err)
	}
	one.since(at, now)
	return nil
}

// waitingQueues are the rows of neighbours that were not folded when they came.
func waitingQueues(q service.Querier, now time.Time) (list []Queue, err error) {
	rows, err := q.Query(`SELECT state, neighbour, count(*), min(at) FROM federation_row INDEXED BY federation_row_state
		WHERE state <> 'folded' GROUP BY state, neighbour ORDER BY state, neighbour`)
	if err != nil {
		return nil, fmt.Errorf("count the rows that wait: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var one Queue
		var at *time.Time
		if err := rows.Scan(&one.Kind, &one.Of, &one.Size, &at); err != nil {
			return nil, err
		}
		one.Name = fullName(one.Of)
		one.since(at, now)
		list = append(list, one)
	}
	return list, rows.Err()
}

// tenantQueues reads the queues that are in a department's database.
func (f *Federation) tenantQueues(ctx context.Context, t service.Tenant, db *service.DB, now time.Time) ([]Queue, error) {
	mail := Queue{Kind: QueueMail, Of: t.Slug, Name: t.Name}
	inbox := Queue{Kind: QueueInbox, Of: t.Slug, Name: t.Name}
	home := Queue{Kind: QueueHome, Of: t.Slug, Name: t.Name}
	var epoch string
	var folded int64
	// The cursor first: what is folded between the two looks counts as waiting, never the reverse.
	err := db.View(ctx, replication.Local, func(v *service.View) (err error) {
		epoch, err = service.Epoch(v)
		return err
	})
	if err == nil {
		err = f.viewDivision(ctx, func(v *service.View) (err error) {
			folded, err = tenancy.ReadFolded(v, t.Slug, epoch)
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		var sent, got *time.Time
		if err := v.QueryRow(`SELECT count(*), coalesce(sum(reason IN `+stuckReasons+`), 0), min(sent),
			(SELECT count(*) FROM service_outbox WHERE state = 'refused') FROM service_outbox WHERE state = 'waiting'`).
			Scan(&mail.Size, &mail.Stopped, &sent, &mail.Refused); err != nil {
			return fmt.Errorf("count the outbox: %w", err)
		}
		mail.since(sent, now)
		if err := v.QueryRow(`SELECT count(*), min(at) FROM service_inbox`).Scan(&inbox.Size, &got); err != nil {
			return fmt.Errorf("count the inbox: %w", err)
		}
		inbox.since(got, now)
		return home.fill(v, service.Home, folded, now)
	})
	return []Queue{mail, inbox, home}, err
}
