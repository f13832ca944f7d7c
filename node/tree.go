package node

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/federation/leaf"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

func (n *Node) wire() *lines {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.lines
}

// newFederation makes the node's part in the tree; it does nothing before its lines are
// opened.
func (n *Node) newFederation(tree *tenancy.Tenancy) (*federation.Federation, error) {
	letters, err := n.letters()
	return federation.New(federation.Options{
		Self: n.ref(), Site: n.site, Division: tree.Division, Tenants: tree.Tenants, Database: tree.Database,
		Definitions: tree.Definitions,
		Wire:        wire{n}, Letters: letters, Trust: trustee{n}, Web: func() string { return webURL(n.cfg) },
		Room: n.hasRoom,
		Lead: n.serveAtLeader, Now: n.now, Log: n.log,
	}), err
}

// roomForRows is what stays free for people when neighbours send rows without end: a tenth
// of the disk, and 2 GiB of a large one.
const roomForRows = 2 << 30

// hasRoom tells whether rows of neighbours may be stored. A disk that cannot be looked at
// says so itself.
func (n *Node) hasRoom() bool {
	disk, err := diskOf(n.cfg.Data)
	return err != nil || disk.Free >= min(disk.Total/10, roomForRows)
}

// wire is the node's lines, which are opened after the services are defined.
type wire struct{ n *Node }

func (w wire) Call(ctx context.Context, to division.Ref, kind string, body []byte) ([]byte, error) {
	if l := w.n.wire(); l != nil {
		return l.Call(ctx, to, kind, body)
	}
	return nil, federation.ErrUnreachable
}

func (w wire) Connected(to division.Ref) bool {
	l := w.n.wire()
	return l != nil && l.Connected(to)
}

func (w wire) Changed() <-chan struct{} {
	if l := w.n.wire(); l != nil {
		return l.Changed()
	}
	return w.n.linesOpen
}

// openLines opens the port of the children and the line to the parent, which follows the
// division's records.
func (n *Node) openLines() error {
	if probe, err := listen("link.listen", n.cfg.Link.Listen); err != nil { // Says it better than the library.
		return err
	} else if err := probe.Close(); err != nil {
		return err
	}
	own, err := leaf.Open(leaf.Options{Self: n.ref(), Listen: n.cfg.Link.Listen, Server: trust.LinkServer(n.keys.Link(n.chain), n.keys.Authority, n.now),
		Authorize: n.authorizeChild, Handle: n.fed.Receive, Log: n.log})
	if err != nil {
		return err
	}
	l := newLines(n, own)
	n.mu.Lock()
	n.lines = l
	n.mu.Unlock()
	close(n.linesOpen)
	n.spawn(l.follow)
	n.spawn(l.ask)
	n.spawn(n.followParent)
	n.spawn(n.followChildren)
	return nil
}

func (n *Node) closeLines(context.Context) error { return n.wire().leaf.Close() }

// linkEnded reports whether what this node would show the parent has ended: it may then ask
// for new certificates and for nothing else.
func (n *Node) linkEnded(p federation.Parent) bool {
	if len(p.Chain) == 0 {
		return false
	}
	authority, err := x509.ParseCertificate(p.Chain[0])
	return err == nil && trust.Ended([]*x509.Certificate{n.keys.TLS().Leaf, authority}, n.now())
}

// parentLine is how the parent's nodes are reached. ended: see linkEnded.
func (n *Node) parentLine(p federation.Parent, ended bool) (*leaf.Parent, error) {
	chain, err := trust.ParseChain(p.Chain)
	if err != nil {
		return nil, err
	}
	if len(chain) < 2 {
		return nil, fmt.Errorf("the chain of the parent %s has %d certificates", p.Ref, len(chain))
	}
	own, err := trust.Named(chain[0])
	if err != nil {
		return nil, err
	}
	if name := own.DNSName(n.cfg.Node); !slices.Contains(n.keys.TLS().Leaf.DNSNames, name) {
		return nil, fmt.Errorf("the certificate of %s is not there yet", name) // The parent would refuse the old one.
	}
	parent, err := trust.Named(chain[1])
	if err != nil {
		return nil, err
	}
	line := &leaf.Parent{Ref: p.Ref, Addresses: p.Links,
		TLS: trust.LinkClient(n.keys.Link(n.chain), chain[1], parent, n.now)}
	if ended {
		line.Only = federation.KindTrust
	}
	return line, nil
}

