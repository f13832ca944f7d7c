package node_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"tongban/node"
	"tongban/node/nodetest"
	"tongban/service"
)

// TestAMailCrossesADivisionSealed lodges a case in a district for a department of its
// province: real boxes, lines, seals and signatures. The city between passes on what it
// cannot read; the province has no such item, and its refusal comes back.
func TestAMailCrossesADivisionSealed(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	province := nodetest.Division(t, 1, nodetest.Clock(f.now), nodetest.Place("510000", ""))
	var minted node.ChildTokenReply
	if err := post(t, province, "/node/child/token", node.ChildTokenRequest{Code: "511600"}, &minted); err != nil {
		t.Fatal(err)
	}
	if err := post(t, f.city, "/node/enrol", node.EnrolRequest{Token: minted.Token}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatal(err)
	}
	province.CreateTenant(0, "hall", "省政务大厅")
	f.district.CreateTenant(0, "window", "区综合窗口")
	officer := signIn(t, f.district, service.Grant{Tenant: "window", Role: service.RoleOfficer}, f.now)

	const ref = "province/510000/hall/no-such-item"
	f.district.Await("the directory of the district has the province", func() bool {
		var form struct{ Known bool }
		officer.call("GET", "/t/window/lodge?ref="+ref, nil, &form)
		return form.Known
	})
	var slip struct{ Number, State string }
	officer.call("POST", "/t/window/lodge", map[string]any{"ref": ref, "name": "王小明", "id_kind": "resident",
		"id_number": "11010519491231002X", "phone": "13800138000", "truth": true}, &slip)
	f.district.Await("the province's refusal comes back", func() bool {
		var l struct{ State, Reason string }
		officer.call("GET", "/t/window/lodged/"+slip.Number, nil, &l)
		return l.State == string(service.MailRefused) && l.Reason == "catalog.no_item"
	})
}

// session is somebody who is signed in at a division.
type session struct {
	t       *testing.T
	url     string
	cookies []*http.Cookie
}

// signIn makes an account with the grant and activates it.
func signIn(t *testing.T, c *nodetest.Cluster, g service.Grant, now service.Clock) *session {
	t.Helper()
	s := &session{t: t, url: c.URL(0)}
	const password = "a-Password-of-tests-7"
	var account struct{ Code string }
	if err := post(t, c, "/accounts", map[string]any{"login": "li.na", "name": "李娜", "grants": []service.Grant{g}}, &account); err != nil {
		t.Fatal(err)
	}
	var step struct{ Activation, Secret string }
	s.call("POST", "/activate", map[string]any{"login": "li.na", "code": account.Code, "password": password}, &step)
	code, err := totp.GenerateCode(strings.ReplaceAll(step.Secret, " ", ""), now())
	if err != nil {
		t.Fatal(err)
	}
	s.call("POST", "/activate/code", map[string]any{"activation": step.Activation, "code": code}, nil)
	return s
}

// call speaks JSON, and fails the test when it is refused.
func (s *session) call(method, path string, in, out any) {
	s.t.Helper()
	body, err := json.Marshal(in)
	must(s.t, err)
	if in == nil {
		body = nil
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, bytes.NewReader(body))
	must(s.t, err)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	for _, c := range s.cookies {
		req.AddCookie(c)
	}
	client := http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Do(req)
	must(s.t, err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	must(s.t, err)
	if r.StatusCode >= 300 {
		s.t.Fatalf("%s %s got %d: %s", method, path, r.StatusCode, text)
	}
	s.cookies = append(s.cookies, r.Cookies()...)
	if out != nil {
		must(s.t, json.Unmarshal(text, out))
	}
}
