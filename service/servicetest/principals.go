package servicetest

import "tongban/service"

// Citizen is someone who is not signed in.
func Citizen() service.Principal { return service.Principal{} }

// Officer handles the cases of a tenant.
func Officer(tenant string) service.Principal { return staff("officer", tenant, service.RoleOfficer) }

// TenantAdmin manages a tenant's items and staff.
func TenantAdmin(tenant string) service.Principal {
	return staff("admin", tenant, service.RoleTenantAdmin)
}

// Auditor reads the audit of a tenant, or of the division ("").
func Auditor(tenant string) service.Principal { return staff("auditor", tenant, service.RoleAuditor) }

// DivisionAdmin manages tenants and accounts.
func DivisionAdmin() service.Principal {
	return staff("division-admin", "", service.RoleDivisionAdmin)
}

// Operator is whoever may open the node's admin socket.
func Operator() service.Principal {
	return service.Principal{Kind: service.Operator, Account: "operator", Name: "operator"}
}

// System is the program itself.
func System() service.Principal {
	return service.Principal{Kind: service.System, Account: "worker:test", Name: "test"}
}

func staff(word, tenant string, role service.Role) service.Principal {
	account := word
	if tenant != "" {
		account += "@" + tenant
	}
	return service.Principal{Kind: service.Staff, Account: account, Name: account, Session: "session of " + account,
		Grants: []service.Grant{{Tenant: tenant, Role: role}}}
}
