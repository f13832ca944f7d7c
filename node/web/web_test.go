package web_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"tongban/node/web"
	"tongban/portal"
	"tongban/replication"
	"tongban/replication/replicationtest"
	"tongban/service"
)

var permWrite = service.Permission{Name: "notes.write", Roles: []service.Role{service.RoleOfficer, service.RoleOperator}}

// notes is a service with a page, a change, and handlers that misbehave.
func notes() service.Definition {
	add := func(ctx context.Context, r *service.Request) (service.Response, error) {
		if r.Form.Get("text") == "" {
			return service.Page("notes/list", "notes.title", nil), service.ErrInvalid.Field("text", "notes.empty")
		}
		return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
			n, err := tx.Next("note")
			return service.SeeOther("/t/tax/notes", map[string]int64{"n": n}).WithNotice("notes.added"), err
		})
	}
	message := `"notes.title" = "T"` + "\n" + `"notes.empty" = "E"` + "\n" + `"notes.added" = "ADDED"` + "\n"
	return service.Definition{
		Name: "notes",
		Routes: []service.Route{
			{Scope: service.TenantScope, Pattern: "GET /notes", Need: service.Public, Handle: func(ctx context.Context, r *service.Request) (service.Response, error) {
				return service.Page("notes/list", "notes.title", nil), nil
			}},
			{Scope: service.TenantScope, Pattern: "POST /notes", Need: permWrite, Handle: add, MaxBody: 1000},
			{Scope: service.TenantScope, Pattern: "POST /notes/import", Need: permWrite, Handle: add, MaxBody: 8 << 20},
			{Scope: service.DivisionScope, Pattern: "GET /file", Need: service.Public, Handle: func(context.Context, *service.Request) (service.Response, error) {
				return service.Response{File: &service.Download{Name: "a.csv", Type: "text/csv", Body: strings.NewReader("a")}}, nil
			}},
			{Scope: service.DivisionScope, Pattern: "POST /refusals", Need: service.Permission{Name: "notes.report", Roles: []service.Role{service.RoleSystem}}, Handle: func(context.Context, *service.Request) (service.Response, error) {
				return service.Response{}, nil
			}},
			{Scope: service.DivisionScope, Pattern: "GET /panic", Need: service.Public, Handle: func(context.Context, *service.Request) (service.Response, error) {
				panic("secret words")
			}},
			{Scope: service.DivisionScope, Pattern: "GET /fail", Need: service.Public, Handle: func(context.Context, *service.Request) (service.Response, error) {
				return service.Response{}, errors.New("secret words")
			}},
			{Scope: service.DivisionScope, Pattern: "GET /mine", Need: service.SignedIn, Handle: func(context.Context, *service.Request) (service.Response, error) {
				return service.Page("notes/list", "notes.title", nil), nil
			}},
			{Scope: service.DivisionScope, Pattern: "POST /onward", Need: service.Public, Handle: func(context.Context, *service.Request) (service.Response, error) {
				return service.Response{Location: "/t/tax/notes", Status: http.StatusTemporaryRedirect}, nil
			}},
			{Scope: service.DivisionScope, Pattern: "POST /slow", Need: service.Public, Handle: func(ctx context.Context, r *service.Request) (service.Response, error) {
				return service.Response{}, replication.ErrOverloaded
			}},
		},
		Templates: fstest.MapFS{"list.html": {Data: []byte(`<h1>{{t "notes.title"}}</h1><form method="post">{{key $}}{{field $ "text" "text" "notes.title"}}</form>`)}},
		Messages:  fstest.MapFS{"active.zh.toml": {Data: []byte(message)}, "active.en.toml": {Data: []byte(message)}},
	}
}

type databases struct{ division, tax *service.DB }

func (d databases) Serving() bool         { return true }
func (d databases) Division() *service.DB { return d.division }
func (d databases) Database(slug string) (service.Tenant, *service.DB, bool) {
	return service.Tenant{Slug: "tax", Name: "税务局", Number: 1, State: "active"}, d.tax, slug == "tax"
}

