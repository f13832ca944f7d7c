package cases

import (
	"embed"
	"io/fs"
	"slices"

	"tongban/division/calendar"
	"tongban/service"
)

//go:embed tenant/*.sql
var migrations embed.FS

//go:embed templates/*.html messages/*.toml
var pages embed.FS

// Permissions of the routes. The head of a department sees its cases with applicants'
// data masked.
var (
	PermHandle = service.Permission{Name: "cases.handle", Roles: []service.Role{service.RoleOfficer}}
	PermHead   = service.Permission{Name: "cases.approve", Roles: []service.Role{service.RoleTenantAdmin}}
	PermRead   = service.Permission{Name: "cases.read", Roles: []service.Role{service.RoleOfficer, service.RoleTenantAdmin}}
)

// Options are what the service needs of the program.
type Options struct {
	// TenantByNumber finds the tenant of a receipt number. Required.
	TenantByNumber func(number int) (service.Tenant, bool)
	// Secure: cookies are sent over TLS only. False where people's port is plain HTTP.
	Secure bool
}

// handlers are the routes' handlers.
type handlers struct {
	o   Options
	cal calendar.Calendar
}

// Definition returns the service.
func Definition(o Options) service.Definition {
	h := &handlers{o: o, cal: calendar.Default()}
	return service.Definition{
		Name: "cases", Migrations: migrations, Templates: sub("templates"), Messages: sub("messages"),
		Routes:  slices.Concat(h.citizens(), h.officers(), h.windows()),
		Mail:    []service.MailKind{{Name: MailLodge, Format: lodgeFormat, Receive: h.receiveLodged, Settled: settledLodged}},
		Workers: []service.Worker{{Name: "silence", Scope: service.TenantScope, Every: workEvery, Do: work}},
		Menu: []service.MenuEntry{
			{Scope: service.DivisionScope, Path: "/track", Title: "cases.menu_track", Need: service.Public, Order: 25},
			{Scope: service.TenantScope, Path: "/cases", Title: "cases.menu", Need: PermRead, Order: 30},
			{Scope: service.TenantScope, Path: "/lodgings", Title: "cases.menu_lodgings", Need: PermRead, Order: 35},
		},
	}
}

func sub(dir string) fs.FS {
	out, err := fs.Sub(pages, dir)
	if err != nil {
		panic(err) // The folder is embedded above.
	}
	return out
}

func (h *handlers) citizens() []service.Route {
	return []service.Route{
		{Scope: service.DivisionScope, Pattern: "GET /track", Need: service.Public, Handle: h.find},
		{Scope: service.DivisionScope, Pattern: "POST /track", Need: service.Public, Handle: h.lead},
		{Pattern: "GET /items/{code}/apply", Need: service.Public, Handle: h.applyForm},
		{Pattern: "POST /items/{code}/apply", Need: service.Public, Handle: h.apply},
		{Pattern: "GET /track", Need: service.Public, Handle: h.find},
		{Pattern: "POST /track", Need: service.Public, Handle: h.enter},
		{Pattern: "POST /track/leave", Need: service.Public, Handle: h.leave},
		{Pattern: "GET /track/{number}", Need: service.Public, Handle: h.track},
		{Pattern: "GET /track/{number}/receipt", Need: service.Public, Handle: h.receipt},
		{Pattern: "POST /track/{number}/correction", Need: service.Public, Handle: h.citizenAct(Resubmit)},
		{Pattern: "POST /track/{number}/withdraw", Need: service.Public, Handle: h.citizenAct(Withdraw)},
	}
}

// officers returns the routes of the department; those of the actions follow the table.
func (h *handlers) officers() []service.Route {
	out := []service.Route{
		{Pattern: "GET /cases", Need: PermRead, Handle: h.list},
		{Pattern: "GET /cases/{number}", Need: PermRead, Handle: h.show},
	}
	for _, a := range staffActions() {
		need := PermHandle
		if a.who == Head {
			need = PermHead
		}
		path := "/cases/{number}/" + string(a.action)
		out = append(out, service.Route{Pattern: "GET " + path, Need: need, Handle: h.actForm(a)},
			service.Route{Pattern: "POST " + path, Need: need, Handle: h.act(a)})
	}
	return out
}

// staffAction is an action of an officer or head.
type staffAction struct {
	action Action
	who    Who
}

// staffActions returns each once, in the order of the table.
func staffActions() []staffAction {
	var out []staffAction
	seen := map[Action]bool{}
	for _, m := range table {
		if (m.Who == Officer || m.Who == Head) && !seen[m.Action] {
			seen[m.Action] = true
			out = append(out, staffAction{m.Action, m.Who})
		}
	}
	return out
}
