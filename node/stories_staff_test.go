package node_test

import (
	"fmt"
	"strings"
	"testing"

	"tongban/portal/portaltest"
)

// foundAccounts boots the district for the first time and makes everybody's accounts,
// through the pages: the first administrator, and those that she invites.
func (d *storyDistrict) foundAccounts(t *testing.T) {
	d.admin = &person{login: "admin", name: "区管理员", password: "light-harbour-4821"}
	v := d.visitor(t, "4-first-boot", desktop())
	v.open("/first-boot", 200)
	v.see("first-boot")
	form := map[string]string{"code": "WRONG-CODE0", "login": d.admin.login, "name": d.admin.name, "password": d.admin.password, "again": "another"}
	v.fill(form)
	v.send("/first-boot", 422)
	v.see("first-boot-wrong")
	form["code"], form["again"] = d.FirstBoot, d.admin.password
	v.fill(form)
	v.send("/first-boot", 200)
	v.enrols(d.admin)
	v.see("signed-in")
	d.firstDepartment(v)

	role := func(i int, role string) string { return d.slug(i) + "/" + role }
	d.head = d.invites(v, "renshe-head", "李主任", role(0, "tenant-admin"), role(1, "tenant-admin"))
	d.officers[0] = d.invites(v, "renshe-officer", "张经办", role(0, "officer"))
	d.officers[1] = d.invites(v, "gongan-officer", "赵经办", role(1, "officer"))
	d.auditor = d.invites(v, "auditor", "孙审计", "/auditor")
	for i := range d.spare {
		d.spare[i] = d.invites(v, fmt.Sprintf("spare-%d", i), "周临时", role(i, "officer"))
	}
	looks := []look{phone(), phoneEnglish(), desktop(), desktop()}
	for i, p := range []*person{d.head, d.officers[0], d.officers[1], d.auditor} {
		d.activates(t, p, looks[i], i < 2)
	}
}

// firstDepartment creates a department, with mistakes first.
func (d *storyDistrict) firstDepartment(v *visitor) {
	v.t.Helper()
	v.click(`.tb-menu a[href="/tenants"]`, 200)
	v.see("tenants")
	v.fill(map[string]string{"name": "广安区档案馆", "slug": "Dang An!", "codes": "11511602MB1234567X"})
	v.send("/tenants", 400)
	v.see("tenant-wrong")
	v.complains([]string{"slug", "codes"}, map[string]string{"name": "广安区档案馆", "slug": "Dang An!", "codes": "11511602MB1234567X"})
	v.fill(map[string]string{"slug": "dang-an-guan", "codes": "11999999DEM000014Q"})
	v.send("/tenants", 200)
	v.reads("广安区档案馆")
	v.see("tenant-created")
}

// invites makes an account; person has the code for a password until it is activated.
func (d *storyDistrict) invites(v *visitor, login, name string, grants ...string) *person {
	v.t.Helper()
	v.open("/accounts/new", 200)
	v.fill(map[string]string{"login": login, "name": name})
	if login == "renshe-head" {
		v.see("account-new")
		v.fill(map[string]string{"login": "Li Zhuren"})
		v.send("/accounts", 400)
		v.see("account-wrong")
		v.fill(map[string]string{"login": login})
	}
	for _, grant := range grants {
		v.Check(fmt.Sprintf("input[name=grant][value=%q]", grant))
	}
	v.send("/accounts", 201)
	if login == "renshe-head" {
		v.see("account-code")
	}
	return &person{login: login, name: name, password: strings.TrimSpace(v.Text(".tb-number"))}
}

// enrols takes the authenticator's secret from the page and confirms it, wrong first.
func (v *visitor) enrols(p *person) {
	v.t.Helper()
	p.secret = strings.TrimSpace(v.Text("main code"))
	v.see("authenticator")
	v.fill(map[string]string{"code": "000000"})
	v.send("/activate/code", 422)
	v.see("authenticator-wrong")
	v.d.withCode(v.t, p, func(code string) {
		v.fill(map[string]string{"code": code})
		v.send("/activate/code", 200)
	})
}

func (d *storyDistrict) activates(t *testing.T, p *person, l look, seen bool) {
	v := d.visitor(t, "4-activation", l)
	code := p.password
	p.password = "quiet-meadow-7395"
	v.open("/activate", 200)
	if seen {
		v.see("activate")
	}
	v.fill(map[string]string{"login": p.login, "code": code, "password": "short", "again": p.password})
	v.send("/activate", 400)
	if seen {
		v.see("activate-wrong")
	}
	v.fill(map[string]string{"code": code, "password": p.password, "again": p.password})
	v.send("/activate", 200)
	v.enrols(p)
	v.open("/account", 200)
	if seen {
		v.see("my-account")
	}
}

// accountsStory: the administrator finds an account, gives it a new code and disables it.
func (d *storyDistrict) accountsStory(t *testing.T, i int, l look) {
	p := d.spare[i]
	v := d.visitor(t, "4-accounts", l)
	v.signIn(d.admin)
	v.click(`.tb-menu a[href="/accounts"]`, 200)
	v.see("accounts")
	v.open("/accounts?q="+p.login, 200)
	v.follow(p.login)
	v.see("account")
	v.send(p.login+"/reset", 201)
	v.see("account-reset")
	v.open("/accounts/"+p.login, 200)
	v.send(p.login+"/disable", 200)
	v.see("account-disabled")
	v.open("/accounts?q=nobody-here", 200)
	v.see("accounts-none")
	v.open("/accounts/"+d.admin.login, 200)
	v.see("own-account")
	v.open("/tenants?q=%E5%85%AC%E5%AE%89", 200)
	v.see("tenants-found")
	v.open("/account/password", 200)
	v.see("password")
}

// auditStory: the auditor finds what was done, has the chain verified and takes a file.
func (d *storyDistrict) auditStory(t *testing.T, l look) {
	v := d.visitor(t, "5-auditor", l)
	v.signIn(d.auditor)
	v.click(`.tb-menu a[href="/audit"]`, 200)
	v.see("audit")
	v.fill(map[string]string{"what": "identity.created"})
	v.click(".tb-filters button", 200)
	v.reads("renshe-head")
	v.see("audit-filtered")
	v.open("/audit?from=yesterday", 400)
	v.see("audit-bad-date")
	v.open("/audit?what=nothing.such", 200)
	v.see("audit-empty")
	v.open("/audit/verify", 200)
	v.see("audit-verified")
	csv := portaltest.Value[string](v.Page, `fetch("/audit/export.csv").then(r => r.text())`)
	if lines := strings.Split(csv, "\n"); len(lines) < 10 || !strings.Contains(csv, "renshe-head") {
		t.Errorf("the file has %d lines: %.200s", len(lines), csv)
	}
	v.open("/accounts", 403)
	v.see("forbidden")
}
