package identity_test

import (
	"bytes"
	"fmt"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/identity"
	"tongban/service/servicetest"
)

// firstBoot prepares a division that has just been installed.
func firstBoot(tb testing.TB) (w *world, code string) {
	w = newWorld(tb)
	code, hash := identity.NewCode()
	w.Update(w.Division, func(tx *service.Tx) error { return identity.SetFirstBoot(tx, hash) })
	return w, code
}

func firstBootForm(code, login string) url.Values {
	return url.Values{"code": {code}, "login": {login}, "name": {"王丽"}, "password": {goodPassword}, "again": {goodPassword}}
}

func with(form url.Values, field, value string) url.Values {
	copied := url.Values{}
	for k, v := range form {
		copied[k] = v
	}
	copied.Set(field, value)
	return copied
}

func TestFirstBoot(t *testing.T) {
	t.Parallel()
	w, code := firstBoot(t)
	good := firstBootForm(code, "wang.li")
	const do = "POST /first-boot"
	nobody := func(w *servicetest.World, _ service.Response) {
		if n := w.Count(w.Division, `SELECT count(*) FROM identity_account`); n != 0 {
			t.Errorf("%d accounts after a refusal", n)
		}
	}
	w.Run(t, []servicetest.Scenario{
		{Name: "the page is there", Call: servicetest.Call{Do: "GET /first-boot"}, After: nobody},
		{Name: "a wrong code makes nobody", Call: servicetest.Call{Do: do, Body: with(good, "code", "AAAAA-AAAAA-AAAAA-AAAAA")}, Want: "identity.first_boot_wrong", After: nobody},
		{Name: "nor does none", Call: servicetest.Call{Do: do, Body: with(good, "code", "")}, Want: "identity.first_boot_wrong", After: nobody},
		{Name: "a bad login", Call: servicetest.Call{Do: do, Body: with(good, "login", "王")}, Want: "invalid", Has: []string{"identity.bad_login"}, After: nobody},
		{Name: "no name", Call: servicetest.Call{Do: do, Body: with(good, "name", " ")}, Want: "invalid", Has: []string{"identity.bad_name"}, After: nobody},
		{Name: "two passwords", Call: servicetest.Call{Do: do, Body: with(good, "again", "x")}, Want: "invalid", Has: []string{"identity.password_differs"}, After: nobody},
		{Name: "a short password", Call: servicetest.Call{Do: do, Body: with(good, "password", "short")}, Want: "invalid", Has: []string{"identity.password_short"}, After: nobody},
		{Name: "the right code, typed as people do", Call: servicetest.Call{Do: do, Body: with(good, "code", " "+strings.ToLower(strings.ReplaceAll(code, "-", " ")))},
			Has: []string{"/activate/code", "otpauth://totp/"}, HasNot: []string{goodPassword}},
		{Name: "the code is used up", Call: servicetest.Call{Do: do, Body: firstBootForm(code, "second")}, Want: "not_found"},
		{Name: "and the page is gone", Call: servicetest.Call{Do: "GET /first-boot"}, Want: "not_found"},
	})
	err := w.Division.Update(t.Context(), func(tx *service.Tx) error {
		_, hash := identity.NewCode()
		return identity.SetFirstBoot(tx, hash)
	})
	want(t, err, "identity.first_boot_done")

	// Whoever lost the second step starts again with the same code, as with any account.
	p := &person{w: w, login: "wang.li", password: goodPassword, cookies: map[string]*http.Cookie{}}
	p.activate(t, code)
	if who := p.who(); !who.May(identity.PermAccounts, "") {
		t.Errorf("the first administrator is %+v", who)
	}
}

