package node_test

import (
	"testing"

	"tongban/node"
	"tongban/node/enrol"
	"tongban/node/nodetest"
)

// TestWhoseAuthorityWasReplacedLosesItsLine: the line of the lost box was let in when it
// came, and nothing else would end it for a year.
func TestWhoseAuthorityWasReplacedLosesItsLine(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatal(err)
	}
	f.district.Await("the district has a line", func() bool { return f.parent(f.district, 0).Here && f.children().Children[0].Connected })

	tok := f.parse(f.mint("511602", true))
	request, err := enrol.Prove(enrol.ForRequest, tok.ID, tok.Secret, enrol.Request{Child: countyRef, CSR: authority(t)})
	must(t, err)
	if _, err := enrol.Ask(t.Context(), tok, request, f.now); err != nil {
		t.Fatal(err)
	}
	f.district.Await("the line of the box that was replaced has ended", func() bool {
		return !f.parent(f.district, 0).Connected && !f.children().Children[0].Connected
	})
}

// parent is what node i of a division says of its parent.
func (f *family) parent(c *nodetest.Cluster, i int) (s node.ParentStatus) {
	f.t.Helper()
	admin := c.Admin(i)
	defer admin.Close()
	must(f.t, admin.Get(f.t.Context(), "/node/parent", &s))
	return s
}
