package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// root is the repository's root, seen from this package's folder.
const root = "../.."

// source is one Go file of the repository.
type source struct {
	path  string // From the root, with slashes.
	dir   string
	test  bool
	lines int
	file  *ast.File
	fset  *token.FileSet
}

// sources parses every Go file below the root.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	walk(t, func(path string) {
		if !strings.HasSuffix(path, ".go") {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, path))
		if err != nil {
			t.Fatal(err)
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, source{path: path, dir: filepath.ToSlash(filepath.Dir(path)),
			test: strings.HasSuffix(path, "_test.go"), lines: strings.Count(string(text), "\n"), file: file, fset: fset})
	})
	if len(list) < 20 {
		t.Fatalf("found %d Go files; the rules were looked for in the wrong place", len(list))
	}
	return list
}

// tagged says whether the file is compiled only with a build tag.
func (s source) tagged(tag string) bool {
	for _, group := range s.file.Comments {
		if group.Pos() < s.file.Package && group.List[0].Text == "//go:build "+tag {
			return true
		}
	}
	return false
}

// walk calls fn with every file of the repository that is its own.
func walk(t *testing.T, fn func(path string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && (name == "node_modules" || name == "testdata" || strings.HasPrefix(name, ".") && name != ".." && name != ".ci" && path != root) {
			return fs.SkipDir
		}
		if d.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		fn(filepath.ToSlash(rel))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// imports returns the import paths of a file.
func (s source) imports() []string {
	var list []string
	for _, i := range s.file.Imports {
		list = append(list, strings.Trim(i.Path.Value, `"`))
	}
	return list
}

// TestOnlyTestsUseTheDatabaseWithoutRaft: replication.Solo has no second copy and no
// durable log; a person's case in one would be lost with its box.
func TestOnlyTestsUseTheDatabaseWithoutRaft(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.path == "replication/solo.go" || isTestHelper(s.dir) || s.dir == "internal/simulate" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && (id.Name == "OpenSolo" || id.Name == "Solo") {
				t.Errorf("%s: %s is for tests and internal/simulate alone", s.fset.Position(id.Pos()), id.Name)
			}
			return true
		})
	}
}

// TestNothingRunsAMutant: a mutant lacks a safeguard, for the simulation to notice.
func TestNothingRunsAMutant(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.dir == "federation" || s.dir == "internal/simulate" || s.tagged("mutants") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && strings.HasPrefix(id.Name, "Mutant") {
				t.Errorf("%s: %s is for internal/simulate alone", s.fset.Position(id.Pos()), id.Name)
			}
			return true
		})
	}
}