// followParent keeps the line to the parent as the division's records have it.
func (n *Node) followParent(ctx context.Context) error {
	db := n.division()
	var last federation.Parent
	var lastEnded bool
	for {
		applied := db.AppliedChanged()
		var parent federation.Parent
		var enrolled bool
		err := db.View(ctx, replication.Local, func(v *service.View) (err error) {
			parent, enrolled, err = federation.ReadParent(v)
			return err
		})
		ended := n.linkEnded(parent)
		if err == nil && enrolled && (ended != lastEnded || !sameParent(parent, last)) {
			p, e := n.parentLine(parent, ended)
			if err = e; err == nil {
				n.wire().leaf.SetParent(p)
				last, lastEnded = parent, ended
			}
		}
		every := followParentEvery
		if err != nil && ctx.Err() == nil {
			n.log.Debug("follow the parent", "err", err) // Before the tables or the certificate are there.
			every = followParentPause
		}
		select {
		case <-ctx.Done():
			return nil
		case <-applied:
		case <-time.After(every):
			continue
		}
		// A busy database changes often, its parent rarely.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followParentPause):
		}
	}
}

const (
	followParentEvery = 5 * time.Second
	followParentPause = 200 * time.Millisecond
)

func sameParent(a, b federation.Parent) bool {
	return a.Ref == b.Ref && slices.Equal(a.Links, b.Links) &&
		slices.EqualFunc(a.Chain, b.Chain, func(x, y []byte) bool { return string(x) == string(y) })
}

// serveAtLeader has the leader of a database, here or on another node, serve a request of
// a neighbour. It waits while there is no leader, for at most leaderPatience.
func (n *Node) serveAtLeader(ctx context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
	wait, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for {
		out, err := n.tryServe(ctx, wait, id, kind, from, body)
		if !errors.Is(err, errElsewhere) && !errors.Is(err, replication.ErrNotLeader) && !errors.Is(err, replication.ErrOverloaded) {
			return out, err
		}
		select {
		case <-wait.Done():
			return nil, federation.ErrUnreachable
		case <-time.After(leaderPause):
		}
	}
}

func (n *Node) tryServe(ctx, wait context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
	db, ok := n.engine.DB(id)
	if !ok {
		return nil, service.ErrNotFound
	}
	leader, known := db.Leader()
	switch {
	case !known:
		return nil, errElsewhere
	case leader == n.cfg.Node:
		return n.serveHere(ctx, wait, id, kind, from, body)
	}
	query := url.Values{"database": {string(id)}, "kind": {kind}, "from": {from.String()}}
	out, err := n.send(ctx, leader, "/node/serve?"+query.Encode(), body)
	if errors.Is(err, federation.ErrUnreachable) { // The leader, not the neighbour.
		return nil, errElsewhere
	}
	return out, err
}

func (n *Node) serveHere(ctx, wait context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
	if slug, _, _ := strings.Cut(string(id), "/"); id == tenancy.DivisionDatabase {
		if err := n.tree.ReadyDivision(wait); err != nil {
			return nil, errElsewhere
		}
	} else if err := n.tree.Ready(wait, slug); err != nil {
		return nil, errElsewhere
	}
	return n.fed.Serve(ctx, id, kind, from, body)
}

// serveNeighbour is POST /node/serve of the node port: another node of the division hands
// on what a neighbour sent, because this one leads the database.
func (n *Node) serveNeighbour(rw http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	id := replication.DatabaseID(q.Get("database"))
	var from division.Ref
	if text := q.Get("from"); text != "" {
		var err error
		if from, err = division.ParseRef(text); err != nil {
			answerHop(rw, nil, err)
			return
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, federation.MaxMessage))
	if err != nil {
		answerHop(rw, nil, fmt.Errorf("read the request: %w", err))
		return
	}
	db, ok := n.engine.DB(id)
	n.mu.RLock()
	ready := n.tree != nil
	n.mu.RUnlock()
	if !ok || !ready || !db.IsLeader() {
		answerHop(rw, nil, replication.ErrNotLeader)
		return
	}
	ctx, end := waits(r)
	defer end()
	wait, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	out, err := n.serveHere(ctx, wait, id, q.Get("kind"), from, body)
	if errors.Is(err, errElsewhere) {
		err = replication.ErrNotLeader
	}
	answerHop(rw, out, err)
}
