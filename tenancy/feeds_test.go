package tenancy_test

import (
	"context"
	"fmt"
	"testing"
	"testing/fstest"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
	"tongban/service"
	"tongban/tenancy"
)

// keeper holds what a tenant publishes, as far as its format goes.
func keeper(format int) service.Definition {
	return service.Definition{
		Name: "keeper",
		Migrations: fstest.MapFS{
			"division/0001_kept.sql": {Data: []byte(`CREATE TABLE keeper_all (tenant TEXT, id TEXT, text TEXT, PRIMARY KEY (tenant, id));`)},
		},
		Feeds: []service.Feed{{Name: "keeper.rows", Format: format, Fold: func(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
			for _, r := range rows {
				sql := `INSERT OR REPLACE INTO keeper_all (tenant, id, text) VALUES (?, ?, ?)`
				if len(r.Payload) == 0 {
					sql = `DELETE FROM keeper_all WHERE tenant = ? AND id = ? AND ? = ''`
				}
				if err := tx.Exec(sql, from.Slug, r.Key, string(r.Payload)); err != nil {
					return err
				}
			}
			return nil
		}}},
	}
}

// program runs a division of one node until the returned function is called.
func program(t *testing.T, o replication.Options, defs ...service.Definition) (*tenancy.Tenancy, func()) {
	t.Helper()
	engine, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ten := tenancy.New(tenancy.Options{Engine: engine, Self: tenancy.Node{ID: "n1", Address: "127.0.0.1:1", Web: "http://localhost:1"},
		Founders: []replication.NodeID{"n1"}, Log: o.Log, Record: func(*service.Tx, service.Event) error { return nil }})
	if err := ten.Open(append(defs, ten.Definition())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ten.Run(ctx) }()
	waiting, enough := context.WithTimeout(ctx, 20*time.Second)
	defer enough()
	if err := ten.ReadyDivision(waiting); err != nil {
		t.Fatal(err)
	}
	return ten, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	}
}

func publish(t *testing.T, db *service.DB, feed, key string, format int, text string) {
	t.Helper()
	if err := db.Update(t.Context(), func(tx *service.Tx) error {
		return tx.Publish(feed, key, format, []byte(text))
	}); err != nil {
		t.Fatal(err)
	}
}

func total(t *testing.T, ten *tenancy.Tenancy) (n int) {
	t.Helper()
	view(t, ten, `SELECT count(*) FROM keeper_all`, &n)
	return n
}

// A tenant's database that was restored from a backup lacks rows of which the division has
// heard already: they go, however many there are, and what both have stays.
func TestWhatARestoredTenantLacksIsRemoved(t *testing.T) {
	t.Parallel()
	ten := start(t, keeper(1))
	for _, slug := range []string{"tax", "water"} {
		if err := create(t, ten, slug, slug+"局"); err != nil {
			t.Fatal(err)
		}
		_, db, _ := ten.Database(slug)
		if err := db.Update(t.Context(), func(tx *service.Tx) error {
			for n := range 250 {
				if err := tx.Publish("keeper.rows", string(rune('一'+n)), 1, []byte("x")); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	replicationtest.Await(t, "the division has the rows of both", func() bool { return total(t, ten) == 500 })
	_, db, _ := ten.Database("tax")
	if err := db.Update(t.Context(), func(tx *service.Tx) error {
		if err := tx.Exec(`DELETE FROM service_feed WHERE version > 10`); err != nil {
			return err
		}
		return service.Renew(tx, "restored")
	}); err != nil {
		t.Fatal(err)
	}
	replicationtest.Await(t, "the division has what is left of the one, and all of the other", func() bool { return total(t, ten) == 260 })
	publish(t, db, "keeper.rows", "new", 1, "y")
	replicationtest.Await(t, "the feed goes on", func() bool { return kept(t, ten, "y") == 1 })
	publish(t, db, "keeper.rows", "new", 1, "")
	replicationtest.Await(t, "and takes back", func() bool { return kept(t, ten, "y") == 0 })
	var keys int
	view(t, ten, `SELECT count(*) FROM tenancy_folded`, &keys)
	if keys != 260 {
		t.Errorf("the division notes %d keys, want 260", keys)
	}
}

// Boxes are upgraded one after another: the newer one may lead a tenant while the older one
// leads the division.
func TestRowsOfANewerProgramWaitForOneThatKnowsThem(t *testing.T) {
	t.Parallel()
	o := replicationtest.Options(t, "n1")
	o.HeartbeatTimeout = 20 * time.Millisecond
	ten, stop := program(t, o, keeper(1))
	if err := create(t, ten, "tax", "税务局"); err != nil {
		t.Fatal(err)
	}
	_, db, _ := ten.Database("tax")
	publish(t, db, "keeper.rows", "a", 1, "first")
	publish(t, db, "keeper.rows", "b", 2, "newer")
	publish(t, db, "later.rows", "c", 1, "unknown")
	publish(t, db, "keeper.rows", "d", 1, "last")
	replicationtest.Await(t, "the division has what it knows", func() bool { return kept(t, ten, "first") == 1 })
	stop()

	later := keeper(2)
	fold := later.Feeds[0].Fold
	later.Feeds = append(later.Feeds, service.Feed{Name: "later.rows", Fold: fold})
	ten, stop = program(t, o, later)
	defer stop()
	replicationtest.Await(t, "the upgraded division has all", func() bool { return total(t, ten) == 4 })
}

// One department's rows that cannot be folded stop neither the node nor the others.
func TestAPanicOfAFoldIsOneTenants(t *testing.T) {
	t.Parallel()
	bad := keeper(1)
	fold := bad.Feeds[0].Fold
	bad.Feeds[0].Fold = func(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
		if from.Slug == "tax" {
			panic("a fold that is wrong")
		}
		return fold(tx, from, rows)
	}
	ten := start(t, bad)
	for _, slug := range []string{"tax", "water"} {
		if err := create(t, ten, slug, slug+"局"); err != nil {
			t.Fatal(err)
		}
		_, db, _ := ten.Database(slug)
		publish(t, db, "keeper.rows", slug, 1, slug)
	}
	replicationtest.Await(t, "the division has the other's row", func() bool { return kept(t, ten, "water") == 1 })
}

func kept(t *testing.T, ten *tenancy.Tenancy, text string) (n int) {
	t.Helper()
	view(t, ten, `SELECT count(*) FROM keeper_all WHERE text = '`+text+`'`, &n)
	return n
}

// Rows that take too long together are folded in parts: nothing waits for ever.
func TestRowsThatTakeTooLongTogetherAreFoldedInParts(t *testing.T) {
	t.Parallel()
	slow := keeper(1)
	fold := slow.Feeds[0].Fold
	slow.Feeds[0].Fold = func(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
		if len(rows) > 3 {
			return replication.ErrTooSlow
		}
		return fold(tx, from, rows)
	}
	ten := start(t, slow)
	if err := create(t, ten, "tax", "税务局"); err != nil {
		t.Fatal(err)
	}
	_, db, _ := ten.Database("tax")
	if err := db.Update(t.Context(), func(tx *service.Tx) error {
		for i := range 50 {
			if err := tx.Publish("keeper.rows", fmt.Sprint(i), 1, []byte("x")); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	replicationtest.Await(t, "the division has all rows", func() bool { return total(t, ten) == 50 })
}
