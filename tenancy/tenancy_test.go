package tenancy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
	"tongban/service"
	"tongban/tenancy"
)

// notes is a service that publishes a feed and runs a worker.
func notes(ran *atomic.Int64) service.Definition {
	return service.Definition{
		Name: "notes",
		Migrations: fstest.MapFS{
			"tenant/0001_note.sql":   {Data: []byte(`CREATE TABLE notes_note (id TEXT PRIMARY KEY, text TEXT NOT NULL);`)},
			"division/0001_all.sql":  {Data: []byte(`CREATE TABLE notes_all (tenant TEXT, id TEXT, text TEXT, folds INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (tenant, id));`)},
			"division/0002_more.sql": {Data: []byte(`CREATE TABLE notes_more (id TEXT PRIMARY KEY);`)},
		},
		Feeds: []service.Feed{{Name: "notes.notes", Fold: func(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
			for _, r := range rows {
				if err := tx.Exec(`INSERT INTO notes_all (tenant, id, text) VALUES (?, ?, ?)
					ON CONFLICT DO UPDATE SET text = excluded.text, folds = folds + 1`, from.Slug, r.Key, string(r.Payload)); err != nil {
					return err
				}
			}
			return nil
		}}},
		Workers: []service.Worker{{Name: "count", Scope: service.TenantScope, Every: time.Hour,
			Do: func(context.Context, service.Env) error { ran.Add(1); return nil }}},
	}
}

// start runs a division of one node.
func start(tb testing.TB, defs ...service.Definition) *tenancy.Tenancy {
	tb.Helper()
	o := replicationtest.Options(tb, "n1")
	o.HeartbeatTimeout = 20 * time.Millisecond
	engine, err := replication.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	ten := tenancy.New(tenancy.Options{Engine: engine, Self: tenancy.Node{ID: "n1", Address: "127.0.0.1:1", Web: "http://localhost:1"},
		Founders: []replication.NodeID{"n1"}, Log: o.Log, Record: func(*service.Tx, service.Event) error { return nil }})
	if err := ten.Open(append(defs, ten.Definition())); err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- ten.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})
	waiting, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := ten.ReadyDivision(waiting); err != nil {
		tb.Fatal(err)
	}
	return ten
}

