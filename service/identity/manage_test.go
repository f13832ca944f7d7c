package identity_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/identity"
	"tongban/service/servicetest"
)

func newBody(login string, grants ...service.Grant) map[string]any {
	return map[string]any{"login": login, "name": "某人", "grants": grants}
}

func TestWhoMayMakeAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	auditor := service.Grant{Role: service.RoleAuditor}
	const do = "POST /accounts"
	admin := servicetest.DivisionAdmin()
	call := func(as service.Principal, body any) servicetest.Call {
		return servicetest.Call{Do: do, As: as, Body: body}
	}
	w.Run(t, []servicetest.Scenario{
		{Name: "an operator", Call: call(servicetest.Operator(), newBody("one", divisionAdmin())), Has: []string{`"code":"`, `"login":"one"`}},
		{Name: "a division's administrator, by a form", Call: call(admin, url.Values{"login": {"Two"}, "name": {" 王丽 "},
			"grant": {"civil-affairs/officer", "public-security/officer", "civil-affairs/officer"}}), Has: []string{`"login":"two"`, `"name":"王丽"`}},
		{Name: "not a tenant's administrator", Call: call(servicetest.TenantAdmin(servicetest.CivilAffairs), newBody("no", officer())), Want: "forbidden"},
		{Name: "not an officer", Call: call(servicetest.Officer(servicetest.CivilAffairs), newBody("no", officer())), Want: "forbidden"},
		{Name: "not an auditor", Call: call(servicetest.Auditor(""), newBody("no", officer())), Want: "forbidden"},
		{Name: "not a stranger", Call: call(servicetest.Citizen(), newBody("no", officer())), Want: "not_signed_in"},
		{Name: "no login twice", Call: call(admin, newBody("one", officer())), Want: "identity.login_taken"},
		{Name: "nor in another case", Call: call(admin, newBody("ONE", officer())), Want: "identity.login_taken"},
		{Name: "no login with a blank", Call: call(admin, newBody("a b", officer())), Want: "invalid", Has: []string{"identity.bad_login"}},
		{Name: "no login with look-alikes", Call: call(admin, newBody("аdmin", officer())), Want: "invalid", Has: []string{"identity.bad_login"}},
		{Name: "no name with a part that nobody sees", Call: call(admin, url.Values{"login": {"six"}, "name": {"王\u200b力"}, "grant": {"civil-affairs/officer"}}), Want: "invalid", Has: []string{"identity.bad_name"}},
		{Name: "no name that turns the text around", Call: call(admin, url.Values{"login": {"six"}, "name": {"a\u202eb"}, "grant": {"civil-affairs/officer"}}), Want: "invalid", Has: []string{"identity.bad_name"}},
		{Name: "everything that is wrong is said at once", Call: call(admin, newBody("!", service.Grant{Role: "root"})), Want: "invalid", Has: []string{"identity.bad_login", "identity.grant_role"}},
		{Name: "no login that an address takes for something else", Call: call(admin, newBody("new", officer())), Want: "invalid", Has: []string{"identity.bad_login"}},
		{Name: "no login that the audit takes for somebody else", Call: call(admin, newBody("operator", officer())), Want: "invalid", Has: []string{"identity.bad_login"}},
		{Name: "no account without a role", Call: call(admin, newBody("six")), Want: "invalid", Has: []string{"identity.grant_none"}},
		{Name: "no role that does not exist", Call: call(admin, newBody("six", service.Grant{Role: "root"})), Want: "invalid", Has: []string{"identity.grant_role"}},
		{Name: "no system role", Call: call(admin, newBody("six", service.Grant{Role: service.RoleSystem})), Want: "invalid", Has: []string{"identity.grant_role"}},
		{Name: "no operator role at a tenant", Call: call(admin, newBody("six", service.Grant{Tenant: servicetest.CivilAffairs, Role: service.RoleOperator})), Want: "invalid", Has: []string{"identity.grant_role"}},
		{Name: "no officer of the division", Call: call(admin, newBody("six", service.Grant{Role: service.RoleOfficer})), Want: "invalid", Has: []string{"identity.grant_role"}},
		{Name: "no administrator of the division at a tenant", Call: call(admin, newBody("six", service.Grant{Tenant: servicetest.CivilAffairs, Role: service.RoleDivisionAdmin})), Want: "invalid", Has: []string{"identity.grant_role"}},
		{Name: "no unknown tenant", Call: call(admin, newBody("six", service.Grant{Tenant: "nowhere", Role: service.RoleOfficer})), Want: "invalid", Has: []string{"identity.grant_tenant"}},
		{Name: "no auditor who also does something", Call: call(admin, newBody("six", auditor, officer())), Want: "invalid", Has: []string{"identity.grant_separate"}},
		{Name: "no administrator who handles cases", Call: call(admin, newBody("six", divisionAdmin(), officer())), Want: "invalid", Has: []string{"identity.grant_separate"}},
		{Name: "no administrator who audits", Call: call(admin, newBody("six", divisionAdmin(), auditor)), Want: "invalid", Has: []string{"identity.grant_separate"}},
		{Name: "no unknown field", Call: call(admin, map[string]any{"login": "six", "password": "x"}), Want: "invalid"},
	})
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_account`); n != 2 {
		t.Errorf("%d accounts, want the two that were made", n)
	}
	if n := w.Count(w.Division, `SELECT count(*) FROM audit_event WHERE what = 'identity.created'`); n != 2 {
		t.Errorf("%d accounts made in the audit, want 2", n)
	}
}

// The database keeps duties apart even when the program forgets to ask.
func TestRolesExcludeEachOtherInTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "wang.li", officer())
	for _, role := range []string{"auditor", "division-admin"} {
		err := w.Division.Update(t.Context(), func(tx *service.Tx) error {
			return tx.Exec(`INSERT INTO identity_grant (account, tenant, role) VALUES (?, '', ?)`, c.Login, role)
		})
		if err == nil || !strings.Contains(err.Error(), "exclude each other") {
			t.Errorf("an officer becomes %s: %v", role, err)
		}
	}
}

func TestTheSameFormSentTwiceMakesOneAccountAndShowsTheSameCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := servicetest.Call{Do: "POST /accounts", As: servicetest.DivisionAdmin(), Key: "k",
		Body: url.Values{"login": {"wang.li"}, "name": {"王丽"}, "grant": {"civil-affairs/officer"}}}
	var codes [2]created
	for i := range codes {
		r, err := w.Do(c)
		want(t, err, "")
		servicetest.Decode(t, r, &codes[i])
	}
	if codes[0].Code == "" || codes[0] != codes[1] {
		t.Errorf("first %+v, again %+v", codes[0], codes[1])
	}
	c.Body = with(c.Body.(url.Values), "login", "li.na")
	_, err := w.Do(c)
	want(t, err, "key_reused")
}

func TestATenantsAdministratorManagesItsOfficersOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.activated(t, "the-admin", tenantAdmin())
	mine := w.create(t, "mine", officer())
	both := w.create(t, "both", officer(), service.Grant{Tenant: servicetest.PublicSecurity, Role: service.RoleOfficer})
	theirs := w.create(t, "theirs", service.Grant{Tenant: servicetest.PublicSecurity, Role: service.RoleOfficer})
	peer := w.create(t, "peer", tenantAdmin())
	boss := w.create(t, "boss", divisionAdmin())
	checker := w.create(t, "checker", service.Grant{Tenant: servicetest.CivilAffairs, Role: service.RoleAuditor})
	as := admin.who()
	call := func(do string, body any) servicetest.Call { return servicetest.Call{Do: do, As: as, Body: body} }
	body := func(tenant string) url.Values {
		return url.Values{"tenant": {tenant}, "login": {"new." + tenant}, "name": {"李娜"}}
	}
	table := []servicetest.Scenario{
		{Name: "makes an officer", Call: call("POST /staff", body(servicetest.CivilAffairs)), Has: []string{`"code":"`, `"role":"officer"`}},
		{Name: "not one of another tenant", Call: call("POST /staff", body(servicetest.PublicSecurity)), Want: "not_found"},
		{Name: "not one of the division", Call: call("POST /staff", body("")), Want: "not_found"},
		{Name: "chooses no role", Call: call("POST /staff", map[string]string{"tenant": servicetest.CivilAffairs, "login": "x.y", "name": "x", "role": "tenant-admin"}), Want: "invalid"},
		{Name: "sees a login's mistake in the form", Call: call("POST /staff", with(body(servicetest.CivilAffairs), "login", "!")), Want: "invalid", Has: []string{"identity.bad_login"}},
		{Name: "an officer makes nobody", Call: servicetest.Call{Do: "POST /staff", As: servicetest.Officer(servicetest.CivilAffairs), Body: body(servicetest.CivilAffairs)}, Want: "forbidden"},
		{Name: "a stranger neither", Call: servicetest.Call{Do: "POST /staff", Body: body(servicetest.CivilAffairs)}, Want: "not_signed_in"},
		{Name: "resets an officer", Call: call("POST /staff/"+mine.Login+"/reset", nil), Has: []string{`"code":"`}},
		{Name: "disables an officer", Call: call("POST /staff/"+mine.Login+"/disable", nil), Has: []string{"/t/civil-affairs/staff", "disabled"}},
		{Name: "but not twice", Call: call("POST /staff/"+mine.Login+"/disable", nil), Want: "identity.nothing_to_do"},
		{Name: "resets no disabled one", Call: call("POST /staff/"+mine.Login+"/reset", nil), Want: "identity.is_disabled"},
		{Name: "enables an officer", Call: call("POST /staff/"+mine.Login+"/enable", nil), HasNot: []string{"disabled\""}},
		{Name: "signs an officer out", Call: call("POST /staff/"+mine.Login+"/sign-out", nil)},
		{Name: "not their own account", Call: call("POST /staff/"+admin.login+"/reset", nil), Want: "identity.own_account"},
		{Name: "an officer disables nobody", Call: servicetest.Call{Do: "POST /staff/" + mine.Login + "/disable", As: servicetest.Officer(servicetest.CivilAffairs)}, Want: "not_found"},
		{Name: "the administrator of another tenant neither", Call: servicetest.Call{Do: "POST /staff/" + mine.Login + "/disable", As: servicetest.TenantAdmin(servicetest.PublicSecurity)}, Want: "not_found"},
		{Name: "the list of another tenant is not there", Call: call("GET /t/public-security/staff", nil), Want: "not_found"},
		{Name: "the list of all is forbidden", Call: call("GET /accounts", nil), Want: "forbidden"},
		{Name: "the list shows only what is held here", Call: call("GET /t/civil-affairs/staff", nil),
			Has: []string{`"mine"`, `"both"`, `"checker"`, `"peer"`}, HasNot: []string{`"theirs"`, `"boss"`, "public-security"}},
	}
	for name, c := range map[string]created{"an officer of two tenants": both, "another tenant's officer": theirs,
		"a fellow administrator": peer, "the division's administrator": boss, "the auditor": checker, "nobody": {Login: "a0"}} {
		for _, verb := range []string{"reset", "disable", "sign-out"} {
			table = append(table, servicetest.Scenario{Name: "may not " + verb + " " + name,
				Call: call("POST /staff/"+c.Login+"/"+verb, nil), Want: "not_found"})
		}
	}
	w.Run(t, table)
}

func TestManagingAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.activated(t, "the-admin", divisionAdmin())
	c := w.create(t, "wang.li", officer())
	as := admin.who()
	call := func(do string, body any) servicetest.Call { return servicetest.Call{Do: do, As: as, Body: body} }
	grants := func(g ...string) url.Values { return url.Values{"grant": g} }
	path := "POST /accounts/" + c.Login
	w.Run(t, []servicetest.Scenario{
		{Name: "shows an account without its secrets", Call: call("GET /accounts/"+c.Login, nil), Has: []string{"wang.li", "invited"}, HasNot: []string{"argon2", c.Code, "totp"}},
		{Name: "an unknown one is not found", Call: call("GET /accounts/a0", nil), Want: "not_found"},
		{Name: "grants more", Call: call(path+"/grants", grants("civil-affairs/officer", "public-security/tenant-admin")), Has: []string{"tenant-admin"}},
		{Name: "the same again is nothing", Call: call(path+"/grants", grants("public-security/tenant-admin", "civil-affairs/officer")), Want: "identity.nothing_to_do"},
		{Name: "grants that exclude each other change nothing", Call: call(path+"/grants", grants("civil-affairs/officer", "/auditor")), Want: "invalid", Has: []string{"identity.grant_separate"}},
		{Name: "an administrator cannot grant themselves anything", Call: call("POST /accounts/"+admin.login+"/grants", grants("civil-affairs/officer")), Want: "identity.own_account"},
		{Name: "nor disable themselves", Call: call("POST /accounts/"+admin.login+"/disable", nil), Want: "identity.own_account"},
		{Name: "an officer becomes an auditor, who is nothing else then", Call: call(path+"/grants", grants("/auditor")), Has: []string{"auditor"}, HasNot: []string{"officer"}},
		{Name: "disables", Call: call(path+"/disable", nil), Has: []string{"disabled"}},
		{Name: "enables what is disabled", Call: call(path+"/enable", nil), Has: []string{"invited"}},
		{Name: "but not what works", Call: call(path+"/enable", nil), Want: "identity.nothing_to_do"},
		{Name: "for a stranger nothing of it", Call: servicetest.Call{Do: path + "/disable"}, Want: "not_signed_in"},
		{Name: "for an officer neither", Call: servicetest.Call{Do: path + "/disable", As: servicetest.Officer(servicetest.CivilAffairs)}, Want: "forbidden"},
		{Name: "the form for a new one", Call: call("GET /accounts/new", nil)},
		{Name: "the officer's form is the tenant's", Call: servicetest.Call{Do: "GET /t/civil-affairs/staff/new", As: servicetest.TenantAdmin(servicetest.CivilAffairs)}, Has: []string{servicetest.CivilAffairs}},
	})
	if n := w.Count(w.Division, `SELECT count(*) FROM audit_event WHERE refused = 'identity.own_account' AND account = ?`, admin.login); n != 2 {
		t.Errorf("%d of 2 refusals are in the audit", n)
	}
}

func TestAResetTakesPasswordAndPhoneAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	r, err := w.Call("POST /accounts/"+p.login+"/reset", servicetest.DivisionAdmin(), nil)
	want(t, err, "")
	var c created
	servicetest.Decode(t, r, &c)
	want(t, p.signIn(), refused)
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_device WHERE account = ?`, p.login); n != 0 {
		t.Errorf("%d devices are still known", n)
	}
	old := *p
	p.password = "eight tame 麻雀 on a roof"
	p.activate(t, c.Code)
	want(t, p.signIn(), "")
	w.Clock.Advance(time.Minute)
	old.source = "192.0.2.8"
	want(t, old.signIn(), refused)
}

func TestListingAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 55 {
		w.create(t, fmt.Sprintf("user%02d", i), officer())
	}
	admin := servicetest.DivisionAdmin()
	call := func(do string) servicetest.Call { return servicetest.Call{Do: do, As: admin} }
	w.Run(t, []servicetest.Scenario{
		{Name: "fifty on the first page", Call: call("GET /accounts"), Has: []string{`"total":55`, "user00", "user49"}, HasNot: []string{"user50"}},
		{Name: "the rest on the second", Call: call("GET /accounts?page=2"), Has: []string{"user50", "user54"}, HasNot: []string{"user49"}},
		{Name: "nothing on the third", Call: call("GET /accounts?page=3"), Has: []string{`"accounts":[]`}},
		{Name: "found by part of the login", Call: call("GET /accounts?q=ER07"), Has: []string{"user07", `"total":1`}},
		{Name: "found by part of the name", Call: call("GET /accounts?q=某"), Has: []string{`"total":55`}},
		{Name: "a wildcard is a character", Call: call("GET /accounts?q=%25"), Has: []string{`"total":0`}},
		{Name: "a quote is a character", Call: call("GET /accounts?q=%27"), Has: []string{`"total":0`}},
		{Name: "a page that is none is the first", Call: call("GET /accounts?page=x"), Has: []string{"user00"}},
		{Name: "a page far away is empty", Call: call("GET /accounts?page=999999999999"), Has: []string{"user00"}},
	})
}

func TestDefinitionIsSound(t *testing.T) {
	t.Parallel()
	d := identity.Definition(identity.Options{})
	if err := service.Check([]service.Definition{d}); err != nil {
		t.Fatal(err)
	}
	for _, r := range d.Routes {
		if r.Scope == service.TenantScope && r.Writes() {
			t.Errorf("%s writes to a tenant's database: accounts are the division's", r.FullPattern())
		}
	}
}
