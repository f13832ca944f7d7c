package node_test

import (
	"testing"

	"tongban/node"
	"tongban/node/nodetest"
)

// TestADistrictFollowsItsCityUpTheTree enrols from below: the district got its name from a
// city that had no parent, and must get another when the city gets one, over the line.
func TestADistrictFollowsItsCityUpTheTree(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatal(err)
	}
	f.awaitName("511602.511600.tongban.internal")

	province := nodetest.Division(t, 1, nodetest.Place("510000", ""))
	var minted node.ChildTokenReply
	if err := post(t, province, "/node/child/token", node.ChildTokenRequest{Code: "511600"}, &minted); err != nil {
		t.Fatal(err)
	}
	if err := post(t, f.city, "/node/enrol", node.EnrolRequest{Token: minted.Token}, nil); err != nil {
		t.Fatal(err)
	}
	f.awaitName("511602.511600.510000.tongban.internal")

	err := post(t, province, "/node/child/token", node.ChildTokenRequest{Code: "511602"}, nil)
	refused(t, "a district whose city is nearer", err, "enrol_nearer")
}

// awaitName waits until the district has a name.
func (f *family) awaitName(want string) {
	f.t.Helper()
	admin := f.district.Admin(0)
	defer admin.Close()
	f.district.Await("the district is named "+want, func() bool {
		var s node.ParentStatus
		return admin.Get(f.t.Context(), "/node/parent", &s) == nil && s.Enrolled && s.DNSName == want
	})
}
