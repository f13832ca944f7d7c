package simulate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing/fstest"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// deskSlug is the department that every division has, when Options.Desk is given.
const deskSlug = "desk"

const deskID = replication.DatabaseID(deskSlug + "/main")

// Notes is a service whose mails are kept by who receives them, and what came of them by
// who sent them.
func Notes() service.Definition {
	return service.Definition{Name: "notes", Migrations: fstest.MapFS{"tenant/0001_notes.sql": {Data: []byte(`
		CREATE TABLE notes_got (id INTEGER PRIMARY KEY, text TEXT NOT NULL);
		CREATE TABLE notes_heard (seq INTEGER PRIMARY KEY, state TEXT NOT NULL);`)}},
		Mail: []service.MailKind{{Name: "notes.note",
			Receive: func(tx *service.Tx, _ service.Delivery, m service.Mail) ([]byte, error) {
				if err := tx.Exec(`INSERT INTO notes_got (text) VALUES (?)`, string(m.Payload)); err != nil {
					return nil, err
				}
				if strings.HasPrefix(string(m.Payload), "refuse") {
					return nil, service.Refuse(service.Unprocessable, "notes.no")
				}
				return m.Payload, nil
			},
			Settled: func(tx *service.Tx, m service.Mail, r service.Receipt) error {
				return tx.Exec(`INSERT OR REPLACE INTO notes_heard (seq, state) VALUES (?, ?)`, m.ID.Seq, string(r.State))
			}}}}
}

// PrepareDesk is Prepare for a department's database.
func PrepareDesk(ctx context.Context, dir string, defs []service.Definition) (file string, err error) {
	solo, err := replication.OpenSolo(dir, deskID, founded)
	if err != nil {
		return "", err
	}
	all := append([]service.Definition{federation.New(federation.Options{}).Definition()}, defs...)
	if err := service.Migrate(ctx, service.NewDB(solo.DB, ignore), service.TenantScope, all); err != nil {
		return "", errors.Join(err, solo.Close())
	}
	file = filepath.Join(dir, "desk.db")
	_, err = solo.Backup(ctx, file)
	return file, errors.Join(err, solo.Close())
}

// openDesk opens the department's database, new or from beside the backup.
func (d *Division) openDesk(backup string) error {
	if d.w.o.Desk == "" {
		return nil
	}
	from := backup + ".desk"
	if backup == d.w.o.Template {
		from = d.w.o.Desk
	}
	path := filepath.Join(d.dir, "db", filepath.FromSlash(string(deskID)), "state.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := copyFile(path, from); err != nil {
		return err
	}
	solo, err := replication.OpenSolo(d.dir, deskID, nil)
	if err != nil {
		return err
	}
	d.desk, d.Desk = solo, service.NewDB(solo.DB, ignore)
	return d.Desk.Update(context.Background(), func(tx *service.Tx) error {
		return service.Renew(tx, filepath.Base(d.w.name("desk")))
	})
}

// closeDesk closes it, if there is one.
func (d *Division) closeDesk() error {
	if d.desk == nil {
		return nil
	}
	err := d.desk.Close()
	d.desk = nil
	return err
}

func (d *Division) tenants() []service.Tenant {
	if d.desk == nil {
		return nil
	}
	return []service.Tenant{{Slug: deskSlug, Name: "窗口", Number: 1, State: "active"}}
}

func (d *Division) database(slug string) (service.Tenant, *service.DB, bool) {
	for _, t := range d.tenants() {
		if t.Slug == slug {
			return t, d.Desk, true
		}
	}
	return service.Tenant{}, nil, false
}

// Send puts a mail to the department of another division into the outbox.
func (d *Division) Send(ctx context.Context, to division.Ref, text string) error {
	d.life <- struct{}{}
	defer func() { <-d.life }()
	return d.Desk.Update(ctx, func(tx *service.Tx) error {
		_, err := tx.Send("notes.note", 1, service.Address{Division: to, Tenant: deskSlug}, []byte(text))
		return err
	})
}

// WrongMails says what is wrong with the mails of all outboxes, now: one that waits, one
// that was not received, or more than once, or is refused and was received.
func (w *World) WrongMails(ctx context.Context) (wrong []string, err error) {
	got := map[string]int{} // By receiver and text.
	for _, d := range w.Divisions {
		err := eachText(ctx, d.Desk, `SELECT text FROM notes_got`, func(text string) { got[d.Ref.String()+" "+text]++ })
		if err != nil {
			return nil, err
		}
	}
	for what, n := range got {
		if n > 1 || strings.Contains(what, " refuse") {
			wrong = append(wrong, fmt.Sprintf("%s was received %d times", what, n))
		}
	}
	for _, d := range w.Divisions {
		err := eachText(ctx, d.Desk, `SELECT state || '|' || reason || '|' || at_division || '|' || division || ' ' || CAST(payload AS TEXT)
			FROM service_outbox`, func(row string) {
			p := strings.SplitN(row, "|", 4)
			want := "delivered"
			if strings.Contains(p[3], " refuse") {
				want = "refused"
			}
			if p[0] != want || want == "delivered" && got[p[3]] != 1 {
				wrong = append(wrong, fmt.Sprintf("of %s to %s: %s (%s at %s), received %d times", d.Ref, p[3], p[0], p[1], p[2], got[p[3]]))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return wrong, nil
}

func eachText(ctx context.Context, db *service.DB, sql string, fn func(text string)) error {
	return db.View(ctx, replication.Local, func(v *service.View) error {
		rows, err := v.Query(sql)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				return err
			}
			fn(text)
		}
		return rows.Err()
	})
}

// founded is when templates are made: a bubble's clock starts in 2000, and a database's
// never runs backwards.
func founded() time.Time { return time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC) }
