package appliance

import (
	"context"
	"errors"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node"
	"tongban/node/nodetest"
)

var (
	cityRef   = division.Ref{Level: division.City, Code: "511600"}
	countyRef = division.Ref{Level: division.County, Code: "511602"}
)

// wellBelow is a node whose division is enrolled, with a line and a fresh signature.
func wellBelow() node.ParentStatus {
	return node.ParentStatus{Enrolled: true, Ref: cityRef, Name: "四川省广安市", Links: []string{"192.0.2.7:7303"},
		DNSName: "511602.tongban.internal", NotAfter: time.Now().Add(9 * 365 * day), Connected: true, Here: true}
}

// below breaks what the node says of its parent.
func below(change func(s *node.ParentStatus)) func(*testing.T, *sick) {
	return func(_ *testing.T, s *sick) {
		s.running(func(*node.Status) {})
		s.inTree(func(t *Tree) { t.Parent = wellBelow(); change(&t.Parent) })
	}
}

// above breaks what the node says of its one child.
func above(change func(c *node.ChildStatus)) func(*testing.T, *sick) {
	return func(_ *testing.T, s *sick) {
		s.running(func(*node.Status) {})
		s.inTree(func(t *Tree) {
			at := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
			c := node.ChildStatus{Ref: countyRef, Name: "广安区", State: federation.Active, Confirmed: &at, Connected: true}
			change(&c)
			t.Children.Children = []node.ChildStatus{c}
		})
	}
}

// queued has one queue, beside one that is long because a line is cut.
func queued(q federation.Queue) func(*testing.T, *sick) {
	return func(_ *testing.T, s *sick) {
		s.running(func(*node.Status) {})
		s.inTree(func(t *Tree) {
			t.Queues = []federation.Queue{{Kind: federation.QueueUp, Of: "city/511600", Size: 100_000, Age: new(int64(864000))}, q}
		})
	}
}

