package node_test

import (
	"testing"

	"tongban/node"
	"tongban/node/enrol"
	"tongban/node/nodetest"
)

// audited are the events of a kind in a division's audit.
func audited(t *testing.T, c *nodetest.Cluster, what string) int {
	t.Helper()
	var audit struct {
		Rows []struct{} `json:"rows"`
	}
	admin := c.Admin(0)
	defer admin.Close()
	must(t, admin.Get(t.Context(), "/audit?what="+what, &audit))
	return len(audit.Rows)
}

func TestADistrictLeavesForGoodAndComesBack(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	minted := f.mint("511602", false)
	if _, err := f.enrol(node.EnrolRequest{Token: minted.Token}); err != nil {
		t.Fatal(err)
	}
	heard := func() bool { c := f.children().Children; return len(c) == 1 && c[0].Connected && c[0].Confirmed != nil }
	f.city.Await("the city hears the district", heard)

	var tried, done node.ChildRevokeReply
	if err := post(t, f.city, "/node/child/revoke", node.ChildRevokeRequest{Child: "511602", DryRun: true}, &tried); err != nil ||
		tried.Ref != countyRef || tried.Name != "四川省广安市广安区" || tried.Confirmed == nil || tried.Below != 0 || !tried.DryRun {
		t.Errorf("tried: %+v, %v", tried, err)
	}
	if !heard() {
		t.Error("a dry run has closed the lines")
	}
	unused := f.mint("511602", false)
	if err := post(t, f.city, "/node/child/revoke", node.ChildRevokeRequest{Child: "511602"}, &done); err != nil || done.DryRun {
		t.Fatalf("revoke: %+v, %v", done, err)
	}
	list := f.children()
	if len(list.Children) != 0 || len(list.Tokens) != 0 || len(list.Former) != 1 || list.Former[0].Ref != countyRef ||
		list.Former[0].Confirmed == nil || list.Former[0].Left.IsZero() {
		t.Errorf("after it: %+v", list)
	}
	if s := f.parent(f.district, 0); s.Left == nil || !s.Enrolled {
		t.Errorf("the district does not know: %+v", s)
	}
	f.city.Await("the line is closed", func() bool { return !f.parent(f.district, 0).Connected })
	refused(t, "revoke again", post(t, f.city, "/node/child/revoke", node.ChildRevokeRequest{Child: "511602"}, nil), enrol.NoChild)
	for what, token := range map[string]string{"the token that was used": minted.Token, "one that was not": unused.Token} {
		_, err := f.enrol(node.EnrolRequest{Token: token})
		refused(t, what, err, enrol.TokenUnknown)
	}

	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatalf("enrol again: %v", err)
	}
	f.city.Await("the city hears the district again", heard)
	if list := f.children(); len(list.Former) != 0 {
		t.Errorf("it has left and is back: %+v", list.Former)
	}
	f.city.Await("the district knows that it is back", func() bool { return f.parent(f.district, 0).Left == nil })
	if n := audited(t, f.city, "federation.child_revoked"); n != 1 {
		t.Errorf("the city's audit has it %d times", n)
	}
	if n := audited(t, f.district, "federation.parent_revoked"); n != 1 {
		t.Errorf("the district's audit has it %d times", n)
	}
}
