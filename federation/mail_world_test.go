package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// The tree of the tests: a line of five, with a department at each end.
var (
	west, westTop = division.Ref{Level: division.County, Code: "330106"}, division.Ref{Level: division.Province, Code: "330000"}
	top           = division.Nation
	eastTop, east = division.Ref{Level: division.Province, Code: "510000"}, division.Ref{Level: division.County, Code: "511602"}
	chain         = []division.Ref{west, westTop, top, eastTop, east}
)

const desk = "desk" // The department at each end.

// post is a tree of divisions whose lines are in memory.
type post struct {
	t     *testing.T
	ctx   context.Context
	stop  context.CancelFunc
	boxes map[division.Ref]*box
	calls sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{}
	cut     map[string]bool
	wire    int // Messages so far, requests and answers.
	fault   func(n int, m message) fault
	delay   func(m message) time.Duration
}

// message is one that crosses a line.
type message struct {
	from, to division.Ref
	answer   bool
	body     []byte
}

// fault is what becomes of a message.
type fault int

const (
	intact fault = iota
	dropped
	doubled
	garbled
)

// box is a division with one department, on one node.
type box struct {
	p      *post
	ref    division.Ref
	dir    string
	f      *Federation
	div    *replication.Solo
	desk   *replication.Solo
	state  string // Of the department.
	down   bool
	full   atomic.Bool // Its disk.
	stop   context.CancelFunc
	work   sync.WaitGroup
	busy   sync.WaitGroup // Messages that it answers.
	epochs int
}

func newPost(t *testing.T) *post {
	p := &post{t: t, boxes: map[division.Ref]*box{}, changed: make(chan struct{}), cut: map[string]bool{}}
	p.ctx, p.stop = context.WithCancel(context.Background())
	for _, ref := range chain {
		b := &box{p: p, ref: ref, dir: t.TempDir(), state: "active"}
		p.boxes[ref] = b
		b.open("first")
	}
	p.spread()
	for _, ref := range chain {
		p.boxes[ref].start()
	}
	return p
}

// close ends all, so that the bubble can end.
func (p *post) close() {
	for _, ref := range chain {
		p.boxes[ref].shut()
	}
	p.stop()
	p.calls.Wait()
}

func (p *post) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// definitions have mails whose receiver keeps what it got, and whose sender what it heard.
func (b *box) definitions() []service.Definition {
	return []service.Definition{b.f.Definition(), {Name: "box", Migrations: fstest.MapFS{"tenant/0001_box.sql": {Data: []byte(`
		CREATE TABLE box_got (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
		CREATE TABLE box_heard (seq INTEGER PRIMARY KEY, state TEXT NOT NULL, reason TEXT NOT NULL, reply TEXT NOT NULL, times INTEGER NOT NULL);`)}},
		Mail: []service.MailKind{{Name: "box.note", Format: 2, Receive: receiveNote, Settled: settledNote}}}}
}

var errNote = errors.New("the note cannot be taken now")

func receiveNote(tx *service.Tx, _ service.Delivery, m service.Mail) ([]byte, error) {
	text := string(m.Payload)
	if err := tx.Exec(`INSERT INTO box_got (text) VALUES (?)`, text); err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(text, "refuse"):
		return nil, service.Refuse(service.NotFound, "box.no")
	case strings.HasPrefix(text, "fail"):
		return nil, errNote
	case strings.HasPrefix(text, "later"):
		return nil, service.ErrUnavailable
	case strings.HasPrefix(text, "panic"):
		panic(text)
	}
	return []byte("got " + text), nil
}

func settledNote(tx *service.Tx, m service.Mail, r service.Receipt) error {
	return tx.Exec(`INSERT INTO box_heard (seq, state, reason, reply, times) VALUES (?, ?, ?, ?, 1)
		ON CONFLICT (seq) DO UPDATE SET state = excluded.state, reason = excluded.reason, reply = excluded.reply, times = times + 1`,
		m.ID.Seq, string(r.State), r.Reason, string(r.Reply))
}

