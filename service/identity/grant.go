package identity

import (
	"slices"
	"strings"

	"tongban/service"
)

// Permissions of the routes.
var (
	// PermAccounts manages every account of the division.
	PermAccounts = service.Permission{Name: "identity.accounts", Roles: []service.Role{service.RoleDivisionAdmin, service.RoleOperator}}
	// PermStaff manages the officers of one's own tenant.
	PermStaff = service.Permission{Name: "identity.staff", Roles: []service.Role{service.RoleTenantAdmin}}
	// PermTouch keeps sessions alive.
	PermTouch = service.Permission{Name: "identity.touch", Roles: []service.Role{service.RoleSystem}}
)

// divisionRoles can be held for the division, tenantRoles for a tenant.
var (
	divisionRoles = []service.Role{service.RoleDivisionAdmin, service.RoleAuditor}
	tenantRoles   = []service.Role{service.RoleTenantAdmin, service.RoleOfficer, service.RoleAuditor}
)

// parseGrants reads "tenant/role" texts, as forms and command lines write grants; an
// empty tenant is the division.
func parseGrants(texts []string) []service.Grant {
	var list []service.Grant
	for _, s := range texts {
		if tenant, role, ok := strings.Cut(s, "/"); ok {
			list = append(list, service.Grant{Tenant: tenant, Role: service.Role(role)})
		} else if s != "" {
			list = append(list, service.Grant{Role: service.Role(s)})
		}
	}
	return list
}

// checkGrants returns the grants in order without repeats, or a refusal with the reason
// at the field "grant": none, too many, an unknown role or tenant, or roles that exclude
// each other.
func checkGrants(grants []service.Grant, tenants []service.Tenant) ([]service.Grant, error) {
	refuse := func(reason string) ([]service.Grant, error) {
		return nil, service.ErrInvalid.Field("grant", reason)
	}
	if len(grants) == 0 {
		return refuse("identity.grant_none")
	}
	if len(grants) > maxGrants {
		return refuse("identity.grant_many")
	}
	var auditor, admin int
	for _, g := range grants {
		switch {
		case g.Tenant == "" && !slices.Contains(divisionRoles, g.Role), g.Tenant != "" && !slices.Contains(tenantRoles, g.Role):
			return refuse("identity.grant_role")
		case g.Tenant != "" && !slices.ContainsFunc(tenants, func(t service.Tenant) bool { return t.Slug == g.Tenant }):
			return refuse("identity.grant_tenant")
		}
		switch g.Role {
		case service.RoleAuditor:
			auditor++
		case service.RoleDivisionAdmin:
			admin++
		}
	}
	if auditor > 0 && auditor < len(grants) || admin > 0 && admin < len(grants) {
		return refuse("identity.grant_separate")
	}
	grants = slices.Clone(grants)
	slices.SortFunc(grants, func(a, b service.Grant) int {
		return strings.Compare(a.Tenant+"/"+string(a.Role), b.Tenant+"/"+string(b.Role))
	})
	return slices.Compact(grants), nil
}

// mayManage decides whether the principal may change the account. Nobody changes their
// own (ErrOwn); a tenant's administrator only those who are officers of their tenants and
// nothing else: any other account does not exist for them (service.ErrNotFound).
func mayManage(p service.Principal, a Account) error {
	switch own := p.Kind == service.Staff && p.Account == a.Login; {
	case own:
		return ErrOwn
	case p.May(PermAccounts, ""):
		return nil
	case len(a.Grants) > 0 && !slices.ContainsFunc(a.Grants, func(g service.Grant) bool {
		return g.Role != service.RoleOfficer || !p.May(PermStaff, g.Tenant)
	}):
		return nil
	}
	return service.ErrNotFound
}

// isAdmin says whose sessions end sooner.
func isAdmin(grants []service.Grant) bool {
	return slices.ContainsFunc(grants, func(g service.Grant) bool {
		return g.Role == service.RoleDivisionAdmin || g.Role == service.RoleTenantAdmin
	})
}