func create(tb testing.TB, ten *tenancy.Tenancy, slug, name string) error {
	tb.Helper()
	err := ten.Division().Update(tb.Context(), func(tx *service.Tx) error {
		_, err := tenancy.CreateTenant(tx, slug, name, nil)
		return err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	return ten.Ready(ctx, slug)
}

func TestATenantIsReadyWithoutRestart(t *testing.T) {
	var ran atomic.Int64
	ten := start(t, notes(&ran))
	for i := range 3 {
		if err := create(t, ten, fmt.Sprintf("office-%d", i), fmt.Sprintf("第%d局", i)); err != nil {
			t.Fatal(err)
		}
	}
	var numbers []int
	for _, one := range ten.Tenants() {
		numbers = append(numbers, one.Number)
	}
	if !slices.Equal(numbers, []int{1, 2, 3}) {
		t.Errorf("the tenants' numbers are %v, want 1, 2, 3", numbers)
	}
	replicationtest.Await(t, "each tenant's worker ran once", func() bool { return ran.Load() == 3 })
}

func TestRefusedTenants(t *testing.T) {
	ten := start(t)
	if err := create(t, ten, "civil-affairs", "民政局"); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		slug, name string
		want       error
	}{
		"a slug that is taken":              {"civil-affairs", "另一个局", tenancy.ErrSlugTaken},
		"a name that is taken":              {"other", " 民政局 ", tenancy.ErrNameTaken},
		"no slug":                           {"", "税务局", tenancy.ErrBadSlug},
		"the reserved tenant":               {"_division", "税务局", tenancy.ErrBadSlug},
		"a path in the slug":                {"a/../b", "税务局", tenancy.ErrBadSlug},
		"capital letters in the slug":       {"Tax", "税务局", tenancy.ErrBadSlug},
		"a hyphen at the end of the slug":   {"tax-", "税务局", tenancy.ErrBadSlug},
		"41 characters in the slug":         {strings.Repeat("a", 41), "税务局", tenancy.ErrBadSlug},
		"a name of spaces":                  {"tax", "  ", tenancy.ErrBadName},
		"a name that turns around":          {"tax", "税务\u202e局", tenancy.ErrBadName},
		"a name with a part that is unseen": {"tax", "税务\u200b局", tenancy.ErrBadName},
		"a name of two lines":               {"tax", "税务\n局", tenancy.ErrBadName},
		"a name of 61 characters":           {"tax", strings.Repeat("局", 61), tenancy.ErrBadName},
		"a wildcard of NATS in the slug":    {"a.>", "税务局", tenancy.ErrBadSlug},
		"a new line at the end of a slug":   {"tax\n", "税务局", tenancy.ErrBadSlug},
		"a full-width letter in the slug":   {"ｔax", "税务局", tenancy.ErrBadSlug},
		"a slug that starts with a hyphen":  {"-tax", "税务局", tenancy.ErrBadSlug},
	} {
		if err := create(t, ten, c.slug, c.name); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	if n := len(ten.Tenants()); n != 1 {
		t.Errorf("there are %d tenants after the refusals, want 1", n)
	}
}

func TestAFeedIsFoldedOnceAndInOrder(t *testing.T) {
	var ran atomic.Int64
	ten := start(t, notes(&ran))
	if err := create(t, ten, "tax", "税务局"); err != nil {
		t.Fatal(err)
	}
	_, db, _ := ten.Database("tax")
	const keys = 250 // More than one fold takes.
	for i := 0; i < keys; i += 50 {
		if err := db.Update(t.Context(), func(tx *service.Tx) error {
			for k := i; k < i+50; k++ {
				if err := tx.Publish("notes.notes", fmt.Sprintf("note-%03d", k), 1, []byte("first")); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	replicationtest.Await(t, "the division has all notes", func() bool { return count(t, ten, "first") == keys })
	if err := db.Update(t.Context(), func(tx *service.Tx) error {
		return tx.Publish("notes.notes", "note-007", 1, []byte("second"))
	}); err != nil {
		t.Fatal(err)
	}
	replicationtest.Await(t, "the division has the newer note", func() bool { return count(t, ten, "second") == 1 })
	var folds int
	view(t, ten, `SELECT sum(folds) FROM notes_all`, &folds)
	if folds != keys+1 {
		t.Errorf("%d rows were folded, want %d: each version once", folds, keys+1)
	}
}

func TestJoinTokens(t *testing.T) {
	ten := start(t)
	spend := func(hash string, by replication.NodeID) error {
		return ten.Division().Update(t.Context(), func(tx *service.Tx) error {
			return tenancy.SpendJoinToken(tx, []byte(hash), by)
		})
	}
	if err := ten.Division().Update(t.Context(), func(tx *service.Tx) error {
		if err := tenancy.MintJoinToken(tx, []byte("good"), tx.Now().Add(time.Hour)); err != nil {
			return err
		}
		return tenancy.MintJoinToken(tx, []byte("old"), tx.Now().Add(-time.Second))
	}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"a token nobody minted", "guess", tenancy.ErrTokenUnknown},
		{"an expired token", "old", tenancy.ErrTokenExpired},
		{"a good token", "good", nil},
		{"the same token again", "good", tenancy.ErrTokenSpent},
	} {
		if err := spend(c.token, "n2"); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func count(tb testing.TB, ten *tenancy.Tenancy, text string) (n int) {
	tb.Helper()
	view(tb, ten, fmt.Sprintf(`SELECT count(*) FROM notes_all WHERE text = '%s'`, text), &n)
	return n
}

func view(tb testing.TB, ten *tenancy.Tenancy, sql string, dest any) {
	tb.Helper()
	if err := ten.Division().View(tb.Context(), replication.Local, func(v *service.View) error {
		return v.QueryRow(sql).Scan(dest)
	}); err != nil {
		tb.Fatal(err)
	}
}
