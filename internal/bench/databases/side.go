package databases

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"tongban/internal/bench/proc"
	"tongban/internal/bench/wire"
	"tongban/internal/demo"
	"tongban/replication"
)

// side is one of the two that are compared: databases behind an HTTP door that speaks
// rqlite's API.
type side struct {
	name  string
	dbs   []*database
	nodes map[string]*demo.Node // Of ours, by door.
	pids  []int                 // Of its nodes; nil: not looked for yet.
}

// leading is the node of ours that leads the first database; nil: the side is not ours.
func (s *side) leading() *demo.Node { return s.nodes[s.dbs[0].leader] }

// cpu is what the processes of the side have used so far; 0: they are not on this machine.
func (s *side) cpu() (sum time.Duration) {
	if s.pids == nil {
		s.pids = []int{}
		for _, node := range s.dbs[0].nodes {
			_, port, _ := net.SplitHostPort(node)
			number, _ := strconv.Atoi(port)
			if pid, ok := proc.Listener(number); ok && pid != os.Getpid() {
				s.pids = append(s.pids, pid)
			}
		}
	}
	for _, pid := range s.pids {
		used, err := proc.CPUTime(pid)
		if err != nil {
			return 0
		}
		sum += used
	}
	return sum
}

// database is one database behind a door.
type database struct {
	id     replication.DatabaseID // Of ours.
	nodes  []string               // "host:port" of each node's door.
	head   string                 // The line with the credential; empty: none is needed.
	leader string                 // One of the doors: that of the node that leads, as was last asked.
}

// openPeer finds the peer and what it is.
func openPeer(ctx context.Context, bases string) (*side, string, error) {
	d := &database{}
	for base := range strings.SplitSeq(bases, ",") {
		u, err := url.Parse(strings.TrimSpace(base))
		if err != nil {
			return nil, "", fmt.Errorf("read the peer's address: %w", err)
		}
		if u.Scheme != "http" || u.Port() == "" || strings.Trim(u.Path, "/") != "" {
			return nil, "", fmt.Errorf("the peer's address %q is not of the form http://host:port", base)
		}
		if name := u.User.Username(); name != "" {
			password, _ := u.User.Password()
			d.head = wire.Basic(name, password)
		}
		d.nodes = append(d.nodes, u.Host)
	}
	s := &side{name: "peer", dbs: []*database{d}}
	if err := s.findLeaders(ctx); err != nil {
		return nil, "", err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.leader+"/status", nil)
	if err != nil {
		return nil, "", err
	}
	if name, value, ok := strings.Cut(strings.TrimSpace(d.head), ": "); ok {
		r.Header.Set(name, value)
	}
	c := &http.Client{Timeout: leaderPatience}
	defer c.CloseIdleConnections()
	answer, err := c.Do(r)
	if err != nil {
		return nil, "", fmt.Errorf("ask the peer what it is: %w", err)
	}
	defer answer.Body.Close()
	what := "of an unknown version"
	if v := answer.Header.Get("X-Rqlite-Version"); v != "" {
		what = "rqlite " + v
	}
	return s, fmt.Sprintf("%s at %s", what, strings.Join(d.nodes, ", ")), nil
}

const (
	// leaderPatience bounds how long a leader is waited for.
	leaderPatience = 20 * time.Second
	// pollEvery is how often a condition is looked at.
	pollEvery = 20 * time.Millisecond
)

// findLeaders asks who leads each database.
func (s *side) findLeaders(ctx context.Context) error {
	conns := connections{}
	defer conns.close()
	for _, d := range s.dbs {
		if err := d.findLeader(ctx, conns); err != nil {
			return fmt.Errorf("find the leader of the %s: %w", s.name, err)
		}
	}
	return nil
}

// findLeader asks its nodes in turn until one knows the leader.
func (d *database) findLeader(ctx context.Context, conns connections) error {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for i := 0; ; i++ {
		var leader string
		status, body, err := conns.to(d.nodes[i%len(d.nodes)]).Do(ctx, wire.Request{Method: "GET", Target: "/nodes", Head: d.head})
		if err == nil {
			if leader, err = leaderIn(status, body); err == nil {
				d.leader = leader
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollEvery):
		}
	}
}

// leaderIn is the "host:port" of the node that leads in an answer of /nodes.
func leaderIn(status int, body []byte) (string, error) {
	if status != http.StatusOK {
		return "", fmt.Errorf("/nodes answers %d: %s", status, clip(body))
	}
	var nodes map[string]struct {
		API    string `json:"api_addr"`
		Leader bool   `json:"leader"`
	}
	if err := json.Unmarshal(body, &nodes); err != nil {
		return "", fmt.Errorf("read /nodes: %w", err)
	}
	for _, n := range nodes {
		if u, err := url.Parse(n.API); n.Leader && err == nil && u.Host != "" {
			return u.Host, nil
		}
	}
	return "", fmt.Errorf("nobody leads, says /nodes: %s", clip(body))
}

// do sends a request to the leader and reads its answer, which must be without an error.
func (d *database) do(ctx context.Context, conns connections, target string, body []byte) ([]byte, error) {
	return d.at(ctx, conns, d.leader, target, body)
}

// at is do at one node.
func (d *database) at(ctx context.Context, conns connections, node, target string, body []byte) ([]byte, error) {
	status, answer, err := conns.to(node).Do(ctx, wire.Request{Method: "POST", Target: target, Head: d.head, Body: body})
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK || failed(answer) {
		return nil, fmt.Errorf("%s answers %d: %s", target, status, clip(answer))
	}
	return answer, nil
}

// failed reports whether an answer of status 200 holds the error of a statement.
func failed(answer []byte) bool { return strings.Contains(string(answer), `"error"`) }

// clip is the begin of an answer, for people.
func clip(b []byte) string {
	const most = 300
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}

// connections are one client's, by the node.
type connections map[string]*wire.Conn

func (c connections) to(node string) *wire.Conn {
	conn := c[node]
	if conn == nil {
		conn = wire.NewConn(node)
		c[node] = conn
	}
	return conn
}

func (c connections) close() {
	for _, conn := range c {
		conn.Close()
	}
}
