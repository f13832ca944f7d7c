package federation

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// redrive runs Redrive at the sender of the stories.
func (p *post) redrive(ref division.Ref, all bool, ids ...string) Redriven {
	p.t.Helper()
	out, err := p.boxes[ref].f.Redrive(p.ctx, ids, all)
	p.must(err)
	return out
}

func (p *post) dead(ref division.Ref) []DeadLetter {
	p.t.Helper()
	list, err := p.boxes[ref].f.DeadLetters(p.ctx, true)
	p.must(err)
	return list
}

func (p *post) queue(ref division.Ref, kind string) Queue {
	p.t.Helper()
	list, err := p.boxes[ref].f.Queues(p.ctx)
	p.must(err)
	for _, q := range list {
		if q.Kind == kind {
			return q
		}
	}
	return Queue{}
}

func TestMailThatIsRedriven(t *testing.T) {
	mailStory(t, "one that was sent back is received once when the cause is gone", func(t *testing.T, p *post) {
		p.boxes[east].state = "closed"
		p.send(west, east, desk, 1, "a")
		p.await("it is settled", time.Second, p.settled(west))
		if q := p.queue(west, QueueMail); q.Size != 0 || q.Refused != 1 {
			t.Errorf("the queue is %+v", q)
		}
		list := p.dead(west)
		if len(list) != 1 || list[0].State != DeadRefused || list[0].Reason != refuseClosed || list[0].ID != "mail/desk/1" {
			t.Fatalf("dead are %+v", list)
		}
		if out := p.redrive(west, true); out.Mails != 0 {
			t.Errorf("all redrives %+v", out)
		}
		p.boxes[east].state = "active"
		p.boxes[west].restart() // Its sender knows of no mail that waits.
		if out := p.redrive(west, false, list[0].ID, "mail/desk/9", "mail/none/1"); out.Mails != 1 || strings.Join(out.Unknown, " ") != "mail/desk/9 mail/none/1" {
			t.Errorf("redriven are %+v", out)
		}
		p.await("it is received", time.Second, func() bool { return p.outbox(west)["a"].State == service.MailDelivered })
		if n := p.count(east, `SELECT count(*) FROM box_got`); n != 1 {
			t.Errorf("%d notes were received", n)
		}
		if n := p.count(west, `SELECT count(*) FROM box_heard WHERE state = 'delivered' AND times = 2`); n != 1 {
			t.Error("the sender did not hear of both outcomes")
		}
		if out := p.redrive(west, false, list[0].ID); out.Mails != 0 || len(out.Unknown) != 1 {
			t.Errorf("a mail that was delivered is redriven: %+v", out)
		}
	})
	mailStory(t, "one that is refused again counts its offers, and an answer that is lost doubles nothing", func(t *testing.T, p *post) {
		p.send(west, east, desk, 1, "refuse a")
		p.await("it is settled", time.Second, p.settled(west))
		for n := 1; n <= 2; n++ {
			lost := false
			p.fault = func(_ int, m message) fault {
				if m.answer && m.to == west && !lost {
					lost = true
					return dropped
				}
				return intact
			}
			p.redrive(west, false, "mail/desk/1")
			p.await("it is refused again", 5*time.Minute, p.settled(west))
		}
		if n := p.count(east, `SELECT again FROM service_inbox`); n != 2 || p.count(east, `SELECT count(*) FROM box_got`) != 0 {
			t.Errorf("the inbox has seen %d offers", n)
		}
	})
}

func TestMailThatStoppedIsRedriven(t *testing.T) {
	mailStory(t, "it is tried at once, not when its pause is over", func(t *testing.T, p *post) {
		p.send(west, east, desk, 1, "fail a")
		pass(time.Hour)
		q := p.queue(west, QueueMail)
		if q.Size != 1 || q.Stopped != 1 || q.Age == nil || *q.Age < 3599 {
			t.Errorf("the queue is %+v", q)
		}
		if list := p.dead(west); len(list) != 1 || list[0].State != DeadStopped || list[0].Where != east.String() {
			t.Errorf("dead are %+v", list)
		}
		before := p.wire
		for range 3 {
			if out := p.redrive(west, true); out.Mails != 1 {
				t.Errorf("redriven are %+v", out)
			}
			pass(time.Second)
		}
		if n := p.wire - before; n < 3*8 { // Four lines, there and back.
			t.Errorf("%d messages crossed lines", n)
		}
	})
}

