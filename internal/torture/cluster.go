package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"tongban/internal/process"
	"tongban/node"
	admin "tongban/node/client"
	"tongban/node/config"
	"tongban/replication"
	"tongban/service/databases"
)

const (
	// nodes is how many a division has here.
	nodes = 3
	// code is the division: 四川省广安市广安区.
	code = "511602"
	// tenant and name are those of the database that the clients use.
	tenant, name = "torture", "history"
	// startPatience bounds founding, and a node's first start.
	startPatience = 2 * time.Minute
	// pollEvery is how often a condition is looked at.
	pollEvery = 50 * time.Millisecond
	// dumpPatience bounds how long a node may take to write down its goroutines.
	dumpPatience = 3 * time.Second
)

// database is the database that the clients use.
const database = replication.DatabaseID(tenant + "/" + name)

// box is one machine: its folder, its process, its disk if it has one.
type box struct {
	name string
	dir  string // Of the node.
	cfg  config.Config
	sql  string // host:port of the SQL door.
	disk *disk  // Nil: the machine's own.

	admin *admin.Client

	mu      sync.Mutex
	proc    *process.Process
	stopped bool // SIGSTOP.
}

// cluster is the division. Its methods may be called concurrently where they say so.
type cluster struct {
	o     Options
	dir   string
	net   network
	boxes []*box
	key   string // Of the database.
}

// found starts the division: three voters, the database, its key.
func (c *cluster) found(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for i := range nodes {
		if err := c.add(ctx, fmt.Sprintf("n%d", i+1)); err != nil {
			return err
		}
	}
	if err := c.await(ctx, "three voters", func() error { return c.voters(ctx, "_division/main") }); err != nil {
		return err
	}
	if err := c.boxes[0].admin.Post(ctx, "/tenants", map[string]any{"slug": tenant, "name": "Torture"}, nil); err != nil {
		return fmt.Errorf("create the tenant: %w", err)
	}
	var made databases.Created
	if err := c.boxes[0].admin.Post(ctx, "/databases", databases.NewDatabases{Tenant: tenant, Name: name, Key: true}, &made); err != nil {
		return fmt.Errorf("create the database: %w", err)
	}
	c.key = made.Keys[0].Secret
	if err := c.await(ctx, "the database on all nodes", func() error { return c.voters(ctx, database) }); err != nil {
		return err
	}
	for _, b := range c.boxes {
		if b.disk == nil {
			continue
		}
		if err := b.disk.sync(); err != nil {
			return err
		}
	}
	c.net.settled()
	return nil
}

// voters: every node has the database, with all nodes as voters and a leader.
func (c *cluster) voters(ctx context.Context, id replication.DatabaseID) error {
	for _, b := range c.boxes {
		s, err := c.status(ctx, b, id)
		if err != nil {
			return err
		}
		if len(s.Voters) != nodes || s.Leader == "" {
			return fmt.Errorf("%s has %d voters at %s, leader %q", id, len(s.Voters), b.name, s.Leader)
		}
	}
	return nil
}

// add makes and starts a node.
func (c *cluster) add(ctx context.Context, name string) error {
	b := &box{name: name, dir: filepath.Join(c.dir, name, "node")}
	root := filepath.Join(c.dir, name)
	var err error
	if c.o.disks {
		if b.disk, err = newDisk(filepath.Join(c.dir, name+".img"), root); err != nil {
			return err
		}
	} else if err = os.Mkdir(root, 0o700); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	c.boxes = append(c.boxes, b)
	flags, err := c.net.addresses(name)
	if err != nil {
		return err
	}
	args := []string{"init", "--division", code, "--recovery-file", filepath.Join(c.dir, "recovery.txt")}
	if len(c.boxes) > 1 {
		var token node.TokenReply
		if err := c.boxes[0].admin.Post(ctx, "/node/token", node.TokenRequest{Valid: "1h"}, &token); err != nil {
			return fmt.Errorf("ask for a join token: %w", err)
		}
		args = []string{"join", token.Token}
	}
	binary, args := c.net.command(name, c.o.Binary, slices.Concat(args, []string{"--dir", b.dir, "--node", name}, flags))
	if _, err := process.Run(ctx, binary, args...); err != nil {
		return err
	}
	if b.cfg, _, err = config.Read(filepath.Join(b.dir, config.FileName), nil); err != nil {
		return err
	}
	c.net.made(name, b.cfg.Peer.Listen)
	if b.sql, err = freeAddress(); err != nil {
		return err
	}
	b.cfg.Databases.Listen = b.sql
	if err := config.Write(b.cfg); err != nil {
		return err
	}
	b.admin = admin.New(b.cfg)
	if err := c.start(b); err != nil {
		return err
	}
	return c.await(ctx, name+" is ready", func() error { return c.ready(ctx, b) })
}

// freeAddress is an address on loopback that nobody has now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// ready: the node sees a division database that can be used.
func (c *cluster) ready(ctx context.Context, b *box) error {
	if err := b.death(); err != nil {
		return err
	}
	var s node.Status
	if err := b.admin.Get(ctx, "/node/status", &s); err != nil {
		return err
	}
	if !s.Ready {
		return fmt.Errorf("%s is not ready: %v", b.name, s.Problems)
	}
	return nil
}

