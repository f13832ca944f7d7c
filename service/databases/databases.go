package databases

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

//go:embed migrations messages
var files embed.FS

// PermManage is needed to create databases and keys: whoever may open the admin socket.
var PermManage = service.Permission{Name: "databases.manage", Roles: []service.Role{service.RoleOperator}}

const (
	// MaxCount bounds the databases that one call creates: a call is answered within ten
	// seconds.
	MaxCount = 250
	// createAtOnce bounds those of one transaction: each is some rows and an entry of the
	// audit.
	createAtOnce = 20
	// readyWait bounds the wait for the databases that were created.
	readyWait = 8 * time.Second
)

// Ready waits until databases are open on this node and have a leader.
type Ready func(ctx context.Context, ids ...replication.DatabaseID) error

// manager serves the operator's calls.
type manager struct{ ready Ready }

// Definition returns the keys' table and the operator's calls, which answer JSON.
func Definition(ready Ready) service.Definition {
	m := &manager{ready}
	route := func(pattern string, handle service.Handler) service.Route {
		return service.Route{Scope: service.DivisionScope, Pattern: pattern, Need: PermManage, Handle: handle}
	}
	return service.Definition{
		Name:       "databases",
		Migrations: folder("migrations"), Messages: folder("messages"),
		Routes: []service.Route{
			route("GET /databases", m.list),
			route("POST /databases", m.create),
			route("GET /databases/keys", m.listKeys),
			route("POST /databases/keys", m.createKey),
			route("POST /databases/keys/{id}/revoke", m.revokeKey),
		},
	}
}

func folder(name string) fs.FS {
	out, err := fs.Sub(files, name)
	if err != nil {
		panic(err) // It is embedded above.
	}
	return out
}

// NewDatabases asks for databases of a tenant: POST /databases.
type NewDatabases struct {
	Tenant string `json:"tenant"`
	Name   string `json:"name"`
	// Count > 0: so many databases (at most MaxCount), <name>1, <name>2 …; those that are there
	// already stay. First > 0: they begin at <name><First>.
	Count int  `json:"count,omitempty"`
	First int  `json:"first,omitempty"`
	Key   bool `json:"key,omitempty"` // A key that reads and writes, for each.
}

// Created is the answer to NewDatabases.
type Created struct {
	Databases []replication.DatabaseID `json:"databases"`      // In order; also those that were there.
	Keys      []Key                    `json:"keys,omitempty"` // In the same order.
	// Waiting: some have no leader yet. Only with keys, which would be lost with a refusal.
	Waiting bool `json:"waiting,omitempty"`
}

func (in NewDatabases) names() []string {
	if in.Count == 0 {
		return []string{in.Name}
	}
	names := make([]string, in.Count)
	for i := range names {
		names[i] = fmt.Sprintf("%s%d", in.Name, i+max(in.First, 1))
	}
	return names
}

func (m *manager) list(ctx context.Context, r *service.Request) (service.Response, error) {
	var list []tenancy.Database
	err := r.View(ctx, func(v *service.View) (err error) {
		list, err = tenancy.ReadApplications(v, r.Form.Get("tenant"))
		return err
	})
	return service.Response{Data: list}, err
}

