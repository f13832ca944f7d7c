package members

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"tongban/replication"
)

const (
	// eventBuffer holds what serf reports while Run does something else.
	eventBuffer = 256
	// rejoinEvery is how often a node that is alone tries the addresses it knows.
	rejoinEvery = 10 * time.Second

	tagCluster = "cluster" // Which division's pool; foreign ones are refused.
	tagPeer    = "peer"    // Node port.
)

// Options are the parts of a Pool.
type Options struct {
	Self      replication.NodeID
	Cluster   string // Same on all boxes of the division and on no other.
	Listen    string // host:port
	Advertise string // host:port; empty: Listen.
	Peer      string // Address of the node port, told to the others.
	Key       []byte // 32 bytes.
	Snapshot  string // File of serf's own memory.
	Fast      bool   // Timings for loopback: a crash is seen in a second or two.
	Log       *slog.Logger
	// Known returns gossip addresses to try when the pool is empty.
	Known func() []string
	// Changed is told of the members after each change.
	Changed func([]Member)
}

// Member is a node as gossip sees it.
type Member struct {
	ID     replication.NodeID `json:"id"`
	Up     bool               `json:"up"`
	Gossip string             `json:"gossip"` // host:port
	Peer   string             `json:"peer"`   // host:port
	Since  time.Time          `json:"since"`  // When this node saw it come or go; zero: before the start.
}

// Pool is this node's membership in the gossip pool of its division. Run follows it.
type Pool struct {
	opts   Options
	serf   *serf.Serf
	events chan serf.Event

	mu    sync.Mutex
	since map[replication.NodeID]time.Time
}

// OpenPool starts gossip. The caller runs Run until it closes the pool.
func OpenPool(opts Options) (*Pool, error) {
	p := &Pool{opts: opts, events: make(chan serf.Event, eventBuffer), since: map[replication.NodeID]time.Time{}}
	conf, err := p.config()
	if err != nil {
		return nil, err
	}
	if p.serf, err = serf.Create(conf); err != nil {
		return nil, fmt.Errorf("start gossip on %s: %w", opts.Listen, err)
	}
	return p, nil
}

func (p *Pool) config() (*serf.Config, error) {
	ml := memberlist.DefaultLANConfig()
	if p.opts.Fast {
		ml = memberlist.DefaultLocalConfig()
		ml.SuspicionMult, ml.ProbeInterval, ml.ProbeTimeout = 2, 250*time.Millisecond, 150*time.Millisecond
	}
	var err error
	if ml.BindAddr, ml.BindPort, err = hostPort(p.opts.Listen); err != nil {
		return nil, err
	}
	if p.opts.Advertise != "" {
		if ml.AdvertiseAddr, ml.AdvertisePort, err = hostPort(p.opts.Advertise); err != nil {
			return nil, err
		}
	}
	logger := slog.NewLogLogger(p.opts.Log.Handler(), slog.LevelDebug)
	ml.Name, ml.Logger, ml.Label = string(p.opts.Self), logger, p.opts.Cluster
	if ml.Keyring, err = memberlist.NewKeyring(nil, p.opts.Key); err != nil {
		return nil, fmt.Errorf("use the gossip key: %w", err)
	}
	conf := serf.DefaultConfig()
	conf.Init()
	conf.NodeName, conf.MemberlistConfig, conf.Logger, conf.EventCh = ml.Name, ml, logger, p.events
	conf.Tags = map[string]string{tagCluster: p.opts.Cluster, tagPeer: p.opts.Peer}
	conf.SnapshotPath, conf.RejoinAfterLeave, conf.ValidateNodeNames = p.opts.Snapshot, true, true
	conf.DisableCoordinates, conf.EnableNameConflictResolution = true, false
	conf.Merge = guard(p.opts.Cluster)
	// A stopping node waits for both; when all stop at once, nobody is left to hear.
	conf.LeavePropagateDelay, conf.BroadcastTimeout = 500*time.Millisecond, time.Second
	if p.opts.Fast {
		conf.LeavePropagateDelay, conf.BroadcastTimeout = 50*time.Millisecond, 500*time.Millisecond
	}
	return conf, nil
}

// hostPort resolves host:port, since memberlist wants an IP address.
func hostPort(address string) (string, int, error) {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return "", 0, fmt.Errorf("resolve the gossip address %s: %w", address, err)
	}
	return a.IP.String(), a.Port, nil
}

// guard refuses to merge with another division's pool.
type guard string

func (g guard) NotifyMerge(members []*serf.Member) error {
	for _, m := range members {
		if m.Tags[tagCluster] != string(g) {
			return fmt.Errorf("node %s belongs to another division's cluster", m.Name)
		}
	}
	return nil
}

// Run drains serf's events, tells Options.Changed, and rejoins when the pool is empty. It
// returns when ctx ends.
func (p *Pool) Run(ctx context.Context) error {
	tick := time.NewTicker(rejoinEvery)
	defer tick.Stop()
	p.rejoin()
	p.changed()
	for {
		select {
		case <-ctx.Done():
			return nil
		case e := <-p.events:
			if m, ok := e.(serf.MemberEvent); ok {
				p.note(m)
				p.changed()
			}
		case <-tick.C:
			p.rejoin()
		}
	}
}

func (p *Pool) note(e serf.MemberEvent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range e.Members {
		p.since[replication.NodeID(m.Name)] = time.Now() // For display alone; no replicated state.
		p.opts.Log.Info("gossip", "member", m.Name, "event", e.EventType().String())
	}
}

func (p *Pool) changed() {
	if p.opts.Changed != nil {
		p.opts.Changed(p.Members())
	}
}

func (p *Pool) rejoin() {
	if p.serf.State() != serf.SerfAlive || p.opts.Known == nil {
		return
	}
	alone := true
	for _, m := range p.Members() {
		alone = alone && (m.ID == p.opts.Self || !m.Up)
	}
	if known := p.opts.Known(); alone && len(known) > 0 {
		if _, err := p.serf.Join(known, true); err != nil {
			p.opts.Log.Debug("gossip join", "err", err)
		}
	}
}

// Members returns all members by id, those that are down too.
func (p *Pool) Members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Member
	for _, m := range p.serf.Members() {
		id := replication.NodeID(m.Name)
		list = append(list, Member{
			ID: id, Up: m.Status == serf.StatusAlive, Peer: m.Tags[tagPeer], Since: p.since[id],
			Gossip: net.JoinHostPort(m.Addr.String(), strconv.Itoa(int(m.Port))),
		})
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// Close leaves the pool and stops gossip.
func (p *Pool) Close() error {
	leave := p.serf.Leave()
	if err := p.serf.Shutdown(); err != nil {
		return errors.Join(leave, err)
	}
	<-p.serf.ShutdownCh()
	if leave != nil {
		return fmt.Errorf("leave gossip: %w", leave)
	}
	return nil
}
