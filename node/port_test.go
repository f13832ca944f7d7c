package node_test

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/nodetest"
	"tongban/node/trust"
)

func TestManySilentConnectionsDoNotPileUpAtTheNodePort(t *testing.T) {
	c := nodetest.Division(t, 1)
	address := c.Config(0).Peer.Listen
	var silent []net.Conn
	defer func() {
		for _, conn := range silent {
			_ = conn.Close()
		}
	}()
	closed := func(conn net.Conn) bool { // The node has hung up.
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		_, err := conn.Read(make([]byte, 1))
		timeout, ok := err.(net.Error)
		return !ok || !timeout.Timeout()
	}
	c.Await("the node hangs up on one of many silent connections", func() bool {
		conn, err := net.Dial("tcp", address)
		must(t, err)
		silent = append(silent, conn)
		return len(silent) > 10 && closed(conn)
	})
	for _, conn := range silent {
		_ = conn.Close()
	}
	c.Await("a box can join again", func() bool {
		_, err := node.Join(t.Context(), joinOptions(t, c.Token(0), nil))
		return err == nil
	})
}

// TestSilentJoinersKeepNobodyOut opens connections that ask to join and then say nothing,
// from another address than that of the box which does join.
func TestSilentJoinersKeepNobodyOut(t *testing.T) {
	c := nodetest.Division(t, 1)
	dialer := tls.Dialer{NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}},
		Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolJoin}}}
	for range 12 {
		conn, err := dialer.DialContext(t.Context(), "tcp", c.Config(0).Peer.Listen)
		must(t, err)
		defer conn.Close()
	}
	_, err := node.Join(t.Context(), joinOptions(t, c.Token(0), nil))
	must(t, err)
}
