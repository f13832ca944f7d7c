package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tongban/node/nodetest"
	"tongban/replication"
	"tongban/tenancy"
)

// tenants returns the slugs that node i lists.
func tenants(t *testing.T, c *nodetest.Cluster, i int) string {
	t.Helper()
	admin := c.Admin(i)
	defer admin.Close()
	var page tenancy.TenantList
	if err := admin.Get(t.Context(), "/tenants", &page); err != nil {
		return err.Error()
	}
	var slugs []string
	for _, one := range page.Tenants {
		slugs = append(slugs, one.Slug)
	}
	return strings.Join(slugs, " ")
}

func TestThreeNodesServeAndOneMayLeaveAndComeBack(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 3)
	c.Await("the two that lead nothing see each other too", func() bool {
		for i := range 3 {
			if s, err := c.Status(i); err != nil || len(s.Problems) > 0 {
				return false
			}
		}
		return true
	})
	for i := range 3 {
		c.CreateTenant(i, fmt.Sprintf("d%d", i), fmt.Sprintf("第%d局", i)) // Two of the three are proxied to the leader.
	}
	for i := range 3 {
		c.Await(fmt.Sprintf("n%d lists all departments", i+1), func() bool { return tenants(t, c, i) == "d0 d1 d2" })
	}
	leader := c.Leader(0, tenancy.DivisionDatabase)
	c.Stop(leader)
	alive := (leader + 1) % 3
	c.Await("another node leads", func() bool {
		now := c.Leader(alive, tenancy.DivisionDatabase)
		return now >= 0 && now != leader
	})
	c.CreateTenant(alive, "d3", "第3局")
	c.Start(leader)
	c.Await("the node has caught up", func() bool { return tenants(t, c, leader) == "d0 d1 d2 d3" })
	c.Await("every node sees nothing wrong", func() bool {
		for i := range 3 {
			s, err := c.Status(i)
			if err != nil || len(s.Problems) > 0 || len(s.Databases) != 5 || len(s.Peers) != 2 {
				return false
			}
		}
		return true
	})
	c.Await("replicas and directory agree on three voters everywhere", func() bool { return votersOf(t, c, alive, 3) })
}

func votersOf(t *testing.T, c *nodetest.Cluster, i, want int) bool {
	t.Helper()
	s, err := c.Status(i)
	if err != nil {
		return false
	}
	for _, d := range s.Databases {
		if len(d.Voters) != want {
			return false
		}
	}
	return true
}

func TestARemovedNodeIsForgotten(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 3)
	c.Stop(2)
	admin := c.Admin(0)
	defer admin.Close()
	must(t, admin.Post(t.Context(), "/node/remove", map[string]replication.NodeID{"node": c.Config(2).Node}, nil))
	c.Await("the databases have two voters", func() bool { return votersOf(t, c, 1, 2) })
	s, err := c.Status(1)
	must(t, err)
	if len(s.Peers) != 1 || len(s.Problems) != 0 {
		t.Errorf("n2 sees peers %+v, problems %q", s.Peers, s.Problems)
	}
	if i := c.Join(); c.Config(i).Node == c.Config(2).Node {
		t.Errorf("the name %s is used again", c.Config(2).Node)
	}
	c.Await("the replacement is a voter everywhere", func() bool { return votersOf(t, c, 0, 3) })
}

func TestPeopleAreServedByEveryNode(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 2)
	for i := range 2 {
		c.AwaitReady(i)
		for path, want := range map[string]int{"/": http.StatusOK, "/healthz": http.StatusOK, "/nowhere": http.StatusNotFound, "/node/status": http.StatusNotFound} {
			r, err := http.Get(c.URL(i) + path)
			must(t, err)
			_ = r.Body.Close()
			if r.StatusCode != want {
				t.Errorf("n%d %s: %d, want %d", i+1, path, r.StatusCode, want)
			}
		}
	}
	http.DefaultClient.CloseIdleConnections()
}