var treeBreakages = map[string]breakage{
	"the parent is not reached": {below(func(s *node.ParentStatus) { s.Connected, s.Here = false, false }),
		"parent", Warn, "no box of this division has a line", "nc -vz 192.0.2.7 7303", []string{"ports"}},
	"another box alone reaches the parent": {below(func(s *node.ParentStatus) { s.Here = false }),
		"parent", Warn, "another one of this division has", "nc -vz 192.0.2.7 7303", []string{"ports"}},
	"there are two of the parent": {below(func(s *node.ParentStatus) { s.Held = true }),
		"parent", Bad, "two boxes show the identity", "tongban parent free", []string{"ports"}},
	"the parent's signature ends": {below(func(s *node.ParentStatus) { s.NotAfter = time.Now().Add(30 * day) }),
		"parent", Warn, "ends on", "tongban parent show", []string{"ports"}},
	"the parent's signature has ended": {below(func(s *node.ParentStatus) { s.NotAfter, s.Connected = time.Now().Add(-30*day), false }),
		"parent", Warn, "it is renewed as soon as there is a line", "nc -vz 192.0.2.7 7303", []string{"ports"}},
	"the parent's signature ended long ago": {below(func(s *node.ParentStatus) { s.NotAfter, s.Connected = time.Now().Add(-91*day), false }),
		"parent", Bad, "too long ago", "tongban enrol -", []string{"ports"}},
	"the certificate has the name from before": {below(func(s *node.ParentStatus) { s.DNSName = "511602.511600.tongban.internal" }),
		"tree name", Warn, "the parent wants n1.511602.511600.tongban.internal", "tongban status", []string{"ports"}},
	"a child is held": {above(func(c *node.ChildStatus) { c.State, c.Reason = federation.Held, federation.HeldDuplicate }),
		"children", Warn, "广安区 (county/511602), duplicate", "tongban child free county/511602", []string{"ports"}},
	"a division waits for approval": {func(_ *testing.T, s *sick) {
		s.running(func(*node.Status) {})
		s.inTree(func(t *Tree) {
			t.Children.Waiting = []node.ChildWaiting{{Ref: countyRef, Name: "广安区"}}
		})
	}, "children", Warn, "waiting for approval (1): 广安区 (county/511602)", "tongban child approve", []string{"ports"}},
	"a child is silent": {above(func(c *node.ChildStatus) { c.Silent = true }),
		"children", Warn, "as of 2026-03-02T01:00:00Z", "tongban child list", []string{"ports"}},
	"a child was never heard": {above(func(c *node.ChildStatus) { c.Silent, c.Confirmed = true, nil }),
		"children", Warn, "never heard", "tongban child list", []string{"ports"}},
	"a child has no line, and could have none": {above(func(c *node.ChildStatus) { c.Connected = false }),
		"link port", Warn, "127.0.0.1", "link.listen", []string{"ports", "children"}},
	"who gets a token is told where nobody listens": {func(t *testing.T, s *sick) {
		s.edit(t, "[link]", "[link]\nadvertise = \"0.0.0.0:7303\"")
		s.running(func(*node.Status) {})
		s.inTree(func(t *Tree) { t.Children.Tokens = []node.ChildTokenStatus{{Ref: countyRef}} })
	}, "link port", Warn, "0.0.0.0:7303", "link.advertise", []string{"ports"}},
	"the node does not say how it stands in the tree": {func(_ *testing.T, s *sick) {
		s.running(func(*node.Status) {})
		s.o.Tree = func(context.Context, *Tree) error { return errors.New("it hangs") }
	}, "parent", Warn, "it hangs", "tongban status", []string{"ports", "children", "tree name", "link port", "queues"}},
	"rows are parked": {queued(federation.Queue{Kind: federation.QueueParked, Of: "county/511602", Name: "广安区", Size: 3}),
		"queues", Warn, "3 rows of 广安区 (county/511602)", "tongban queue redrive --all", []string{"ports"}},
	"mails have stopped": {queued(federation.Queue{Kind: federation.QueueMail, Of: "civil-affairs", Name: "民政局", Size: 5, Stopped: 2}),
		"queues", Warn, "2 mails of 民政局 (civil-affairs)", "tongban queue show", []string{"ports"}},
	"a department's rows are not folded": {queued(federation.Queue{Kind: federation.QueueHome, Of: "civil-affairs", Name: "民政局", Size: 5, Age: new(int64(3600))}),
		"queues", Warn, "5 rows of 民政局", "tongban status", []string{"ports"}},
}

// TestTheDoctorSeesTheTree asks nodes that run.
func TestTheDoctorSeesTheTree(t *testing.T) {
	t.Parallel()
	city := nodetest.Division(t, 1, nodetest.Place("511600", ""), nodetest.Admin(Serve))
	county := nodetest.Division(t, 1, nodetest.Admin(Serve))
	post := func(c *nodetest.Cluster, path string, in, out any) {
		t.Helper()
		admin := c.Admin(0)
		defer admin.Close()
		if err := admin.Post(t.Context(), path, in, out); err != nil {
			t.Fatal(err)
		}
	}
	sees := func(c *nodetest.Cluster, name string, want State) {
		t.Helper()
		c.Await("the doctor finds "+name+" "+string(want), func() bool {
			return check(Examine(t.Context(), healthy(c.Config(0).File)), name).State == want
		})
	}
	var token node.ChildTokenReply
	post(city, "/node/child/token", node.ChildTokenRequest{Code: "511602"}, &token)
	sees(city, "link port", Warn)
	post(county, "/node/enrol", node.EnrolRequest{Token: token.Token}, nil)
	for _, name := range []string{"parent", "tree name", "link port"} {
		sees(city, name, OK)
		sees(county, name, OK)
	}
	sees(county, "children", OK)
	post(city, "/node/child/hold", node.ChildRequest{Child: "511602"}, nil)
	sees(city, "children", Warn)
	city.Stop(0)
	sees(county, "parent", Warn)
}
