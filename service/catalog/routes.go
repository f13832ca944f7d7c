package catalog

import "tongban/service"

// The routes as JSON (Accept: application/json, or the admin socket). Errors are
// problem+json with the reason. {code} is an item code, path-escaped.
//
//	GET  /?                             HomePage
//	GET  /search?q=&division=&department=&audience=person|firm|unsaid&type=&page=
//	                                    SearchPage: items of this division and of those below.
//	                                    division: a reference, with all below it, or "own"
//	GET  /departments                   DepartmentsPage
//	GET  /basic?q=&type=&page=          BasicPage
//	GET  /basic/{code}                  BasicItemPage; 404 catalog.no_basic
//	GET  /basic/imports                 BasicImportsPage
//	POST /basic/imports                 BasicResult. Body: {"file": name, "rows": [BasicRow …],
//	                                    "replace": bool, "dry_run": bool} as ParseBasicCSV gives
//	                                    the rows, or text/csv, or a form with "file". At most 8 MiB.
//	                                    409 catalog.basic_from_parent, 422 catalog.basic_not_whole,
//	                                    catalog.basic_nothing_good          (tongban basic import)
//
// below /t/{tenant}:
//
//	GET  /items?q=&type=&page=          ItemsPage
//	GET  /items/{code}                  Item; 404 catalog.no_item
//	GET  /items/manage?page=&sort=      ManagePage                          (tongban items list)
//	GET  /items/import?batch=           ImportPage: imports so far
//	POST /items/import                  Result. Body: {"file": name, "rows": [Row …]} as ParseCSV
//	                                    and Split give them, or text/csv, or a form with "file".
//	                                    At most 8 MiB. 422 catalog.no_header, catalog.not_utf8_file,
//	                                    catalog.no_rows, catalog.not_here   (tongban items import)
//	GET  /items/quarantine?kinds=&body=&state=quarantined|repaired&page=    QuarantinePage
//	POST /items/bodies                  {"code", "evidence"}: vouch for a body code; Body
//	POST /items/repairs                 {"select": Selection, "code", "evidence", "dry_run"}:
//	                                    Preview with dry_run, else Repair. 422 catalog.body_invalid,
//	                                    catalog.body_unverified, catalog.selection_empty. One repair
//	                                    takes 100 rows; Rest says how many wait (tongban items repair)
//	GET  /items/repairs                 RepairsPage
//	GET  /items/repairs/preview?kinds=&body=&kind=&id=&code=                PreviewPage
//	GET  /repairs/{id}                  Repair with its changes
//	POST /repairs/{id}/release          Repair; Held are the rows that stay  (tongban items release)
//	POST /repairs/{id}/undo             {"take_back": bool}: Repair. 409 catalog.repair_changed,
//	                                    catalog.repair_released, catalog.repair_in_use
//	GET  /items/{code}/guide            GuidePage
//	POST /items/{code}/guide            {"version": n, "guide": Guide}: Item. 409 catalog.guide_stale
func routes() []service.Route {
	const tenant, division = service.TenantScope, service.DivisionScope
	return []service.Route{
		{Scope: division, Pattern: "GET /{$}", Need: service.Public, Handle: home},
		{Scope: division, Pattern: "GET /search", Need: service.Public, Handle: search},
		{Scope: division, Pattern: "GET /departments", Need: service.Public, Handle: departments},
		{Scope: division, Pattern: "GET /basic", Need: service.Public, Handle: basicPage},
		{Scope: division, Pattern: "GET /basic/{code}", Need: service.Public, Handle: basicItem},
		{Scope: division, Pattern: "GET /basic/imports", Need: PermBasic, Handle: basicImports},
		{Scope: division, Pattern: "POST /basic/imports", Need: PermBasic, Handle: importBasic, MaxBody: maxBasicImport},

		{Scope: tenant, Pattern: "GET /items", Need: service.Public, Handle: items},
		{Scope: tenant, Pattern: "GET /items/{code}", Need: service.Public, Handle: item},
		{Scope: tenant, Pattern: "GET /items/manage", Need: PermManage, Handle: manage},
		{Scope: tenant, Pattern: "GET /items/{code}/guide", Need: PermManage, Handle: guideForm},
		{Scope: tenant, Pattern: "POST /items/{code}/guide", Need: PermManage, Handle: saveGuide},

		{Scope: tenant, Pattern: "GET /items/import", Need: PermManage, Handle: importForm},
		{Scope: tenant, Pattern: "POST /items/import", Need: PermManage, Handle: importRows, MaxBody: maxImport},
		{Scope: tenant, Pattern: "GET /items/quarantine", Need: PermManage, Handle: quarantine},
		{Scope: tenant, Pattern: "POST /items/bodies", Need: PermManage, Handle: addBody},
		{Scope: tenant, Pattern: "GET /items/repairs", Need: PermManage, Handle: repairs},
		{Scope: tenant, Pattern: "GET /items/repairs/preview", Need: PermManage, Handle: preview},
		{Scope: tenant, Pattern: "POST /items/repairs", Need: PermManage, Handle: applyRepair},
		{Scope: tenant, Pattern: "GET /repairs/{id}", Need: PermManage, Handle: repair},
		{Scope: tenant, Pattern: "POST /repairs/{id}/undo", Need: PermManage, Handle: undoRepair},
		{Scope: tenant, Pattern: "POST /repairs/{id}/release", Need: PermManage, Handle: releaseRepair},
	}
}
