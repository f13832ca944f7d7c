package tenancy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/replication"
	"tongban/service"
)

// Options are the parts of a Tenancy. A zero field takes the default stated beside it.
type Options struct {
	Engine   *replication.Engine  // Required.
	Record   service.RecordFunc   // Required: audit.Append.
	Self     Node                 // Required: this node as the directory should know it.
	Founders []replication.NodeID // Nodes that found the division database; empty for a node that joined.
	Now      service.Clock        // time.Now.
	Log      *slog.Logger         // slog.Default().
}

// Tenancy is this node's view of the directory and the databases open on it.
type Tenancy struct {
	o        Options
	defs     []service.Definition
	versions map[string]int
	division *service.DB

	led  *led
	wake chan struct{} // Application databases are to be opened.

	mu      sync.RWMutex
	tenants map[string]open
	apps    map[replication.DatabaseID]*replication.DB
	wanted  map[replication.DatabaseID]string // Application databases that are not open yet, and their founders.
	nodes   []Node
	version int64 // Of the directory as followed; -1 before the first look.
	changed chan struct{}
}

// open is a tenant whose main database is open on this node.
type open struct {
	tenant service.Tenant
	db     *service.DB
}

// New returns a Tenancy that has nothing open.
func New(o Options) *Tenancy {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	return &Tenancy{o: o, tenants: map[string]open{}, version: -1, changed: make(chan struct{}),
		led: newLed(), wake: make(chan struct{}, 1),
		apps: map[replication.DatabaseID]*replication.DB{}, wanted: map[replication.DatabaseID]string{}}
}

// Open opens the division database. defs are all services of the program, the tenancy's
// own among them.
func (t *Tenancy) Open(defs []service.Definition) error {
	if err := service.Check(defs); err != nil {
		return err
	}
	versions, err := service.Versions(defs)
	if err != nil {
		return err
	}
	t.defs, t.versions = defs, versions
	t.division, err = t.openDatabase(DivisionDatabase, t.o.Founders, service.Tenant{}, service.DivisionScope)
	if err != nil {
		return fmt.Errorf("open the division database: %w", err)
	}
	return nil
}

func (t *Tenancy) openDatabase(id replication.DatabaseID, founders []replication.NodeID,
	tenant service.Tenant, scope service.Scope) (*service.DB, error) {
	rep, err := t.o.Engine.OpenDB(id, replication.DBOptions{
		Voters: founders,
		OnLead: func(ctx context.Context, rep *replication.DB) {
			t.lead(ctx, service.NewDB(rep, t.o.Record), tenant, scope)
		},
	})
	if err != nil {
		return nil, err
	}
	return service.NewDB(rep, t.o.Record), nil
}

// Definitions returns all services of the program, as Open got them.
func (t *Tenancy) Definitions() []service.Definition { return t.defs }

// Division returns the division database.
func (t *Tenancy) Division() *service.DB { return t.division }

// Database returns a tenant and its main database when that is open on this node.
func (t *Tenancy) Database(slug string) (service.Tenant, *service.DB, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	o, ok := t.tenants[slug]
	return o.tenant, o.db, ok
}

// Tenants returns the tenants whose databases are open on this node, by number.
func (t *Tenancy) Tenants() []service.Tenant {
	t.mu.RLock()
	defer t.mu.RUnlock()
	list := make([]service.Tenant, 0, len(t.tenants))
	for _, o := range t.tenants {
		list = append(list, o.tenant)
	}
	sortTenants(list)
	return list
}

// Serving reports whether this node has followed the directory at all: before that it
// knows of no tenant and nobody's session.
func (t *Tenancy) Serving() bool { return t.followed() >= 0 }

// Nodes returns the active nodes as this replica of the directory knows them.
func (t *Tenancy) Nodes() []Node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return append([]Node(nil), t.nodes...)
}

// Changed returns a channel that is closed at the next change of what this node has
// followed of the directory.
func (t *Tenancy) Changed() <-chan struct{} {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.changed
}

// followEvery bounds how late a change of the directory is noticed when a wake-up got
// lost between two looks.
const followEvery = time.Second

// Run follows the directory until ctx ends: it opens what is placed on this node, and keeps
// the members of what is led here. It returns nil when ctx ended.
func (t *Tenancy) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{t.followDirectory, t.openApplications, t.keepMembers} {
		group.Go(func() error { return run(ctx) })
	}
	return group.Wait()
}

