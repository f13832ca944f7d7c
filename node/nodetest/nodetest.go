// Package nodetest starts whole divisions within a test: real nodes with real keys and
// ports on loopback, all in the test's process.
package nodetest

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/config"
	"tongban/replication"
	"tongban/service"
)

// patience bounds every wait: generous, because two cores may serve many tests.
const patience = 30 * time.Second

// Cluster is a division on loopback. It is stopped with the test.
type Cluster struct {
	Code      string // Division.
	FirstBoot string // Code for the first administrator.
	Recovery  string // age identity of the recovery kit.

	tb        testing.TB
	databases bool
	level     string
	dir       string
	opts      node.Options
	boxes     []*box
}

type box struct {
	cfg    config.Config
	cancel context.CancelFunc // nil: it does not run.
	done   chan error
}

// Option changes how a division is made.
type Option func(*Cluster)

// Clock gives all nodes a clock.
func Clock(now service.Clock) Option { return func(c *Cluster) { c.opts.Now = now } }

// Log gives all nodes a log; without it they log to the test when it is verbose.
func Log(log *slog.Logger) Option { return func(c *Cluster) { c.opts.Log = log } }

// Admin adds to what all nodes serve on their admin sockets.
func Admin(serve func(n *node.Node, mux *http.ServeMux)) Option {
	return func(c *Cluster) { c.opts.Admin = serve }
}

// Databases gives all nodes a port for programs that use application databases.
func Databases() Option { return func(c *Cluster) { c.databases = true } }

// Place makes it another division than Guang'an District. level is needed where the code
// has two, empty otherwise.
func Place(code, level string) Option {
	return func(c *Cluster) { c.Code, c.level = code, level }
}

// Division starts a division (Guang'an District, 511602, without Place) of n nodes n1 … and
// returns when all of them are voters of the division database.
func Division(tb testing.TB, n int, options ...Option) *Cluster {
	tb.Helper()
	c := &Cluster{Code: "511602", tb: tb, dir: tb.TempDir(), opts: node.Options{Fast: true, Log: testLog(tb)}}
	for _, o := range options {
		o(c)
	}
	first, err := node.Init(node.InitOptions{Dir: filepath.Join(c.dir, "n1"), Division: c.Code, Level: c.level, Node: "n1", Addresses: c.loopback(), Now: c.opts.Now})
	if err != nil {
		tb.Fatalf("init the first node: %v", err)
	}
	c.FirstBoot, c.Recovery = first.FirstBoot, first.Recovery
	c.boxes = []*box{{cfg: first.Config}}
	tb.Cleanup(c.stop)
	c.Start(0)
	c.AwaitReady(0)
	for len(c.boxes) < n {
		c.Join()
	}
	c.Await("all nodes are voters of the division database", func() bool { return c.voters() == n })
	return c
}

// Restored starts a division whose first node exists already, made by a restore.
func Restored(tb testing.TB, cfg config.Config, options ...Option) *Cluster {
	tb.Helper()
	c := &Cluster{Code: cfg.Division.Code, tb: tb, dir: tb.TempDir(), opts: node.Options{Fast: true, Log: testLog(tb)}}
	for _, o := range options {
		o(c)
	}
	c.boxes = []*box{{cfg: cfg}}
	tb.Cleanup(c.stop)
	c.Start(0)
	c.AwaitReady(0)
	return c
}

func testLog(tb testing.TB) *slog.Logger {
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(tb.Output(), nil))
}

