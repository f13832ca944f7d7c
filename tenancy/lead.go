package tenancy

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"tongban/replication"
	"tongban/service"
)

// pollEvery is how soon a leader looks again at what no channel announces.
const pollEvery = 200 * time.Millisecond

// lead is what a leader does besides answering: it ends with ctx.
func (t *Tenancy) lead(ctx context.Context, db *service.DB, tenant service.Tenant, scope service.Scope) {
	log := t.o.Log.With("database", db.ID())
	if err := t.migrate(ctx, db, scope); err != nil {
		if ctx.Err() == nil {
			log.Error("migrate", "err", err)
		}
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if scope == service.DivisionScope {
		if err := t.enterSelf(ctx, db); err != nil && ctx.Err() == nil {
			log.Error("enter the first node in the directory", "err", err)
		}
		wg.Go(func() { t.foldFeeds(ctx, db) })
	}
	t.noteLed(ctx, db.DB)
	for _, d := range t.defs {
		for _, w := range d.Workers {
			if w.Scope != scope {
				continue
			}
			env := service.Env{DB: db, Tenant: tenant, Now: t.o.Now, Log: log.With("worker", d.Name+"."+w.Name)}
			wg.Go(func() { work(ctx, w, env) })
		}
	}
}

// work runs a worker's step at once and then every w.Every until ctx ends. A panic of
// one step is an error of that step.
func work(ctx context.Context, w service.Worker, env service.Env) {
	for {
		if err := step(ctx, w, env); err != nil && ctx.Err() == nil {
			env.Log.Error("run a worker", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(w.Every):
		}
	}
}

func step(ctx context.Context, w service.Worker, env service.Env) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("worker %s panicked: %v", w.Name, p)
		}
	}()
	return w.Do(ctx, env)
}

// migrate waits until a majority of the voters knows the schema and no voter that is up
// lacks it, then migrates. A new database needs no such gate: nothing older reads it.
func (t *Tenancy) migrate(ctx context.Context, db *service.DB, scope service.Scope) error {
	for {
		fresh, err := isFresh(ctx, db)
		if err != nil {
			return err
		}
		if fresh || t.majorityKnows(db) {
			err := service.Migrate(ctx, db, scope, t.defs)
			if err == nil || errors.Is(err, service.ErrNewerData) || errors.Is(err, replication.ErrNotLeader) {
				return err
			}
			t.o.Log.Warn("migrate, will try again", "database", db.ID(), "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}

func isFresh(ctx context.Context, db *service.DB) (fresh bool, err error) {
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		has, err := hasTable(v, "service_migration")
		fresh = !has
		return err
	})
	return fresh, err
}

// Hello is what a node tells its peers: the newest schemas that it knows.
type Hello struct {
	Versions map[string]int `json:"versions"`
}

// EncodeHello returns the hello of a program with these definitions, for
// replication.Options.Hello.
func EncodeHello(defs []service.Definition) ([]byte, error) {
	versions, err := service.Versions(defs)
	if err != nil {
		return nil, err
	}
	return json.Marshal(Hello{Versions: versions})
}

func (t *Tenancy) majorityKnows(db *service.DB) bool {
	members, err := db.Members()
	if err != nil {
		return false
	}
	voters, know := 0, 0
	for _, m := range members {
		if !m.Voter {
			continue
		}
		voters++
		if m.Node == t.o.Self.ID {
			know++
			continue
		}
		raw, up := t.o.Engine.PeerHello(m.Node)
		if !up {
			continue
		}
		var h Hello
		if json.Unmarshal(raw, &h) != nil {
			return false
		}
		for name, version := range t.versions {
			if h.Versions[name] < version {
				return false
			}
		}
		know++
	}
	return know > voters/2
}

// enterSelf makes the first node known to the directory of a new division.
func (t *Tenancy) enterSelf(ctx context.Context, db *service.DB) error {
	return db.Update(ctx, func(tx *service.Tx) error {
		nodes, err := ReadNodes(tx)
		if err != nil || len(nodes) > 0 {
			return err
		}
		return AddNode(tx, t.o.Self)
	})
}

func sortTenants(list []service.Tenant) {
	slices.SortFunc(list, func(a, b service.Tenant) int { return cmp.Compare(a.Number, b.Number) })
}
