package node_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"tongban/replication"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
	"tongban/tenancy"
)

// hostile is a text that would run if any page took it for more than text: in HTML, in an
// attribute, in a script, in a template.
const hostile = `王"'><svg/onload=alert(1)>{{7}}</script><script>a()</script>`

// site is a division in which everything that people can name has a hostile name.
type site struct {
	t      *testing.T
	public http.Handler
	admin  http.Handler
	tree   *tenancy.Tenancy
	routes []service.Route
	values map[string]string // Of the wildcards in paths.
	jar    []*http.Cookie    // Of the citizen who applied.
}

// post calls a route with JSON and returns what it answers; who is a session token of
// people, "" is the operator.
func (s *site) post(path, who string, body, into any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	must(s.t, err)
	r := httptest.NewRequest("POST", path, bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	h := s.admin
	if who != "" {
		h = s.public
		r.AddCookie(&http.Cookie{Name: "session", Value: who})
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	if rec.Code >= 300 {
		s.t.Fatalf("POST %s got %d: %s", path, rec.Code, rec.Body)
	}
	s.jar = append(s.jar, rec.Result().Cookies()...)
	if into != nil {
		must(s.t, json.Unmarshal(rec.Body.Bytes(), into))
	}
}

func newSite(t *testing.T) *site {
	w, tree := mounted(t)
	s := &site{t: t, public: w.Public(), admin: w.Admin(), tree: tree, routes: w.Routes(), values: map[string]string{"tenant": "tax"}}
	rows, err := catalog.ParseCSV(bytes.NewReader(demo.CSV(true)))
	must(t, err)
	of := rows[0].Department
	rows = slices.DeleteFunc(rows, func(r catalog.Row) bool { return r.Department != of })
	for i := range rows {
		rows[i].Department, rows[i].Name, rows[i].MainItem = "税务局", rows[i].Name+hostile, hostile
	}
	s.post("/t/tax/items/import", "", map[string]any{"file": hostile + ".csv", "rows": rows}, nil)
	s.values["code"] = s.first(`SELECT code FROM catalog_item ORDER BY code LIMIT 1`)
	s.post("/accounts", "", map[string]any{"login": "wang.li", "name": hostile,
		"grants": []service.Grant{{Tenant: "tax", Role: service.RoleOfficer}}}, nil)
	s.values["login"] = "wang.li"
	var receipt struct{ Number string }
	s.post("/t/tax/items/"+url.PathEscape(s.values["code"])+"/apply", "nobody", map[string]any{"name": hostile,
		"id_kind": "resident", "id_number": "11010519491231002X", "phone": "13800138000", "note": hostile, "truth": true}, &receipt)
	s.values["number"] = receipt.Number
	s.post("/t/tax/cases/"+receipt.Number+"/correct", "officer@tax", map[string]any{"version": 1, "text": hostile}, nil)
	return s
}

// first returns the one text that the query finds in the tenant's database.
func (s *site) first(sql string) (text string) {
	s.t.Helper()
	_, db, _ := s.tree.Database("tax")
	must(s.t, db.View(s.t.Context(), replication.Local, func(v *service.View) error { return v.QueryRow(sql).Scan(&text) }))
	return text
}

// get asks for the page of a route as somebody who may see it.
func (s *site) get(r service.Route, accept string) *http.Response {
	_, path, _ := strings.Cut(r.FullPattern(), " ")
	path = strings.TrimSuffix(path, "{$}")
	for name, value := range s.values {
		path = strings.ReplaceAll(path, "{"+name+"}", url.PathEscape(value))
	}
	path = wildcard.ReplaceAllString(path, "1")
	req := httptest.NewRequest("GET", path+"?"+url.Values{"q": {hostile}, "next": {hostile}, "login": {hostile}}.Encode(), nil)
	req.Header.Set("Accept", accept)
	for _, c := range s.jar {
		req.AddCookie(c)
	}
	if r.Need.Name != service.Public.Name {
		at := ""
		if r.Scope == service.TenantScope {
			at = "tax"
		}
		req.AddCookie(&http.Cookie{Name: "session", Value: "division-admin+tenant-admin+officer+auditor@" + at})
	}
	rec := httptest.NewRecorder()
	s.public.ServeHTTP(rec, req)
	return rec.Result()
}

// applied are the indexes of the division's databases.
func (s *site) applied() [2]replication.Index {
	_, db, _ := s.tree.Database("tax")
	return [2]replication.Index{s.tree.Division().Applied(), db.Applied()}
}

// TestPages asks for the page of every route that has one, in a division full of hostile
// names: whatever it answers, it is not to be run, framed or kept, and asking has changed
// nothing.
func TestPages(t *testing.T) {
	s := newSite(t)
	pages, shown := 0, 0
	for _, r := range s.routes {
		if r.Method() != "GET" {
			continue
		}
		for _, accept := range []string{"text/html", "application/json"} {
			// Workers write now and then: a page that writes does so each time.
			for try := 0; ; try++ {
				before := s.applied()
				response := s.get(r, accept)
				body, err := io.ReadAll(response.Body)
				must(t, err)
				changed := s.applied() != before
				if changed && try < 3 {
					continue
				}
				if changed {
					t.Errorf("%s changes a database", r.FullPattern())
				}
				if response.StatusCode == http.StatusOK {
					pages++
				}
				if response.StatusCode >= http.StatusInternalServerError {
					t.Errorf("%s got %d: %.300s", r.FullPattern(), response.StatusCode, body)
				}
				if strings.Contains(string(body), "svg/onload") {
					shown++
				}
				checkHeaders(t, r, response)
				if strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") {
					checkPage(t, r, body)
				}
				break
			}
		}
	}
	if pages < 60 || shown < 10 {
		t.Errorf("only %d pages were there, %d of them with a hostile name: the test sees too little", pages, shown)
	}
}

func checkHeaders(t *testing.T, r service.Route, response *http.Response) {
	t.Helper()
	policy := response.Header.Get("Content-Security-Policy")
	if strings.Contains(policy, "unsafe") || !strings.Contains(policy, "script-src 'self';") ||
		!strings.Contains(policy, "frame-ancestors 'none'") || !strings.Contains(policy, "base-uri 'none'") ||
		!strings.Contains(policy, "form-action 'self'") {
		t.Errorf("%s: Content-Security-Policy %q", r.FullPattern(), policy)
	}
	if got := response.Header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("%s: X-Content-Type-Options %q", r.FullPattern(), got)
	}
	if got := response.Header.Get("Cache-Control"); got != "no-store" && response.StatusCode == http.StatusOK {
		t.Errorf("%s: Cache-Control %q", r.FullPattern(), got)
	}
	kind := response.Header.Get("Content-Type")
	disposition := response.Header.Get("Content-Disposition")
	if !strings.HasPrefix(kind, "text/html") && !strings.HasPrefix(kind, "application/") && response.StatusCode == http.StatusOK &&
		!strings.HasPrefix(disposition, "attachment") {
		t.Errorf("%s: %s with Content-Disposition %q", r.FullPattern(), kind, disposition)
	}
	for _, c := range response.Cookies() {
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode && c.SameSite != http.SameSiteStrictMode {
			t.Errorf("%s: cookie %s", r.FullPattern(), c)
		}
	}
}

