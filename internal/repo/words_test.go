package repo

import (
	"go/ast"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// banned are calls that the project has decided against, each with its reason. Tests and
// the rest of the code are told apart: "test", "code", "all".
var banned = []struct{ where, call, reason string }{
	{"test", "time.Sleep", "a test that sleeps is slow or flaky: wait for a condition, or use testing/synctest"},
	{"all", "m.Respond", "the reply subject comes from the other side: check its prefix first"},
	{"code", "rand.Seed", "use math/rand/v2 with a printed seed, or crypto/rand"},
	{"code", "log.Fatal", "return the error: only main ends the process"},
	{"code", "http.DefaultClient", "it has no time limit"},
}

func TestNoBannedCall(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			id, ok := call.X.(*ast.Ident)
			if !ok {
				return true
			}
			for _, b := range banned {
				if b.call == id.Name+"."+call.Sel.Name && (b.where == "all" || (b.where == "test") == s.test) && (b.call != "log.Fatal" || s.file.Name.Name != "main") {
					t.Errorf("%s: %s: %s", s.fset.Position(call.Pos()), b.call, b.reason)
				}
			}
			return true
		})
	}
}

// leftovers are words that say something is not finished, or was written elsewhere.
var leftovers = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b|not implemented|/tmp/[a-z]|/home/[a-z]|/root/`)

func TestNoLeftovers(t *testing.T) {
	walk(t, func(path string) {
		if ext := filepath.Ext(path); ext != ".go" && ext != ".md" && ext != ".sql" && ext != ".html" && ext != ".toml" ||
			strings.HasPrefix(path, "internal/repo/") {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(text), "\n") {
			if found := leftovers.FindString(line); found != "" {
				t.Errorf("%s:%d: %q", path, n+1, found)
			}
		}
	})
}

// link is a relative link of a Markdown page.
var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

func TestLinksOfThePagesLeadSomewhere(t *testing.T) {
	walk(t, func(path string) {
		if filepath.Ext(path) != ".md" {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			}
		}
	})
}
