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
func withPages(d service.Definition) service.Definition {
	d.Routes = append(d.Routes, service.Route{Pattern: "GET /mail", Need: PermMail, Handle: outbox})
	d.Menu = append(d.Menu, service.MenuEntry{Scope: service.TenantScope, Path: "/mail", Title: "federation.menu_mail", Need: PermMail, Order: 38})
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
