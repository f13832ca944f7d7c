package node

import (
	"tongban/federation"
	"tongban/service"
	"tongban/service/audit"
	"tongban/service/cases"
	"tongban/service/catalog"
	"tongban/service/databases"
	"tongban/service/identity"
	"tongban/service/statistics"
	"tongban/tenancy"
)

// Definitions are the services of the program. Adding one is a folder below service and
// a line here. f may be one that does nothing, and site zero, where only the schemas
// matter. secure says that people come over TLS.
func Definitions(t *tenancy.Tenancy, f *federation.Federation, secure bool, site service.Site) []service.Definition {
	return []service.Definition{
		t.Definition(),
		f.Definition(),
		identity.Definition(identity.Options{Secure: secure, Tenants: tenancy.ReadTenants}),
		audit.Definition(),
		catalog.Definition(),
		cases.Definition(cases.Options{Secure: secure, TenantByNumber: func(number int) (service.Tenant, bool) {
			for _, tenant := range t.Tenants() {
				if tenant.Number == number {
					return tenant, true
				}
			}
			return service.Tenant{}, false
		}}),
		databases.Definition(t.ReadyApplications),
		statistics.Definition(statistics.Options{Site: site, BasicCode: catalog.BasicCode, Names: catalog.ReadNames}),
	}
}

// Schemas are the services of the program where only their tables matter.
func Schemas() []service.Definition {
	return Definitions(tenancy.New(tenancy.Options{}), federation.New(federation.Options{}), false, service.Site{})
}
