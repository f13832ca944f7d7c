package repo

import (
	"go/ast"
	"go/token"
	"strings"
	"testing"
)

func TestEveryPackageHasADocComment(t *testing.T) {
	documented, seen := map[string]bool{}, map[string]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		seen[s.dir] = s.path
		documented[s.dir] = documented[s.dir] || s.file.Doc != nil
	}
	for dir := range seen {
		if !documented[dir] {
			t.Errorf("package %s has no doc comment: what it is, what it guarantees, what is not here", dir)
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s is exported and has no doc comment", s.path, name)
			}
		}
	}
}

func undocumented(d ast.Decl) []string {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
			return []string{funcName(d)}
		}
	case *ast.GenDecl:
		var list []string
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() && d.Doc == nil && spec.Doc == nil {
					list = append(list, spec.Name.Name)
				}
			case *ast.ValueSpec:
				for _, name := range spec.Names {
					if name.IsExported() && d.Doc == nil && spec.Doc == nil && spec.Comment == nil {
						list = append(list, name.Name)
					}
				}
			}
		}
		return list
	}
	return nil
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	name, _, ok := strings.Cut(funcName(d), ".")
	return !ok || ast.IsExported(name)
}

func TestNoInitAndNoMutablePackageState(t *testing.T) {
	vars := map[string]map[string]bool{} // By folder.
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init() acts before anybody asked; use a constructor", s.path)
			}
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				for _, spec := range g.Specs {
					for _, name := range spec.(*ast.ValueSpec).Names {
						if vars[s.dir] == nil {
							vars[s.dir] = map[string]bool{}
						}
						vars[s.dir][name.Name] = true
					}
				}
			}
		}
	}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Body != nil {
				for _, name := range assigned(f, vars[s.dir]) {
					t.Errorf("%s: %s assigns to the package variable %s; state belongs to a value that is passed", s.path, funcName(f), name)
				}
			}
		}
	}
}

// assigned returns the package variables that f assigns to. Names that f declares itself
// are left out: shadowing hides a variable from f, and rarely a mistake from this rule.
func assigned(f *ast.FuncDecl, vars map[string]bool) []string {
	local := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, e := range n.Lhs {
					if id, ok := e.(*ast.Ident); ok {
						local[id.Name] = true
					}
				}
			}
		case *ast.Field:
			for _, id := range n.Names {
				local[id.Name] = true
			}
		case *ast.RangeStmt:
			for _, e := range []ast.Expr{n.Key, n.Value} {
				if id, ok := e.(*ast.Ident); ok && n.Tok == token.DEFINE {
					local[id.Name] = true
				}
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				local[id.Name] = true
			}
		}
		return true
	})
	var list []string
	ast.Inspect(f, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok || a.Tok == token.DEFINE {
			return true
		}
		for _, e := range a.Lhs {
			if x, ok := e.(*ast.IndexExpr); ok {
				e = x.X
			}
			if id, ok := e.(*ast.Ident); ok && id.Name != "_" && vars[id.Name] && !local[id.Name] {
				list = append(list, id.Name)
			}
		}
		return true
	})
	return list
}
