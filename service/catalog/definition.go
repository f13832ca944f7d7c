package catalog

import (
	"embed"
	"io/fs"

	"tongban/service"
)

//go:embed migrations templates messages
var files embed.FS

// PermManage is needed to import, repair and edit a department's items.
var PermManage = service.Permission{Name: "catalog.manage", Roles: []service.Role{service.RoleTenantAdmin, service.RoleOperator}}

// Definition returns the catalog's tables, routes, feeds, pages and messages.
func Definition() service.Definition {
	return service.Definition{
		Name:       "catalog",
		Migrations: folder("migrations"), Templates: folder("templates"), Messages: folder("messages"),
		Routes: routes(),
		Feeds: []service.Feed{
			{Name: feedItems, Format: feedFormat, Fold: foldItems},
			{Name: feedDepartments, Format: feedFormat, Fold: foldCounts},
			{Name: feedOffers, Format: feedFormat, FoldUp: foldOffers},
			{Name: feedBasic, Format: feedFormat, FoldDown: foldBasic},
		},
		Menu: []service.MenuEntry{
			{Scope: service.DivisionScope, Path: "/", Title: "catalog.menu_home", Need: service.Public, Order: 10},
			{Scope: service.DivisionScope, Path: "/departments", Title: "catalog.menu_departments", Need: service.Public, Order: 20},
			{Scope: service.DivisionScope, Path: "/basic", Title: "catalog.menu_basic", Need: service.Public, Order: 22},
			{Scope: service.TenantScope, Path: "/items", Title: "catalog.menu_items", Need: service.Public, Order: 20},
			{Scope: service.TenantScope, Path: "/items/manage", Title: "catalog.menu_manage", Need: PermManage, Order: 40},
			{Scope: service.TenantScope, Path: "/items/quarantine", Title: "catalog.menu_quarantine", Need: PermManage, Order: 41},
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