// newWeb returns the people's port of a division of one node; the session token names
// the person.
func newWeb(t *testing.T) (*web.Web, http.Handler) {
	t.Helper()
	open := func() *service.DB {
		db := service.NewDB(replicationtest.One(t), func(*service.Tx, service.Event) error { return nil })
		if err := service.Migrate(t.Context(), db, service.TenantScope, nil); err != nil {
			t.Fatal(err)
		}
		return db
	}
	defs := []service.Definition{notes()}
	p, err := portal.New(portal.Options{Definitions: defs, Site: portal.Site{Site: service.Site{Name: "广安区"}}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := web.New(web.Options{Definitions: defs, Databases: databases{open(), open()}, Portal: p, Self: "n1",
		Cookie: "session", SignIn: "/sign-in", Log: slog.New(slog.DiscardHandler),
		Authenticate: func(_ context.Context, _ *service.DB, token string, _ time.Time) (service.Principal, bool, error) {
			switch token {
			case "officer":
				return service.Principal{Kind: service.Staff, Account: "a", Grants: []service.Grant{{Tenant: "tax", Role: service.RoleOfficer}}}, false, nil
			case "auditor":
				return service.Principal{Kind: service.Staff, Account: "b", Grants: []service.Grant{{Tenant: "tax", Role: service.RoleAuditor}}}, false, nil
			case "stranger":
				return service.Principal{Kind: service.Staff, Account: "c", Grants: []service.Grant{{Tenant: "other", Role: service.RoleOfficer}}}, false, nil
			}
			return service.Principal{}, false, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return w, w.Public()
}

type ask struct {
	name, method, path, who, accept, body, key string
	header                                     map[string]string
	status                                     int
	want, forbidden                            string
}

func (a ask) send(h http.Handler) *http.Response {
	r := httptest.NewRequest(a.method, a.path, strings.NewReader(a.body))
	if a.body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if a.who != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: a.who})
	}
	if a.accept != "" {
		r.Header.Set("Accept", a.accept)
	}
	if a.key != "" {
		r.Header.Set("Idempotency-Key", a.key)
	}
	for k, v := range a.header {
		r.Header.Set(k, v)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Result()
}

func TestAnswers(t *testing.T) {
	_, h := newWeb(t)
	const json, text = "application/json", "text=hello"
	for _, a := range []ask{
		{name: "a public page", method: "GET", path: "/t/tax/notes", status: 200, want: "<h1>T</h1>"},
		{name: "an unknown path", method: "GET", path: "/nowhere", status: 404, want: "<h1"},
		{name: "an unknown path as JSON", method: "GET", path: "/nowhere", accept: json, status: 404, want: `"reason":"not_found"`},
		{name: "an unknown tenant's public page", method: "GET", path: "/t/nobody/notes", status: 404},
		{name: "a method the path does not have", method: "DELETE", path: "/t/tax/notes", accept: json, status: 405, want: "wrong_method"},
		{name: "a change without a session", method: "POST", path: "/t/tax/notes", accept: json, body: text, status: 401, want: "not_signed_in"},
		{name: "a page without a session leads to the sign-in", method: "GET", path: "/mine?x=1", status: 303},
		{name: "the same as JSON", method: "GET", path: "/mine", accept: json, status: 401},
		{name: "a change in the wrong role", method: "POST", path: "/t/tax/notes", who: "auditor", accept: json, body: text, status: 403, want: "forbidden"},
		{name: "a change at another's tenant answers as if it were absent", method: "POST", path: "/t/tax/notes", who: "stranger", accept: json, body: text, status: 404, want: "not_found"},
		{name: "a change", method: "POST", path: "/t/tax/notes", who: "officer", body: text, status: 303},
		{name: "a change as JSON", method: "POST", path: "/t/tax/notes", who: "officer", accept: json, body: text, status: 201, want: `{"n":`},
		{name: "a form with a mistake comes back", method: "POST", path: "/t/tax/notes", who: "officer", body: "text=", status: 400, want: `href="#f-text"`},
		{name: "a form with a mistake as JSON", method: "POST", path: "/t/tax/notes", who: "officer", accept: json, body: "text=", status: 400, want: `"notes.empty"`},
		{name: "a body over the route's limit", method: "POST", path: "/t/tax/notes", who: "officer", accept: json, body: "text=" + strings.Repeat("x", 1000), status: 413, want: "too_large"},
		{name: "a form from another site", method: "POST", path: "/t/tax/notes", who: "officer", accept: json, body: text, header: map[string]string{"Sec-Fetch-Site": "cross-site"}, status: 403, want: "cross_origin"},
		{name: "a key that is too long", method: "POST", path: "/t/tax/notes", who: "officer", accept: json, body: text, key: strings.Repeat("k", 200), status: 400},
		{name: "a form that cannot be read", method: "POST", path: "/t/tax/notes", who: "officer", accept: json, body: "text=%zz", status: 400},
		{name: "a panic ends one request and tells nobody why", method: "GET", path: "/panic", accept: json, status: 500, want: "urn:tongban:ref:", forbidden: "secret"},
		{name: "an internal error tells nobody why", method: "GET", path: "/fail", status: 500, forbidden: "secret"},
		{name: "a form that belongs elsewhere is sent there again", method: "POST", path: "/onward", body: text, status: 307},
		{name: "an overload asks to come back", method: "POST", path: "/slow", accept: json, body: text, status: 503, want: "unavailable"},
		{name: "forwarding headers count for nothing here", method: "POST", path: "/t/tax/notes", accept: json, body: text, header: map[string]string{"Tongban-As": "operator"}, status: 401},
		{name: "the health of the node", method: "GET", path: "/healthz", status: 200, want: `"leader":"n1"`},
	} {
		response := a.send(h)
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != a.status || !strings.Contains(string(body), a.want) || a.forbidden != "" && strings.Contains(string(body), a.forbidden) {
			t.Errorf("%s: status %d, want %d with %q and without %q:\n%.600s", a.name, response.StatusCode, a.status, a.want, a.forbidden, body)
		}
		if response.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s: no Content-Security-Policy", a.name)
		}
	}
}

func TestTheSameKeyChangesOnce(t *testing.T) {
	_, h := newWeb(t)
	post := func(key, text string) string {
		response := ask{method: "POST", path: "/t/tax/notes", who: "officer", accept: "application/json",
			body: url.Values{"text": {text}}.Encode(), key: key}.send(h)
		body, _ := io.ReadAll(response.Body)
		return strings.TrimSpace(string(body))
	}
	first := post("key-1", "hello")
	if again := post("key-1", "hello"); again != first {
		t.Errorf("the repeated request got %s, the first %s", again, first)
	}
	if other := post("key-2", "hello"); other == first {
		t.Errorf("another key got the first one's answer %s", other)
	}
	if reused := post("key-1", "something else"); !strings.Contains(reused, "key_reused") {
		t.Errorf("the key with another body got %s", reused)
	}
}

func TestTheOperatorsDoorNeedsNoSession(t *testing.T) {
	w, _ := newWeb(t)
	a := ask{method: "POST", path: "/t/tax/notes", body: "text=hello"}
	if response := a.send(w.Admin()); response.StatusCode != 201 {
		t.Errorf("the admin socket answered %d, want 201", response.StatusCode)
	}
	if response := a.send(w.Internal()); response.StatusCode != 401 {
		t.Errorf("the node port without a header answered %d, want 401", response.StatusCode)
	}
	a.header = map[string]string{"Tongban-As": "operator"}
	if response := a.send(w.Internal()); response.StatusCode != 201 {
		t.Errorf("the node port for an operator answered %d, want 201", response.StatusCode)
	}
}

func TestAFloodFromOneAddressIsBounded(t *testing.T) {
	_, h := newWeb(t)
	refused := 0
	for range 130 {
		r := httptest.NewRequest("POST", "/slow", strings.NewReader(""))
		r.RemoteAddr = "192.0.2.7:1234"
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code == http.StatusTooManyRequests {
			refused++
			if rec.Header().Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
	}
	if refused < 5 || refused > 10 {
		t.Errorf("%d of 130 requests were refused, want those over 120 a minute", refused)
	}
}

func TestNoticeAfterAChangeIsShownOnce(t *testing.T) {
	_, h := newWeb(t)
	response := ask{method: "POST", path: "/t/tax/notes", who: "officer", body: "text=hello"}.send(h)
	r := httptest.NewRequest("GET", response.Header.Get("Location"), nil)
	for _, c := range response.Cookies() {
		r.AddCookie(c)
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if !strings.Contains(rec.Body.String(), "ADDED") {
		t.Error("the page after the change does not show its notice")
	}
	for _, c := range rec.Result().Cookies() {
		if c.Name == "notice" && c.MaxAge < 0 {
			return
		}
	}
	t.Error("the notice stays for ever")
}
