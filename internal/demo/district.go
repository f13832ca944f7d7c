package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"tongban/division"
	"tongban/internal/demo/relay"
	"tongban/internal/process"
	"tongban/node"
	"tongban/node/client"
	"tongban/node/config"
	"tongban/replication"
	"tongban/tenancy"
)

// shownCode is the division whose boxes and departments are shown: 四川省广安市广安区.
const shownCode = "511602"

const (
	// startPatience bounds the start of one process: cold disks are slow.
	startPatience = 60 * time.Second
	// settlePatience bounds how long replicas may take to agree after a change of members.
	settlePatience = 2 * time.Minute
	// pollEvery is how often a condition is looked at.
	pollEvery = 20 * time.Millisecond
)

// District is a division on loopback, of one process a node. Close it. Its methods may be
// called concurrently where they say so.
type District struct {
	Division  division.Division
	Dir       string // Holds everything.
	Nodes     []*Node
	FirstBoot string // Code for the first administrator.

	binary    string
	databases bool // See Setting.
	say       *Progress
	http      *browser
	mu        sync.Mutex // Of the nodes' processes.
}

// Node is one box of a division.
type Node struct {
	Name   string
	URL    string // What people type, without a slash at the end.
	Config config.Config
	Admin  *client.Client

	proc *process.Process
}

// Setting says how a district is started. A zero field takes the default stated beside it.
type Setting struct {
	Binary   string    // The running program.
	Code     string    // 511602; the highest division of the code.
	Nodes    int       // 3.
	Dir      string    // A fresh temporary folder; else this one, which is made.
	Keep     bool      // Leave the folder after a start that failed.
	Progress *Progress // Says nothing.
	// Databases: every node listens for programs with application databases, at a port of
	// its own on loopback (Node.Config.Databases.Listen).
	Databases bool

	Slow   *relay.Slow // At full speed; how the lines of a tree are.
	SlowAt string      // Code: only the line above this division is slow. All.
	// Before is called when the divisions of a tree run and none is enrolled. Nothing.
	Before func(ctx context.Context, t *Tree) error
}

// slowAt is how the line above a division is.
func (s Setting) slowAt(code string) *relay.Slow {
	if s.SlowAt != "" && s.SlowAt != code {
		return nil
	}
	return s.Slow
}

