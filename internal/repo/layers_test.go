package repo

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// layers, lowest first. A package imports only packages of lower layers, and packages of
// its own folder. The reason: whoever changes a layer need only read what is below.
var layers = [][]string{
	{"replication", "division", "internal/process"},
	{"service"}, // The contract alone; the services below it are a layer of their own.
	{"tenancy", "federation"},
	{"portal", "service/"},
	{"node"},
	{"appliance", "internal/demo", "internal/bench", "internal/torture", "internal/simulate", "internal/repo"},
	{"cmd/tongban"},
}

// edges are the imports between neighbours; services: types and Read functions, never
// tables.
var edges = map[string][]string{
	"service/cases": {"service/catalog", "service/statistics"},
	// How far a department's feeds are folded is tenancy's to say; never back.
	"federation": {"tenancy"},
	// It measures the same three processes that the demonstration shows.
	"internal/bench": {"internal/demo", "internal/demo/relay"},
	// It breaks the same four levels.
	"internal/torture/divisions": {"internal/demo", "internal/demo/relay"},
}

func layerOf(dir string) int {
	for level, names := range layers {
		for _, name := range names {
			if dir == name || strings.HasSuffix(name, "/") && strings.HasPrefix(dir, name) ||
				name != "service" && strings.HasPrefix(dir, name+"/") {
				return level
			}
		}
	}
	return -1
}

func TestImportsGoDown(t *testing.T) {
	for _, s := range sources(t) {
		from := layerOf(s.dir)
		if from < 0 {
			t.Errorf("%s: the folder has no layer; DESIGN.md names the folders and layers_test.go their layers", s.path)
			continue
		}
		for _, path := range s.imports() {
			dir, ours := strings.CutPrefix(path, "tongban/")
			if !ours || s.test && isTestHelper(dir) {
				continue
			}
			to := layerOf(dir)
			if to > from || to == from && !related(s.dir, dir) {
				t.Errorf("%s imports %s: imports go down, and a service reads another only over an edge of layers_test.go", s.path, path)
			}
		}
	}
}

// isTestHelper says which packages tests alone may import from anywhere.
func isTestHelper(dir string) bool { return strings.HasSuffix(dir, "test") }

func related(from, to string) bool {
	if strings.HasSuffix(from, "test") { // A test helper serves its neighbours.
		return true
	}
	for service, others := range edges {
		if strings.HasPrefix(from, service) && slices.ContainsFunc(others, func(o string) bool { return to == o }) {
			return true
		}
	}
	a, b := strings.Split(from, "/"), strings.Split(to, "/")
	if a[0] == "service" { // Each service is a room of its own.
		return len(a) > 1 && len(b) > 1 && a[1] == b[1]
	}
	if a[0] == "internal" {
		return len(a) > 1 && len(b) > 1 && a[1] == b[1]
	}
	return a[0] == b[0]
}

// doors says through which folder alone a large dependency comes in, so that replacing
// or upgrading it is one room's work.
var doors = map[string]string{
	"github.com/hashicorp/raft":        "replication",
	"github.com/mattn/go-sqlite3":      "replication",
	"github.com/cockroachdb/pebble/v2": "replication",
	"github.com/nats-io":               "federation",
	"github.com/hashicorp/serf":        "node",
	"github.com/caddyserver/certmagic": "node",
	"github.com/zitadel/oidc":          "service/identity",
	"github.com/nicksnyder/go-i18n":    "portal",
	"github.com/spf13/cobra":           "cmd/tongban",
	"github.com/chromedp":              "portal/portaltest",
}

func TestEachLargeDependencyHasOneDoor(t *testing.T) {
	for _, s := range sources(t) {
		for _, path := range s.imports() {
			for dependency, door := range doors {
				if strings.HasPrefix(path, dependency) && s.dir != door && !strings.HasPrefix(s.dir, door+"/") && !s.test {
					t.Errorf("%s imports %s: only %s may", s.path, path, door)
				}
			}
		}
	}
}

func TestTopLevelFoldersAreThoseOfTheDesign(t *testing.T) {
	allowed := []string{"cmd", "division", "replication", "service", "tenancy", "federation", "portal", "node",
		"appliance", "internal", "docs"}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "bin" && !slices.Contains(allowed, e.Name()) {
			t.Errorf("the folder %s is not in the design; see docs/ARCHITECTURE.md", e.Name())
		}
	}
}
