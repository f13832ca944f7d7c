package identity_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/servicetest"
)

func TestSessionsEndWithTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, c := range []struct {
		name  string
		grant service.Grant
		idle  time.Duration
	}{
		{"an officer", officer(), 30 * time.Minute},
		{"an auditor", service.Grant{Role: service.RoleAuditor}, 30 * time.Minute},
		{"a tenant's administrator", tenantAdmin(), 15 * time.Minute},
		{"a division's administrator", divisionAdmin(), 15 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			login := strings.ReplaceAll(c.name[2:], " ", "-")
			p := w.activated(t, strings.Trim(strings.ReplaceAll(login, "'", ""), "-"), c.grant)
			want(t, p.signIn(), "")
			w.Clock.Advance(c.idle - time.Second)
			who, touch := w.authenticate(p.token())
			if who.Account != p.login || who.Kind != service.Staff || len(who.Grants) != 1 || who.Grants[0] != c.grant || !touch {
				t.Fatalf("a second before the idle limit: %+v, touch %v", who, touch)
			}
			w.Clock.Advance(time.Second + slack)
			if who, touch := w.authenticate(p.token()); who.Kind != service.Anonymous || touch || who.Account != "" {
				t.Errorf("after %s without a page: %+v, touch %v", c.idle, who, touch)
			}
			w.Call("POST /sessions/touch", servicetest.System(), map[string]string{"session": who.Session})
			if who, _ := w.authenticate(p.token()); who.Kind != service.Anonymous {
				t.Error("a touch that came late brought an ended session back")
			}
		})
	}
}

func TestATouchKeepsASessionButNotForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	want(t, p.signIn(), "")
	if _, touch := w.authenticate(p.token()); touch {
		t.Error("a session that was just opened asks for a touch: a write for each page")
	}
	touches := 0
	for at := time.Duration(0); at < 12*time.Hour-10*time.Minute; at += 10 * time.Minute {
		w.Clock.Advance(10 * time.Minute)
		who, touch := w.authenticate(p.token())
		if who.Kind != service.Staff {
			t.Fatalf("the session ended after %s in spite of the touches", at+10*time.Minute)
		}
		if touch {
			touches++
			if _, err := w.Call("POST /sessions/touch", servicetest.System(), map[string]string{"session": who.Session}); err != nil {
				t.Fatal(err)
			}
			if _, touch := w.authenticate(p.token()); touch {
				t.Error("a touched session asks again at once")
			}
		}
	}
	w.Clock.Advance(10*time.Minute + slack)
	if who, _ := w.authenticate(p.token()); who.Kind != service.Anonymous {
		t.Error("the session lives longer than 12 hours")
	}
	if touches < 60 {
		t.Errorf("%d touches", touches)
	}
}

func TestOnlyTheProgramTouches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", divisionAdmin())
	body := map[string]string{"session": p.who().Session}
	w.Run(t, []servicetest.Scenario{
		{Name: "not the session itself", Call: servicetest.Call{Do: "POST /sessions/touch", As: p.who(), Body: body}, Want: "forbidden"},
		{Name: "not an operator", Call: servicetest.Call{Do: "POST /sessions/touch", As: servicetest.Operator(), Body: body}, Want: "forbidden"},
		{Name: "not a stranger", Call: servicetest.Call{Do: "POST /sessions/touch", Body: body}, Want: "not_signed_in"},
		{Name: "an unknown session is no error", Call: servicetest.Call{Do: "POST /sessions/touch", As: servicetest.System(), Body: map[string]string{"session": "s0"}}},
	})
}

func TestATokenThatIsNoneIsNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	token := p.token()
	for name, bad := range map[string]string{
		"empty": "", "shorter": token[:42], "longer": token + "A", "another": strings.Repeat("A", 43),
		"the session's id": p.who().Session, "changed": "A" + token[1:], "SQL": "' OR 1=1 --" + strings.Repeat(" ", 32),
		"the device cookie": p.cookies["device"].Value, "a megabyte": strings.Repeat("x", 1<<20),
	} {
		if who, touch := w.authenticate(bad); bad != token && (who.Kind != service.Anonymous || touch) {
			t.Errorf("%s: %+v", name, who)
		}
	}
}

func TestWhatEndsSessionsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	operator := servicetest.Operator()
	both := []service.Grant{officer(), {Tenant: servicetest.PublicSecurity, Role: service.RoleOfficer}}
	for _, c := range []struct {
		name string
		do   func() error
		back string // What makes the account usable again.
	}{
		{"other grants", func() error {
			_, err := w.Call("POST /accounts/"+p.login+"/grants", operator, map[string]any{"grants": both})
			return err
		}, ""},
		{"signing out everywhere by an administrator", func() error { _, err := w.Call("POST /accounts/"+p.login+"/sign-out", operator, nil); return err }, ""},
		{"being disabled", func() error { _, err := w.Call("POST /accounts/"+p.login+"/disable", operator, nil); return err }, "enable"},
		{"signing out", func() error { _, err := p.do("POST /sign-out", nil); return err }, ""},
		{"a reset", func() error { _, err := w.Call("POST /accounts/"+p.login+"/reset", operator, nil); return err }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.Clock.Advance(time.Minute)
			want(t, p.signIn(), "")
			here, there := p.token(), p.elsewhere("192.0.2.2")
			w.Clock.Advance(time.Minute)
			want(t, there.signIn(), "")
			want(t, c.do(), "")
			if who, _ := w.authenticate(here); who.Kind != service.Anonymous {
				t.Errorf("the old cookie still works: %+v", who)
			}
			who, _ := w.authenticate(there.token())
			if elsewhere := who.Kind == service.Staff; elsewhere != (c.name == "signing out") {
				t.Errorf("the session elsewhere goes on: %v", elsewhere)
			}
			if c.back != "" {
				_, err := w.Call("POST /accounts/"+p.login+"/"+c.back, operator, nil)
				want(t, err, "")
				if who, _ := w.authenticate(there.token()); who.Kind != service.Anonymous {
					t.Error("enabling the account brought an old session back")
				}
			}
		})
	}
	w.Clock.Advance(time.Minute)
	want(t, p.signIn(), "identity.sign_in_refused") // After the reset neither password nor phone count.
}

func TestADisabledAccountHasNoSessionWhateverItsRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	w.Update(w.Division, func(tx *service.Tx) error { return tx.Exec(`UPDATE identity_account SET disabled = 1`) })
	if who := p.who(); who.Kind != service.Anonymous {
		t.Errorf("a session of a disabled account is %+v", who)
	}
}

func TestChangingThePassword(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	other := p.elsewhere("192.0.2.2")
	want(t, other.signIn(), "")
	const newPassword = "eight tame 麻雀 on a roof"
	change := func(current, password, again string) error {
		_, err := p.do("POST /account/password", url.Values{"current": {current}, "password": {password}, "again": {again}})
		return err
	}
	want(t, change("not it, not it", newPassword, newPassword), "identity.wrong_password")
	want(t, change(goodPassword, newPassword, newPassword+"."), "invalid")
	want(t, change(goodPassword, "short", "short"), "invalid")
	want(t, change(goodPassword, newPassword, newPassword), "")
	if p.who().Kind != service.Staff || other.who().Kind != service.Anonymous {
		t.Error("the change must keep this session and end the others")
	}
	w.Clock.Advance(time.Minute)
	want(t, p.signIn(), "identity.sign_in_refused")
	p.password = newPassword
	want(t, p.signIn(), "")

	for range 5 { // Somebody at an unlocked screen has no more guesses than at the door.
		want(t, change("not it, not it", goodPassword, goodPassword), "identity.wrong_password")
	}
	want(t, change(newPassword, goodPassword, goodPassword), "identity.try_later")
	want(t, p.elsewhere("192.0.2.9").failOnce(), "identity.sign_in_refused")
}

func (p *person) failOnce() error {
	_, err := p.do("POST /sign-in", url.Values{"login": {p.login}, "password": {"wrong"}, "code": {"000000"}})
	return err
}

func TestMyAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	other := w.activated(t, "li.na", officer())
	want(t, p.signIn(), "")
	w.Run(t, []servicetest.Scenario{
		{Name: "shows my sessions and not other people's", Call: servicetest.Call{Do: "GET /account", As: p.who()},
			Has: []string{p.login, p.who().Session}, HasNot: []string{other.who().Session, "argon2", p.token()}},
		{Name: "an operator has none", Call: servicetest.Call{Do: "GET /account", As: servicetest.Operator()}, Want: "not_found"},
		{Name: "nor a password", Call: servicetest.Call{Do: "POST /account/password", As: servicetest.Operator(),
			Body: url.Values{"current": {"x"}}}, Want: "not_found"},
		{Name: "a stranger is asked to sign in", Call: servicetest.Call{Do: "GET /account"}, Want: "not_signed_in"},
	})
	second := p.elsewhere("192.0.2.2")
	w.Clock.Advance(time.Minute)
	want(t, second.signIn(), "")
	_, err := p.do("POST /account/sign-out", nil)
	want(t, err, "")
	if p.who().Kind != service.Staff || second.who().Kind != service.Anonymous || other.who().Kind != service.Staff {
		t.Error("signing out other devices must end exactly those")
	}
}

func TestDevicesAreForgottenInTheEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := w.activated(t, "wang.li", officer())
	for range 12 {
		w.Clock.Advance(time.Minute)
		want(t, p.elsewhere("192.0.2.3").signIn(), "")
	}
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_device WHERE account = ?`, p.login); n != 10 {
		t.Errorf("%d devices are remembered, want the 10 newest", n)
	}
	w.Clock.Advance(401 * 24 * time.Hour)
	want(t, p.elsewhere("192.0.2.3").signIn(), "")
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_device`); n != 1 {
		t.Errorf("%d devices are remembered after 400 days, want 1", n)
	}
	if n := w.Count(w.Division, `SELECT count(*) FROM identity_session`); n != 1 {
		t.Errorf("%d sessions are kept, want the one that lives", n)
	}
}
