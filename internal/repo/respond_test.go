package repo

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"
)

// responders are the methods of nats.Msg that answer to whatever reply subject the other
// side has named: the confused deputy. Answers go out of package leaf, to a subject that
// its checkReply let pass.
var responders = map[string]bool{"Respond": true, "RespondMsg": true}

// responds returns the places where a file uses one of them, by whatever receiver, called
// or taken as a value.
func responds(file *ast.File) (list []token.Pos) {
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && responders[s.Sel.Name] {
			list = append(list, s.Pos())
		}
		return true
	})
	return list
}

// raft's requests have a Respond too, over a connection of our own: so the rule is for the
// folder through which NATS comes in, and for whichever folder imports it.
func TestNobodyAnswersToAnUncheckedSubject(t *testing.T) {
	list, nats := sources(t), map[string]bool{}
	for _, s := range list {
		for _, path := range s.imports() {
			nats[s.dir] = nats[s.dir] || strings.HasPrefix(path, "github.com/nats-io/")
		}
	}
	if !nats["federation/leaf"] {
		t.Error("federation/leaf does not import NATS; the rule looks in the wrong place")
	}
	for _, s := range list {
		if !nats[s.dir] && !strings.HasPrefix(s.dir+"/", "federation/") {
			continue
		}
		for _, pos := range responds(s.file) {
			t.Errorf("%s: the reply subject comes from the other side; answer through package federation/leaf, which checks it", s.fset.Position(pos))
		}
	}
}

func TestTheRuleOnAnswersFindsWhatItForbids(t *testing.T) {
	for _, code := range []string{"m.Respond(nil)", "request.msg.Respond(b)", "get().RespondMsg(x)", "f := m.Respond; _ = f"} {
		file, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc f() { "+code+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(responds(file)) != 1 {
			t.Errorf("%s was not found", code)
		}
	}
}
