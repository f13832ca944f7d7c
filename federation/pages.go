package federation

import (
	"embed"
	"io/fs"

	"tongban/service"
)

//go:embed templates/*.html messages/*.toml
var pages embed.FS

// PermMail sees where a department's mails are.
var PermMail = service.Permission{Name: "federation.mail",
	Roles: []service.Role{service.RoleOfficer, service.RoleTenantAdmin, service.RoleOperator}}

// withPages adds the routes and what they show.
func (f *Federation) withPages(d service.Definition) service.Definition {
	d.Routes = append(d.Routes, service.Route{Pattern: "GET /mail", Need: PermMail, Handle: outbox},
		service.Route{Scope: service.DivisionScope, Pattern: "GET /federation", Need: PermTree, Handle: f.tree})
	d.Menu = append(d.Menu, service.MenuEntry{Scope: service.TenantScope, Path: "/mail", Title: "federation.menu_mail", Need: PermMail, Order: 38},
		service.MenuEntry{Scope: service.DivisionScope, Path: "/federation", Title: "federation.menu_tree", Need: PermTree, Order: 62})
	d.Templates, d.Messages = below("templates"), below("messages")
	return d
}

func below(dir string) fs.FS {
	out, err := fs.Sub(pages, dir)
	if err != nil {
		panic(err) // The folder is embedded above.
	}
	return out
}
