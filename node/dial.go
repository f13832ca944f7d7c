package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"tongban/node/trust"
	"tongban/replication"
)

const (
	// dialTimeout is for one address of a node: the line may be poor.
	dialTimeout = 3 * time.Second
	// idleForward is how long an unused connection for proxied requests is kept.
	idleForward = 2 * time.Minute
	// pingForward is how long a silent connection is trusted, pingTimeout how long the
	// peer may take to answer the ping: a request to a dead node fails within both.
	pingForward = 2 * time.Second
	pingTimeout = 2 * time.Second
)

// errUnreachable: the other node was not reached; nothing was sent to it.
var errUnreachable = errors.New("node: the other node cannot be reached")

// dial connects to the node port of another node, at the address that the directory has
// or, failing that, the one that gossip has: TLS makes sure who answers.
func (n *Node) dial(ctx context.Context, to replication.NodeID, protocol string) (net.Conn, error) {
	peer, ok := n.book.Lookup(to)
	if !ok {
		return nil, fmt.Errorf("%w: %s is not in the directory", errUnreachable, to)
	}
	var failed error
	for _, address := range n.addressesOf(to, peer.Address) {
		dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTimeout}, Config: n.keys.Dialer(to, protocol, n.book.Believes, n.now)}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	return nil, fmt.Errorf("%w: %s: %w", errUnreachable, to, failed)
}

func (n *Node) addressesOf(to replication.NodeID, directory string) []string {
	list := []string{directory}
	if pool := n.gossip(); pool != nil {
		for _, m := range pool.Members() {
			if m.ID == to && m.Peer != "" && m.Peer != directory {
				list = append(list, m.Peer)
			}
		}
	}
	return list
}

// forwarder is the HTTP client for the node port; the request's host names the node.
func (n *Node) forwarder() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	return &http.Transport{
		Protocols:       protocols,
		IdleConnTimeout: idleForward,
		HTTP2:           &http.HTTP2Config{SendPingTimeout: pingForward, PingTimeout: pingTimeout},
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			id, _, _ := strings.Cut(address, ".")
			return n.dial(ctx, replication.NodeID(id), trust.ProtocolHTTP)
		},
	}
}

// Forward sends a request to the node port of another node. errUnreachable in the error
// says that it certainly did not arrive.
func (n *Node) Forward(ctx context.Context, to replication.NodeID, r *http.Request) (*http.Response, error) {
	r = r.WithContext(ctx)
	r.URL.Scheme, r.URL.Host = "https", string(to)+".node"
	response, err := n.client.RoundTrip(r)
	if err != nil {
		return nil, fmt.Errorf("send a request to node %s: %w", to, err)
	}
	return response, nil
}