// Start starts a division and returns when all its nodes vote on the division database. On
// an error nothing is left running.
func Start(ctx context.Context, s Setting) (*District, error) {
	if s.Code == "" {
		s.Code = shownCode
	}
	if s.Nodes == 0 {
		s.Nodes = 3
	}
	found, err := division.Lookup(s.Code)
	if err != nil {
		return nil, err
	}
	if s.Binary, err = programOf(s.Binary); err != nil {
		return nil, err
	}
	if s.Dir == "" {
		s.Dir, err = os.MkdirTemp("", "tongban-demo-")
	} else {
		err = os.Mkdir(s.Dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	d := &District{Division: found[0], Dir: s.Dir, binary: s.Binary, databases: s.Databases, say: s.Progress, http: newBrowser()}
	if err := d.start(ctx, s.Nodes); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", s.Code, err), d.Close(s.Keep))
	}
	return d, nil
}

// programOf is the binary, or the running program when that is empty.
func programOf(binary string) (string, error) {
	if binary != "" {
		return binary, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the running program: %w", err)
	}
	return self, nil
}

func (d *District) start(ctx context.Context, nodes int) error {
	if err := d.found(ctx); err != nil {
		return err
	}
	for len(d.Nodes) < nodes {
		if _, err := d.Join(ctx); err != nil {
			return err
		}
	}
	return d.Settle(ctx)
}

// ports asks init and join for free ones.
var ports = []string{"--web", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--link", "127.0.0.1:0"}

// found makes and starts the first node.
func (d *District) found(ctx context.Context) error {
	dir := filepath.Join(d.Dir, "n1")
	out, err := process.Run(ctx, d.binary, append([]string{"init", "--division", string(d.Division.Code), "--level", d.Division.Level.String(), "--dir", dir, "--node", "n1",
		"--recovery-file", filepath.Join(d.Dir, "recovery.txt")}, ports...)...)
	if err != nil {
		return err
	}
	if d.FirstBoot, err = codeIn(string(out)); err != nil {
		return err
	}
	return d.add(ctx, "n1", dir)
}

// codeIn is the code in what init prints for people: it stands on a line of its own,
// indented.
func codeIn(text string) (string, error) {
	for line := range strings.Lines(text) {
		if code, indented := strings.CutPrefix(line, "    "); indented {
			return strings.TrimSpace(code), nil
		}
	}
	return "", fmt.Errorf("init showed no code for the first administrator: %q", text)
}

// Join makes and starts one more node, with a token of the first, and returns when it
// answers people. Not concurrently.
func (d *District) Join(ctx context.Context) (*Node, error) {
	name := fmt.Sprintf("n%d", len(d.Nodes)+1)
	dir := filepath.Join(d.Dir, name)
	var token node.TokenReply
	if err := d.Nodes[0].Admin.Post(ctx, "/node/token", node.TokenRequest{Valid: "1h"}, &token); err != nil {
		return nil, fmt.Errorf("ask for a join token: %w", err)
	}
	if _, err := process.Run(ctx, d.binary, append([]string{"join", token.Token, "--dir", dir, "--node", name}, ports...)...); err != nil {
		return nil, err
	}
	if err := d.add(ctx, name, dir); err != nil {
		return nil, err
	}
	return d.Nodes[len(d.Nodes)-1], nil
}

// add starts the node of a folder.
func (d *District) add(ctx context.Context, name, dir string) error {
	file := filepath.Join(dir, config.FileName)
	if d.databases {
		if err := openDoor(file); err != nil {
			return err
		}
	}
	cfg, _, err := config.Read(file, nil)
	if err != nil {
		return err
	}
	// A browser keeps one set of cookies a name, whatever the port: whoever signs in at
	// another division is not to lose the session of the district.
	host := "127.0.0.1"
	if d.Division.Code == shownCode {
		host = "localhost"
	}
	n := &Node{Name: name, Config: cfg, URL: "http://" + net.JoinHostPort(host, portOf(cfg.Web.Listen)), Admin: client.New(cfg)}
	d.mu.Lock()
	d.Nodes = append(d.Nodes, n)
	d.mu.Unlock()
	return d.Run(ctx, n)
}

// openDoor gives the configuration that init or join wrote a listener for application
// databases.
func openDoor(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	const section = "[databases]\n"
	with := strings.Replace(string(text), section, fmt.Sprintf("%slisten = '%s'\n", section, l.Addr()), 1)
	if err := l.Close(); err != nil { // The node listens there next.
		return err
	}
	return os.WriteFile(file, []byte(with), 0o600)
}

// Run starts the processes of nodes that do not run, and returns when they answer people:
// one that is without a majority does not.
func (d *District) Run(ctx context.Context, nodes ...*Node) error {
	for _, n := range nodes {
		p, err := process.Start("node "+d.label(n), filepath.Join(d.Dir, n.Name+".log"), d.binary, "run", "--config", n.Config.File)
		if err != nil {
			return err
		}
		d.mu.Lock()
		n.proc = p
		d.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for _, n := range nodes {
		if err := d.await(ctx, "node "+d.label(n)+" answers", func() error { return d.http.healthy(ctx, n.URL) }); err != nil {
			return err
		}
		d.say.Step("node %s runs: process %d, %s", d.label(n), d.PID(n), n.URL)
	}
	return nil
}

// label names a node among those of all divisions.
func (d *District) label(n *Node) string { return string(d.Division.Code) + "/" + n.Name }

// PID is the process id of a node.
func (d *District) PID(n *Node) int { return d.processOf(n).PID() }

func (d *District) processOf(n *Node) *process.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	return n.proc
}

// errNoNode: all boxes of a division are dead.
var errNoNode = errors.New("no node runs")

// runs reports whether the node's process runs.
func (d *District) runs(n *Node) bool { return slices.Contains(d.Running(), n) }

// Running are the nodes whose process runs.
func (d *District) Running() []*Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*Node
	for _, n := range d.Nodes {
		if n.proc != nil && n.proc.Running() {
			list = append(list, n)
		}
	}
	return list
}

// Kill ends a node's process at once (SIGKILL).
func (d *District) Kill(n *Node) {
	d.processOf(n).Kill()
}

// StopNode stops a node's process in good order.
func (d *District) StopNode(n *Node) error {
	return d.processOf(n).Stop()
}

// Stop stops the processes of all nodes in good order, at the same time.
func (d *District) Stop() error { return process.StopAll(d.processes()) }

func (d *District) processes() []*process.Process {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*process.Process
	for _, n := range d.Nodes {
		if n.proc != nil {
			list = append(list, n.proc)
		}
	}
	return list
}

// Close stops all processes and removes the folder unless keep.
func (d *District) Close(keep bool) error {
	err := d.Stop()
	for _, n := range d.Nodes {
		n.Admin.Close()
	}
	d.http.close()
	if keep {
		return err
	}
	return errors.Join(err, os.RemoveAll(d.Dir))
}

// death is the first death of a process that nobody asked for.
func (d *District) death() error {
	for _, p := range d.processes() {
		if err := p.Death(); err != nil {
			return err
		}
	}
	return nil
}

// forgive makes the deaths so far no reason to give up: people kill boxes here.
func (d *District) forgive() {
	for _, p := range d.processes() {
		if !p.Running() {
			p.Expect()
		}
	}
}

// await polls until check returns nil. It returns a death at once, and what was missing
// last when ctx ends first.
func (d *District) await(ctx context.Context, what string, check func() error) error {
	return d.awaitEvery(ctx, pollEvery, what, check)
}

// awaitEvery is await with a look every so often.
func (d *District) awaitEvery(ctx context.Context, every time.Duration, what string, check func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		if dead := d.death(); dead != nil {
			return dead
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("never came: %s; last: %w", what, err)
		case <-tick.C:
		}
	}
}

