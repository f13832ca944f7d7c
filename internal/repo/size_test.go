package repo

import (
	"bufio"
	"fmt"
	"go/ast"
	"os"
	"strings"
	"testing"
)

// Limits in lines. Over the soft one needs a line with its reason in exceptions.txt; over
// the hard one is never right: nobody holds it in mind.
const (
	softFile, hardFile = 500, 800
	softFunc, hardFunc = 70, 100
)

func TestFilesAndFunctionsFitInTheMind(t *testing.T) {
	excused, used := exceptions(t), map[string]bool{}
	check := func(what string, lines, soft, hard int) {
		used[what] = lines > soft
		switch {
		case lines > hard:
			t.Errorf("%s has %d lines; the limit is %d", what, lines, hard)
		case lines > soft && excused[what] == "":
			t.Errorf("%s has %d lines; over %d needs a reason in internal/repo/exceptions.txt", what, lines, soft)
		}
	}
	for _, s := range sources(t) {
		check(s.path, s.lines, softFile, hardFile)
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok {
				lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
				check(fmt.Sprintf("%s:%s", s.path, funcName(f)), lines, softFunc, hardFunc)
			}
		}
	}
	for what := range excused {
		if !used[what] {
			t.Errorf("exceptions.txt excuses %s, which needs no excuse (any more)", what)
		}
	}
}

// funcName returns "Name" or "Type.Name".
func funcName(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return f.Name.Name
	}
	typ := f.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	if g, ok := typ.(*ast.IndexExpr); ok {
		typ = g.X
	}
	if id, ok := typ.(*ast.Ident); ok {
		return id.Name + "." + f.Name.Name
	}
	return f.Name.Name
}

// exceptions reads "<file>[:<function>] <reason>" lines.
func exceptions(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("exceptions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := map[string]string{}
	for scan := bufio.NewScanner(f); scan.Scan(); {
		line := strings.TrimSpace(scan.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		what, reason, _ := strings.Cut(line, " ")
		if strings.TrimSpace(reason) == "" {
			t.Errorf("exceptions.txt gives no reason for %s", what)
		}
		list[what] = reason
	}
	return list
}
