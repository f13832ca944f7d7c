// Package servicetest runs a service's routes against real databases without HTTP.
//
// [New] starts a division with its division database and its tenants' databases on one
// node, migrated with the given definitions, under a clock that only the test moves.
// [World.Call] authorises and runs a route as the node does, and [World.Run] walks a
// table of such calls.
//
// # Not here
//
// Sessions, proxying and rendering are tested in node/web and portal; feeds are folded
// by package tenancy.
package servicetest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"tongban/replication"
	"tongban/service"
	"tongban/service/audit"
)

// Slugs of the tenants of every World.
const (
	CivilAffairs   = "civil-affairs"
	PublicSecurity = "public-security"
)

// startWait is how long a test waits for a single node to lead.
const startWait = 20 * time.Second

// World is a division as a test sees it. It is safe for concurrent use.
type World struct {
	Site     service.Site
	Division *service.DB
	Clock    *Clock
	Log      *slog.Logger // Discards.

	tb      testing.TB
	defs    []service.Definition
	tenants map[string]tenant
	mux     *http.ServeMux
	calls   atomic.Int64
}

type tenant struct {
	service.Tenant
	db *service.DB
}

// New starts a division with the tenants [CivilAffairs] and [PublicSecurity], whose
// databases have the tables of the definitions and of audit. The first start of the
// clock is 2026-03-02 09:00 in Beijing, a Monday. Everything is closed with the test.
// Cost: about 0.2 s.
func New(tb testing.TB, defs ...service.Definition) *World {
	tb.Helper()
	if !defines(defs, "audit") {
		defs = append([]service.Definition{audit.Definition()}, defs...)
	}
	if err := service.Check(defs); err != nil {
		tb.Fatal(err)
	}
	clock := &Clock{}
	clock.Set(time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC))
	w := &World{
		Site: service.Site{Code: "511602", Level: "county", Name: "广安区", Full: "四川省广安市广安区"},
		tb:   tb, defs: defs, Clock: clock, tenants: map[string]tenant{},
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	engine, err := replication.Open(replication.Options{Dir: tb.TempDir(), Node: "n1", Now: clock.Now, Log: w.Log,
		HeartbeatTimeout: 20 * time.Millisecond, // Nobody else is there to be waited for.
		MaxClosure:       2 * time.Second})      // For the race detector and loaded machines.
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := engine.Close(); err != nil {
			tb.Errorf("close the engine: %v", err)
		}
	})
	w.Division = w.open(engine, "_division/main", service.DivisionScope)
	for i, t := range []service.Tenant{{Slug: CivilAffairs, Name: "区民政局"}, {Slug: PublicSecurity, Name: "区公安分局"}} {
		t.Number, t.State = i+1, "active"
		id := replication.DatabaseID(t.Slug + "/main")
		w.tenants[t.Slug] = tenant{t, w.open(engine, id, service.TenantScope)}
	}
	w.mux = w.routes()
	return w
}

func defines(defs []service.Definition, name string) bool {
	for _, d := range defs {
		if d.Name == name {
			return true
		}
	}
	return false
}

func (w *World) open(engine *replication.Engine, id replication.DatabaseID, scope service.Scope) *service.DB {
	w.tb.Helper()
	leads := make(chan struct{}, 1)
	rep, err := engine.OpenDB(id, replication.DBOptions{
		Voters: []replication.NodeID{"n1"},
		OnLead: func(ctx context.Context, _ *replication.DB) {
			select {
			case leads <- struct{}{}:
			default:
			}
			<-ctx.Done()
		},
	})
	if err != nil {
		w.tb.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.tb.Context(), startWait)
	defer cancel()
	select {
	case <-leads:
	case <-ctx.Done():
		w.tb.Fatalf("%s never got a leader", id)
	}
	db := service.NewDB(rep, audit.Append)
	if err := service.Migrate(ctx, db, scope, w.defs); err != nil {
		w.tb.Fatal(err)
	}
	return db
}

// Tenant returns a tenant and its main database; an unknown slug fails the test.
func (w *World) Tenant(slug string) (service.Tenant, *service.DB) {
	w.tb.Helper()
	t, ok := w.tenants[slug]
	if !ok {
		w.tb.Fatalf("servicetest: there is no tenant %q", slug)
	}
	return t.Tenant, t.db
}

// Tenants returns all tenants, as tenancy would.
func (w *World) Tenants() []service.Tenant {
	return []service.Tenant{w.tenants[CivilAffairs].Tenant, w.tenants[PublicSecurity].Tenant}
}

// Update runs fn in db and fails the test on an error.
func (w *World) Update(db *service.DB, fn func(tx *service.Tx) error) {
	w.tb.Helper()
	if err := db.Update(w.tb.Context(), fn); err != nil {
		w.tb.Fatalf("update %s: %v", db.ID(), err)
	}
}

// View runs fn on db and fails the test on an error.
func (w *World) View(db *service.DB, fn func(v *service.View) error) {
	w.tb.Helper()
	if err := db.View(w.tb.Context(), replication.Local, fn); err != nil {
		w.tb.Fatalf("view %s: %v", db.ID(), err)
	}
}

// Count returns the number that a SELECT with one column and one row says.
func (w *World) Count(db *service.DB, sql string, args ...any) int {
	w.tb.Helper()
	n := 0
	w.View(db, func(v *service.View) error { return v.QueryRow(sql, args...).Scan(&n) })
	return n
}

// Events returns what the audit of db holds, oldest first, as "what subject refused".
func (w *World) Events(db *service.DB) []string {
	w.tb.Helper()
	var list []string
	w.View(db, func(v *service.View) error {
		rows, err := v.Query(`SELECT what, subject, refused FROM audit_event ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var what, subject, refused string
			if err := rows.Scan(&what, &subject, &refused); err != nil {
				return err
			}
			line := fmt.Sprintf("%s %s", what, subject)
			if refused != "" {
				line += " " + refused
			}
			list = append(list, line)
		}
		return rows.Err()
	})
	return list
}

// Work runs one step of a worker on a database of its scope, as its leader would.
func (w *World) Work(name string, slug string) {
	w.tb.Helper()
	for _, d := range w.defs {
		for _, worker := range d.Workers {
			if worker.Name != name {
				continue
			}
			env := service.Env{DB: w.Division, Now: w.Clock.Now, Log: w.Log}
			if worker.Scope == service.TenantScope {
				env.Tenant, env.DB = w.Tenant(slug)
			}
			if err := worker.Do(w.tb.Context(), env); err != nil {
				w.tb.Fatalf("worker %s: %v", name, err)
			}
			return
		}
	}
	w.tb.Fatalf("servicetest: no definition has a worker %q", name)
}

// Clock is a clock that stands still until the test moves it.
type Clock struct{ at atomic.Int64 }

// Now returns the time of the clock in UTC; it is a service.Clock.
func (c *Clock) Now() time.Time { return time.UnixMicro(c.at.Load()).UTC() }

// Set sets the clock. Setting it back is how a test gives a node a wrong clock.
func (c *Clock) Set(t time.Time) { c.at.Store(t.UnixMicro()) }

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) { c.at.Add(d.Microseconds()) }
