package audit

import (
	"context"
	"embed"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tongban/service"
)

//go:embed tenant/*.sql division/*.sql
var migrations embed.FS

//go:embed templates/*.html messages/*.toml
var pages embed.FS

// Permissions of the routes.
var (
	PermRead   = service.Permission{Name: "audit.read", Roles: []service.Role{service.RoleAuditor, service.RoleOperator}}
	PermRecord = service.Permission{Name: "audit.record", Roles: []service.Role{service.RoleSystem}}
)

// RefusalsPath is where a node reports, as the program itself, that it refused somebody
// access: POST, JSON {"what", "subject", "account", "kind", "reason"}.
const RefusalsPath = "/audit/refusals"

// Definition returns the service.
func Definition() service.Definition {
	messages, err := fs.Sub(pages, "messages")
	if err != nil {
		panic(err) // The name is valid.
	}
	d := service.Definition{Name: "audit", Migrations: migrations, Templates: pages, Messages: messages,
		Routes: []service.Route{
			{Scope: service.DivisionScope, Pattern: "POST " + RefusalsPath, Need: PermRecord, Handle: recordRefusal},
		}}
	for _, scope := range []service.Scope{service.TenantScope, service.DivisionScope} {
		d.Routes = append(d.Routes,
			service.Route{Scope: scope, Pattern: "GET /audit", Need: PermRead, Handle: list},
			service.Route{Scope: scope, Pattern: "GET /audit/verify", Need: PermRead, Handle: verify},
			service.Route{Scope: scope, Pattern: "GET /audit/export.csv", Need: PermRead, Handle: export},
		)
		d.Menu = append(d.Menu, service.MenuEntry{Scope: scope, Path: "/audit", Title: "audit.title", Need: PermRead, Order: 900})
	}
	return d
}

// perPage is the number of rows on a page.
const perPage = 50

// Listing is a page of the audit.
type Listing struct {
	Base string     `json:"-"` // Path of the audit: "/audit" or "/t/<tenant>/audit".
	Rows []Row      `json:"rows"`
	Next int64      `json:"next,omitempty"` // "before" of the next page; 0: there is none.
	Asks url.Values `json:"-"`
}

// base is where the audit of the request's database is.
func base(r *service.Request) string {
	if r.Route.Scope == service.TenantScope {
		return "/t/" + r.Tenant.Slug + "/audit"
	}
	return "/audit"
}

func list(ctx context.Context, r *service.Request) (service.Response, error) {
	f, err := readFilter(r.Form)
	if err != nil {
		return service.Response{}, err
	}
	out := Listing{Base: base(r), Rows: []Row{}, Asks: r.Form}
	err = r.View(ctx, func(v *service.View) error {
		out.Rows = out.Rows[:0]
		return Read(v, f, perPage+1, func(row Row) error {
			out.Rows = append(out.Rows, row)
			return nil
		})
	})
	if len(out.Rows) > perPage {
		out.Rows = out.Rows[:perPage]
		out.Next = out.Rows[perPage-1].Seq
	}
	return service.Page("audit/list", "audit.title", out), err
}

// Of says what was asked for by the name of its field.
func (l Listing) Of(name string) string { return l.Asks.Get(name) }

// beijing is the civil time of the division; the country has no daylight saving.
var beijing = time.FixedZone("CST", 8*3600)

// readFilter reads the fields what, subject, account, from and to (days, both included)
// and before.
func readFilter(form url.Values) (Filter, error) {
	get := func(name string) string { return strings.TrimSpace(form.Get(name)) }
	f := Filter{What: get("what"), Subject: get("subject"), Account: get("account")}
	wrong := service.ErrInvalid
	day := func(name string, plus int) time.Time {
		if get(name) == "" {
			return time.Time{}
		}
		t, err := time.ParseInLocation(time.DateOnly, get(name), beijing)
		if err != nil {
			wrong = wrong.Field(name, "audit.bad_date")
		}
		return t.AddDate(0, 0, plus)
	}
	f.From, f.To = day("from", 0), day("to", 1)
	if s := get("before"); s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 1 {
			wrong = wrong.Field("before", "audit.bad_number")
		}
		f.Before = n
	}
	if len(wrong.Fields) > 0 {
		return f, wrong
	}
	return f, nil
}

// Verification is what the page of a verification shows.
type Verification struct {
	Report
	OK   bool   `json:"ok"`
	Base string `json:"-"`
}

func verify(ctx context.Context, r *service.Request) (service.Response, error) {
	out := Verification{Base: base(r)}
	err := r.View(ctx, func(v *service.View) (err error) {
		out.Report, err = Verify(v)
		return err
	})
	out.OK = out.Report.OK()
	return service.Page("audit/verify", "audit.verify_title", out), err
}

// recordRefusal writes down that a node refused somebody access.
func recordRefusal(ctx context.Context, r *service.Request) (service.Response, error) {
	var in struct {
		What    string `json:"what"`
		Subject string `json:"subject"`
		Account string `json:"account"`
		Kind    string `json:"kind"`
		Reason  string `json:"reason"`
	}
	if err := r.Decode(&in); err != nil {
		return service.Response{}, err
	}
	kind, ok := kinds[in.Kind]
	if !ok || in.What == "" || in.Reason == "" {
		return service.Response{}, service.ErrInvalid.With("detail", "what, reason and a known kind are needed")
	}
	// Not a Commit: it would keep an answer that nobody asks for again.
	err := r.DB.Update(ctx, func(tx *service.Tx) error {
		return tx.Record(service.Event{What: in.What, Subject: in.Subject, Refused: in.Reason,
			Who: service.Principal{Kind: kind, Account: in.Account}})
	})
	return service.Response{}, err
}

var kinds = map[string]service.Kind{
	service.Anonymous.String(): service.Anonymous, service.Staff.String(): service.Staff,
	service.Operator.String(): service.Operator, service.System.String(): service.System,
}
