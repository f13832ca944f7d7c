package leaf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tongban/division"
	"tongban/federation"
)

// Limits of the hop down.
const (
	// maxLines of one child: three nodes, each with a new connection while an old one is
	// not yet known to be dead. A further one ends the oldest.
	maxLines = 8
	// joinLimit is how long an authorised connection may take to become a leaf.
	joinLimit = 30 * time.Second
	// limitedFor is how long a line with one kind of request may last: what it is for takes
	// seconds, and the child is to come back with all rights by itself.
	limitedFor = 2 * time.Minute
	// maxStrikes is how many messages of a child may be senseless or too many in a second.
	// A child that floods has no line for the time of penalty: what it sends would fill
	// the way that the requests of all children take.
	maxStrikes = 1000
	penalty    = time.Minute
	// maxRate is how many messages a second of whatever kind one line may bring; a line of
	// ours brings 20,000 when it does nothing but ask and answer.
	maxRate = 50000
)

// down is the hop to the children: it accepts their leaf connections.
type down struct {
	o     *Options
	log   *slog.Logger
	e     *embedded
	addr  net.Addr
	calls *calls
	ctx   context.Context
	work  sync.WaitGroup // Probes.

	mu       sync.Mutex
	kicks    int // How often kick was called.
	children map[string]*child
	looked   time.Time // When inspect was called last.
}

// child is one that has, or had, a line.
type child struct {
	*neighbour
	token string
	lines []*line
	next  int       // Which line is tried first.
	wait  *patience // With a line that does not move.

	strikes int // Since the second began.
	second  time.Time
	barred  time.Time // Until then it may not connect.
}

// line is one leaf connection, from a node of a child.
type line struct {
	peer
	wait    *patience // Of the child.
	cid     uint64
	node    string
	since   time.Time
	joined  bool // It was seen among the leaf connections.
	kicked  bool // To be dropped once it has joined.
	limited bool // See Grant.Only.

	brought int64 // Messages, when they were counted last.
	counted time.Time
}

func openDown(ctx context.Context, o *Options) (*down, error) {
	host, port, err := splitAddress(o.Listen)
	if err != nil {
		return nil, err
	}
	d := &down{o: o, log: o.Log, calls: newCalls(), ctx: ctx, children: map[string]*child{}}
	opts := baseOptions(newNode(o.Self), server.LeafNodeOpts{
		Host: host, Port: port, NoAdvertise: true, IsolateLeafnodeInterest: true,
		TLSConfig: o.Server, TLSHandshakeFirst: true, TLSTimeout: handshakeLimit.Seconds(),
		AuthTimeout: 2 * handshakeLimit.Seconds(), WriteDeadline: writeLimit,
		Compression: server.CompressionOpts{Mode: server.CompressionOff},
	})
	if d.e, err = newEmbedded(opts, d.check, o.Log); err != nil {
		return nil, err
	}
	err = d.e.start(map[string]nats.MsgHandler{
		"up.*.rq.*":                  d.request,
		"up.*.rp." + d.e.name + ".*": d.answer,
	})
	if err != nil {
		return nil, fmt.Errorf("leaf: listen for the lines of children on %s: %w", o.Listen, err)
	}
	v, err := d.e.server.Varz(nil)
	if err == nil {
		d.addr, err = net.ResolveTCPAddr("tcp", net.JoinHostPort(host, strconv.Itoa(v.LeafNode.Port)))
	}
	if err != nil {
		d.e.close()
		return nil, fmt.Errorf("leaf: find the address that children connect to: %w", err)
	}
	return d, nil
}

// splitAddress reads "host:port", checks that it is free, and writes port 0 as the
// embedded server does.
func splitAddress(listen string) (host string, port int, err error) {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", 0, fmt.Errorf("leaf: the address for the lines of children: %w", err)
	}
	l.Close()
	host, text, err := net.SplitHostPort(listen)
	if err != nil {
		return "", 0, fmt.Errorf("leaf: the address for the lines of children: %w", err)
	}
	if port, err = strconv.Atoi(text); err != nil {
		return "", 0, fmt.Errorf("leaf: the port of %s is no number", listen)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return host, port, nil
}