// open opens the databases, which get the epoch if they have none.
func (b *box) open(epoch string) {
	b.f = New(Options{Self: b.ref, Site: service.Site{Code: string(b.ref.Code), Level: b.ref.Level.String()},
		Division: func() *service.DB { return b.db(b.div) },
		Tenants:  func() []service.Tenant { return []service.Tenant{b.tenant()} },
		Database: func(slug string) (service.Tenant, *service.DB, bool) {
			return b.tenant(), b.db(b.desk), slug == desk
		},
		Definitions: func() []service.Definition { return b.definitions() },
		Wire:        line{b}, Letters: letters{b.ref},
		Web:  func() string { return "" },
		Room: func() bool { return !b.full.Load() },
		Lead: func(ctx context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
			return b.f.Serve(ctx, id, kind, from, body)
		},
		Log: slog.New(slog.DiscardHandler),
	})
	for id, at := range map[replication.DatabaseID]**replication.Solo{divisionDatabase: &b.div, desk + "/main": &b.desk} {
		if epoch == "first" {
			b.p.place(b.dir, id, foundings(b.p.t)[id])
		}
		s, err := replication.OpenSolo(b.dir, id, nil)
		b.p.must(err)
		*at = s
		if epoch != "" {
			b.epochs++
			b.p.must(b.db(s).Update(b.p.ctx, func(tx *service.Tx) error {
				return service.Renew(tx, fmt.Sprintf("%s-%s-%d", epoch, b.ref.Code, b.epochs))
			}))
		}
	}
}

// place puts the file of a database where it is opened.
func (p *post) place(dir string, id replication.DatabaseID, file []byte) {
	at := filepath.Join(dir, "db", filepath.FromSlash(string(id)))
	p.must(os.MkdirAll(at, 0o700))
	p.must(os.WriteFile(filepath.Join(at, "state.db"), file, 0o600))
}

var founded struct {
	sync.Mutex
	files map[replication.DatabaseID][]byte
}

