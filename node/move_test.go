package node_test

import (
	"testing"

	"tongban/node"
	"tongban/node/enrol"
	"tongban/node/nodetest"
)

// A district that was enrolled at its province, because its city had no boxes, moves below the
// city when that joins.
func TestADistrictMovesBelowItsCity(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	province := nodetest.Division(t, 1, nodetest.Clock(f.now), nodetest.Place("510000", ""))
	mint := func(at *nodetest.Cluster, code string) string {
		var reply node.ChildTokenReply
		must(t, post(t, at, "/node/child/token", node.ChildTokenRequest{Code: code}, &reply))
		return reply.Token
	}
	must(t, post(t, f.district, "/node/enrol", node.EnrolRequest{Token: mint(province, "511602")}, nil))
	must(t, post(t, f.city, "/node/enrol", node.EnrolRequest{Token: mint(province, "511600")}, nil))
	list := func(at *nodetest.Cluster) (out node.ChildList) {
		admin := at.Admin(0)
		defer admin.Close()
		must(t, admin.Get(t.Context(), "/node/child", &out))
		return out
	}
	province.Await("the province hears both", func() bool {
		heard := 0
		for _, c := range list(province).Children {
			if c.Confirmed != nil {
				heard++
			}
		}
		return heard == 2
	})

	token := f.mint("511602", false).Token
	_, err := f.enrol(node.EnrolRequest{Token: token})
	refused(t, "without --move", err, enrol.OtherParent)
	tried, err := f.enrol(node.EnrolRequest{Token: token, Move: true, DryRun: true})
	if err != nil || tried.Before.Code != "510000" || tried.Parent != cityRef || tried.Again || f.parent(f.district, 0).Ref.Code != "510000" {
		t.Errorf("tried: %+v, %v", tried, err)
	}
	done, err := f.enrol(node.EnrolRequest{Token: token, Move: true})
	if err != nil || done.Before.Code != "510000" || done.Parent != cityRef {
		t.Fatalf("moved: %+v, %v", done, err)
	}
	f.city.Await("the city hears the district", func() bool {
		c := list(f.city).Children
		return len(c) == 1 && c[0].Connected && c[0].Confirmed != nil
	})
	province.Await("the province has the city alone as its child", func() bool {
		l := list(province)
		return len(l.Children) == 1 && l.Children[0].Ref == cityRef && len(l.Former) == 0
	})
	if name := f.parent(f.district, 0).DNSName; name != "511602.511600.510000.tongban.internal" {
		t.Errorf("the district is called %s", name)
	}
	for what, at := range map[string]*nodetest.Cluster{"federation.parent_moved": f.district, "federation.child_moved": province} {
		if n := audited(t, at, what); n != 1 {
			t.Errorf("an audit has %s %d times", what, n)
		}
	}
}
