package node

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/division"
	"tongban/federation"
	"tongban/node/certs"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/members"
	"tongban/node/trust"
	"tongban/node/web"
	"tongban/replication"
	"tongban/service"
	"tongban/service/databases"
	"tongban/tenancy"
)

const (
	// stopPatience bounds a stop: systemd's default would be 90 s, people's is shorter.
	stopPatience = 8 * time.Second
	// handOverPatience bounds, within it, handing over the leaderships.
	handOverPatience = 2 * time.Second
	// drainPatience bounds, within it, the requests that are being answered.
	drainPatience = 2 * time.Second
)

// Options are what a node gets besides its configuration. A zero field takes the default
// stated beside it.
type Options struct {
	Log   *slog.Logger  // slog.Default().
	Now   service.Clock // time.Now. The only clock of the program.
	Fast  bool          // Short timings, for nodes of one machine in tests.
	Ready func()        // Called once when all doors are open.

	CertificateValid time.Duration // 397 days: of the certificates that this node issues when it leads.
	CertificateCheck time.Duration // 10 min: how often it looks whether to renew its own.

	// Admin adds what higher layers serve on the admin socket; nil: nothing.
	Admin func(n *Node, mux *http.ServeMux)
}

// Node is one node of a division. New checks, Run serves; a Node runs once.
type Node struct {
	cfg     config.Config
	opts    Options
	log     *slog.Logger
	now     service.Clock
	keys    *trust.Keys
	mark    mark
	book    *members.Book
	site    service.Site
	started time.Time

	// Set while Run starts the parts, each before its user is started.
	engine  *replication.Engine
	port    *port
	client  *http.Transport
	group   *errgroup.Group
	groupCx context.Context

	mu    sync.RWMutex // Of what the admin socket may look at while the node starts.
	tree  *tenancy.Tenancy
	pool  *members.Pool
	pages *web.Web
	lines *lines
	sql   *databases.Server

	linesOpen chan struct{}       // Closed when lines is set.
	door      *databases.Listener // For programs; nil: none is wanted.
	programs  string              // Address of the listener for application databases; empty: none.
	fed       *federation.Federation
	shown     shown
}

// New checks configuration, keys, folder, disk and clock, and returns a node that can
// run. Its errors are one sentence each and have an exit code.
func New(cfg config.Config, opts Options) (*Node, error) {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	n := &Node{cfg: cfg, opts: opts, now: opts.Now, linesOpen: make(chan struct{}),
		log: opts.Log.With("division", cfg.Division.Code, "node", string(cfg.Node))}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	var err error
	if n.site, err = siteOf(cfg); err != nil {
		return nil, err
	}
	if n.mark, err = readMark(cfg); err != nil {
		return nil, err
	}
	if n.keys, err = trust.Load(cfg.Data, divisionOf(cfg), cfg.Node); err != nil {
		return nil, err
	}
	certs.Restore(cfg.Data, n.keys)
	if n.book, err = members.OpenBook(filepath.Join(cfg.Data, fileBook)); err != nil {
		return nil, err
	}
	return n, n.preflight()
}

func siteOf(cfg config.Config) (service.Site, error) {
	level, err := division.ParseLevel(cfg.Division.Level)
	if err != nil {
		return service.Site{}, exit.Configf("%w", err)
	}
	d, ok := division.ByRef(division.Ref{Level: level, Code: division.Code(cfg.Division.Code)})
	if !ok {
		return service.Site{}, exit.Configf("%s: there is no %s with the code %s", cfg.File, level, cfg.Division.Code)
	}
	return service.Site{Code: string(d.Code), Level: d.Level.String(), Name: d.Name, Full: d.FullName()}, nil
}

// Run starts the parts in order, serves until ctx ends or a part fails, and stops what it
// started in the reverse order within eight seconds. It returns nil when ctx ended.
func (n *Node) Run(ctx context.Context) error {
	n.awaitRoom(ctx)
	n.started = n.now()
	n.client = n.forwarder()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	n.group, n.groupCx = errgroup.WithContext(serving)

	var running []part
	var err error
	for _, p := range n.parts() {
		if err = p.start(); err != nil {
			break
		}
		n.log.Debug("started", "part", p.name)
		running = append(running, p)
	}
	if err == nil {
		n.log.Info("serving", "web", webURL(n.cfg), "peer", n.cfg.Peer.Listen)
		notify(stateReady)
		if n.opts.Ready != nil {
			n.opts.Ready()
		}
		select {
		case <-ctx.Done():
		case <-n.groupCx.Done(): // A part failed; Wait has its error.
		}
	}
	notify(stateStopping)
	n.stop(running, err == nil)
	cancel()
	return errors.Join(err, n.group.Wait())
}

// stop hands over the leaderships while everything still works, then stops the parts.
func (n *Node) stop(running []part, handOver bool) {
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if handOver {
		gently, cancel := context.WithTimeout(ctx, handOverPatience)
		if err := n.engine.HandOver(gently); err != nil {
			n.log.Warn("hand over the leaderships", "err", err)
		}
		cancel()
	}
	for i := len(running) - 1; i >= 0; i-- {
		done := make(chan error, 1)
		go func() { done <- running[i].stop(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				n.log.Warn("stop", "part", running[i].name, "err", err)
			}
		case <-ctx.Done():
			n.log.Error("a part does not stop; going on without it", "part", running[i].name)
		}
	}
	n.log.Info("stopped")
}

// spawn runs fn until the node stops; an error of fn stops the node.
func (n *Node) spawn(fn func(ctx context.Context) error) {
	n.group.Go(func() error { return fn(n.groupCx) })
}

func (n *Node) division() *service.DB {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.tree == nil {
		return nil
	}
	return n.tree.Division()
}

func (n *Node) gossip() *members.Pool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.pool
}

func (n *Node) web() *web.Web {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.pages
}

// secure says whether people come over TLS.
func (n *Node) secure() bool { return n.cfg.Web.TLS != "off" }

// serveHTTP runs an HTTP server on a listener until stop.
func (n *Node) serveHTTP(s *http.Server, l net.Listener) {
	n.spawn(func(context.Context) error {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
}

// drain ends a server: no new requests, those being answered get drainPatience.
func drain(ctx context.Context, s *http.Server) error {
	gently, cancel := context.WithTimeout(ctx, drainPatience)
	defer cancel()
	if err := s.Shutdown(gently); err != nil {
		return s.Close()
	}
	return nil
}
