package node_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/federation"
	"tongban/node"
	"tongban/node/web"
	"tongban/portal"
	"tongban/replication"
	"tongban/replication/replicationtest"
	"tongban/service"
	"tongban/service/audit"
	"tongban/tenancy"
)

// accessFile says of every route who may call it. It is written by people: a route that
// is not in it fails the tests, and -update only adds the missing lines as "decide".
const accessFile = "testdata/access.txt"

var update = flag.Bool("update", false, "add routes that are missing in "+accessFile)

var allRoles = []service.Role{service.RoleDivisionAdmin, service.RoleTenantAdmin, service.RoleOfficer, service.RoleAuditor}

// readAccess returns the roles of each route; "public" and "signed-in" stand for
// themselves, "program" for routes that only the program itself or the admin socket call.
func readAccess(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(accessFile)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string][]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		route, roles, _ := strings.Cut(line, "|")
		list[strings.TrimSpace(route)] = strings.Fields(roles)
	}
	return list
}

func TestEveryRouteHasAnEntryOfWhoMayCallIt(t *testing.T) {
	entries, missing := readAccess(t), ""
	seen := map[string]bool{}
	for _, r := range routes(t).Routes() {
		p := r.FullPattern()
		seen[p] = true
		if _, ok := entries[p]; !ok {
			t.Errorf("%s is not in %s: decide who may call it and write it down", p, accessFile)
			missing += p + " | decide\n"
		}
	}
	for p := range entries {
		if !seen[p] {
			t.Errorf("%s is in %s, but there is no such route", p, accessFile)
		}
	}
	if *update && missing != "" {
		f, err := os.OpenFile(accessFile, os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(missing); err != nil {
			t.Fatal(err)
		}
	}
}

// people are the callers of the matrix, by session token: "<roles>@<tenant>", roles joined
// by a plus sign, the division's being at "".
func people(token string) service.Principal {
	roles, tenant, ok := strings.Cut(token, "@")
	if !ok {
		return service.Principal{}
	}
	who := service.Principal{Kind: service.Staff, Account: token, Name: token}
	for _, role := range strings.Split(roles, "+") {
		if role != "" {
			who.Grants = append(who.Grants, service.Grant{Tenant: tenant, Role: service.Role(role)})
		}
	}
	if roles == "" { // Known at the tenant by nothing that any route asks for.
		who.Grants = []service.Grant{{Tenant: tenant, Role: "none"}}
	}
	return who
}

// TestAccess is the matrix: every route × not signed in, every role at the wrong tenant,
// every wrong role at the right one, each right role.
func TestAccess(t *testing.T) {
	w := routes(t)
	entries := readAccess(t)
	asked := 0
	for _, r := range w.Routes() {
		allowed := entries[r.FullPattern()]
		for _, c := range callers(r, allowed) {
			asked++
			status, body := call(w.Public(), r, "tax", c.token)
			if ok := slices.Contains(c.want, status); ok == c.not {
				t.Errorf("%s: %s got %d, want %s%v\n%.300s", r.FullPattern(), c.name, status, map[bool]string{true: "anything but "}[c.not], c.want, body)
			}
			if status == http.StatusNotFound && c.token != "" && r.Scope == service.TenantScope && !c.not {
				_, absent := call(w.Public(), r, "no-such-tenant", c.token)
				if plain(body) != plain(absent) {
					t.Errorf("%s: %s can tell the tenant from an absent one:\n%s\n%s", r.FullPattern(), c.name, body, absent)
				}
			}
		}
	}
	t.Logf("asked %d times", asked)
}

type caller struct {
	name, token string
	want        []int
	not         bool
}

func callers(r service.Route, allowed []string) []caller {
	refused := []int{http.StatusUnauthorized, http.StatusForbidden}
	at := ""
	if r.Scope == service.TenantScope {
		at = "tax"
	}
	switch {
	case slices.Contains(allowed, "public"):
		return []caller{{"nobody", "", refused, true}}
	case slices.Contains(allowed, "signed-in"):
		return []caller{{"nobody", "", []int{401}, false}, {"anybody", "@" + at, refused, true}}
	}
	if slices.Contains(allowed, "in-handler") {
		return []caller{{"nobody", "", []int{401}, false}, {"an officer", "officer@tax", []int{400, 403, 404}, false},
			{"an auditor of the division", "auditor@", []int{400, 403, 404}, false}}
	}
	var wrong []string
	list := []caller{{"nobody", "", []int{401}, false}}
	for _, role := range allRoles {
		if slices.Contains(allowed, string(role)) {
			list = append(list, caller{"the right role " + string(role), string(role) + "@" + at, refused, true})
		} else {
			wrong = append(wrong, string(role))
		}
	}
	elsewhere := 404 // A tenant at which somebody holds nothing does not exist for them.
	if at == "" {
		elsewhere = 403
	}
	all := strings.Join([]string{"division-admin", "tenant-admin", "officer", "auditor", "operator", "system"}, "+")
	return append(list,
		caller{"every wrong role", strings.Join(wrong, "+") + "@" + at, []int{403}, false},
		caller{"every role at another tenant", all + "@other", []int{elsewhere}, false})
}

var (
	wildcard  = regexp.MustCompile(`\{([a-z]+)(\.\.\.)?\}`)
	reference = regexp.MustCompile(`urn:tongban:ref:\w+`)
)

// plain is a refusal without what differs from request to request.
func plain(body string) string { return reference.ReplaceAllString(body, "") }

func call(h http.Handler, r service.Route, tenant, token string) (int, string) {
	method, path, _ := strings.Cut(r.FullPattern(), " ")
	path = strings.Replace(path, "{tenant}", tenant, 1)
	path = wildcard.ReplaceAllString(strings.TrimSuffix(path, "{$}"), "x1")
	req := httptest.NewRequest(method, path, strings.NewReader("{}"))
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.AddCookie(&http.Cookie{Name: "session", Value: token})
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	body, _ := io.ReadAll(rec.Result().Body)
	return rec.Code, string(body)
}

// routes returns the program's whole route table; see mounted.
func routes(t *testing.T) *web.Web {
	w, _ := mounted(t)
	return w
}

var district = service.Site{Code: "511602", Level: "county", Name: "广安区", Full: "四川省广安市广安区"}

// mounted returns the program's whole route table over a real division of one node with
// one tenant, "tax", and its databases; who calls is what the session token says.
func mounted(t *testing.T) (*web.Web, *tenancy.Tenancy) {
	return mountedWith(t, slog.New(slog.DiscardHandler))
}

// mountedWith is mounted with a log.
func mountedWith(t *testing.T, log *slog.Logger) (*web.Web, *tenancy.Tenancy) {
	t.Helper()
	return mountedAt(t, district, log)
}

// mountedAt is mountedWith at another division.
func mountedAt(t *testing.T, site service.Site, log *slog.Logger) (*web.Web, *tenancy.Tenancy) {
	t.Helper()
	o := replicationtest.Options(t, "n1")
	o.HeartbeatTimeout = 20 * time.Millisecond
	engine, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	tree := tenancy.New(tenancy.Options{Engine: engine, Record: audit.Append, Log: o.Log,
		Self: tenancy.Node{ID: "n1", Address: "127.0.0.1:1"}, Founders: []replication.NodeID{"n1"}})
	defs := node.Definitions(tree, federation.New(federation.Options{Division: tree.Division, Tenants: tree.Tenants, Database: tree.Database}), false, site)
	if err := tree.Open(defs); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- tree.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-done
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	waiting, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := tree.ReadyDivision(waiting); err != nil {
		t.Fatal(err)
	}
	if err := tree.Division().Update(ctx, func(tx *service.Tx) error {
		_, err := tenancy.CreateTenant(tx, "tax", "税务局", nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := tree.Ready(waiting, "tax"); err != nil {
		t.Fatal(err)
	}
	pages, err := portal.New(portal.Options{Definitions: defs, Site: portal.Site{Site: site}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := web.New(web.Options{Site: site, Definitions: defs, Databases: tree, Portal: pages, Self: "n1", Cookie: "session",
		SignIn: "/sign-in", Log: log,
		Authenticate: func(_ context.Context, _ *service.DB, token string, _ time.Time) (service.Principal, bool, error) {
			return people(token), false, nil
		}})
	if err != nil {
		t.Fatal(fmt.Errorf("mount the routes: %w", err))
	}
	return w, tree
}
