package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"

	"tongban/service"
)

// person is somebody with an account, as the demonstration shows it, once.
type person struct {
	zh, en   string // What they do.
	login    string
	password string
	secret   string // Of the authenticator.

	session []*http.Cookie
}

// makePeople makes accounts as a division makes them: the first administrator with the
// code of the first boot; she invites the others; each of them chooses a password and an
// authenticator. first and second are tenants, by slug and name.
func (d *District) makePeople(ctx context.Context, first, second [2]string) ([]*person, error) {
	admin := newPerson("广安区管理员（部门与账号）", "administrator of the district (departments, accounts)", "admin")
	if err := d.firstBoot(ctx, admin); err != nil {
		return nil, fmt.Errorf("make the first administrator: %w", err)
	}
	invited := []struct {
		*person
		grant string
	}{
		{newPerson(first[1]+"管理员（事项与人员）", "administrator of "+first[1]+" (items, staff)", "head"), first[0] + "/" + string(service.RoleTenantAdmin)},
		{newPerson(first[1]+"工作人员（办件）", "officer of "+first[1]+" (cases)", "officer"), first[0] + "/" + string(service.RoleOfficer)},
		{newPerson(second[1]+"工作人员（办件）", "officer of "+second[1]+" (cases)", "officer2"), second[0] + "/" + string(service.RoleOfficer)},
		{newPerson("审计员（只读审计记录）", "auditor (reads the audit, changes nothing)", "auditor"), "/" + string(service.RoleAuditor)},
	}
	people := []*person{admin}
	for _, one := range invited {
		if err := d.invite(ctx, admin, one.person, one.grant); err != nil {
			return nil, fmt.Errorf("make the account %s: %w", one.login, err)
		}
		people = append(people, one.person)
	}
	return people, nil
}

func newPerson(zh, en, login string) *person {
	text := strings.ToLower(rand.Text())
	return &person{zh: zh, en: en, login: login, password: text[:5] + "-" + text[5:10] + "-" + text[10:15]}
}

// post posts a form as a browser does.
func (d *District) post(ctx context.Context, path string, form url.Values, cookies []*http.Cookie, out any) (reply, error) {
	r, err := d.http.insist(ctx, d.survivors, 0, path, form, cookies)
	if err != nil || out == nil {
		return r, err
	}
	if err := json.Unmarshal(r.body, out); err != nil {
		return r, fmt.Errorf("read the answer to POST %s: %w", path, err)
	}
	return r, nil
}

func (d *District) firstBoot(ctx context.Context, p *person) error {
	return d.enrol(ctx, p, "/first-boot", url.Values{"login": {p.login}, "name": {"区管理员"}, "code": {d.FirstBoot},
		"password": {p.password}, "again": {p.password}})
}

// invite makes the account with the administrator's session, and activates it.
func (d *District) invite(ctx context.Context, admin, p *person, grant string) error {
	var made struct {
		Code string `json:"code"`
	}
	name, _, _ := strings.Cut(p.zh, "（")
	if _, err := d.post(ctx, "/accounts", url.Values{"login": {p.login}, "name": {name}, "grant": {grant}}, admin.session, &made); err != nil {
		return err
	}
	return d.enrol(ctx, p, "/activate", url.Values{"login": {p.login}, "code": {made.Code}, "password": {p.password}, "again": {p.password}})
}

// enrol goes through the two steps of an activation: password, then the first code of the
// authenticator.
func (d *District) enrol(ctx context.Context, p *person, path string, form url.Values) error {
	var begun struct {
		Secret string `json:"secret"`
	}
	r, err := d.post(ctx, path, form, nil, &begun)
	if err != nil {
		return err
	}
	p.secret = begun.Secret
	code, err := totp.GenerateCode(p.secret, time.Now())
	if err != nil {
		return fmt.Errorf("make a code of the authenticator: %w", err)
	}
	done, err := d.post(ctx, "/activate/code", url.Values{"code": {code}}, r.cookies, nil)
	if err != nil {
		return err
	}
	p.session = done.cookies
	return nil
}
