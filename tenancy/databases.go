package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tongban/replication"
	"tongban/service"
)

// Refusals about application databases. Their messages are in messages/.
var (
	ErrBadDatabase    = service.Refuse(service.Invalid, "tenancy.bad_database").Field("name", "tenancy.bad_database")
	ErrDatabaseTaken  = service.Refuse(service.Conflict, "tenancy.database_taken").Field("name", "tenancy.database_taken")
	ErrTenantUnknown  = service.Refuse(service.NotFound, "tenancy.tenant_unknown")
	ErrDatabasesFull  = service.Refuse(service.Unprocessable, "tenancy.databases_full")
	ErrDatabaseAbsent = service.Refuse(service.NotFound, "tenancy.database_absent")
)

// maxDatabases bounds the databases of a division, those of the tenants' services among
// them: each is a raft group on every node.
const maxDatabases = 10_000

// mainName is the database of a tenant's services.
const mainName = "main"

var databasePattern = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9_-]{0,38}[a-z0-9])?$`)

// Database is an application database of a tenant: its tables are the tenant's own. No
// service has tables in it.
type Database struct {
	ID      replication.DatabaseID `json:"id"` // "<tenant>/<name>"
	Created time.Time              `json:"created"`
}

// ApplicationDatabase returns the id of a tenant's database; false when there can be none
// of that name.
func ApplicationDatabase(tenant, name string) (replication.DatabaseID, bool) {
	return replication.DatabaseID(tenant + "/" + name),
		slugPattern.MatchString(tenant) && databasePattern.MatchString(name) && name != mainName
}

// IsApplication reports whether id is that of an application database.
func IsApplication(id replication.DatabaseID) bool {
	tenant, name, _ := strings.Cut(string(id), "/")
	return tenant != DivisionTenant && name != mainName
}

// CreateDatabases enters application databases of a tenant, placed on every active node,
// and returns the ids of those that were not there yet. Refusals: ErrBadDatabase,
// ErrTenantUnknown, ErrDatabasesFull.
func CreateDatabases(tx *service.Tx, tenant string, names ...string) ([]replication.DatabaseID, error) {
	var all, known int
	if err := tx.QueryRow(`SELECT (SELECT count(*) FROM tenancy_database), (SELECT count(*) FROM tenancy_tenant WHERE slug = ?)`,
		tenant).Scan(&all, &known); err != nil {
		return nil, err
	}
	if known == 0 {
		return nil, ErrTenantUnknown.With("tenant", tenant)
	}
	if all+len(names) > maxDatabases {
		return nil, ErrDatabasesFull.With("max", maxDatabases)
	}
	founders, err := foundersNow(tx)
	if err != nil {
		return nil, err
	}
	var made []replication.DatabaseID
	for _, name := range names {
		id, ok := ApplicationDatabase(tenant, name)
		if !ok {
			return nil, ErrBadDatabase.With("name", name)
		}
		res, err := tx.ExecResult(`INSERT INTO tenancy_database (id, tenant, founders, created) VALUES (?, ?, ?, ?)
			ON CONFLICT DO NOTHING`, string(id), tenant, founders, tx.Now())
		if err != nil {
			return nil, fmt.Errorf("enter database %s: %w", id, err)
		}
		if res.RowsAffected > 0 {
			made = append(made, id)
		}
	}
	if len(made) == 0 {
		return nil, nil
	}
	return made, touchDirectory(tx)
}

// ReadApplications returns the application databases by id: those of one tenant, or of all
// if tenant is empty.
func ReadApplications(q service.Querier, tenant string) ([]Database, error) {
	rows, err := q.Query(`SELECT id, created FROM tenancy_database WHERE id <> tenant || '/main' AND ?1 IN ('', tenant) ORDER BY id`, tenant)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := []Database{}
	for rows.Next() {
		var id string
		var d Database
		if err := rows.Scan(&id, &d.Created); err != nil {
			return nil, err
		}
		d.ID = replication.DatabaseID(id)
		list = append(list, d)
	}
	return list, rows.Err()
}

// FindApplication refuses with ErrDatabaseAbsent unless id is an application database of
// the directory.
func FindApplication(q service.Querier, id replication.DatabaseID) error {
	var n int
	err := q.QueryRow(`SELECT count(*) FROM tenancy_database WHERE id = ?`, string(id)).Scan(&n)
	if err == nil && (n == 0 || !IsApplication(id)) {
		return ErrDatabaseAbsent.With("database", string(id))
	}
	return err
}

// foundersNow is the JSON list of the nodes that found a database that is created now.
func foundersNow(tx *service.Tx) (string, error) {
	nodes, err := ReadNodes(tx)
	if err != nil {
		return "", err
	}
	if len(nodes) == 0 { // A group that nobody founds never has a leader.
		return "", service.ErrUnavailable.With("retry_after", 1)
	}
	founders := make([]replication.NodeID, 0, len(nodes))
	for _, n := range nodes {
		founders = append(founders, n.ID)
	}
	list, err := json.Marshal(founders)
	return string(list), err
}

// Application returns an application database that is open on this node.
func (t *Tenancy) Application(id replication.DatabaseID) (*replication.DB, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	db, ok := t.apps[id]
	return db, ok
}

// Applications is the number of application databases that are open on this node.
func (t *Tenancy) Applications() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.apps)
}

// ReadyApplications waits until application databases are open on this node and have a
// leader, or until ctx ends.
func (t *Tenancy) ReadyApplications(ctx context.Context, ids ...replication.DatabaseID) error {
	for _, id := range ids {
		for {
			if db, ok := t.Application(id); ok {
				if _, led := db.Leader(); led {
					break
				}
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("wait for the database %s: %w", id, ctx.Err())
			case <-time.After(openPause):
			}
		}
	}
	return nil
}

const (
	// openPause is how soon somebody who waits for a database looks again.
	openPause = 20 * time.Millisecond
	// openAtOnce bounds the application databases that are opened at the same time: most of
	// an opening is waiting for the disk.
	openAtOnce = 16
	// openAgain is how soon a database that could not be opened is tried again.
	openAgain = 5 * time.Second
)

// want notes which application databases are placed on this node.
func (t *Tenancy) want(list []placed) {
	t.mu.Lock()
	for _, p := range list {
		if t.apps[p.id] == nil {
			t.wanted[p.id] = p.founders
		}
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// openApplications opens the databases that are wanted until ctx ends. One that cannot be
// opened keeps nothing else waiting.
func (t *Tenancy) openApplications(ctx context.Context) error {
	for {
		failed := t.openWanted(ctx)
		var again <-chan time.Time
		if failed {
			again = time.After(openAgain)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-again:
		}
	}
}

// openWanted opens what is wanted, some at a time. It reports whether one failed.
func (t *Tenancy) openWanted(ctx context.Context) bool {
	t.mu.RLock()
	queue := make(chan replication.DatabaseID, len(t.wanted))
	for id := range t.wanted {
		queue <- id
	}
	t.mu.RUnlock()
	close(queue)
	var failed atomic.Bool
	var work sync.WaitGroup
	for range min(openAtOnce, len(queue)) {
		work.Go(func() {
			for id := range queue {
				if ctx.Err() == nil && !t.openApplication(id) {
					failed.Store(true)
				}
			}
		})
	}
	work.Wait()
	return failed.Load()
}

func (t *Tenancy) openApplication(id replication.DatabaseID) bool {
	t.mu.RLock()
	text := t.wanted[id]
	t.mu.RUnlock()
	founders, err := parseFounders(id, text)
	var db *replication.DB
	if err == nil {
		db, err = t.o.Engine.OpenDB(id, replication.DBOptions{Voters: founders, OnLead: t.noteLed})
	}
	if errors.Is(err, replication.ErrClosed) {
		return true
	}
	if err != nil {
		t.o.Log.Error("open an application database", "database", id, "err", err)
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.apps[id] = db
	delete(t.wanted, id)
	return true
}

func parseFounders(id replication.DatabaseID, text string) (list []replication.NodeID, err error) {
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read the founders of %s: %w", id, err)
	}
	return list, nil
}