func (c *Cluster) loopback() node.Addresses {
	a := node.Addresses{Web: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0"}
	if c.databases {
		a.Databases = "127.0.0.1:0"
	}
	return a
}

// AwaitReady waits until node i sees a division database that can be used.
func (c *Cluster) AwaitReady(i int) {
	c.tb.Helper()
	c.Await("the division database is ready at node "+string(c.boxes[i].cfg.Node), func() bool {
		s, err := c.Status(i)
		return err == nil && s.Ready
	})
}

// Len is the number of nodes, running or not.
func (c *Cluster) Len() int { return len(c.boxes) }

// Join adds and starts one more node, and returns its number.
func (c *Cluster) Join() int {
	c.tb.Helper()
	i := len(c.boxes)
	cfg, err := node.Join(c.tb.Context(), node.JoinOptions{Token: c.Token(0), Dir: filepath.Join(c.dir, "n"+string(rune('1'+i))),
		Addresses: c.loopback(), Now: c.opts.Now})
	if err != nil {
		c.tb.Fatalf("join node %d: %v", i+1, err)
	}
	c.boxes = append(c.boxes, &box{cfg: cfg})
	c.Start(i)
	return i
}

// Token mints a join token at node i.
func (c *Cluster) Token(i int) string {
	c.tb.Helper()
	var reply node.TokenReply
	admin := c.Admin(i)
	defer admin.Close()
	c.Await("a token is minted", func() bool {
		return admin.Post(c.tb.Context(), "/node/token", node.TokenRequest{}, &reply) == nil
	})
	return reply.Token
}

// Start starts node i, which must not run, and returns when its doors are open.
func (c *Cluster) Start(i int) {
	c.tb.Helper()
	b := c.boxes[i]
	ready := make(chan struct{})
	opts := c.opts
	opts.Ready = func() { close(ready) }
	n, err := node.New(b.cfg, opts)
	if err != nil {
		c.tb.Fatalf("make node %s: %v", b.cfg.Node, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	b.cancel, b.done = cancel, make(chan error, 1)
	go func() { b.done <- n.Run(ctx) }()
	select {
	case <-ready:
	case err := <-b.done:
		b.cancel = nil
		c.tb.Fatalf("start node %s: %v", b.cfg.Node, err)
	case <-time.After(patience):
		c.tb.Fatalf("node %s did not open its doors in %s", b.cfg.Node, patience)
	}
}

// Stop stops node i in good order. (A process that is killed cannot be had within a test;
// internal/demo has one.)
func (c *Cluster) Stop(i int) {
	c.tb.Helper()
	b := c.boxes[i]
	if b.cancel == nil {
		return
	}
	b.cancel()
	b.cancel = nil
	select {
	case err := <-b.done:
		if err != nil {
			c.tb.Errorf("node %s ended with: %v", b.cfg.Node, err)
		}
	case <-time.After(patience):
		c.tb.Errorf("node %s did not stop in %s", b.cfg.Node, patience)
	}
}

// Restart stops node i and starts it again on the same ports and folder.
func (c *Cluster) Restart(i int) { c.tb.Helper(); c.Stop(i); c.Start(i) }

func (c *Cluster) stop() {
	for i := range c.boxes {
		c.Stop(i)
	}
}

// URL is where people reach node i, without a slash at the end.
func (c *Cluster) URL(i int) string { return "http://" + c.boxes[i].cfg.Web.Listen }

// DatabasesURL is where programs reach node i, without a slash at the end.
func (c *Cluster) DatabasesURL(i int) string { return "http://" + c.boxes[i].cfg.Databases.Listen }

// Config is the configuration of node i.
func (c *Cluster) Config(i int) config.Config { return c.boxes[i].cfg }

// Admin is the operator's client at node i.
func (c *Cluster) Admin(i int) *client.Client { return client.New(c.boxes[i].cfg) }

// Status asks node i for its condition. Its problems are without those of the disk: how
// full that of the machine is on which the test runs has nothing to do with the test.
func (c *Cluster) Status(i int) (node.Status, error) {
	var s node.Status
	admin := c.Admin(i)
	defer admin.Close()
	err := admin.Get(c.tb.Context(), "/node/status", &s)
	s.Problems = slices.DeleteFunc(s.Problems, func(p string) bool { return strings.HasPrefix(p, "the disk of ") })
	return s, err
}

// Leader returns the number of the node that leads a database as node i knows it, -1 for
// none.
func (c *Cluster) Leader(i int, id replication.DatabaseID) int {
	s, err := c.Status(i)
	if err != nil {
		return -1
	}
	for _, d := range s.Databases {
		for j, b := range c.boxes {
			if d.Database == id && d.Leader == b.cfg.Node {
				return j
			}
		}
	}
	return -1
}

func (c *Cluster) voters() int {
	s, err := c.Status(0)
	if err != nil || len(s.Databases) == 0 {
		return 0
	}
	return len(s.Databases[0].Voters)
}

// CreateTenant makes a department through node i and returns when it can be used.
func (c *Cluster) CreateTenant(i int, slug, name string) {
	c.tb.Helper()
	admin := c.Admin(i)
	defer admin.Close()
	if err := admin.Post(c.tb.Context(), "/tenants", map[string]any{"slug": slug, "name": name}, nil); err != nil {
		c.tb.Fatalf("create tenant %s: %v", slug, err)
	}
}

// Await polls until done, or fails the test in words.
func (c *Cluster) Await(what string, done func() bool) {
	c.tb.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			c.tb.Fatalf("never came, in %s: %s", patience, what)
		}
	}
}