// check authorises a leaf connection by its certificate and gives it the rights of its
// grant.
func (d *down) check(c server.ClientAuthentication) bool {
	state := c.GetTLSConnectionState()
	if state == nil || len(state.PeerCertificates) == 0 {
		return false
	}
	for {
		d.mu.Lock()
		kicks := d.kicks
		d.mu.Unlock()
		grant, err := d.o.Authorize(*state)
		if err == nil {
			err = grant.Child.Check()
		}
		if err == nil && grant.Only != "" && !validKind(grant.Only) {
			err = fmt.Errorf("%q is no kind of a request", grant.Only)
		}
		if name := c.GetOpts().Name; err == nil && (!strings.HasPrefix(name, token(grant.Child)+"_") || !validToken(name, maxName)) {
			err = fmt.Errorf("the server's name %.50q is not of the division", name)
		}
		if err == nil {
			err = d.register(c, state, grant, kicks)
		}
		if errors.Is(err, errAskAgain) {
			continue
		}
		if err != nil {
			d.log.Warn("a line was refused", "remote", c.RemoteAddress(), "err", err)
		}
		return err == nil
	}
}

// errAskAgain: a child was kicked since Authorize was asked.
var errAskAgain = errors.New("ask again")

// register enters a line. errAskAgain: a child was kicked since kicks was read, and whether
// this one is must be asked again.
func (d *down) register(c server.ClientAuthentication, state *tls.ConnectionState, grant Grant, kicks int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.kicks != kicks {
		return errAskAgain
	}
	ref, name := grant.Child, token(grant.Child)
	k := d.children[name]
	if k == nil {
		k = &child{neighbour: newNeighbour(d.ctx, d.o, ref, d.send), token: name, wait: &patience{}}
		d.children[name] = k
	}
	if wait := time.Until(k.barred); wait > 0 {
		return fmt.Errorf("%s has sent too much; it may connect again in %s", ref, wait.Round(time.Second))
	}
	if len(k.lines) >= maxLines {
		old := k.oldest(grant.Only != "")
		if old == nil {
			return fmt.Errorf("%s has as many lines as it may", ref)
		}
		d.drop(old)
	}
	node := c.GetOpts().Name
	k.lines = append(k.lines, &line{wait: k.wait, cid: c.GetID(), node: node, since: time.Now(), limited: grant.Only != ""})
	until := time.Now().Add(limitedFor)
	if grant.Only == "" {
		until = firstEnd(state.PeerCertificates)
	}
	c.RegisterUser(&server.User{Username: name, Account: d.e.acc, ConnectionDeadline: until,
		Permissions: grant.permissions(node)})
	return nil
}

// oldest returns the line that makes room for a new one. A limited one never takes the place
// of one that is not; nil: there is none that may go.
func (k *child) oldest(limited bool) *line {
	for _, l := range k.lines {
		if l.limited {
			return l
		}
	}
	if limited {
		return nil
	}
	return k.lines[0]
}

// firstEnd is when the first of the certificates ends.
func firstEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, cert := range chain {
		if cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return end
}

// permissions are the subjects of a child's line. With one kind alone they name the node
// that the line is of: it hears no answer that is for another one of its division.
func (g Grant) permissions(node string) *server.Permissions {
	name := token(g.Child)
	publish, subscribe := []string{"up." + name + ".>"}, []string{"dn." + name + ".>", "dn.all.>"}
	if g.Only != "" {
		publish = []string{"up." + name + ".rq." + g.Only, "up." + name + ".rq." + kindAlive}
		subscribe = []string{"dn." + name + ".rp." + node + ".*"}
	}
	return &server.Permissions{Publish: &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: subscribe}}
}

// genuine tells whether the subject is the one that the child published, which says who it
// is. The embedded server delivers a message with a reply "$JS.ACK.….@<subject>" under
// that subject, whatever it is; permissions were checked for the other one. Such a message
// is dropped and cannot be held against anybody.
func genuine(m *nats.Msg) bool { return !strings.HasPrefix(m.Reply, "$") }

