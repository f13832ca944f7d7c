package identity

import (
	"embed"
	"io/fs"
	"net/url"

	"tongban/service"
)

//go:embed division/*.sql
var migrations embed.FS

//go:embed templates/*.html messages/*.toml
var pages embed.FS

// Options are the parts of the service.
type Options struct {
	// Secure says that people come over TLS: cookies are then bound to it.
	Secure bool
	// Tenants reads the division's tenants, whose slugs grants name. Required.
	Tenants func(q service.Querier) ([]service.Tenant, error)
}

// handlers are the service's routes.
type handlers struct {
	Options
	hasher *hasher
}

// Paths that the program itself uses.
const (
	SignInPath  = "/sign-in"
	SignOutPath = "/sign-out"
)

// Definition returns the service.
func Definition(o Options) service.Definition {
	messages, err := fs.Sub(pages, "messages")
	if err != nil {
		panic(err) // The name is valid.
	}
	h := &handlers{Options: o, hasher: newHasher()}
	return service.Definition{
		Name: "identity", Migrations: migrations, Templates: pages, Messages: messages, Routes: h.routes(),
		Menu: []service.MenuEntry{
			{Scope: service.TenantScope, Path: "/staff", Title: "identity.staff", Need: PermStaff, Order: 800},
			{Scope: service.DivisionScope, Path: "/accounts", Title: "identity.accounts", Need: PermAccounts, Order: 800},
			{Scope: service.DivisionScope, Path: "/account", Title: "identity.account", Need: service.SignedIn, Order: 950},
		},
	}
}

func (h *handlers) routes() []service.Route {
	var list []service.Route
	add := func(pattern string, need service.Permission, handle service.Handler) {
		list = append(list, service.Route{Scope: service.DivisionScope, Pattern: pattern, Need: need, Handle: handle, MaxBody: maxBody})
	}
	add("GET /first-boot", service.Public, h.firstBootPage)
	add("POST /first-boot", service.Public, h.firstBoot)
	add("GET /activate", service.Public, h.activatePage)
	add("POST /activate", service.Public, h.activate)
	add("GET /activate/code", service.Public, h.confirmPage)
	add("GET /activate/qr.png", service.Public, h.confirmImage)
	add("POST /activate/code", service.Public, h.confirm)
	add("GET "+SignInPath, service.Public, h.signInPage)
	add("POST "+SignInPath, service.Public, h.signIn)
	add("POST "+SignOutPath, service.Public, h.signOut)
	add("POST "+TouchPath, PermTouch, touch)

	add("GET /account", service.SignedIn, h.mine)
	add("GET /account/password", service.SignedIn, h.passwordPage)
	add("POST /account/password", service.SignedIn, h.changePassword)
	add("POST /account/sign-out", service.SignedIn, h.signOutOthers)

	add("GET /accounts", PermAccounts, h.list)
	add("GET /accounts/new", PermAccounts, h.newPage)
	add("POST /accounts", PermAccounts, h.create)
	add("GET /accounts/{login}", PermAccounts, h.show)
	add("POST /accounts/{login}/grants", PermAccounts, h.setGrants)
	// A tenant's administrator holds nothing at the division: the handlers decide whom
	// they may manage (mayManage).
	add("POST /staff", service.SignedIn, h.createOfficer)
	for prefix, need := range map[string]service.Permission{"/accounts": PermAccounts, "/staff": service.SignedIn} {
		add("POST "+prefix+"/{login}/disable", need, h.change(disable, "identity.disabled_done"))
		add("POST "+prefix+"/{login}/enable", need, h.change(enable, "identity.enabled_done"))
		add("POST "+prefix+"/{login}/sign-out", need, h.change(signOutAll, "identity.signed_out_done"))
		add("POST "+prefix+"/{login}/reset", need, h.reset)
	}
	return append(list,
		service.Route{Scope: service.TenantScope, Pattern: "GET /staff", Need: PermStaff, Handle: h.staff},
		service.Route{Scope: service.TenantScope, Pattern: "GET /staff/new", Need: PermStaff, Handle: h.newOfficerPage})
}

// maxBody is more than the longest form of this service, in bytes.
const maxBody = 64 << 10

// decode reads a call's fields: a JSON body into v, else the form by fromForm.
func decode(r *service.Request, v any, fromForm func(url.Values)) error {
	if len(r.Body) > 0 {
		return r.Decode(v)
	}
	fromForm(r.Form)
	return nil
}