// Databases asks a node for its replicas. Safe for concurrent use.
func (d *District) Databases(ctx context.Context, n *Node) ([]node.DatabaseStatus, error) {
	var list []node.DatabaseStatus
	return list, n.Admin.Get(ctx, "/node/databases", &list)
}

// Settle waits until every tenant's database and the division's are on all running nodes,
// all of them voters, and every replica is at its leader's index.
func (d *District) Settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	return d.await(ctx, "all replicas agree", func() error {
		expected, err := d.expected(ctx)
		if err != nil {
			return err
		}
		applied := map[replication.DatabaseID]replication.Index{}
		for _, n := range d.Running() {
			if err := d.caughtUp(ctx, n, expected, len(d.Nodes), applied); err != nil {
				return err
			}
		}
		return nil
	})
}

// CatchUp waits until a node has every database at its leader's index.
func (d *District) CatchUp(ctx context.Context, n *Node) error {
	ctx, cancel := context.WithTimeout(ctx, settlePatience)
	defer cancel()
	return d.await(ctx, "node "+d.label(n)+" has caught up", func() error {
		expected, err := d.expected(ctx)
		if err != nil {
			return err
		}
		return d.caughtUp(ctx, n, expected, len(d.Nodes), map[replication.DatabaseID]replication.Index{})
	})
}

// expected are the databases that the division has.
func (d *District) expected(ctx context.Context) (map[replication.DatabaseID]bool, error) {
	var list tenancy.TenantList
	running := d.Running()
	if len(running) == 0 {
		return nil, errNoNode
	}
	if err := running[0].Admin.Get(ctx, "/tenants", &list); err != nil {
		return nil, err
	}
	out := map[replication.DatabaseID]bool{tenancy.DivisionDatabase: true}
	for _, t := range list.Tenants {
		out[tenancy.MainDatabase(t.Slug)] = true
	}
	return out, nil
}

// caughtUp says what keeps a node from having every database at its leader's index, and at
// the index that the nodes before it had.
func (d *District) caughtUp(ctx context.Context, n *Node, expected map[replication.DatabaseID]bool, voters int,
	applied map[replication.DatabaseID]replication.Index) error {
	list, err := d.Databases(ctx, n)
	if err != nil {
		return err
	}
	if len(list) != len(expected) {
		return fmt.Errorf("node %s has %d of %d databases", n.Name, len(list), len(expected))
	}
	for _, s := range list {
		switch before, seen := applied[s.Database]; {
		case s.Err != "":
			return fmt.Errorf("database %s has stopped on node %s: %s", s.Database, n.Name, s.Err)
		case !expected[s.Database]:
			return fmt.Errorf("node %s has the database %s, which is no tenant's", n.Name, s.Database)
		case s.Leader == "":
			return fmt.Errorf("node %s knows no leader of %s", n.Name, s.Database)
		case len(s.Voters) != voters:
			return fmt.Errorf("database %s has %d voters on node %s", s.Database, len(s.Voters), n.Name)
		case s.Lag == nil || *s.Lag != 0:
			return fmt.Errorf("database %s lags behind its leader on node %s", s.Database, n.Name)
		case seen && before != s.Applied:
			return fmt.Errorf("database %s is at %d on node %s and at %d on another", s.Database, s.Applied, n.Name, before)
		}
		applied[s.Database] = s.Applied
	}
	return nil
}
