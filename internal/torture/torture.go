package torture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tongban/internal/torture/verdict"
)

// Networks.
const (
	Loopback   = "loopback"   // Relays; any user.
	Namespaces = "namespaces" // Network namespaces; root.
)

// Options say how a run is made. A zero field takes the default stated beside it.
type Options struct {
	Duration time.Duration // 60 s: of load under faults, without the start and the judgement.
	Seed     uint64        // A random one: it decides the faults, not what the machine makes of them.
	Binary   string        // The running program.
	Dir      string        // A fresh temporary folder; else this one, which is made.
	Keep     bool          // Leave the folder. After a violation it is left anyway.
	Network  string        // Loopback.
	NoDisks  bool          // No file system for each node, even if this user could make them.
	Faults   []string      // All Kinds.
	// Environment is given to the nodes' processes, NAME=value each.
	Environment []string
	// Slack is added to the time within which a node without a majority must answer: this
	// machine may be busy with other things. 0: none.
	Slack time.Duration
	Say   func(format string, args ...any) // Nobody is told.

	disks bool
}

// clientsOf are the clients of each workload.
const (
	registerClients, watchers, insertClients, bankClients, listClients, sessionClients = 4, 2, 2, 2, 3, 3
	allClients                                                                         = registerClients + watchers + insertClients + bankClients + listClients + sessionClients
)

// run is one run.
type run struct {
	o       Options
	cluster *cluster
	http    map[string]*http.Client
	hard    context.Context // Ends when even the last answers do not count.
	stuck   chan struct{}   // Closed when writes stand still for good: nobody repeats any.
	begun   time.Time
	clients int
	cannot  map[string]string // Kinds that cannot be tried, with the reason.

	histories histories
	counters
	pulse *pulse
	cuts  spans
	asked atomic.Int64

	mu        sync.Mutex
	report    Report
	surprises map[string]int
	failing   bool // A node's disk fails, and what it can read is anything; the others pass it on.
}

// Run makes one run. An error says that it could not be made; what it found is in the
// report.
func Run(ctx context.Context, o Options) (Report, error) {
	if err := o.complete(); err != nil {
		return Report{}, err
	}
	r := &run{o: o, clients: allClients, cannot: map[string]string{}, pulse: newPulse(), surprises: map[string]int{}, stuck: make(chan struct{})}
	r.report = Report{Seed: o.Seed, Network: o.Network, Faults: map[string]int{}, Violations: []string{}, NotRun: []NotRun{}}
	err := r.all(ctx)
	keep := o.Keep || err != nil || !r.report.OK()
	if r.cluster != nil {
		if r.gaveUp() {
			r.cluster.dump()
		}
		if keep {
			r.report.Dir = r.cluster.dir
			err = errors.Join(err, r.writeHistories())
		}
		err = errors.Join(err, r.cluster.close(keep))
	}
	return r.report, err
}

// complete fills in the defaults.
func (o *Options) complete() error {
	if o.Duration == 0 {
		o.Duration = time.Minute
	}
	if o.Seed == 0 {
		o.Seed = 1 + rand.Uint64N(1<<32)
	}
	if o.Network == "" {
		o.Network = Loopback
	}
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	for _, kind := range o.Faults {
		if !slices.Contains(Kinds(), kind) {
			return fmt.Errorf("there is no fault %q; there are %s", kind, strings.Join(Kinds(), ", "))
		}
	}
	if o.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the running program: %w", err)
		}
		o.Binary = self
	}
	return nil
}

func (o Options) say(format string, args ...any) { o.Say(format, args...) }

func (o Options) slack() time.Duration { return o.Slack }

func (o Options) wants(kind string) bool {
	return len(o.Faults) == 0 || slices.Contains(o.Faults, kind)
}

// longest is the longest that a fault is held.
func (o Options) longest() time.Duration {
	if o.Duration < time.Minute {
		return 3 * time.Second
	}
	return 10 * time.Second
}