// answer takes an answer of a child.
func (d *down) answer(m *nats.Msg) {
	if genuine(m) && !d.calls.answered(m) {
		d.strike(strings.Split(m.Subject, ".")[1])
	}
}

// request takes a request of a child. It must not wait: those of all children come here.
func (d *down) request(m *nats.Msg) {
	if !genuine(m) {
		return
	}
	part := strings.Split(m.Subject, ".")
	reply, ok := checkReply(m.Reply, "dn."+part[1]+".rp.")
	if !ok {
		d.log.Debug("a child asks for an answer where it may not have one", "child", part[1], "reply", m.Reply)
		d.strike(part[1])
		return
	}
	d.mu.Lock()
	var n *neighbour
	if k := d.children[part[1]]; k != nil {
		node, _, _ := strings.Cut(m.Reply[len("dn."+part[1]+".rp."):], ".")
		for _, l := range k.lines {
			if !l.kicked {
				n = k.neighbour
			}
			if l.node == node {
				d.calls.hear(&l.peer)
			}
		}
	}
	d.mu.Unlock()
	switch {
	case n == nil: // Kicked meanwhile.
	case part[3] == kindAlive:
		d.send(reply, packAnswer(nil, nil))
	case !n.receive(part[3], reply, m.Data):
		d.strike(part[1])
	}
}

// kindAlive asks whether the line moves; it is answered here.
const kindAlive = "alive"

func (d *down) send(reply replyTo, data []byte) {
	if err := d.e.nc.Publish(string(reply), data); err != nil {
		d.log.Warn("an answer to a child was not sent", "err", err)
	}
}

// call asks one node of the child, and the next one if there is no line to the first.
func (d *down) call(ctx context.Context, to division.Ref, kind string, body []byte) ([]byte, error) {
	for _, l := range d.order(token(to)) {
		began := d.calls.clock()
		answer, err := d.ask(ctx, token(to), l, kind, body)
		if errors.Is(err, federation.ErrUnreachable) {
			continue
		}
		if errors.Is(err, context.DeadlineExceeded) && l.heard.Load() < began {
			d.background(func() { d.probe(to, l, began, len(body)) })
		}
		return answer, err
	}
	return nil, federation.ErrUnreachable
}

// background runs work that close waits for; none once the hop is closing.
func (d *down) background(work func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx.Err() == nil {
		d.work.Go(work)
	}
}

func (d *down) ask(ctx context.Context, name string, l *line, kind string, body []byte) ([]byte, error) {
	subject := "dn." + name + ".rq." + l.node + "." + kind
	return d.calls.do(ctx, d.e, &l.peer, subject, "up."+name+".rp."+d.e.name+"."+newName(), body)
}

func (d *down) probe(to division.Ref, l *line, began int64, body int) {
	d.calls.probe(d.ctx, &l.peer, began, l.wait.of(d.o.pace, body), d.o.pace,
		func(ctx context.Context) error {
			_, err := d.ask(ctx, token(to), l, kindAlive, nil)
			return err
		},
		func() {
			d.log.Warn("a line is dropped: it does not move", "division", to.String())
			l.wait.dropped()
			d.mu.Lock()
			defer d.mu.Unlock()
			d.drop(l)
		})
}

// order returns the lines to a child, in turn, those that move first.
func (d *down) order(name string) []*line {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.children[name]
	if k == nil {
		return nil
	}
	var moving, silent []*line
	k.next++
	for i := range k.lines {
		switch l := k.lines[(k.next+i)%len(k.lines)]; {
		case l.kicked, l.limited: // A limited one may claim any interest, and is told nothing.
		case l.silent.Load():
			silent = append(silent, l)
		default:
			moving = append(moving, l)
		}
	}
	return append(moving, silent...)
}

// close ends the hop; d.ctx has ended.
func (d *down) close() {
	d.e.close()
	d.mu.Lock() // After this nobody starts work: d.ctx has ended.
	children := d.children
	d.children = map[string]*child{}
	d.mu.Unlock()
	d.work.Wait()
	for _, k := range children {
		k.close()
	}
}
