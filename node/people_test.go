package node

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"tongban/node/trust"
	"tongban/replication"
)

// stranger is a connection from an address.
type stranger struct {
	net.Conn
	from   net.Addr
	closed *atomic.Int64
}

func (s stranger) RemoteAddr() net.Addr { return s.from }
func (s stranger) Close() error         { s.closed.Add(1); return nil }

// crowd is a listener at which strangers arrive.
type crowd chan net.Conn

func (c crowd) Accept() (net.Conn, error) {
	conn, ok := <-c
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (c crowd) Close() error   { return nil }
func (c crowd) Addr() net.Addr { return &net.TCPAddr{} }

func TestPeoplesConnectionsAreBounded(t *testing.T) {
	var closed atomic.Int64
	var arrive crowd
	fill := func(n int, address string) {
		arrive = make(crowd, n)
		for range n {
			arrive <- stranger{from: &net.TCPAddr{IP: net.ParseIP(address), Port: 9}, closed: &closed}
		}
		close(arrive)
	}
	l := limitPeople(nil)
	l.most = maxPeopleFrom + 100
	accept := func(n int, address string) (in []net.Conn) {
		fill(n, address)
		l.Listener = arrive
		for {
			conn, err := l.Accept()
			if err != nil {
				return in
			}
			in = append(in, conn)
		}
	}
	first := accept(maxPeopleFrom+10, "192.0.2.1")
	if len(first) != maxPeopleFrom || closed.Load() != 10 {
		t.Errorf("%d of one address got in, %d were closed", len(first), closed.Load())
	}
	if got := len(accept(60, "192.0.2.2")); got != 60 {
		t.Errorf("%d of 60 of another address got in", got)
	}
	if got := len(accept(60, "127.0.0.1")); got != 40 {
		t.Errorf("%d of the 40 that there is room for got in", got)
	}
	for _, conn := range first {
		_ = conn.Close()
		_ = conn.Close() // Twice counts once.
	}
	if got := len(accept(maxPeopleFrom+10, "127.0.0.1")); got != maxPeopleFrom {
		t.Errorf("when the first had left, %d got in, want %d: those of this machine are bounded by all alone", got, maxPeopleFrom)
	}
}

// TestANodeThatIsRemovedWhileItConnectsIsRefused removes it between the handshake, which
// still knew it, and the moment when its connection is on the list of those to close.
func TestANodeThatIsRemovedWhileItConnectsIsRefused(t *testing.T) {
	authority, err := trust.NewAuthority(trust.Division{Code: "511602", Level: "county"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys := func(n replication.NodeID) *trust.Keys {
		key, err := trust.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		cert, err := authority.Issue(n, key.Public(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return &trust.Keys{Division: authority.Division, Node: n, Key: key, Certificate: cert, Authority: authority.Certificate}
	}
	var asked atomic.Int64
	knows := func(replication.NodeID, string) bool { return asked.Add(1) == 1 }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPort(keys("n1"), knows, slog.New(slog.DiscardHandler), time.Now, l.Addr())
	p.engine = func(net.Conn, replication.NodeID, string) error {
		t.Error("the removed node reached the databases")
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- p.serve(l) }()
	defer func() {
		_ = l.Close()
		p.close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	conf := keys("n2").Dialer("n1", trust.ProtocolRaft, nil, time.Now)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the removed node was answered")
	}
	if asked.Load() < 2 {
		t.Error("nobody asked again whether the node is one of the division")
	}
}