// create enters databases and waits until they can be used here.
func (m *manager) create(ctx context.Context, r *service.Request) (service.Response, error) {
	var in NewDatabases
	if err := r.Decode(&in); err != nil {
		return service.Response{}, err
	}
	if in.Count < 0 || in.Count > MaxCount || in.First < 0 {
		return service.Response{}, service.ErrInvalid.With("detail", fmt.Sprintf("count is a number from 1 to %d", MaxCount))
	}
	names := in.names()
	var out Created
	for len(names) > createAtOnce { // Not in the answer's own transaction: it would be too long.
		part := Created{}
		if err := r.DB.Update(ctx, func(tx *service.Tx) (err error) {
			part, err = in.enter(tx, r.Principal, names[:createAtOnce])
			return err
		}); err != nil {
			return service.Response{}, err
		}
		out.Databases, out.Keys = append(out.Databases, part.Databases...), append(out.Keys, part.Keys...)
		names = names[createAtOnce:]
	}
	response, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		part, err := in.enter(tx, r.Principal, names)
		all := Created{Databases: append(out.Databases[:len(out.Databases):len(out.Databases)], part.Databases...),
			Keys: append(out.Keys[:len(out.Keys):len(out.Keys)], part.Keys...)}
		return service.SeeOther("/databases", all), err
	})
	if err != nil {
		return service.Response{}, err
	}
	var ids []replication.DatabaseID
	for _, name := range in.names() {
		id, _ := tenancy.ApplicationDatabase(in.Tenant, name)
		ids = append(ids, id)
	}
	waiting, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	err = m.ready(waiting, ids...)
	if made, ok := response.Data.(Created); ok && err != nil && in.Key {
		made.Waiting = true
		response.Data = made
		return response, nil
	}
	if err != nil {
		return service.Response{}, service.ErrUnavailable.With("retry_after", 2).Because(
			fmt.Errorf("the databases are entered, but not all are ready: %w", err))
	}
	return response, nil
}

// enter makes what is asked for of some names, in one transaction.
func (in NewDatabases) enter(tx *service.Tx, who service.Principal, names []string) (out Created, err error) {
	made, err := tenancy.CreateDatabases(tx, in.Tenant, names...)
	if err != nil {
		return out, err
	}
	if in.Count == 0 && len(made) == 0 {
		return out, tenancy.ErrDatabaseTaken.With("name", in.Name)
	}
	for _, id := range made {
		if err := tx.Record(service.Event{What: "databases.created", Subject: string(id), Who: who}); err != nil {
			return out, err
		}
	}
	for _, name := range names {
		id, _ := tenancy.ApplicationDatabase(in.Tenant, name)
		out.Databases = append(out.Databases, id)
		if !in.Key {
			continue
		}
		k, err := enterKey(tx, who, id, "", false)
		if err != nil {
			return out, err
		}
		out.Keys = append(out.Keys, k)
	}
	return out, nil
}

func enterKey(tx *service.Tx, who service.Principal, id replication.DatabaseID, name string, readOnly bool) (Key, error) {
	k, err := CreateKey(tx, id, name, readOnly, NewSecret())
	if err != nil {
		return k, err
	}
	right := "read-write"
	if readOnly {
		right = "read-only"
	}
	return k, tx.Record(service.Event{What: "databases.key_created", Subject: string(id), Who: who,
		Detail: map[string]string{"key": k.ID, "right": right}})
}

func (m *manager) listKeys(ctx context.Context, r *service.Request) (service.Response, error) {
	id := databaseID(r.Form.Get("database"))
	var list []Key
	err := r.View(ctx, func(v *service.View) (err error) {
		if err := tenancy.FindApplication(v, id); err != nil {
			return err
		}
		list, err = ReadKeys(v, id)
		return err
	})
	return service.Response{Data: list}, err
}

// NewKey asks for a key: POST /databases/keys.
type NewKey struct {
	Database string `json:"database"` // "<tenant>/<name>"
	Name     string `json:"name,omitempty"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

func (m *manager) createKey(ctx context.Context, r *service.Request) (service.Response, error) {
	var in NewKey
	if err := r.Decode(&in); err != nil {
		return service.Response{}, err
	}
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		k, err := enterKey(tx, r.Principal, databaseID(in.Database), in.Name, in.ReadOnly)
		return service.SeeOther("/databases/keys", k), err
	})
}

func (m *manager) revokeKey(ctx context.Context, r *service.Request) (service.Response, error) {
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		k, err := RevokeKey(tx, r.PathValue("id"))
		if err != nil {
			return service.Response{}, err
		}
		return service.SeeOther("/databases/keys", k), tx.Record(service.Event{What: "databases.key_revoked",
			Subject: string(k.Database), Who: r.Principal, Detail: map[string]string{"key": k.ID}})
	})
}

// databaseID reads "<tenant>/<name>", or with a dot instead.
func databaseID(text string) replication.DatabaseID {
	return replication.DatabaseID(strings.Replace(strings.TrimSpace(text), ".", "/", 1))
}
