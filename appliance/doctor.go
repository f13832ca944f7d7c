package appliance

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"tongban/node"
	"tongban/node/client"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/tenancy"
)

// State is what a check found.
type State string

// States.
const (
	OK   State = "ok"
	Warn State = "warn" // It works, but needs a look.
	Bad  State = "bad"  // It does not work, or will not after the next start.
)

// Check is the result of one check.
type Check struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Found string `json:"found"`         // One sentence.
	Fix   string `json:"fix,omitempty"` // The command that helps; empty when all is well.
}

// Report is the result of an examination.
type Report struct {
	Config  string  `json:"config"`
	Running bool    `json:"running"`
	State   State   `json:"state"` // The worst.
	Checks  []Check `json:"checks"`
}

// ExitCode is 0, 3 when something needs a look, 1 when something is bad.
func (r Report) ExitCode() int {
	switch r.State {
	case OK:
		return exit.OK
	case Warn:
		return exit.Degraded
	}
	return exit.Failed
}

// DoctorOptions say which node is examined. The functions are the machine's; tests bring
// others. A zero field takes the default stated beside it.
type DoctorOptions struct {
	File    string   // Configuration of the node.
	Environ []string // os.Environ().

	Now    func() time.Time                                // time.Now.
	Statfs func(dir string, st *syscall.Statfs_t) error    // syscall.Statfs.
	Limit  func(pid int) (files uint64, err error)         // Of a process, /proc/<pid>/limits.
	Memory func() (available, total uint64, err error)     // /proc/meminfo.
	Sync   func(dir string) (time.Duration, error)         // Writes and syncs a small file.
	Ask    func(ctx context.Context, s *node.Status) error // The node's admin socket.
	Tree   func(ctx context.Context, t *Tree) error        // Likewise.
}

func (o DoctorOptions) withDefaults() DoctorOptions {
	if o.Environ == nil {
		o.Environ = os.Environ()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Statfs == nil {
		o.Statfs = syscall.Statfs
	}
	if o.Limit == nil {
		o.Limit = openFileLimit
	}
	if o.Memory == nil {
		o.Memory = readMemory
	}
	if o.Sync == nil {
		o.Sync = timeSync
	}
	return o
}

// patient is a node while it is examined. What a check has learnt, later ones use.
type patient struct {
	o      DoctorOptions
	cfg    config.Config
	keys   *trust.Keys
	status *node.Status // Nil: the node does not answer.
	asked  error        // Why.

	tree      *Tree // Nil: the node does not answer.
	treeAsked error // Why.
}

// examination is one check. Those after the first need a configuration.
type examination struct {
	name string
	look func(*patient, context.Context) Check
}

// examinations are all checks, in an order in which the first that is bad is often the
// cause of the later ones.
var examinations = [...]examination{
	{"configuration", (*patient).checkConfig},
	{"data folder", (*patient).checkFolder},
	{"identity", (*patient).checkIdentity},
	{"keys", (*patient).checkKeys},
	{"certificate", (*patient).checkCertificate},
	{"authority", (*patient).checkAuthority},
	{"disk space", (*patient).checkSpace},
	{"disk writes", (*patient).checkWrites},
	{"file system", (*patient).checkFileSystem},
	{"clock", (*patient).checkClock},
	{"node", (*patient).checkNode},
	{"last stop", (*patient).checkLastStop},
	{"ports", (*patient).checkPorts},
	{"peers", (*patient).checkPeers},
	{"leaders", (*patient).checkLeaders},
	{"replicas", (*patient).checkReplicas},
	{"parent", (*patient).checkParent},
	{"children", (*patient).checkChildren},
	{"tree name", (*patient).checkTreeName},
	{"link port", (*patient).checkLinkPort},
	{"queues", (*patient).checkQueues},
	{"database files", (*patient).checkFiles},
	{"backup", (*patient).checkBackup},
	{"open files", (*patient).checkOpenFiles},
	{"memory", (*patient).checkMemory},
	{"service", (*patient).checkService},
}

// doctorWait bounds the whole examination of a node whose peers do not answer.
const doctorWait = 30 * time.Second

// Examine looks at a node, running or stopped, and changes nothing.
func Examine(ctx context.Context, o DoctorOptions) Report {
	ctx, cancel := context.WithTimeout(ctx, doctorWait)
	defer cancel()
	p := &patient{o: o.withDefaults()}
	r := Report{Config: o.File, State: OK}
	for i, e := range examinations {
		c := e.look(p, ctx)
		c.Name = e.name
		r.Checks = append(r.Checks, c)
		if i == 0 && c.State == Bad {
			break // Without a configuration there is nothing to look at.
		}
		if i == 0 {
			p.ask(ctx)
		}
	}
	r.Running = p.status != nil
	rank := []State{OK, Warn, Bad}
	r.State = slices.MaxFunc(r.Checks, func(a, b Check) int {
		return cmp.Compare(slices.Index(rank, a.State), slices.Index(rank, b.State))
	}).State
	return r
}

func fine(format string, args ...any) Check {
	return Check{State: OK, Found: fmt.Sprintf(format, args...)}
}

func found(s State, fix, format string, args ...any) Check {
	return Check{State: s, Found: fmt.Sprintf(format, args...), Fix: fix}
}

// ask asks the running node for its status.
func (p *patient) ask(ctx context.Context) {
	c := client.New(p.cfg)
	defer c.Close()
	ask, tree := p.o.Ask, p.o.Tree
	if ask == nil {
		ask = func(ctx context.Context, s *node.Status) error { return c.Get(ctx, "/node/status", s) }
	}
	if tree == nil {
		tree = func(ctx context.Context, t *Tree) error { return askTree(ctx, c, t) }
	}
	var s node.Status
	if p.asked = ask(ctx, &s); p.asked != nil {
		return
	}
	p.status = &s
	var t Tree
	if p.treeAsked = tree(ctx, &t); p.treeAsked == nil {
		p.tree = &t
	}
}

// start is the command that starts the node.
func (p *patient) start() string {
	if installed(p.cfg) {
		return "systemctl start tongban"
	}
	return "tongban run --config " + p.cfg.File
}

// installed says whether the configuration is the one that systemd's unit runs.
func installed(cfg config.Config) bool {
	_, err := os.Stat(unitFile)
	return err == nil && cfg.File == SystemConfig
}

func (p *patient) checkConfig(context.Context) Check {
	cfg, _, err := config.Read(p.o.File, p.o.Environ)
	if err != nil {
		fix := "tongban config show --origin --config " + p.o.File
		if _, statErr := os.Stat(p.o.File); os.IsNotExist(statErr) {
			fix = "tongban init --division CODE --dir " + filepath.Dir(p.o.File)
		}
		return found(Bad, fix, "%v", err)
	}
	p.cfg = cfg
	return fine("%s: node %s of %s %s", cfg.File, cfg.Node, cfg.Division.Level, cfg.Division.Code)
}

// divisionFile is the division database's file of this node.
func (p *patient) divisionFile() string {
	return filepath.Join(p.cfg.Data, "db", filepath.FromSlash(string(tenancy.DivisionDatabase)), "state.db")
}

// dialer is the TLS configuration for the node port of another node.
func (p *patient) dialer(to replication.NodeID) *tls.Config {
	return p.keys.Dialer(to, trust.ProtocolHTTP, nil, p.o.Now)
}