// A neighbour is no operator.
func TestANeighbourRedrivesNothing(t *testing.T) {
	mailStory(t, "neither over the wire nor by name", func(t *testing.T, p *post) {
		p.send(west, east, desk, 1, "refuse a")
		p.await("it is settled", time.Second, p.settled(west))
		f, order := p.boxes[west].f, []byte(`{"mails":[1]}`)
		if _, err := f.Receive(p.ctx, westTop, kindRedrive, order); err == nil {
			t.Error("it is taken from the wire")
		}
		if _, err := f.Serve(p.ctx, desk+"/main", kindRedrive, westTop, order); err == nil {
			t.Error("it is served")
		}
		if o := p.outbox(west)["refuse a"]; o.State != service.MailRefused || o.Again != 0 {
			t.Errorf("the outbox has %+v", o)
		}
	})
}

// parkedWorld is a city with rows of a county, all of which its service could not fold.
type parkedWorld struct {
	t       *testing.T
	f       *Federation
	db      *service.DB
	county  division.Ref
	keys    []string
	broken  map[string]bool // Keys whose fold fails.
	folded  map[string]bool
	audited []service.Event
}

func (p *parkedWorld) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *parkedWorld) fold(_ *service.Tx, _ division.Ref, rows []service.FeedRow) error {
	for _, r := range rows {
		if p.broken[r.Key] {
			return errors.New("broken " + r.Key)
		}
		p.folded[r.Key] = true
	}
	return nil
}

func newParkedWorld(t *testing.T, rows int) *parkedWorld {
	p := &parkedWorld{t: t, county: division.Ref{Level: division.County, Code: "511602"}, broken: map[string]bool{}, folded: map[string]bool{}}
	solo, err := replication.OpenSolo(t.TempDir(), divisionDatabase, nil)
	p.must(err)
	t.Cleanup(func() { _ = solo.Close() })
	p.db = service.NewDB(solo.DB, func(_ *service.Tx, e service.Event) error { p.audited = append(p.audited, e); return nil })
	def := service.Definition{Name: "box", Feeds: []service.Feed{{Name: "box.rows", FoldUp: p.fold}}}
	p.f = New(Options{Self: division.Ref{Level: division.City, Code: "511600"}, Division: func() *service.DB { return p.db },
		Tenants: func() []service.Tenant { return nil }, Definitions: func() []service.Definition { return []service.Definition{def} },
		Lead: func(ctx context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
			return p.f.Serve(ctx, id, kind, from, body)
		}})
	p.must(service.Migrate(t.Context(), p.db, service.DivisionScope, []service.Definition{p.f.Definition()}))
	p.must(p.db.Update(t.Context(), func(tx *service.Tx) error {
		if err := (received{epoch: "e", token: "t", mine: "m", mark: 1}).write(tx, p.county, service.Up); err != nil {
			return err
		}
		for i := range rows {
			key := fmt.Sprintf("%s|%s|%d", strings.Repeat("k", i%7), strings.Repeat("甲", i/7%9), i)
			p.keys, p.broken[key] = append(p.keys, key), true
			row := service.FeedRow{Feed: "box.rows", Key: key, Version: int64(i + 1), Format: 1, Payload: []byte("1")}
			if err := p.f.foldRows(tx, p.county, service.Up, 1, []service.FeedRow{row}, errors.New("broken "+key)); err != nil {
				return err
			}
		}
		return nil
	}))
	return p
}

func (p *parkedWorld) queue() Queue {
	p.t.Helper()
	list, err := p.f.Queues(p.t.Context())
	p.must(err)
	for _, q := range list {
		if q.Kind == QueueParked {
			return q
		}
	}
	return Queue{}
}

func (p *parkedWorld) redrive(all bool, ids ...string) Redriven {
	p.t.Helper()
	out, err := p.f.Redrive(p.t.Context(), ids, all)
	p.must(err)
	return out
}

