package service

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"regexp"
	"strings"
	"time"
)

// Scope says which kind of database something belongs to.
type Scope int

// Scopes.
const (
	TenantScope   Scope = iota // The tenant's main database; routes below /t/{tenant}.
	DivisionScope              // The division database; routes at the root.
)

// String returns "tenant" or "division".
func (s Scope) String() string {
	if s == DivisionScope {
		return "division"
	}
	return "tenant"
}

// Definition is a service as a value. Check it with Check before use.
type Definition struct {
	Name string // [a-z]+; prefix of its tables, permissions, messages and templates.

	// Migrations holds tenant/NNNN_name.sql and division/NNNN_name.sql, applied in order
	// of their number to every tenant's main database and to the division database.
	// Released files never change. Tables are named "<service>_…".
	Migrations fs.FS

	Routes  []Route
	Workers []Worker
	Feeds   []Feed
	Mail    []MailKind
	Menu    []MenuEntry

	Templates fs.FS // *.html, addressed as "<service>/<file without .html>".
	Messages  fs.FS // active.zh.toml and active.en.toml with the same keys.
}

// Handler answers one request. A returned *Error is a refusal; any other error is
// internal: its text goes to the log with a reference id and never to the user. A refusal
// returned together with a Response that has a Page sends the form back: that page, with
// what the user typed and what is wrong with it.
type Handler func(ctx context.Context, r *Request) (Response, error)

// Route is one method and path of a service.
type Route struct {
	Scope   Scope
	Pattern string     // "POST /cases/{id}/accept" as in net/http; tenant scope is mounted below /t/{tenant}.
	Need    Permission // Required; Public for everyone.
	Handle  Handler    // Required.
	MaxBody int64      // Bytes; 0: 1 MiB.
}

// Method returns the route's HTTP method.
func (r Route) Method() string { m, _, _ := strings.Cut(r.Pattern, " "); return m }

// FullPattern returns the pattern with the prefix of its scope.
func (r Route) FullPattern() string {
	m, p, _ := strings.Cut(r.Pattern, " ")
	if r.Scope == TenantScope {
		p = "/t/{tenant}" + p
	}
	return m + " " + p
}

// Writes reports whether the route may change its database: it then runs on the leader.
func (r Route) Writes() bool { m := r.Method(); return m != "GET" && m != "HEAD" }

// MenuEntry is a link in the frame, shown to principals that have the permission.
type MenuEntry struct {
	Scope Scope
	Path  string     // "/cases"; below /t/{tenant} for tenant scope.
	Title string     // Message key.
	Need  Permission // Public: in everybody's menu.
	Order int        // Ascending.
}

// Worker does periodic work for each database of its scope, on that database's leader
// only. Its position is kept in the database, never in memory.
type Worker struct {
	Name  string
	Scope Scope
	Every time.Duration // At least one run in so long; also once when leadership is gained.
	// Do runs one step with a context that ends with the leadership. An error is logged
	// and the step runs again after Every.
	Do func(ctx context.Context, env Env) error
}

// Env is what a worker gets.
type Env struct {
	DB     *DB
	Tenant Tenant // Zero in division scope.
	Now    Clock
	Log    *slog.Logger
}

// Clock is the only clock of the program; tests move it.
type Clock func() time.Time

// Tenant is a department of the division.
type Tenant struct {
	Slug   string `json:"slug"`   // [a-z0-9-]{1,40}, never changes.
	Name   string `json:"name"`   //
	Number int    `json:"number"` // 1–999, unique in the division; part of receipt numbers.
	State  string `json:"state"`  // active, suspended, closed
}

// Site is the division that this program serves.
type Site struct {
	Code  string `json:"code"`  // 6 digits.
	Level string `json:"level"` // national, province, city, county
	Name  string `json:"name"`  // 广安区
	Full  string `json:"full"`  // 四川省广安市广安区
}

var (
	namePattern  = regexp.MustCompile(`^[a-z]+$`)
	tablePattern = regexp.MustCompile(`(?i)CREATE\s+(?:VIRTUAL\s+)?(?:TABLE|VIEW)\s+(?:IF\s+NOT\s+EXISTS\s+)?"?(\w+)`)
)

// Check returns the first thing that is wrong in the definitions: a bad or doubled name,
// a route without permission or handler, two routes with one pattern, a table without
// its service's prefix. The portal checks templates and messages.
func Check(defs []Definition) error {
	seen, routes := map[string]bool{}, map[string]string{}
	for _, d := range defs {
		if !namePattern.MatchString(d.Name) || seen[d.Name] {
			return fmt.Errorf("service %q: the name is malformed or taken", d.Name)
		}
		seen[d.Name] = true
		for _, r := range d.Routes {
			if r.Need.Name == "" || r.Handle == nil || r.Method() == r.Pattern {
				return fmt.Errorf("service %s: route %q lacks a method, permission or handler", d.Name, r.Pattern)
			}
			if other := routes[r.FullPattern()]; other != "" {
				return fmt.Errorf("service %s: route %q is already one of %s", d.Name, r.Pattern, other)
			}
			routes[r.FullPattern()] = d.Name
		}
		if err := checkMigrations(d); err != nil {
			return err
		}
	}
	return nil
}

func checkMigrations(d Definition) error {
	for _, scope := range []Scope{TenantScope, DivisionScope} {
		list, err := migrationsOf(d, scope)
		if err != nil {
			return fmt.Errorf("service %s: %w", d.Name, err)
		}
		for _, m := range list {
			for _, t := range tablePattern.FindAllStringSubmatch(m.script, -1) {
				if !strings.HasPrefix(t[1], d.Name+"_") {
					return fmt.Errorf("service %s: %s creates %s; its tables are named %s_…", d.Name, m.name, t[1], d.Name)
				}
			}
		}
	}
	return nil
}
