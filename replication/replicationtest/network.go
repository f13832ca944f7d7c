package replicationtest

import (
	"context"
	"fmt"
	"net"
	"sync"

	"tongban/replication"
)

// network connects engines in memory. A connection is a pipe; cutting closes it and
// refuses new ones.
type network struct {
	mu      sync.Mutex
	engines map[replication.NodeID]*replication.Engine
	cut     map[[2]replication.NodeID]bool
	mute    map[[2]replication.NodeID]bool // The first cannot dial the second.
	links   map[*link]bool
	serving sync.WaitGroup
}

type link struct {
	from, to replication.NodeID
	a, b     net.Conn
}

func newNetwork() *network {
	return &network{
		engines: map[replication.NodeID]*replication.Engine{},
		cut:     map[[2]replication.NodeID]bool{},
		mute:    map[[2]replication.NodeID]bool{},
		links:   map[*link]bool{},
	}
}

// dialer is the Options.Dial of node from.
func (n *network) dialer(from replication.NodeID) func(context.Context, replication.NodeID, string) (net.Conn, error) {
	return func(ctx context.Context, to replication.NodeID, protocol string) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		e := n.engines[to]
		if e == nil || n.engines[from] == nil || n.cut[pair(from, to)] || n.mute[[2]replication.NodeID{from, to}] {
			return nil, fmt.Errorf("no line from %s to %s", from, to)
		}
		l := &link{from: from, to: to}
		l.a, l.b = net.Pipe()
		n.links[l] = true
		n.serving.Go(func() {
			_ = e.ServeConn(l.b, from, protocol)
			n.drop(l)
		})
		return l.a, nil
	}
}

func (n *network) drop(l *link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.links, l)
	l.a.Close()
	l.b.Close()
}

func pair(a, b replication.NodeID) [2]replication.NodeID {
	if b < a {
		a, b = b, a
	}
	return [2]replication.NodeID{a, b}
}

// setCut cuts or heals the line between two nodes.
func (n *network) setCut(a, b replication.NodeID, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[pair(a, b)] = cut
	if cut {
		n.closeLinks(func(l *link) bool { return pair(l.from, l.to) == pair(a, b) })
	}
}

// setMute lets a node dial another no more, or again. end ends the connections of that
// direction.
func (n *network) setMute(from, to replication.NodeID, mute, end bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mute[[2]replication.NodeID{from, to}] = mute
	if end {
		n.closeLinks(func(l *link) bool { return l.from == from && l.to == to })
	}
}

// attach lets a node dial and be dialled; detach ends that.
func (n *network) attach(id replication.NodeID, e *replication.Engine) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.engines[id] = e
}

func (n *network) detach(id replication.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.engines, id)
	n.closeLinks(func(l *link) bool { return l.from == id || l.to == id })
}

func (n *network) closeLinks(which func(*link) bool) {
	for l := range n.links {
		if which(l) {
			l.a.Close()
			l.b.Close()
		}
	}
}
