package torture

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"tongban/internal/torture/mesh"
)

// errCannot: this kind of network cannot do that.
var errCannot = errors.New("this network cannot do that")

// network is the lines between the nodes.
type network interface {
	// addresses are the flags of init and join for a node that is about to be made.
	addresses(node string) ([]string, error)
	// made says where the node's port listens, once that is known.
	made(node, peer string)
	// command is what starts a program where the node is.
	command(node, binary string, args []string) (string, []string)
	// runs says which process a node is now.
	runs(node string, pid int)
	// settled ends the founding: strangers are refused.
	settled()
	cut(ways ...mesh.Way) error
	// heal opens ways; broken: connections that waited break, if the network can do that.
	heal(broken bool, ways ...mesh.Way) error
	slow(delay, jitter time.Duration, loss float64, ways ...mesh.Way) error
	// dial connects from where the node is.
	dial(node string) func(ctx context.Context, network, address string) (net.Conn, error)
	close() error
}

// loopback is the network of an ordinary user.
type loopback struct{ mesh *mesh.Mesh }

func newLoopback(seed uint64) *loopback { return &loopback{mesh.New(seed)} }

func (l *loopback) addresses(node string) ([]string, error) {
	door, err := l.mesh.Door(node)
	if err != nil {
		return nil, err
	}
	return []string{"--web", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--advertise", door,
		"--gossip", "127.0.0.1:0", "--link", "127.0.0.1:0"}, nil
}

func (l *loopback) made(node, peer string) { l.mesh.Target(node, peer) }

func (l *loopback) command(_, binary string, args []string) (string, []string) { return binary, args }

func (l *loopback) runs(node string, pid int) { l.mesh.Process(node, pid) }

func (l *loopback) settled() { l.mesh.Strict() }

func (l *loopback) cut(ways ...mesh.Way) error {
	l.mesh.Cut(ways...)
	return nil
}

func (l *loopback) heal(broken bool, ways ...mesh.Way) error {
	l.mesh.Heal(broken, ways...)
	return nil
}

func (l *loopback) slow(delay, jitter time.Duration, loss float64, ways ...mesh.Way) error {
	l.mesh.Slow(delay, jitter, loss, ways...)
	return nil
}

func (l *loopback) dial(string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext
}

func (l *loopback) close() error { return l.mesh.Close() }

// clientOf is an HTTP client of what a node serves where it is. It has no limit of its
// own: each request has one.
func clientOf(n network, node string, connections int) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: n.dial(node), MaxIdleConnsPerHost: connections, IdleConnTimeout: time.Minute}}
}

// between are the ways from some nodes to others, and back.
func between(some, others []string) []mesh.Way {
	var ways []mesh.Way
	for _, a := range some {
		for _, b := range others {
			if a != b {
				ways = append(ways, mesh.Way{From: a, To: b}, mesh.Way{From: b, To: a})
			}
		}
	}
	return ways
}

// toward are the ways from some nodes to others.
func toward(some, others []string) []mesh.Way {
	var ways []mesh.Way
	for _, a := range some {
		for _, b := range others {
			if a != b {
				ways = append(ways, mesh.Way{From: a, To: b})
			}
		}
	}
	return ways
}

// describe names ways in words.
func describe(ways []mesh.Way) string {
	text := ""
	for _, w := range ways {
		text += fmt.Sprintf(" %s→%s", w.From, w.To)
	}
	return text
}
