package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"tongban/node/config"
	"tongban/replication"
	"tongban/service/databases"
)

const (
	// askAddress bounds the question where another node's listener is.
	askAddress = time.Second
	maxAddress = 1 << 10
)

// openDatabases serves application databases: to other nodes always, to programs if there is
// a listener.
func (n *Node) openDatabases(l net.Listener) error {
	s := databases.NewServer(databases.Options{Databases: n.tree, Neighbours: neighbours{n}, Self: n.cfg.Node,
		Version: Version(), Log: n.log})
	n.mu.Lock()
	n.sql = s
	n.mu.Unlock()
	if l == nil {
		return nil
	}
	l = limitPeople(l)
	if n.programsSecure() {
		conf, err := n.webTLS()
		if err != nil {
			return err
		}
		conf.NextProtos = []string{"http/1.1"}
		l = tls.NewListener(l, conf)
	}
	n.door = s.Listen(l, n.httpLog())
	n.spawn(func(context.Context) error { return n.door.Serve() })
	return nil
}

func (n *Node) closeDatabases(ctx context.Context) error {
	var err error
	if n.door != nil {
		gently, cancel := context.WithTimeout(ctx, drainPatience)
		defer cancel()
		err = n.door.Shutdown(gently)
	}
	n.sql.Close()
	return err
}

// programsSecure says whether programs come over TLS.
func (n *Node) programsSecure() bool { return !config.Loopback(n.cfg.Databases.Listen) }

// databasesURL is where programs reach this node; empty: nowhere.
func (n *Node) databasesURL() string {
	if n.programs == "" {
		return ""
	}
	scheme := "http://"
	if n.programsSecure() {
		scheme = "https://"
	}
	return scheme + cmp.Or(n.cfg.Databases.Advertise, n.programs)
}

// serveDatabasesURL is GET /node/databases-url of the node port.
func (n *Node) serveDatabasesURL(rw http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(rw, n.databasesURL()) // The peer went away: nobody to tell.
}

// serveSQL serves what another node forwards, below databases.ForwardPath of the node port.
func (n *Node) serveSQL(rw http.ResponseWriter, r *http.Request) {
	n.mu.RLock()
	s := n.sql
	n.mu.RUnlock()
	if s == nil {
		rw.Header().Set(databases.HeaderOutcome, "none")
		http.Error(rw, "the node is still starting", http.StatusServiceUnavailable)
		return
	}
	s.Internal().ServeHTTP(rw, r)
}

// neighbours are the other nodes, as databases.Neighbours.
type neighbours struct{ *Node }

// Up implements databases.Neighbours: what the detector of nodes says.
func (n neighbours) Up(id replication.NodeID) bool {
	for _, p := range n.engine.Peers() {
		if p.Node == id {
			return p.Up
		}
	}
	return false
}

// Unreached implements databases.Neighbours.
func (n neighbours) Unreached(err error) bool { return errors.Is(err, errUnreachable) }

// Addresses implements databases.Neighbours.
func (n neighbours) Addresses(ctx context.Context) map[replication.NodeID]string {
	ctx, cancel := context.WithTimeout(ctx, askAddress)
	defer cancel()
	out := map[replication.NodeID]string{n.cfg.Node: n.databasesURL()}
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, p := range n.book.Peers() {
		if p.ID == n.cfg.Node {
			continue
		}
		asked.Go(func() {
			url := n.askDatabasesURL(ctx, p.ID)
			mu.Lock()
			defer mu.Unlock()
			out[p.ID] = url
		})
	}
	asked.Wait()
	return out
}

func (n *Node) askDatabasesURL(ctx context.Context, to replication.NodeID) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://node/node/databases-url", nil)
	if err != nil {
		return ""
	}
	response, err := n.Forward(ctx, to, r)
	if err != nil {
		return ""
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAddress))
	if err != nil || response.StatusCode != http.StatusOK || strings.ContainsAny(string(text), " \r\n") {
		return ""
	}
	return string(text)
}
