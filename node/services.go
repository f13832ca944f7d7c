package node

import (
	"tongban/service"
	"tongban/service/audit"
	"tongban/service/cases"
	"tongban/service/catalog"
	"tongban/service/identity"
	"tongban/tenancy"
)

// Definitions are the services of the program. Adding one is a folder below service and
// a line here. secure says that people come over TLS.
func Definitions(t *tenancy.Tenancy, secure bool) []service.Definition {
	return []service.Definition{
		t.Definition(),
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
	}
}