func (t *Tenancy) followDirectory(ctx context.Context) error {
	for {
		applied := t.division.AppliedChanged()
		if err := t.follow(ctx); err != nil && ctx.Err() == nil {
			t.o.Log.Error("follow the directory", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-applied:
		case <-time.After(followEvery):
		}
	}
}

type placed struct {
	tenant   service.Tenant
	id       replication.DatabaseID
	founders string // JSON, as it is stored.
}

// follow brings this node up to the directory as its replica has it.
func (t *Tenancy) follow(ctx context.Context) error {
	var version int64
	var nodes []Node
	var list []placed
	err := t.division.View(ctx, replication.Local, func(v *service.View) error {
		ready, err := hasTable(v, "tenancy_node")
		if err != nil || !ready {
			return err
		}
		err = v.QueryRow(`SELECT last FROM service_sequence WHERE name = ?`, directoryVersion).Scan(&version)
		if errors.Is(err, replication.ErrNoRows) || err == nil && version == t.followed() {
			return nil
		}
		if err != nil {
			return err
		}
		if nodes, err = ReadNodes(v); err != nil {
			return err
		}
		list, err = readPlaced(v)
		return err
	})
	if err != nil || version == 0 || version == t.followed() {
		return err
	}
	var apps []placed
	for _, p := range list {
		if p.id != MainDatabase(p.tenant.Slug) {
			apps = append(apps, p)
			continue
		}
		if err := t.openPlaced(p); err != nil {
			return err
		}
	}
	t.want(apps)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nodes, t.version = nodes, version
	close(t.changed)
	t.changed = make(chan struct{})
	return nil
}

func (t *Tenancy) followed() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.version
}

func (t *Tenancy) openPlaced(p placed) error {
	t.mu.RLock()
	have, ok := t.tenants[p.tenant.Slug]
	t.mu.RUnlock()
	if !ok {
		founders, err := parseFounders(p.id, p.founders)
		if err != nil {
			return err
		}
		db, err := t.openDatabase(p.id, founders, p.tenant, service.TenantScope)
		if err != nil {
			return fmt.Errorf("open %s: %w", p.id, err)
		}
		have.db = db
	}
	t.mu.Lock()
	t.tenants[p.tenant.Slug] = open{tenant: p.tenant, db: have.db}
	t.mu.Unlock()
	return nil
}

func readPlaced(q service.Querier) ([]placed, error) {
	rows, err := q.Query(`SELECT t.slug, t.name, t.number, t.state, d.id, d.founders
		FROM tenancy_database d JOIN tenancy_tenant t ON t.slug = d.tenant ORDER BY t.number`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []placed
	for rows.Next() {
		var p placed
		var id string
		if err := rows.Scan(&p.tenant.Slug, &p.tenant.Name, &p.tenant.Number, &p.tenant.State, &id, &p.founders); err != nil {
			return nil, err
		}
		p.id = replication.DatabaseID(id)
		list = append(list, p)
	}
	return list, rows.Err()
}

// Ready waits until a tenant's database is open on this node, has a leader, and its
// replica here has the program's newest schema, or until ctx ends.
func (t *Tenancy) Ready(ctx context.Context, slug string) error {
	for {
		changed := t.Changed()
		wake := changed
		if _, db, ok := t.Database(slug); ok {
			applied := db.AppliedChanged()
			done, err := t.migrated(ctx, db, service.TenantScope)
			if err != nil {
				return err
			}
			if _, led := db.Leader(); led && done {
				return nil
			}
			wake = applied
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the database of %s: %w", slug, ctx.Err())
		case <-wake:
		case <-time.After(pollEvery):
		}
	}
}

// ReadyDivision is Ready for the division database.
func (t *Tenancy) ReadyDivision(ctx context.Context) error {
	for {
		applied := t.division.AppliedChanged()
		done, err := t.migrated(ctx, t.division, service.DivisionScope)
		if err != nil {
			return err
		}
		if _, led := t.division.Leader(); led && done && t.followed() >= 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the division database: %w", ctx.Err())
		case <-applied:
		case <-time.After(pollEvery):
		}
	}
}

// migrated reports whether this replica has the newest schema that the program knows.
func (t *Tenancy) migrated(ctx context.Context, db *service.DB, scope service.Scope) (done bool, err error) {
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		if done, err = hasTable(v, "service_migration"); err != nil || !done {
			return err
		}
		have := map[string]int{}
		rows, err := v.Query(`SELECT service, max(version) FROM service_migration GROUP BY service`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var name string
			var version int
			if err := rows.Scan(&name, &version); err != nil {
				return err
			}
			have[name] = version
		}
		for _, d := range t.defs {
			if have[d.Name] < t.versions[service.VersionKey(d.Name, scope)] {
				done = false
			}
		}
		return rows.Err()
	})
	return done, err
}

func hasTable(q service.Querier, name string) (bool, error) {
	var n int
	err := q.QueryRow(`SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?`, name).Scan(&n)
	return n > 0, err
}
