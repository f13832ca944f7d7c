package node_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"tongban/federation"
	"tongban/node"
	"tongban/node/nodetest"
	"tongban/tenancy"
)

// backWithin is how soon a call must work again after a node has gone: an election, a new
// line, and the question which node has one.
const backWithin = 10 * time.Second

// nodesOf collects the nodes of a division as they start; the last under a name counts.
type nodesOf struct {
	mu   sync.Mutex
	list map[string]*node.Node
}

func (l *nodesOf) option() nodetest.Option {
	return nodetest.Admin(func(n *node.Node, _ *http.ServeMux) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.list == nil {
			l.list = map[string]*node.Node{}
		}
		l.list[string(n.Config().Node)] = n
	})
}

func (l *nodesOf) node(c *nodetest.Cluster, i int) *node.Node {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list[string(c.Config(i).Node)]
}

// TestTwoDivisionsOfThreeNodesOutliveEachOfThem stops, one after the other, the node that
// leads on each side and the one that carries the child's line. After each, every node that
// is left reaches the other division, and its answer is that of the leader there.
func TestTwoDivisionsOfThreeNodesOutliveEachOfThem(t *testing.T) {
	t.Parallel()
	var inCity, inDistrict nodesOf
	city := nodetest.Division(t, 3, nodetest.Place("511600", ""), inCity.option())
	district := nodetest.Division(t, 3, inDistrict.option())
	f := &family{t: t, city: city, district: district}
	if _, err := f.enrol(node.EnrolRequest{Token: f.mint("511602", false).Token}); err != nil {
		t.Fatal(err)
	}
	// trust asks the leader of the other side for what changes nothing: a certificate that
	// the child has, or to be asked.
	up := func(i int) error {
		n := inDistrict.node(district, i)
		body, err := n.AskTrust(t.Context())
		if err != nil {
			return err
		}
		_, err = n.Wire().Call(t.Context(), cityRef, federation.KindTrust, body)
		return err
	}
	down := func(i int) error {
		_, err := inCity.node(city, i).Wire().Call(t.Context(), countyRef, federation.KindTrust, []byte("changed"))
		return err
	}
	stopped := map[*nodetest.Cluster]int{city: -1, district: -1}
	works := func(what string, within time.Duration) {
		t.Helper()
		began := time.Now()
		for _, side := range []struct {
			c    *nodetest.Cluster
			call func(int) error
		}{{district, up}, {city, down}} {
			for i := range side.c.Len() {
				if i == stopped[side.c] {
					continue
				}
				side.c.Await(what, func() bool { return side.call(i) == nil })
			}
		}
		took := time.Since(began)
		t.Logf("%s: calls work from every node after %s", what, took.Round(10*time.Millisecond))
		if took > within {
			t.Errorf("%s: it took %s", what, took)
		}
	}
	works("after the enrolment", 30*time.Second)
	lead := func(c *nodetest.Cluster) int { return c.Leader(0, tenancy.DivisionDatabase) }
	line := func() int { // A node of the city that has a line of the district.
		for i := range city.Len() {
			if inCity.node(city, i).HasLine(countyRef) {
				return i
			}
		}
		return -1
	}
	for _, c := range []struct {
		what string
		of   *nodetest.Cluster
		who  int
	}{{"the district's leader stops", district, lead(district)}, {"the city's leader stops", city, lead(city)}} {
		outlive(c.what, c.of, c.who, stopped, works)
	}
	outlive("the city's node with a line stops", city, line(), stopped, works)
	if c := f.children().Children[0]; c.State != federation.Active {
		t.Errorf("the city holds the district, as if there were two: %+v", c)
	}
	if p := f.parent(district, 0); p.Held {
		t.Errorf("the district holds the city, as if there were two: %+v", p)
	}
}

func outlive(what string, c *nodetest.Cluster, i int, stopped map[*nodetest.Cluster]int, works func(string, time.Duration)) {
	c.Stop(i)
	stopped[c] = i
	works(what, backWithin)
	c.Start(i)
	c.AwaitReady(i)
	stopped[c] = -1
	works(what+", and is back", backWithin)
}