func TestThereIsNoFirstBootWithoutACode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Run(t, []servicetest.Scenario{
		{Name: "no page", Call: servicetest.Call{Do: "GET /first-boot"}, Want: "not_found"},
		{Name: "no account", Call: servicetest.Call{Do: "POST /first-boot", Body: firstBootForm("", "wang.li")}, Want: "not_found"},
	})
	if r, _ := w.Call("POST /first-boot", servicetest.Citizen(), firstBootForm("", "wang.li")); r.Page != "" {
		t.Errorf("a form that leads nowhere comes back: %s", r.Page)
	}
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_account`); n != 0 {
		t.Errorf("a new division has %d accounts", n)
	}
}

func TestAnAdministratorMadeOtherwiseClosesTheFirstBoot(t *testing.T) {
	t.Parallel()
	w, code := firstBoot(t)
	w.create(t, "officer", officer())
	_, err := w.Call("GET /first-boot", servicetest.Citizen(), nil)
	want(t, err, "")
	w.create(t, "admin", divisionAdmin())
	_, err = w.Call("POST /first-boot", servicetest.Citizen(), firstBootForm(code, "wang.li"))
	want(t, err, "not_found")
}

func TestOnlyOneWinsTheFirstBoot(t *testing.T) {
	t.Parallel()
	w, code := firstBoot(t)
	const people = 8
	reasons := make(chan string, people)
	var all sync.WaitGroup
	for i := range people {
		all.Go(func() {
			_, err := w.Call("POST /first-boot", servicetest.Citizen(), firstBootForm(code, fmt.Sprintf("admin%d", i)))
			reasons <- servicetest.Reason(err)
		})
	}
	all.Wait()
	close(reasons)
	won := 0
	for reason := range reasons {
		switch reason {
		case "":
			won++
		case "identity.first_boot_done", "not_found":
		default:
			t.Errorf("a loser is told %q", reason)
		}
	}
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_account`); won != 1 || n != 1 {
		t.Errorf("%d of %d won and there are %d accounts", won, people, n)
	}
}

func TestActivation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "wang.li", officer())
	other := w.create(t, "li.na", officer())
	good := url.Values{"login": {"wang.li"}, "code": {c.Code}, "password": {goodPassword}, "again": {goodPassword}}
	const do = "POST /activate"
	w.Run(t, []servicetest.Scenario{
		{Name: "the page has the login that the administrator's link carries", Call: servicetest.Call{Do: "GET /activate?login=wang.li"}, Has: []string{"wang.li"}},
		{Name: "somebody else's code", Call: servicetest.Call{Do: do, Body: with(good, "code", other.Code)}, Want: "identity.activation_refused"},
		{Name: "an unknown login", Call: servicetest.Call{Do: do, Body: with(good, "login", "nobody")}, Want: "identity.activation_refused"},
		{Name: "no code", Call: servicetest.Call{Do: do, Body: with(good, "code", "")}, Want: "identity.activation_refused"},
		{Name: "the login as password", Call: servicetest.Call{Do: do, Body: with(good, "password", "my wang.li 2026")}, Want: "invalid", Has: []string{"identity.password_of_account"}},
		{Name: "the name as password", Call: servicetest.Call{Do: do, Body: with(good, "password", "某人某人某人某人某人某")}, Want: "invalid", Has: []string{"identity.password_of_account"}},
		{Name: "ten times the same", Call: servicetest.Call{Do: do, Body: with(good, "password", "1111111111")}, Want: "invalid", Has: []string{"identity.password_simple"}},
		{Name: "counting", Call: servicetest.Call{Do: do, Body: with(good, "password", "1234567890")}, Want: "invalid", Has: []string{"identity.password_simple"}},
		{Name: "nine characters", Call: servicetest.Call{Do: do, Body: with(good, "password", "九个字的密码不够长")}, Want: "invalid", Has: []string{"identity.password_short"}},
		{Name: "257 bytes", Call: servicetest.Call{Do: do, Body: with(good, "password", strings.Repeat("abcd", 64)+"e")}, Want: "invalid", Has: []string{"identity.password_long"}},
		{Name: "the second step without the first", Call: servicetest.Call{Do: "GET /activate/code"}, Want: "identity.enrolment_gone"},
		{Name: "the picture without the first step", Call: servicetest.Call{Do: "GET /activate/qr.png"}, Want: "identity.enrolment_gone"},
		{Name: "a token that was made up", Call: servicetest.Call{Do: "POST /activate/code", Body: map[string]string{"activation": "x", "code": "123456"}}, Want: "identity.enrolment_gone"},
		{Name: "unknown fields of a script", Call: servicetest.Call{Do: do, Body: map[string]string{"login": "wang.li", "grants": "all"}}, Want: "invalid"},
		{Name: "the first step does not sign in yet", Call: servicetest.Call{Do: do, Body: good}, After: func(w *servicetest.World, r service.Response) {
			if len(r.Cookies) != 1 || r.Cookies[0].Name != "activation" {
				t.Errorf("cookies: %v", r.Cookies)
			}
		}},
		{Name: "nor can one sign in without the second", Call: servicetest.Call{Do: "POST /sign-in", Body: url.Values{"login": {"wang.li"}, "password": {goodPassword}}}, Want: refused},
	})
}

func TestActivationOnPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "wang.li", officer())
	p := &person{w: w, login: "wang.li", password: goodPassword, cookies: map[string]*http.Cookie{}}
	_, err := p.do("POST /activate", url.Values{"login": {"wang.li"}, "code": {c.Code}, "password": {goodPassword}, "again": {goodPassword}})
	want(t, err, "")
	r, err := p.do("GET /activate/code", nil)
	want(t, err, "")
	p.secret = r.Data.(map[string]any)["secret"].(string)

	r, err = p.do("GET /activate/qr.png", nil)
	want(t, err, "")
	data, _ := io.ReadAll(r.File.Body)
	if image, err := png.Decode(bytes.NewReader(data)); err != nil || image.Bounds().Dx() < 200 {
		t.Errorf("the QR code is no picture that a phone can read: %v", err)
	}

	r, err = p.do("POST /activate/code", url.Values{"code": {"000000"}})
	want(t, err, "identity.wrong_totp")
	if !strings.Contains(servicetest.Text(t, r), p.secret) {
		t.Error("after a wrong code the page does not show the key again")
	}
	used := p.code()
	r, err = p.do("POST /activate/code", url.Values{"code": {used}})
	want(t, err, "")
	if p.who().Account != c.Login || r.Location != "/account" || len(p.cookies) != 2 {
		t.Errorf("afterwards: %+v, %v, %v", p.who(), r.Location, p.cookies)
	}
	_, err = p.do("POST /activate/code", url.Values{"code": {used}})
	want(t, err, "identity.enrolment_gone")
	want(t, p.signIn(), refused) // The code was used.
	w.Clock.Advance(time.Minute)
	want(t, p.signIn(), "")
	_, err = p.do("POST /activate", url.Values{"login": {"wang.li"}, "code": {c.Code}, "password": {goodPassword}, "again": {goodPassword}})
	want(t, err, "identity.activation_refused")
}

func TestActivationRunsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.create(t, "wang.li", officer())
	p := &person{w: w, login: "wang.li", password: goodPassword, cookies: map[string]*http.Cookie{}}
	body := map[string]any{"login": "wang.li", "code": c.Code, "password": goodPassword}
	start := func() (r service.Response, err error) { return p.do("POST /activate", body) }

	w.Clock.Advance(72*time.Hour - time.Minute)
	r, err := start()
	want(t, err, "")
	var step struct{ Activation, Secret string }
	servicetest.Decode(t, r, &step)
	p.secret = step.Secret
	_, err = start() // Started again: the first start is void.
	want(t, err, "")
	_, err = p.do("POST /activate/code", map[string]any{"activation": step.Activation, "code": p.code()})
	want(t, err, "identity.enrolment_gone")

	r, err = start()
	want(t, err, "")
	servicetest.Decode(t, r, &step)
	p.secret = step.Secret
	w.Clock.Advance(31 * time.Minute)
	_, err = p.do("POST /activate/code", map[string]any{"activation": step.Activation, "code": p.code()})
	want(t, err, "identity.enrolment_gone")
	_, err = start()
	want(t, err, "identity.code_expired")
	body["code"] = "AAAAA-AAAAA-AAAAA-AAAAA"
	_, err = start()
	want(t, err, "identity.activation_refused") // Who lacks the code does not learn that it ran out.
}

func TestAccountStoppedDuringItsActivation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, verb := range []string{"disable", "reset"} {
		c := w.create(t, "for-"+verb, officer())
		p := &person{w: w, login: c.Login, password: goodPassword, cookies: map[string]*http.Cookie{}}
		r, err := p.do("POST /activate", map[string]any{"login": c.Login, "code": c.Code, "password": goodPassword})
		want(t, err, "")
		var step struct{ Activation, Secret string }
		servicetest.Decode(t, r, &step)
		p.secret = step.Secret
		_, err = w.Call("POST /accounts/"+c.Login+"/"+verb, servicetest.Operator(), nil)
		want(t, err, "")
		_, err = p.do("POST /activate/code", map[string]any{"activation": step.Activation, "code": p.code()})
		want(t, err, "identity.enrolment_gone")
		_, err = p.do("POST /activate", map[string]any{"login": c.Login, "code": c.Code, "password": goodPassword})
		want(t, err, "identity.activation_refused")
	}
}

func TestCodes(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		code, hash := identity.NewCode()
		if len(code) != 23 || strings.ContainsAny(code, "OILU") || seen[code] {
			t.Fatalf("code %q", code)
		}
		seen[code] = true
		for _, typed := range []string{code, strings.ToLower(code), strings.ReplaceAll(code, "-", ""), " " + code + "\n",
			strings.ReplaceAll(code, "0", "O"), strings.ReplaceAll(code, "1", "l")} {
			if !bytes.Equal(identity.HashCode(typed), hash) {
				t.Errorf("%q is not taken for %q", typed, code)
			}
		}
		if bytes.Equal(identity.HashCode(code[:22]), hash) {
			t.Errorf("%q is taken without its last character", code)
		}
	}
}
