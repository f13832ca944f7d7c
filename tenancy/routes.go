package tenancy

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"tongban/division/uscc"
	"tongban/service"
)

//go:embed migrations templates/*.html messages/*.toml
var files embed.FS

// PermTenants is needed to see and create tenants.
var PermTenants = service.Permission{Name: "tenancy.manage", Roles: []service.Role{
	service.RoleDivisionAdmin, service.RoleOperator}}

// ErrBadCode refuses a code that is no unified social credit code.
var ErrBadCode = service.Refuse(service.Invalid, "tenancy.bad_code").Field("codes", "tenancy.bad_code")

// readyWait bounds how long the creation of a tenant waits for its database.
const readyWait = 8 * time.Second

// Definition returns the tenancy's tables, pages and messages.
func (t *Tenancy) Definition() service.Definition {
	return service.Definition{
		Name:       "tenancy",
		Migrations: sub("migrations"), Templates: sub("templates"), Messages: sub("messages"),
		Routes: []service.Route{
			{Scope: service.DivisionScope, Pattern: "GET /tenants", Need: PermTenants, Handle: t.list},
			{Scope: service.DivisionScope, Pattern: "POST /tenants", Need: PermTenants, Handle: t.create},
		},
		Menu: []service.MenuEntry{{Scope: service.DivisionScope, Path: "/tenants", Title: "tenancy.title",
			Need: PermTenants, Order: 60}},
	}
}

func sub(dir string) fs.FS {
	out, err := fs.Sub(files, dir)
	if err != nil {
		panic(err) // The folder is embedded above.
	}
	return out
}

// TenantRow is one line of the list of tenants.
type TenantRow struct {
	service.Tenant
	Codes  []string `json:"codes"`
	Leader string   `json:"leader,omitempty"` // Node that leads the main database; empty: none now.
}

// TenantList is the page of tenants.
type TenantList struct {
	Tenants []TenantRow `json:"tenants"`
	Query   string      `json:"-"`
}

func (t *Tenancy) list(ctx context.Context, r *service.Request) (service.Response, error) {
	out, err := t.rows(ctx, r)
	return service.Page("tenancy/tenants", "tenancy.title", out), err
}

func (t *Tenancy) rows(ctx context.Context, r *service.Request) (TenantList, error) {
	out := TenantList{Tenants: []TenantRow{}, Query: strings.TrimSpace(r.HTTP.URL.Query().Get("q"))}
	err := r.View(ctx, func(v *service.View) error {
		tenants, err := ReadTenants(v)
		if err != nil {
			return err
		}
		codes, err := ReadCodes(v)
		if err != nil {
			return err
		}
		for _, one := range tenants {
			if !strings.Contains(one.Name, out.Query) && !strings.Contains(one.Slug, out.Query) {
				continue
			}
			out.Tenants = append(out.Tenants, TenantRow{Tenant: one, Codes: codes[one.Slug], Leader: t.leaderOf(one.Slug)})
		}
		return nil
	})
	return out, err
}

func (t *Tenancy) leaderOf(slug string) string {
	_, db, ok := t.Database(slug)
	if !ok {
		return ""
	}
	leader, _ := db.Leader()
	return string(leader)
}

type newTenant struct {
	Slug  string   `json:"slug"`
	Name  string   `json:"name"`
	Codes []string `json:"codes"`
}

// check finds everything that is wrong with the form at once; nil: nothing is.
func (in newTenant) check() error {
	var all []*service.Error
	if !slugPattern.MatchString(in.Slug) {
		all = append(all, ErrBadSlug.With("slug", in.Slug))
	}
	if !goodName(strings.TrimSpace(in.Name)) {
		all = append(all, ErrBadName.With("max", maxNameRunes))
	}
	if i := slices.IndexFunc(in.Codes, func(code string) bool { return !uscc.Valid(code) }); i >= 0 {
		all = append(all, ErrBadCode.With("code", in.Codes[i]))
	}
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	wrong := service.ErrInvalid
	for _, one := range all {
		for name, reason := range one.Fields {
			wrong = wrong.Field(name, reason)
		}
		for name, value := range one.Params {
			wrong = wrong.With(name, value)
		}
	}
	return wrong
}

// create enters a tenant and waits until its database answers here, so that whoever
// created it can use it at once.
func (t *Tenancy) create(ctx context.Context, r *service.Request) (service.Response, error) {
	var in newTenant
	if len(r.Body) > 0 {
		if err := r.Decode(&in); err != nil {
			return service.Response{}, err
		}
	} else {
		in = newTenant{Slug: strings.TrimSpace(r.Form.Get("slug")), Name: r.Form.Get("name"),
			Codes: strings.Fields(r.Form.Get("codes"))}
	}
	if wrong := in.check(); wrong != nil {
		return t.again(ctx, r, wrong)
	}
	out, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		tenant, err := CreateTenant(tx, in.Slug, in.Name, in.Codes)
		if err != nil {
			return service.Response{}, err
		}
		err = tx.Record(service.Event{What: "tenancy.created", Subject: tenant.Slug, Who: r.Principal,
			Detail: map[string]string{"name": tenant.Name}})
		return service.SeeOther("/tenants", tenant).WithNotice("tenancy.created"), err
	})
	if err != nil {
		return t.again(ctx, r, err)
	}
	waiting, cancel := context.WithTimeout(ctx, readyWait)
	defer cancel()
	if err := t.Ready(waiting, in.Slug); err != nil {
		return service.Response{}, service.ErrUnavailable.With("retry_after", 2).Because(
			fmt.Errorf("the tenant is entered, its database is not ready: %w", err))
	}
	return out, nil
}

// again sends the form back with what is wrong in it.
func (t *Tenancy) again(ctx context.Context, r *service.Request, cause error) (service.Response, error) {
	out, err := t.rows(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	return service.Page("tenancy/tenants", "tenancy.title", out), cause
}
