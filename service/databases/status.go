package databases

import (
	"encoding/json"
	"net/http"
	"sort"
	"strings"

	"tongban/replication"
)

// server is a node as rqlite shows it.
type server struct {
	ID        string `json:"id"`
	APIAddr   string `json:"api_addr,omitempty"`
	Addr      string `json:"addr"`
	Version   string `json:"version,omitempty"`
	Voter     bool   `json:"voter"`
	Reachable bool   `json:"reachable"`
	Leader    bool   `json:"leader"`
	Error     string `json:"error,omitempty"`
}

// status is GET /status: what clients look for.
func (c *call) status() {
	st := c.db.Status()
	nodes := []map[string]any{}
	for _, n := range st.Voters {
		nodes = append(nodes, map[string]any{"id": n, "addr": n, "suffrage": "voter"})
	}
	c.document(map[string]any{
		"build": map[string]any{"version": c.server.o.Version},
		"http":  map[string]any{"queue": map[string]any{"waiting": c.server.queues.depth(c.grant.database)}},
		"store": map[string]any{
			"database":         st.Database,
			"node_id":          c.server.o.Self,
			"leader":           map[string]any{"node_id": st.Leader, "addr": st.Leader},
			"ready":            st.Leader != "",
			"nodes":            nodes,
			"fsm_index":        st.Applied,
			"db_applied_index": st.Applied,
			"raft":             map[string]any{"state": st.Role, "term": st.Term, "applied_index": st.Applied, "last_log_index": st.LogLast},
			"error":            st.Err,
		},
	})
}

// nodes is GET /nodes: where the listeners of the other nodes are, and who leads.
func (c *call) nodes() {
	st := c.db.Status()
	addresses := c.server.o.Neighbours.Addresses(c.ctx)
	voters := map[replication.NodeID]bool{}
	for _, n := range st.Voters {
		voters[n] = true
	}
	out := map[replication.NodeID]server{}
	var ids []string
	for n, url := range addresses {
		s := server{ID: string(n), APIAddr: url, Addr: string(n), Voter: voters[n], Reachable: url != "", Leader: n == st.Leader}
		if n == c.server.o.Self {
			s.Version = c.server.o.Version
		}
		if url == "" {
			s.Error = "it does not answer, or has no listener for databases"
		}
		out[n] = s
		ids = append(ids, string(n))
	}
	if !strings.Contains(c.exchange.query, "ver=2") {
		c.document(out)
		return
	}
	sort.Strings(ids)
	list := []server{}
	for _, id := range ids {
		list = append(list, out[replication.NodeID(id)])
	}
	c.document(map[string]any{"nodes": list})
}

func (c *call) document(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.fail(err)
		return
	}
	c.out = append(c.out[:0], b...)
	c.send()
}

// readyz is GET /readyz, for everybody: whether this node can serve at all.
func (s *Server) readyz(x *exchange) {
	if !s.o.Databases.Serving() {
		x.refuse(http.StatusServiceUnavailable, "[-]node not ready")
		return
	}
	if _, ok := s.o.Databases.Division().Leader(); !ok {
		x.refuse(http.StatusServiceUnavailable, "[+]node ok\n[-]leader not ok")
		return
	}
	x.refuse(http.StatusOK, "[+]node ok\n[+]leader ok")
}
