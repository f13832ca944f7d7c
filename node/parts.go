package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/members"
	"tongban/node/web"
	"tongban/portal"
	"tongban/replication"
	"tongban/service/audit"
	"tongban/service/databases"
	"tongban/service/identity"
	"tongban/tenancy"
)

const (
	readHeaderTimeout = 10 * time.Second // Against clients that send headers byte by byte.
	readTimeout       = 2 * time.Minute  // Of a whole request: an attachment over a poor line.
	writeTimeout      = 3 * time.Minute
	idleTimeout       = 2 * time.Minute
	maxHeader         = 32 << 10 // Bytes.
	// fastHeartbeat is for nodes of one machine in tests.
	fastHeartbeat = 300 * time.Millisecond
	// retryFounding is how soon the first node tries again to enter what init made, and
	// any node to tell its new addresses.
	retryFounding = 500 * time.Millisecond
)

// part is a piece of the node that is started and stopped as a whole.
type part struct {
	name  string
	start func() error
	stop  func(ctx context.Context) error
}

// doors are the node's bound ports.
type doors struct {
	web, peer, admin net.Listener
	databases        net.Listener // Nil: none is wanted.
}

func (d *doors) close() error {
	var err error
	for _, l := range []net.Listener{d.admin, d.peer, d.web, d.databases} {
		if l != nil {
			if e := l.Close(); e != nil && !errors.Is(e, net.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

// parts are what a node consists of, in the order of their start:
//
//	doors        ports are bound first: a port in use must end the start before any data is touched
//	engine       replication; it needs nothing but the disk to open
//	admin        `tongban status` answers from here on
//	node port    so that others reach the engine, and it them
//	gossip       a hint, needed by nobody
//	tenancy      opens the databases; elections need the node port
//	lines        to the parent and the children: what they carry goes into the databases
//	databases    programs come with people
//	web          needs the databases; people come last, and go first
//	listing      this user's list of running nodes
func (n *Node) parts() []part {
	d := &doors{}
	admin := &http.Server{Handler: n.adminHandler(), ReadHeaderTimeout: readHeaderTimeout, ErrorLog: n.httpLog()}
	internal := &http.Server{ReadHeaderTimeout: readHeaderTimeout, MaxHeaderBytes: maxHeader, ErrorLog: n.httpLog()}
	public := &http.Server{ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: n.httpLog()}
	stopFollowing, forget := func() {}, func() {}
	return []part{
		{"doors", func() error { return n.openDoors(d) }, func(context.Context) error { return d.close() }},
		{"engine", n.openEngine, func(context.Context) error { return n.engine.Close() }},
		{"admin", func() error { n.serveHTTP(admin, d.admin); return nil },
			func(ctx context.Context) error { return drain(ctx, admin) }},
		{"node port", func() error { n.openPort(d.peer, internal); return nil },
			func(ctx context.Context) error { return n.closePort(ctx, d.peer, internal) }},
		{"gossip", n.openGossip, func(context.Context) error { return n.closeGossip() }},
		{"tenancy", func() (err error) { stopFollowing, err = n.openTenancy(); return err },
			func(context.Context) error { stopFollowing(); return nil }},
		{"lines", n.openLines, n.closeLines},
		{"databases", func() error { return n.openDatabases(d.databases) },
			func(ctx context.Context) error { return n.closeDatabases(ctx) }},
		{"web", func() error { return n.openWeb(d.web, public) },
			func(ctx context.Context) error { return drain(ctx, public) }},
		{"listing", func() error { forget = n.announce(); return nil },
			func(context.Context) error { forget(); return nil }},
	}
}

func (n *Node) httpLog() *log.Logger { return slog.NewLogLogger(n.log.Handler(), slog.LevelDebug) }

func (n *Node) openDoors(d *doors) (err error) {
	defer func() {
		if err != nil {
			_ = d.close()
		}
	}()
	if d.admin, err = listenAdmin(n.cfg); err != nil {
		return err
	}
	if d.peer, err = listen("peer.listen", n.cfg.Peer.Listen); err != nil {
		return err
	}
	if n.cfg.Databases.Listen != "" {
		if d.databases, err = listen("databases.listen", n.cfg.Databases.Listen); err != nil {
			return err
		}
		n.programs = d.databases.Addr().String()
	}
	d.web, err = listen("web.listen", n.cfg.Web.Listen)
	return err
}

func (n *Node) openEngine() (err error) {
	hello, err := tenancy.EncodeHello(Schemas()) // Needed before there is anything to define services with.
	if err != nil {
		return err
	}
	o := replication.Options{Dir: n.cfg.Data, Node: n.cfg.Node, Dial: n.dial, Hello: hello,
		Log: n.opts.Log.With("division", n.cfg.Division.Code), Now: n.now, // It names the node itself.
		Backup: n.newestBackup, Nodes: n.others}
	if n.opts.Fast {
		o.HeartbeatTimeout = fastHeartbeat
	}
	if n.engine, err = replication.Open(o); err != nil {
		return fmt.Errorf("open the databases in %s: %w", n.cfg.Data, err)
	}
	n.spawn(func(ctx context.Context) error {
		select {
		case err := <-n.engine.Failed(): // What the disk holds is known again after a start.
			return exit.Errorf(exit.Failed, "the node ends, to be started again: %w; look at the kernel's log for disk errors", err)
		case <-ctx.Done():
			return nil
		}
	})
	return nil
}

func (n *Node) openPort(l net.Listener, internal *http.Server) {
	p := newPort(n.keys, n.book.Believes, n.log, n.now, l.Addr())
	p.engine = n.engine.ServeConn
	p.admit = func(ctx context.Context, r join.Request) (answer join.Answer, err error) {
		return answer, n.command(ctx, orderAdmit, r, &answer)
	}
	p.enrol = n.enrolAsked
	n.book.OnRemoval(p.expel)
	n.port = p
	mux := http.NewServeMux()
	mux.HandleFunc("POST /node/{order}", n.serveOrder)
	mux.HandleFunc("POST /node/verify", n.serveVerify(false))
	mux.HandleFunc("GET /node/applied", n.serveApplied)
	mux.HandleFunc("GET /node/lines", n.serveLines)
	mux.HandleFunc("POST /node/line", n.serveLine)
	mux.HandleFunc("POST /node/serve", n.serveNeighbour)
	mux.HandleFunc("GET /node/databases-url", n.serveDatabasesURL)
	mux.HandleFunc(databases.ForwardPath, n.serveSQL)
	mux.HandleFunc("/", func(rw http.ResponseWriter, r *http.Request) {
		w := n.web()
		if w == nil {
			problem(rw, http.StatusServiceUnavailable, "starting", "the node is still starting")
			return
		}
		w.Internal().ServeHTTP(rw, r)
	})
	internal.Handler = p.withPeer(mux)
	n.serveHTTP(internal, p.requests)
	n.spawn(func(context.Context) error { return p.serve(l) })
}

func (n *Node) closePort(ctx context.Context, l net.Listener, internal *http.Server) error {
	err := l.Close()
	err = errors.Join(err, drain(ctx, internal))
	n.port.close()
	n.client.CloseIdleConnections()
	return err
}

func (n *Node) openGossip() error {
	probe, err := listen("gossip.listen", n.cfg.Gossip.Listen) // Says it better than serf.
	if err != nil {
		return err
	}
	if err := probe.Close(); err != nil {
		return err
	}
	pool, err := members.OpenPool(members.Options{
		Self: n.cfg.Node, Cluster: n.mark.Cluster, Listen: n.cfg.Gossip.Listen, Advertise: n.cfg.Gossip.Advertise,
		Peer: advertised(n.cfg.Peer), Key: n.keys.Gossip, Snapshot: filepath.Join(n.cfg.Data, fileGossip),
		Fast: n.opts.Fast, Log: n.log, Known: n.book.Gossip, Changed: n.noteGossip,
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.pool = pool
	n.mu.Unlock()
	n.spawn(pool.Run)
	return nil
}

func (n *Node) closeGossip() error {
	return n.gossip().Close()
}

// noteGossip keeps the others' gossip addresses for the next start. Who is not seen now
// keeps the address it had.
func (n *Node) noteGossip(list []members.Member) {
	known := map[string]bool{}
	for _, a := range n.book.Gossip() {
		known[a] = true
	}
	for _, m := range list {
		if m.ID != n.cfg.Node {
			known[m.Gossip] = m.Up || known[m.Gossip]
		}
	}
	var addresses []string
	for a, keep := range known {
		if keep && len(addresses) < maxGossip {
			addresses = append(addresses, a)
		}
	}
	if err := n.book.SetGossip(addresses); err != nil {
		n.log.Warn("keep the gossip addresses", "err", err)
	}
}

// maxGossip bounds the gossip addresses that are kept.
const maxGossip = 32

// openTenancy opens the division database and follows the directory; the returned
// function stops following and waits for that.
func (n *Node) openTenancy() (stop func(), err error) {
	o := tenancy.Options{Engine: n.engine, Record: audit.Append, Now: n.now, Log: n.log, Self: n.self()}
	if n.mark.Founder {
		o.Founders = []replication.NodeID{n.cfg.Node}
	}
	tree := tenancy.New(o)
	n.mu.Lock()
	n.tree = tree // Opening runs no service yet, and what it runs looks here.
	n.mu.Unlock()
	if n.fed, err = n.newFederation(tree); err != nil {
		return func() {}, err
	}
	if err := tree.Open(Definitions(tree, n.fed, n.secure(), n.site)); err != nil {
		return func() {}, err
	}

	ctx, cancel := context.WithCancel(n.groupCx)
	done := make(chan struct{}, 4)
	for _, run := range []func(context.Context) error{tree.Run, n.followNodes, n.enter, n.keepCertificate} {
		n.group.Go(func() error {
			defer func() { done <- struct{}{} }()
			return run(ctx)
		})
	}
	return func() {
		cancel()
		for range cap(done) {
			<-done
		}
	}, nil
}

func (n *Node) self() tenancy.Node {
	return tenancy.Node{ID: n.cfg.Node, Address: advertised(n.cfg.Peer), Web: webURL(n.cfg),
		Recipient: n.keys.Identity.Recipient().String()}
}

func (n *Node) openWeb(l net.Listener, public *http.Server) error {
	defs := n.tree.Definitions()
	pages, err := portal.New(portal.Options{Site: portal.Site{Site: n.site}, Definitions: defs,
		SignIn: identity.SignInPath, SignOut: identity.SignOutPath, Log: n.log})
	if err != nil {
		return err
	}
	w, err := web.New(web.Options{
		Site: n.site, Definitions: defs, Databases: n.tree, Portal: pages, Self: n.cfg.Node,
		Authenticate: identity.Authenticate, Forward: n.Forward, Cookie: identity.CookieName(n.secure()),
		TouchPath: identity.TouchPath, AuditPath: audit.RefusalsPath, Now: n.now, Log: n.log,
	})
	if err != nil {
		return err
	}
	public.Handler = w.Public()
	l = limitPeople(l)
	if n.secure() {
		conf, err := n.webTLS()
		if err != nil {
			return err
		}
		l = tls.NewListener(l, conf)
	}
	n.mu.Lock()
	n.pages = w
	n.mu.Unlock()
	n.spawn(w.Run)
	n.serveHTTP(public, l)
	n.spawn(watchdog)
	return nil
}

// announce enters this node in the user's list of running nodes; commands work without
// it, when they are told which node is meant.
func (n *Node) announce() (forget func()) {
	forget, err := n.cfg.Announce()
	if err != nil {
		n.log.Warn("list this node as running", "err", err)
		return func() {}
	}
	return forget
}
