package node_test

import (
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/node"
	"tongban/node/enrol"
	"tongban/node/nodetest"
)

// list asks for a token for each row at a cluster.
func list(t *testing.T, c *nodetest.Cluster, in node.ChildTokensRequest) node.ChildTokensReply {
	t.Helper()
	var out node.ChildTokensReply
	if err := post(t, c, "/node/child/tokens", in, &out); err != nil {
		t.Fatalf("tokens for a list: %v", err)
	}
	return out
}

// TestADistrictIsEnrolledByATokenOfAList makes tokens for all that hang on a city, and
// enrols one division with its own.
func TestADistrictIsEnrolledByATokenOfAList(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	rows := []enrol.Row{{Line: 2, Code: "511602", Name: "广安区"}, {Line: 3, Name: "邻水县"}, {Line: 4, Name: "广安市岳池县"}}
	tried := list(t, f.city, node.ChildTokensRequest{Rows: rows, DryRun: true})
	if len(tried.Tokens) != 3 || tried.Tokens[0].Token != "" || !tried.DryRun || len(f.children().Tokens) != 0 {
		t.Errorf("tried: %+v, %d tokens at the city", tried, len(f.children().Tokens))
	}
	made := list(t, f.city, node.ChildTokensRequest{Rows: rows, Valid: "24h"})
	if len(made.Tokens) != 3 || made.Tokens[1].Child.Code != "511623" || made.Tokens[2].Child.Code != "511621" || len(f.children().Tokens) != 3 {
		t.Fatalf("made: %+v, %d tokens at the city", made, len(f.children().Tokens))
	}
	if _, err := f.enrol(node.EnrolRequest{Token: made.Tokens[1].Token}); err == nil {
		t.Error("the district enrolled with its neighbour's token")
	}
	if _, err := f.enrol(node.EnrolRequest{Token: made.Tokens[0].Token}); err != nil {
		t.Fatal(err)
	}
	again := list(t, f.city, node.ChildTokensRequest{Rows: rows})
	if len(again.Tokens) != 2 || len(again.Enrolled) != 1 || again.Enrolled[0].Line != 2 || again.Enrolled[0].Child != countyRef {
		t.Errorf("with one of them enrolled: %+v", again)
	}
	replaced := list(t, f.city, node.ChildTokensRequest{Rows: rows, Replace: true})
	if len(replaced.Tokens) != 3 || !replaced.Tokens[0].Replace || !replaced.Tokens[0].Enrolled {
		t.Errorf("to replace: %+v", replaced)
	}
}

// TestAListWithABadRowMakesNoToken names every bad row at once.
func TestAListWithABadRowMakesNoToken(t *testing.T) {
	t.Parallel()
	province := nodetest.Division(t, 1, nodetest.Place("440000", ""))
	bad := []struct {
		row  enrol.Row
		want string
	}{
		{enrol.Row{Code: "449999"}, "did you mean"},
		{enrol.Row{Code: "441900"}, "say which one"},
		{enrol.Row{Name: "东莞市"}, "city 441900 (广东省东莞市) and county 441900"},
		{enrol.Row{Code: "440103", Name: "越秀区"}, "is 广东省广州市荔湾区, not 越秀区"},
		{enrol.Row{Name: "广安区"}, "no division below this one"},
		{enrol.Row{Code: "511602"}, "is not below"},
		{enrol.Row{Code: "440101"}, "of its own"},
		{enrol.Row{}, "neither a code nor a name"},
		{enrol.Row{Name: "荔湾区"}, "is in line 1 already"},
		{enrol.Row{Name: "东莞市", Level: "hamlet"}, "is not a level"},
	}
	rows := []enrol.Row{{Line: 1, Code: "440103"}, {Line: 2, Name: "东莞市", Level: "县"}}
	for i, b := range bad {
		b.row.Line = i + 3
		rows = append(rows, b.row)
	}
	out := list(t, province, node.ChildTokensRequest{Rows: rows})
	if len(out.Tokens) != 0 || len(out.Bad) != len(bad) {
		t.Fatalf("made %d tokens, %d bad rows: %+v", len(out.Tokens), len(out.Bad), out.Bad)
	}
	for i, b := range bad {
		if got := out.Bad[i]; got.Line != i+3 || !strings.Contains(got.Problem, b.want) || strings.Contains(got.Problem, "\n") {
			t.Errorf("line %d: %q, want %q", got.Line, got.Problem, b.want)
		}
	}
	out = list(t, province, node.ChildTokensRequest{Rows: rows[:2]})
	if len(out.Tokens) != 2 || out.Tokens[1].Child != (division.Ref{Level: division.County, Code: "441900"}) {
		t.Errorf("the good rows alone: %+v", out)
	}
	for what, in := range map[string]node.ChildTokensRequest{
		"no rows": {}, "too many rows": {Rows: make([]enrol.Row, enrol.MaxRows+1)}, "a validity of a year": {Rows: rows[:2], Valid: "9000h"},
	} {
		if err := post(t, province, "/node/child/tokens", in, nil); err == nil || len(err.Error()) < 30 {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAProvinceMakesTokensForAllItsCounties is the largest list that there is.
func TestAProvinceMakesTokensForAllItsCounties(t *testing.T) {
	t.Parallel()
	province := nodetest.Division(t, 1, nodetest.Place("510000", ""))
	var rows []enrol.Row
	for d := range division.All() {
		if d.Level == division.Township {
			break
		}
		if strings.HasPrefix(string(d.Code), "51") && d.Level == division.County && !d.Virtual && len(rows) < enrol.MaxRows {
			rows = append(rows, enrol.Row{Line: len(rows) + 1, Code: string(d.Code), Level: d.Level.String()})
		}
	}
	began := time.Now()
	out := list(t, province, node.ChildTokensRequest{Rows: rows})
	t.Logf("%d tokens in %v", len(out.Tokens), time.Since(began))
	if len(out.Tokens) != len(rows) || len(rows) < 180 {
		t.Errorf("%d tokens for %d counties, bad: %+v", len(out.Tokens), len(rows), out.Bad)
	}
}