// start starts a node's process and returns at once.
func (c *cluster) start(b *box) error {
	args := []string{"run", "--config", b.cfg.File}
	program := c.o.Binary
	if len(c.o.Environment) > 0 { // process takes the variables away that configure a node.
		args = slices.Concat(c.o.Environment, []string{program}, args)
		program = "/usr/bin/env"
	}
	binary, args := c.net.command(b.name, program, args)
	p, err := process.Start("node "+b.name, filepath.Join(c.dir, b.name+".log"), binary, args...)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.proc, b.stopped = p, false
	b.mu.Unlock()
	c.net.runs(b.name, p.PID())
	return nil
}

// kill ends a node's process at once (SIGKILL).
func (b *box) kill() {
	b.mu.Lock()
	p := b.proc
	b.mu.Unlock()
	if p != nil {
		p.Kill()
	}
}

// running reports whether the process has not ended and is not stopped.
func (b *box) running() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proc != nil && b.proc.Running() && !b.stopped
}

// ended reports whether the process has ended.
func (b *box) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.proc == nil || !b.proc.Running()
}

// death is why the process has ended by itself; nil: it has not.
func (b *box) death() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return nil
	}
	return b.proc.Death()
}

// status asks a node for its replica of a database. Safe for concurrent use.
func (c *cluster) status(ctx context.Context, b *box, id replication.DatabaseID) (node.DatabaseStatus, error) {
	var list []node.DatabaseStatus
	if err := b.admin.Get(ctx, "/node/databases", &list); err != nil {
		return node.DatabaseStatus{}, err
	}
	for _, s := range list {
		if s.Database == id {
			return s, nil
		}
	}
	return node.DatabaseStatus{}, fmt.Errorf("%s does not have %s", b.name, id)
}

// states are what the nodes say of the clients' database, a line each. For a run that is
// stuck.
func (c *cluster) states(ctx context.Context) string {
	var out strings.Builder
	for _, b := range c.boxes {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		s, err := c.status(short, b, database)
		cancel()
		if err != nil {
			fmt.Fprintf(&out, "\n  %s: %v", b.name, err)
			continue
		}
		text, err := json.Marshal(s)
		fmt.Fprintf(&out, "\n  %s: %s%s", b.name, text, process.Tail(filepath.Join(c.dir, b.name+".log"), 8))
		if err != nil {
			fmt.Fprintf(&out, " %v", err)
		}
	}
	return out.String()
}

// dump makes the nodes that run write down what each goroutine does, and end. For a run
// that is stuck.
func (c *cluster) dump() {
	for _, b := range c.boxes {
		if !b.running() {
			continue
		}
		b.expect()
		_ = syscall.Kill(b.proc.PID(), syscall.SIGQUIT) // It may have ended by itself.
		for end := time.Now().Add(dumpPatience); b.running() && time.Now().Before(end); {
			time.Sleep(pollEvery)
		}
	}
}

// leader is the box that leads the clients' database, as those that answer soon know it;
// the first one when nobody knows. Safe for concurrent use.
func (c *cluster) leader(ctx context.Context) *box {
	best, term := c.boxes[0], uint64(0)
	for _, b := range c.boxes {
		if !b.running() {
			continue
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		s, err := c.status(short, b, database)
		cancel()
		if err != nil || s.Leader == "" || s.Term < term {
			continue
		}
		for _, other := range c.boxes {
			if other.name == string(s.Leader) {
				best, term = other, s.Term
			}
		}
	}
	return best
}

// door is the SQL door of a node.
func (c *cluster) door(b *box, h *http.Client) *door {
	return &door{node: b.name, base: "http://" + b.sql, user: string(database), password: c.key, http: h}
}

// names are the names of boxes.
func names(boxes []*box) []string {
	list := make([]string, len(boxes))
	for i, b := range boxes {
		list[i] = b.name
	}
	return list
}

// others are all boxes but one.
func (c *cluster) others(b *box) []*box {
	return slices.DeleteFunc(slices.Clone(c.boxes), func(o *box) bool { return o == b })
}

// await polls until check returns nil, or says what was missing last when ctx ends.
func (c *cluster) await(ctx context.Context, what string, check func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("never came: %s; last: %w", what, err)
		case <-tick.C:
		}
	}
}

// close ends everything and removes the folder unless keep.
func (c *cluster) close(keep bool) error {
	var errs []error
	for _, b := range c.boxes {
		b.kill()
		if b.admin != nil {
			b.admin.Close()
		}
		if b.disk != nil {
			if keep {
				errs = append(errs, command("cp", "-a", b.disk.dir, b.disk.dir+".kept"))
			}
			errs = append(errs, b.disk.unmount())
		}
	}
	if c.net != nil {
		errs = append(errs, c.net.close())
	}
	if keep {
		return errors.Join(errs...)
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir))...)
}
