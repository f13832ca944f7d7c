package identity_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"tongban/service"
	"tongban/service/identity"
	"tongban/service/servicetest"
)

// world is a division whose people come over plain http, as in the demo.
type world struct{ *servicetest.World }

func newWorld(tb testing.TB) *world { return newWorldOver(tb, false) }

func newWorldOver(tb testing.TB, secure bool) *world {
	tb.Helper()
	var w *servicetest.World
	w = servicetest.New(tb, identity.Definition(identity.Options{Secure: secure,
		Tenants: func(service.Querier) ([]service.Tenant, error) { return w.Tenants(), nil }}))
	return &world{w}
}

// person is somebody with an authenticator and a browser.
type person struct {
	w        *world
	login    string
	password string
	secret   string
	source   string
	cookies  map[string]*http.Cookie
}

const goodPassword = "蓝色自行车 and a horse"

// slack covers the microseconds by which the time of a database runs ahead of a clock
// that stands still: each of its entries is later than the one before.
const slack = 10 * time.Millisecond

// code is what the person's authenticator shows now.
func (p *person) code() string { return p.codeAt(p.w.Clock.Now()) }

func (p *person) codeAt(at time.Time) string {
	code, err := totp.GenerateCode(p.secret, at)
	if err != nil {
		panic(err)
	}
	return code
}

// do makes a call with the person's cookies and as whom they say, and keeps the cookies
// that come back.
func (p *person) do(do string, body any) (service.Response, error) {
	c := servicetest.Call{Do: do, Body: body, As: p.who(), Source: p.source}
	for _, cookie := range p.cookies {
		c.Cookies = append(c.Cookies, cookie)
	}
	r, err := p.w.Do(c)
	if err == nil {
		p.keep(r)
	}
	return r, err
}

func (p *person) keep(r service.Response) {
	for _, cookie := range r.Cookies {
		if cookie.MaxAge < 0 {
			delete(p.cookies, cookie.Name)
			continue
		}
		p.cookies[cookie.Name] = cookie
	}
}

// who is the principal of the person's session cookie.
func (p *person) who() service.Principal {
	who, _ := p.w.authenticate(p.token())
	return who
}

func (p *person) token() string {
	for _, name := range []string{identity.CookieName(false), identity.CookieName(true)} {
		if c := p.cookies[name]; c != nil {
			return c.Value
		}
	}
	return ""
}

func (w *world) authenticate(token string) (who service.Principal, touch bool) {
	who, touch, err := identity.Authenticate(context.Background(), w.Division, token, w.Clock.Now())
	if err != nil {
		panic(err)
	}
	return who, touch
}

// signIn signs in with the right password and the code of now.
func (p *person) signIn() error {
	_, err := p.do("POST /sign-in", url.Values{"login": {p.login}, "password": {p.password}, "code": {p.code()}})
	return err
}

// fail tries to sign in with a wrong password and returns the reason of the refusal.
func (p *person) fail() string {
	_, err := p.do("POST /sign-in", url.Values{"login": {p.login}, "password": {"wrong password"}, "code": {p.code()}})
	return servicetest.Reason(err)
}

// elsewhere is the same person at another address with a browser that knows nothing.
func (p *person) elsewhere(source string) *person {
	q := *p
	q.source, q.cookies = source, map[string]*http.Cookie{}
	return &q
}

type created struct {
	Login string `json:"login"`
	Code  string `json:"code"`
}

// create makes an account as the operator does.
func (w *world) create(tb testing.TB, login string, grants ...service.Grant) created {
	tb.Helper()
	r, err := w.Call("POST /accounts", servicetest.Operator(), map[string]any{"login": login, "name": "某人", "grants": grants})
	if err != nil {
		tb.Fatalf("create %s: %v", login, err)
	}
	var c created
	servicetest.Decode(tb, r, &c)
	return c
}

// activated makes an account and activates it in two calls; the person is signed in.
func (w *world) activated(tb testing.TB, login string, grants ...service.Grant) *person {
	tb.Helper()
	c := w.create(tb, login, grants...)
	p := &person{w: w, login: login, password: goodPassword, source: "192.0.2.1", cookies: map[string]*http.Cookie{}}
	p.activate(tb, c.Code)
	return p
}

func (p *person) activate(tb testing.TB, code string) {
	tb.Helper()
	r, err := p.do("POST /activate", map[string]any{"login": p.login, "code": code, "password": p.password})
	if err != nil {
		tb.Fatalf("activate %s: %v", p.login, err)
	}
	var step struct{ Activation, Secret string }
	servicetest.Decode(tb, r, &step)
	p.secret = step.Secret
	if _, err := p.do("POST /activate/code", map[string]any{"activation": step.Activation, "code": p.code()}); err != nil {
		tb.Fatalf("activate %s, second step: %v", p.login, err)
	}
	p.w.Clock.Advance(time.Minute) // The code is used up.
}

func officer() service.Grant {
	return service.Grant{Tenant: servicetest.CivilAffairs, Role: service.RoleOfficer}
}

func tenantAdmin() service.Grant {
	return service.Grant{Tenant: servicetest.CivilAffairs, Role: service.RoleTenantAdmin}
}

func divisionAdmin() service.Grant { return service.Grant{Role: service.RoleDivisionAdmin} }

// want fails the test when the refusal has another reason.
func want(tb testing.TB, err error, reason string) {
	tb.Helper()
	if got := servicetest.Reason(err); got != reason {
		tb.Errorf("refused with %q (%v), want %q", got, err, reason)
	}
}