// foundings are the files of new databases with all tables, made once and outside of bubbles.
func foundings(t *testing.T) map[replication.DatabaseID][]byte {
	founded.Lock()
	defer founded.Unlock()
	if founded.files != nil {
		return founded.files
	}
	b := &box{f: New(Options{})}
	files := map[replication.DatabaseID][]byte{}
	for id, scope := range map[replication.DatabaseID]service.Scope{divisionDatabase: service.DivisionScope, desk + "/main": service.TenantScope} {
		// A bubble's clock starts in 2000, and a database's never runs backwards.
		s, err := replication.OpenSolo(t.TempDir(), id, func() time.Time { return time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC) })
		if err == nil {
			err = service.Migrate(t.Context(), b.db(s), scope, b.definitions())
		}
		copied := filepath.Join(t.TempDir(), "state.db")
		if err == nil {
			_, err = s.Backup(t.Context(), copied)
		}
		if err == nil {
			files[id], err = os.ReadFile(copied)
		}
		if err = errors.Join(err, s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	founded.files = files
	return files
}

func (b *box) tenant() service.Tenant {
	return service.Tenant{Slug: desk, Name: "窗口", Number: 1, State: b.state}
}

func (b *box) db(s *replication.Solo) *service.DB {
	return service.NewDB(s.DB, func(*service.Tx, service.Event) error { return nil })
}

// start leads the department's database, as far as mails go.
func (b *box) start() {
	ctx, cancel := context.WithCancel(b.p.ctx)
	b.stop, b.down = cancel, false
	env := service.Env{DB: b.db(b.desk), Tenant: b.tenant(), Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	b.work.Go(func() {
		if err := b.f.runMail(ctx, env); err != nil {
			b.p.t.Errorf("the sender of %s ended: %v", b.ref, err)
		}
	})
	b.p.flip(func() {})
}

func (b *box) shut() {
	b.p.flip(func() { b.down = true })
	b.stop()
	b.work.Wait()
	b.busy.Wait()
	b.p.must(b.div.Close())
	b.p.must(b.desk.Close())
}

// restart loses all that is in memory.
func (b *box) restart() {
	b.shut()
	b.open("")
	b.start()
}

// backup copies the databases and returns what brings them back, under a new epoch.
func (b *box) backup() (restore func()) {
	copies := map[replication.DatabaseID]string{}
	for id, s := range map[replication.DatabaseID]*replication.Solo{divisionDatabase: b.div, desk + "/main": b.desk} {
		copies[id] = filepath.Join(b.p.t.TempDir(), "state.db")
		_, err := s.Backup(b.p.ctx, copies[id])
		b.p.must(err)
	}
	return func() {
		b.shut()
		b.dir = b.p.t.TempDir()
		for id, file := range copies {
			data, err := os.ReadFile(file)
			b.p.must(err)
			b.p.place(b.dir, id, data)
		}
		b.open("restored")
		b.p.spread(b.ref) // It knows what its backup knew, and its neighbours tell it the rest.
		b.start()
	}
}

// spread makes every directory whole, but for divisions that are down or left out.
func (p *post) spread(only ...division.Ref) {
	var entries []Entry
	for i, ref := range chain {
		e := Entry{Ref: ref}
		switch {
		case i < 2:
			e.Parent = chain[i+1]
		case i > 2:
			e.Parent = chain[i-1]
		}
		p.must(p.boxes[ref].db(p.boxes[ref].div).View(p.ctx, replication.Local, func(v *service.View) (err error) {
			e.Epoch, err = service.Epoch(v)
			return err
		}))
		entries = append(entries, e)
	}
	for i, ref := range chain {
		if len(only) > 0 && ref != only[0] {
			continue
		}
		p.enter(i, entries)
	}
}

// enter writes the directory of the i-th of the chain.
func (p *post) enter(i int, entries []Entry) {
	b := p.boxes[chain[i]]
	p.must(b.db(b.div).Update(p.ctx, func(tx *service.Tx) error {
		for j, e := range entries {
			row, err := json.Marshal(e)
			if err != nil {
				return err
			}
			via := ""
			switch {
			case j < i:
				via = chain[i-1].String()
			case j > i:
				via = chain[i+1].String()
			}
			if err := tx.Exec(`INSERT OR REPLACE INTO federation_directory (ref, parent, name, web, epoch, row, via)
				VALUES (?, ?, '', '', ?, ?, ?)`, e.Ref.String(), e.Parent.String(), e.Epoch, string(row), via); err != nil {
				return err
			}
		}
		return nil
	}))
}

// send puts mails into the outbox of a division's department.
func (p *post) send(from, to division.Ref, tenant string, format int, texts ...string) {
	p.t.Helper()
	b := p.boxes[from]
	p.must(b.db(b.desk).Update(p.ctx, func(tx *service.Tx) error {
		for _, text := range texts {
			if _, err := tx.Send("box.note", format, service.Address{Division: to, Tenant: tenant}, []byte(text)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (p *post) count(ref division.Ref, sql string, args ...any) (n int) {
	p.t.Helper()
	b := p.boxes[ref]
	p.must(b.db(b.desk).View(p.ctx, replication.Local, func(v *service.View) error { return v.QueryRow(sql, args...).Scan(&n) }))
	return n
}

// outbox returns the mails of a division by their payload.
func (p *post) outbox(ref division.Ref) map[string]service.Outgoing {
	p.t.Helper()
	b, out := p.boxes[ref], map[string]service.Outgoing{}
	p.must(b.db(b.desk).View(p.ctx, replication.Local, func(v *service.View) error {
		rows, err := v.Query(`SELECT ` + service.OutboxColumns + ` FROM service_outbox`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m, err := service.ScanOutgoing(rows)
			if err != nil {
				return err
			}
			out[string(m.Payload)] = m
		}
		return rows.Err()
	}))
	return out
}

// pass lets time go by in the bubble; it takes none outside.
func pass(d time.Duration) { <-time.After(d) }

// await waits in the bubble's time until is holds.
func (p *post) await(what string, within time.Duration, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(within); !is(); pass(100 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("it never came that %s; the outbox of %s is %+v", what, west, p.outbox(west))
		}
	}
}

func (p *post) settled(ref division.Ref) func() bool {
	return func() bool { return p.count(ref, `SELECT count(*) FROM service_outbox WHERE state = 'waiting'`) == 0 }
}

// flip changes the lines and tells all that wait for it.
func (p *post) flip(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}