// checkPage reads the page as a browser does and looks for anything that runs.
func checkPage(t *testing.T, r service.Route, body []byte) {
	t.Helper()
	root, err := html.Parse(bytes.NewReader(body))
	must(t, err)
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		source := false
		for _, a := range n.Attr {
			link := slices.Contains([]string{"href", "src", "action", "formaction"}, a.Key)
			value := strings.ToLower(strings.TrimSpace(a.Val))
			u, err := url.Parse(value)
			switch {
			case strings.HasPrefix(a.Key, "on"), a.Key == "style", a.Key == "srcdoc":
				t.Errorf("%s: <%s %s=%q>", r.FullPattern(), n.Data, a.Key, a.Val)
			case link && (err != nil || u.Scheme != "" || u.Host != ""):
				t.Errorf("%s: <%s %s=%q> leaves this site", r.FullPattern(), n.Data, a.Key, a.Val)
			}
			source = source || a.Key == "src"
		}
		switch {
		case n.Data == "style", n.Data == "iframe", n.Data == "object", n.Data == "base", n.Data == "script" && (!source || n.FirstChild != nil):
			t.Errorf("%s has an inline <%s>", r.FullPattern(), n.Data)
		case n.Data == "form" && attribute(n, "method") == "post" && !strings.Contains(inner(n), service.KeyField):
			t.Errorf("%s: a form that posts to %q has no idempotency key", r.FullPattern(), attribute(n, "action"))
		}
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func inner(n *html.Node) string {
	var b strings.Builder
	_ = html.Render(&b, n) // A strings.Builder takes everything.
	return b.String()
}

// TestNoOtherSiteChangesAnything posts to every route as a page of another site would make
// the browser of somebody signed in do it, in each form that needs no leave to be sent.
func TestNoOtherSiteChangesAnything(t *testing.T) {
	w := routes(t)
	public := w.Public()
	for _, r := range w.Routes() {
		if !r.Writes() {
			continue
		}
		for _, kind := range []string{"application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/json", ""} {
			for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
				_, path, _ := strings.Cut(r.FullPattern(), " ")
				path = wildcard.ReplaceAllString(strings.Replace(path, "{tenant}", "tax", 1), "x1")
				req := httptest.NewRequest(r.Method(), path, strings.NewReader(`{"a":1}`))
				req.Header.Set("Content-Type", kind)
				req.Header.Set("Accept", "application/json")
				req.Header.Set(name, value)
				req.AddCookie(&http.Cookie{Name: "session", Value: "division-admin+tenant-admin+officer@tax"})
				req.RemoteAddr = "127.0.0.1:9" // Or the throttle answers in the place of what is tested.
				rec := httptest.NewRecorder()
				public.ServeHTTP(rec, req)
				if rec.Code != http.StatusForbidden || !strings.Contains(rec.Body.String(), `"cross_origin"`) {
					t.Errorf("%s as %q with %s: %s got %d: %.200s", r.FullPattern(), kind, name, value, rec.Code, rec.Body)
				}
			}
		}
	}
}
