package identity_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/identity"
	"tongban/service/servicetest"
)

func TestSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	invited := w.create(t, "invited", officer())
	stopped := w.activated(t, "stopped", officer())
	if _, err := w.Call("POST /accounts/"+stopped.login+"/disable", servicetest.Operator(), nil); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, login, password string
		code                  func() string
		want                  string
	}{
		{"with login, password and code", "wang.li", goodPassword, p.code, ""},
		{"whatever the case of the login, and blanks around it", " Wang.LI ", goodPassword, p.code, ""},
		{"with the blank that apps show in the code", "wang.li", goodPassword, func() string { return p.code()[:3] + " " + p.code()[3:] }, ""},
		{"with a phone that is 30 seconds slow", "wang.li", goodPassword, func() string { return p.codeAt(w.Clock.Now().Add(-30 * time.Second)) }, ""},
		{"with a phone that is 30 seconds fast", "wang.li", goodPassword, func() string { return p.codeAt(w.Clock.Now().Add(30 * time.Second)) }, ""},
		{"with full-width letters", "ｗａｎｇ.ｌｉ", goodPassword, p.code, ""},
		{"not with a phone that is a minute slow", "wang.li", goodPassword, func() string { return p.codeAt(w.Clock.Now().Add(-time.Minute)) }, "identity.sign_in_refused"},
		{"not with a phone that is a minute fast", "wang.li", goodPassword, func() string { return p.codeAt(w.Clock.Now().Add(time.Minute)) }, "identity.sign_in_refused"},
		{"not with a wrong password", "wang.li", goodPassword + ".", p.code, "identity.sign_in_refused"},
		{"not with the password in another case", "wang.li", strings.ToUpper(goodPassword), p.code, "identity.sign_in_refused"},
		{"not without a password", "wang.li", "", p.code, "identity.sign_in_refused"},
		{"not without a code", "wang.li", goodPassword, func() string { return "" }, "identity.sign_in_refused"},
		{"not with somebody else's code", "wang.li", goodPassword, stopped.code, "identity.sign_in_refused"},
		{"not with an unknown login", "nobody", goodPassword, p.code, "identity.sign_in_refused"},
		{"not with no login", "", goodPassword, p.code, "identity.sign_in_refused"},
		{"not with a password of a megabyte", "wang.li", strings.Repeat("x", 1<<15), p.code, "identity.sign_in_refused"},
		{"not when the account is disabled", "stopped", goodPassword, stopped.code, "identity.sign_in_refused"},
		{"not when it was never activated", invited.Login, "", func() string { return "000000" }, "identity.sign_in_refused"},
		{"not with the hash in place of the password", "wang.li", "$argon2id$v=19$", p.code, "identity.sign_in_refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.Clock.Advance(time.Hour) // No code is used twice, no failure counts any more.
			r, err := w.Call("POST /sign-in", servicetest.Citizen(),
				url.Values{"login": {c.login}, "password": {c.password}, "code": {c.code()}})
			want(t, err, c.want)
			signedIn := len(r.Cookies) > 0
			if signedIn != (c.want == "") {
				t.Errorf("cookies: %v", r.Cookies)
			}
			if c.want != "" && (r.Page != "identity/sign-in" || strings.Contains(servicetest.Text(t, r), goodPassword)) {
				t.Errorf("the form does not come back as it should: %+v", r)
			}
		})
	}
}

func TestACodeIsTakenOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	want(t, p.signIn(), "")
	want(t, p.signIn(), "identity.sign_in_refused")
	w.Clock.Advance(30 * time.Second)
	next := p.codeAt(w.Clock.Now().Add(30 * time.Second))
	_, err := p.do("POST /sign-in", url.Values{"login": {p.login}, "password": {p.password}, "code": {next}})
	want(t, err, "")
	// A step that is before the one just used would be in the window too.
	want(t, p.signIn(), "identity.sign_in_refused")
}

func TestARepeatedFormSignsInOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	form := url.Values{"login": {p.login}, "password": {p.password}, "code": {p.code()}}
	first, err := w.Do(servicetest.Call{Do: "POST /sign-in", Body: form, Key: "k1"})
	want(t, err, "")
	again, err := w.Do(servicetest.Call{Do: "POST /sign-in", Body: form, Key: "k1"})
	want(t, err, "")
	if first.Cookies[0].Value != again.Cookies[0].Value {
		t.Error("the same form sent twice opened two sessions")
	}
	form.Set("password", "another one")
	_, err = w.Do(servicetest.Call{Do: "POST /sign-in", Body: form, Key: "k1"})
	if err == nil {
		t.Error("the key of a sign-in opens the account with any password")
	}
}

func TestWhereSigningInLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	for next, wanted := range map[string]string{
		"":                         "/account",
		"/t/civil-affairs/cases?q": "/t/civil-affairs/cases?q",
		"https://evil.example/":    "/account",
		"//evil.example/":          "/account",
		"/\\evil.example/":         "/account",
		"javascript:alert(1)":      "/account",
		"account":                  "/account",
		"/\t/evil.example":         "/account",
	} {
		w.Clock.Advance(time.Minute)
		r, err := p.do("POST /sign-in", url.Values{"login": {p.login}, "password": {p.password}, "code": {p.code()}, "next": {next}})
		want(t, err, "")
		if r.Location != wanted {
			t.Errorf("next %q leads to %q, want %q", next, r.Location, wanted)
		}
	}
}

func TestCookiesAreBoundToTheHostAndScriptsCannotReadThem(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{true, false} {
		w := newWorldOver(t, secure)
		p := w.activated(t, "wang.li", officer())
		want(t, p.signIn(), "")
		if len(p.cookies) != 2 {
			t.Errorf("cookies: %v", p.cookies)
		}
		for _, c := range p.cookies {
			if c.Secure != secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" ||
				strings.HasPrefix(c.Name, "__Host-") != secure {
				t.Errorf("over TLS %v: %v", secure, c)
			}
		}
		if p.cookies[identity.CookieName(secure)] == nil {
			t.Errorf("no session cookie %s", identity.CookieName(secure))
		}
	}
}

func TestSigningInEndsTheSessionThatTheBrowserHad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	old := p.token()
	want(t, p.signIn(), "")
	if p.token() == old {
		t.Error("signing in kept the token: a planted one would become somebody's session")
	}
	if who, _ := w.authenticate(old); who.Kind != service.Anonymous {
		t.Error("the browser's former session goes on")
	}
}

func TestNoSecretIsStoredReadably(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Update(w.Division, func(tx *service.Tx) error {
		_, hash := identity.NewCode()
		return identity.SetFirstBoot(tx, hash)
	})
	c := w.create(t, "li.na", officer())
	p := w.activated(t, "wang.li", divisionAdmin())
	want(t, p.signIn(), "")
	p.fail()
	w.Call("POST /sign-in", servicetest.Citizen(), url.Values{"login": {"typed-my-Password"}, "password": {"x"}})
	secrets := map[string]string{"the password": goodPassword, "an activation code": c.Code,
		"an activation code without hyphens": strings.ReplaceAll(c.Code, "-", ""), "what was typed as a login": "typed-my-password"}
	for name, cookie := range p.cookies {
		secrets["the cookie "+name] = cookie.Value
	}
	everything := dump(t, w)
	for name, secret := range secrets {
		if strings.Contains(strings.ToLower(everything), strings.ToLower(secret)) {
			t.Errorf("%s is readable in the database", name)
		}
	}
	for _, known := range []string{"wang.li", "$argon2id$v=19$m=19456,t=2,p=1$"} { // The dump is not empty.
		if !strings.Contains(everything, known) {
			t.Errorf("%s is not in the database: the test sees nothing", known)
		}
	}
}

// dump returns every value of every table.
func dump(tb testing.TB, w *world) string {
	tb.Helper()
	var b strings.Builder
	w.View(w.Division, func(v *service.View) error {
		tables, err := column(v, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
		if err != nil {
			return err
		}
		for _, table := range tables {
			columns, err := column(v, `SELECT name FROM pragma_table_info('`+table+`')`)
			if err != nil {
				return err
			}
			for _, name := range columns {
				values, err := column(v, `SELECT CAST("`+name+`" AS TEXT) FROM `+table+` WHERE "`+name+`" IS NOT NULL`)
				if err != nil {
					return err
				}
				b.WriteString(strings.Join(values, "\n"))
			}
		}
		return nil
	})
	return b.String()
}

func column(q service.Querier, sql string) ([]string, error) {
	rows, err := q.Query(sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}