// all is the run from the start to the judgement.
func (r *run) all(ctx context.Context) error {
	if err := r.prepare(); err != nil {
		return err
	}
	r.o.say("seed %d, in %s", r.o.Seed, r.cluster.dir)
	if err := r.cluster.found(ctx); err != nil {
		return fmt.Errorf("start the division: %w", err)
	}
	hard, end := context.WithCancel(ctx)
	defer end()
	r.hard, r.http = hard, httpClients(r.cluster, allClients)
	if err := r.sow(ctx); err != nil {
		return err
	}
	if err := r.load(ctx); err != nil {
		return err
	}
	r.o.say("%6.1f s  everything is whole again; the replicas are compared", float64(r.now())/1e9)
	return r.finish(ctx)
}

// prepare makes the folder, the network and the disks, and notes what cannot be had.
func (r *run) prepare() (err error) {
	c := &cluster{dir: r.o.Dir}
	if c.dir == "" {
		c.dir, err = os.MkdirTemp("", "tongban-torture-")
	} else {
		err = os.Mkdir(c.dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	r.cluster = c
	switch r.o.Network {
	case Loopback:
		c.net = newLoopback(r.o.Seed)
	case Namespaces:
		n, err := newNamespaces()
		if err != nil {
			return err
		}
		c.net = n
		r.cannot[Delay], r.cannot[Loss] = "there is no netem in network namespaces here; the loopback network has them", "there is no netem in network namespaces here; the loopback network has them"
	default:
		return fmt.Errorf("there is no network %q; there are %s and %s", r.o.Network, Loopback, Namespaces)
	}
	why := r.tryDisk()
	if r.o.disks = why == ""; !r.o.disks {
		r.cannot[PowerCut], r.cannot[FullDisk], r.cannot[DiskError] = why, why, why
	}
	r.cannot[Clock] = "the program has no switch for its clock, and a machine has one clock for all its processes"
	c.o = r.o
	for _, kind := range Kinds() {
		if why, cannot := r.cannot[kind]; cannot && r.o.wants(kind) {
			r.report.NotRun = append(r.report.NotRun, NotRun{kind, why})
		}
	}
	return nil
}

// tryDisk says why nodes cannot have file systems of their own; "": they can.
func (r *run) tryDisk() string {
	if r.o.NoDisks {
		return "disks of their own were not wanted"
	}
	d, err := newDisk(filepath.Join(r.cluster.dir, "try.img"), filepath.Join(r.cluster.dir, "try"))
	if err == nil {
		err = errors.Join(d.cutPower(), d.unmount())
	}
	if err := errors.Join(err, os.RemoveAll(filepath.Join(r.cluster.dir, "try.img")), os.RemoveAll(filepath.Join(r.cluster.dir, "try"))); err != nil {
		return err.Error()
	}
	return ""
}

// sow makes the tables, and waits until every replica has them.
func (r *run) sow(ctx context.Context) error {
	r.begun = time.Now()
	if err := r.newClient(0).seed(); err != nil {
		return err
	}
	for _, b := range r.cluster.boxes {
		d := r.cluster.door(b, r.http[b.name])
		short, cancel := context.WithTimeout(ctx, settlePatience)
		err := r.cluster.await(short, b.name+" has the tables", func() error {
			reply, err := d.query(short, "none", 0, sql(sum))
			if err != nil {
				return err
			}
			if n, err := reply.one(); err != nil || n != 2*accounts*money {
				return fmt.Errorf("the accounts hold %d, %w", n, err)
			}
			return nil
		})
		cancel()
		if err != nil {
			return err
		}
		if b.disk != nil {
			if err := b.disk.sync(); err != nil {
				return err
			}
		}
	}
	return nil
}

// load lets the clients work while the nemesis rages.
func (r *run) load(ctx context.Context) error {
	r.begun = time.Now()
	working, stop := context.WithCancel(ctx) // Until the last fault is over: its end shows in writes.
	defer stop()
	raging, over := context.WithTimeout(ctx, r.o.Duration)
	defer over()
	var wg sync.WaitGroup
	registers, lists := newKeys("r", 3, perRegister), newKeys("l", 3, perList)
	id := 0
	start := func(n int, work func(c *client)) {
		for range n {
			id++
			c := r.newClient(id)
			wg.Go(func() { work(c) })
		}
	}
	start(registerClients, func(c *client) { c.registers(working, registers) })
	start(watchers, func(c *client) { c.watch(working, registers) })
	start(insertClients, func(c *client) { c.inserts(working) })
	start(bankClients, func(c *client) { c.bank(working) })
	start(listClients, func(c *client) { c.lists(working, lists) })
	start(sessionClients, func(c *client) { c.session(working) })
	n := r.newNemesis()
	err := n.rage(raging)
	r.report.Seconds = time.Since(r.begun).Seconds()
	stop()
	wg.Wait()
	slices.Sort(n.gaps)
	if len(n.gaps) > 0 {
		at := func(share float64) int64 { return n.gaps[int(share*float64(len(n.gaps)-1))].Milliseconds() }
		r.report.Recovery = Recovery{at(0.5), at(0.99), at(1)}
	}
	return errors.Join(err, context.Cause(ctx))
}

// conclude fills in the rest of the report.
func (r *run) conclude() {
	for _, text := range slices.Sorted(maps.Keys(r.surprises)) {
		r.wrong("surprise: %s (%d times)", text, r.surprises[text])
	}
	r.report.Operations, r.report.Open = r.operations.Load(), r.open.Load()
	r.report.Refused, r.report.Unanswered, r.report.Minority = r.refused.Load(), r.failed.Load(), r.asked.Load()
	r.report.Linearizable = !slices.ContainsFunc(r.report.Violations, func(v string) bool {
		for _, kind := range []string{"register", "lists:", "stale:", "bank:", "session:"} {
			if strings.HasPrefix(v, kind) {
				return true
			}
		}
		return false
	})
}

// now is the time of the histories, nanoseconds since the start.
func (r *run) now() int64 { return time.Since(r.begun).Nanoseconds() }

// initial are the accounts with what is in them at first.
func (r *run) initial() map[string]int64 {
	all := map[string]int64{}
	for i := range accounts {
		all[fmt.Sprintf("s%d", i)], all[fmt.Sprintf("c%d", i)] = money, money
	}
	return all
}

// wrong notes a violation.
func (r *run) wrong(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	r.report.Violations = append(r.report.Violations, text)
	r.o.say("%6.1f s  WRONG: %s", float64(r.now())/1e9, text)
}

// surprise notes an answer that no correct node gives, once for each text: not while a power
// cut is under way, for the disk of a machine that is dying may give anything or nothing.
func (r *run) surprise(format string, args ...any) {
	if r.cuts.during(r.now()) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.failing {
		r.surprises[fmt.Sprintf(format, args...)]++
	}
}

// count notes a fault.
func (r *run) count(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Faults[kind]++
}

// keepPage keeps the picture of a register's history.
func (r *run) keepPage(key string, v verdict.RegisterVerdict) {
	f, err := os.Create(filepath.Join(r.cluster.dir, key+".html"))
	if err == nil {
		err = errors.Join(v.Visualize(f), f.Close())
	}
	if err != nil {
		r.o.say("keep the picture of %s: %v", key, err)
	}
}

// writeHistories keeps what the clients did, a line each.
func (r *run) writeHistories() error {
	f, err := os.Create(filepath.Join(r.cluster.dir, "history.jsonl"))
	if err != nil {
		return fmt.Errorf("keep the histories: %w", err)
	}
	defer f.Close()
	e := json.NewEncoder(f)
	h := &r.histories
	return errors.Join(write(e, "register", &h.registers), write(e, "watched", &h.watched), write(e, "insert", &h.inserts), write(e, "request", &h.requests),
		write(e, "transfer", &h.transfers), write(e, "balance", &h.balances), write(e, "lists", &h.txns), write(e, "session", &h.visits), f.Sync())
}

func write[T any](e *json.Encoder, what string, r *recorder[T]) error {
	for _, op := range r.all() {
		if err := e.Encode(map[string]any{what: op}); err != nil {
			return fmt.Errorf("keep the histories: %w", err)
		}
	}
	return nil
}
