package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
)

// testLAN connects transports over loopback TCP, and can be cut. In place of mutual TLS
// the dialer tells its name and protocol first.
type testLAN struct {
	t     testing.TB
	mu    sync.Mutex
	addrs map[NodeID]string
	cuts  map[[2]NodeID]bool
	conns map[[2]NodeID][]net.Conn
	dials map[[2]NodeID]int
	ended []error // What serve returned, in order of the ends.
	tasks sync.WaitGroup
}

func newTestLAN(t testing.TB) *testLAN {
	n := &testLAN{
		t: t, addrs: map[NodeID]string{}, cuts: map[[2]NodeID]bool{},
		conns: map[[2]NodeID][]net.Conn{}, dials: map[[2]NodeID]int{},
	}
	t.Cleanup(n.tasks.Wait)
	return n
}

func pair(a, b NodeID) [2]NodeID { return [2]NodeID{min(a, b), max(a, b)} }

// dialer makes the dial function of one node.
func (n *testLAN) dialer(self NodeID) func(ctx context.Context, to NodeID, protocol string) (net.Conn, error) {
	return func(ctx context.Context, to NodeID, protocol string) (net.Conn, error) {
		n.mu.Lock()
		addr, cut := n.addrs[to], n.cuts[pair(self, to)]
		n.dials[[2]NodeID{self, to}]++
		n.mu.Unlock()
		if cut || addr == "" {
			return nil, fmt.Errorf("no way from %s to %s", self, to)
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintf(conn, "%c%s%c%s", len(self), self, len(protocol), protocol); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		n.conns[pair(self, to)] = append(n.conns[pair(self, to)], conn)
		return conn, nil
	}
}

// listen serves the connections to a node until stop is called.
func (n *testLAN) listen(self NodeID, serve func(conn net.Conn, from NodeID, protocol string) error) (stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	n.addrs[self] = l.Addr().String()
	n.mu.Unlock()
	n.tasks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n.tasks.Go(func() {
				from, protocol := readShort(conn), readShort(conn)
				err := serve(conn, NodeID(from), protocol)
				n.mu.Lock()
				defer n.mu.Unlock()
				n.ended = append(n.ended, err)
			})
		}
	})
	return func() { _ = l.Close() }
}

func readShort(r io.Reader) string {
	var size [1]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return ""
	}
	b := make([]byte, size[0])
	if _, err := io.ReadFull(r, b); err != nil {
		return ""
	}
	return string(b)
}

// transport starts the transport of one node, which ends with the test.
func (n *testLAN) transport(self NodeID) *transport {
	t := newTransport(self, n.dialer(self), []byte("hello of "+self), quiet())
	stop := n.listen(self, t.serve)
	n.t.Cleanup(func() {
		stop()
		if err := t.close(); err != nil {
			n.t.Error(err)
		}
	})
	return t
}

// cut ends the connections between two nodes and lets no new ones through.
func (n *testLAN) cut(a, b NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cuts[pair(a, b)] = true
	for _, c := range n.conns[pair(a, b)] {
		_ = c.Close()
	}
	delete(n.conns, pair(a, b))
}

func (n *testLAN) heal(a, b NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.cuts, pair(a, b))
}

func (n *testLAN) dialed(from, to NodeID) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[[2]NodeID{from, to}]
}