func TestParkedRowsAreRedriven(t *testing.T) {
	const rows = 2*redriveRows + 50 // Several requests.
	p := newParkedWorld(t, rows)
	began := p.queue()
	if began.Size != rows || began.Of != p.county.String() || began.Oldest == nil {
		t.Fatalf("the queue is %+v", began)
	}
	last := rowID(p.county.String(), "box.rows", p.keys[rows-1])
	if out := p.redrive(false, last, "row/000000000000"); out.Rows != 0 || len(out.Still) != 1 || out.Still[0].ID != last || len(out.Unknown) != 1 {
		t.Errorf("redriven are %+v", out)
	}
	for i, key := range p.keys {
		if i%3 > 0 {
			delete(p.broken, key)
		}
	}
	p.audited = nil
	out := p.redrive(true)
	if out.Rows != rows-rows/3 || len(out.Still) != rows/3 || len(p.folded) != out.Rows {
		t.Errorf("%d rows were folded, %d of them for the first time, %d are still parked", out.Rows, len(p.folded), len(out.Still))
	}
	if len(p.audited) != rows || p.audited[0].What != "federation.redriven" || p.audited[0].Who.Account != "operator" {
		t.Errorf("the audit has %d rows", len(p.audited))
	}
	if q := p.queue(); q.Size != rows/3 || !q.Oldest.Equal(*began.Oldest) {
		t.Errorf("the queue is %+v, which was put aside at %s", q, began.Oldest)
	}
	clear(p.broken)
	out = p.redrive(true)
	if list, err := p.f.DeadLetters(t.Context(), true); err != nil || len(list) != 0 || out.Rows != rows/3 {
		t.Errorf("%d are dead (%v), of %+v", len(list), err, out)
	}
}

// A queue's size and age are those of what its neighbour has not acknowledged.
func TestQueuesOfLines(t *testing.T) {
	mailStory(t, "a department's rows and mails, and the rows for the parent", func(t *testing.T, p *post) {
		b := p.boxes[west]
		p.setCut(west, westTop, true)
		p.must(b.db(b.div).Update(p.ctx, func(tx *service.Tx) error {
			if err := SetParent(tx, Parent{Ref: westTop}); err != nil {
				return err
			}
			return tx.PublishTo(service.Up, "box.rows", "a", 1, []byte("1"))
		}))
		base := p.queue(west, QueueUp).Size
		p.must(b.db(b.desk).Update(p.ctx, func(tx *service.Tx) error { return tx.Publish("box.rows", "a", 1, []byte("1")) }))
		p.send(west, east, desk, 1, "a")
		pass(90 * time.Minute)
		p.must(b.db(b.div).Update(p.ctx, func(tx *service.Tx) error { return tx.PublishTo(service.Up, "box.rows", "b", 1, []byte("1")) }))
		for kind, size := range map[string]int{QueueUp: base + 1, QueueHome: 1, QueueMail: 1} {
			if q := p.queue(west, kind); q.Size != size || q.Age == nil || *q.Age < 5399 || q.Stopped != 0 {
				t.Errorf("%s: %+v", kind, q)
			}
		}
		if list := p.dead(west); len(list) != 0 {
			t.Errorf("a cut line makes dead letters: %+v", list)
		}
		p.must(b.db(b.div).Update(p.ctx, func(tx *service.Tx) error {
			epoch, err := service.Epoch(tx)
			if err != nil {
				return err
			}
			if err := tx.Exec(`INSERT INTO service_cursor (source, version) VALUES (?, 1)`, desk+"@"+p.epochOf(b)); err != nil {
				return err
			}
			head, err := headOf(tx, service.Up)
			if err != nil {
				return err
			}
			return writeSent(tx, westTop, service.Up, epoch, sent{version: head})
		}))
		for _, kind := range []string{QueueUp, QueueHome} {
			if q := p.queue(west, kind); q.Size != 0 || q.Age != nil {
				t.Errorf("%s: %+v", kind, q)
			}
		}
	})
}

func (p *post) epochOf(b *box) (epoch string) {
	p.t.Helper()
	p.must(b.db(b.desk).View(p.ctx, replication.Local, func(v *service.View) (err error) {
		epoch, err = service.Epoch(v)
		return err
	}))
	return epoch
}
