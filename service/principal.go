package service

// Role is what a person does for a tenant (or, with an empty tenant, for the division).
type Role string

// Roles. Which permissions each one has is said by the permissions.
const (
	RoleDivisionAdmin Role = "division-admin" // Manages tenants and accounts; sees no business data.
	RoleTenantAdmin   Role = "tenant-admin"   // Manages a department's items and its staff.
	RoleOfficer       Role = "officer"        // Handles a department's cases.
	RoleAuditor       Role = "auditor"        // Reads the audit, changes nothing.
	RoleOperator      Role = "operator"       // Whoever may open the node's admin socket.
	RoleSystem        Role = "system"         // The program itself, for a node at the leader.
)

// Permission is what a route needs: a name and the roles that carry it. The role must be
// held for the route's tenant, or for the division when the route has division scope.
type Permission struct {
	Name  string // "<service>.<verb>", such as "cases.handle".
	Roles []Role
}

// Public is the permission of routes that anyone may call, signed in or not.
var Public = Permission{Name: "public"}

// SignedIn is the permission of routes that need a session and nothing more.
var SignedIn = Permission{Name: "signed-in"}

// Kind says what stands behind a Principal.
type Kind int

// Kinds of principal.
const (
	Anonymous Kind = iota // A citizen without an account.
	Staff                 // An account with a session.
	Operator              // The node's admin socket.
	System                // A worker of the program itself.
)

// String returns the kind as the audit writes it.
func (k Kind) String() string {
	return [...]string{"anonymous", "staff", "operator", "system"}[k]
}

// Grant is one role held for one tenant; an empty Tenant is the division.
type Grant struct {
	Tenant string `json:"tenant"`
	Role   Role   `json:"role"`
}

// Principal is who makes a request.
type Principal struct {
	Kind    Kind
	Account string // Account id; "" for Anonymous, "operator", "worker:<name>".
	Name    string // For people to read.
	Session string // Id of the session, not its secret.
	Grants  []Grant
}

// Holds reports whether the principal has any role at the tenant. A tenant it holds
// nothing at answers it as if it did not exist.
func (p Principal) Holds(tenant string) bool {
	if p.Kind == Operator || p.Kind == System {
		return true
	}
	for _, g := range p.Grants {
		if g.Tenant == tenant {
			return true
		}
	}
	return false
}

// May reports whether the principal has the permission at the tenant ("" for division
// scope). Cost: grants × roles comparisons.
func (p Principal) May(need Permission, tenant string) bool {
	switch need.Name {
	case Public.Name:
		return true
	case SignedIn.Name:
		return p.Kind != Anonymous
	}
	for _, role := range need.Roles {
		if p.Kind == Operator && role == RoleOperator || p.Kind == System && role == RoleSystem {
			return true
		}
		for _, g := range p.Grants {
			if g.Tenant == tenant && g.Role == role {
				return true
			}
		}
	}
	return false
}
