package replication

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// The failure detector is of nodes, not of groups: one ping per peer and a fifth of
// Options.HeartbeatTimeout, on the connection that carries raft's messages, so that a line
// that is up for one is up for the other. What rests on it: elections (election.go), the
// leases (lease.go), who may write (quorum.go).

// Peer is another node as this one sees it.
type Peer struct {
	Node  NodeID
	Up    bool          // It answers.
	Since time.Time     // The last change of Up; when it was first looked for, if there was none.
	RTT   time.Duration // Of the newest ping that was answered; 0: none was.
}

const (
	pingsPerTimeout = 5
	// upAfter pings in a row must be answered before a peer counts as up. A line that
	// flaps doubles that each time, up to mostUpAfter, until it has held for calmAfter
	// heartbeat timeouts.
	upAfter     = 2
	mostUpAfter = 16
	calmAfter   = 20
)

// pulse is what this node knows of a peer's life. Guarded by mu.
type pulse struct {
	mu     sync.Mutex
	stop   context.CancelFunc // Of the watching; nil: nobody watches.
	up     bool
	since  time.Time
	rtt    time.Duration
	streak int // Answers in a row, on one link.
	need   int
	heard  time.Time     // When something came last.
	missed int           // Pings since.
	alive  bool          // As judge saw it last.
	rose   chan struct{} // Closed when the peer is up.
	// The newest ping that was answered; see lease.go.
	link   *link
	sent   time.Time
	breaks uint64
}

// detect begins the watching of peers. changed is called after a peer's state has changed,
// from several goroutines; it must not block. standing answers what peers ask about elections.
func (t *transport) detect(h time.Duration, changed func(n NodeID), standing func(from NodeID, q question) standing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.silence, t.promise, t.lease = h, h*6/10, h*4/10
	t.changed, t.standing = changed, standing
}

// watch sees to it that n is pinged from now on.
func (t *transport) watch(n NodeID) *peer {
	p := t.peer(n)
	if n == t.self || t.silence == 0 {
		return p
	}
	p.pulse.mu.Lock()
	defer p.pulse.mu.Unlock()
	if p.pulse.stop != nil {
		return p
	}
	ctx, cancel := context.WithCancel(t.ctx)
	if !t.spawn(func() { p.beat(ctx) }) {
		cancel()
		return p
	}
	p.pulse.stop, p.pulse.need, p.pulse.since = cancel, upAfter, time.Now()
	p.pulse.heard, p.pulse.missed = time.Time{}, 0
	return p
}

// unwatch ends it.
func (t *transport) unwatch(n NodeID) {
	p := t.peer(n)
	p.pulse.mu.Lock()
	defer p.pulse.mu.Unlock()
	if p.pulse.stop != nil {
		p.pulse.stop()
		p.pulse.stop = nil
		p.fall()
	}
}

// peerStates lists the watched peers by name.
func (t *transport) peerStates() []Peer {
	t.mu.Lock()
	peers := slices.Collect(maps.Values(t.peers))
	t.mu.Unlock()
	var out []Peer
	for _, p := range peers {
		p.pulse.mu.Lock()
		if p.pulse.stop != nil {
			out = append(out, Peer{Node: p.id, Up: p.pulse.up, Since: p.pulse.since, RTT: p.pulse.rtt})
		}
		p.pulse.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Peer) int { return strings.Compare(string(a.Node), string(b.Node)) })
	return out
}

// up says whether n answers, and since when.
func (t *transport) up(n NodeID) (bool, time.Time) {
	if n == t.self {
		return true, time.Time{}
	}
	p := t.peer(n)
	p.pulse.mu.Lock()
	defer p.pulse.mu.Unlock()
	return p.pulse.up, p.pulse.since
}

// alive says whether n lives as far as can be seen from here: it answers, or its own pings
// arrive.
func (t *transport) alive(n NodeID) bool {
	if n == t.self {
		return true
	}
	if up, _ := t.up(n); up {
		return true
	}
	t.mu.Lock()
	l := t.from[n]
	t.mu.Unlock()
	if l == nil || l.ctx.Err() != nil {
		return false
	}
	t.vows.mu.Lock()
	defer t.vows.mu.Unlock()
	return time.Since(l.pinged) < t.silence
}

// rising returns a channel that is closed when the peer is up, now or later.
func (p *peer) rising() <-chan struct{} {
	p.pulse.mu.Lock()
	defer p.pulse.mu.Unlock()
	if p.pulse.rose == nil {
		p.pulse.rose = make(chan struct{})
		if p.pulse.up {
			close(p.pulse.rose)
		}
	}
	return p.pulse.rose
}

// rise marks the peer as up. The caller holds pulse.mu.
func (p *peer) rise(now time.Time) {
	u := &p.pulse
	u.up, u.since = true, now
	if u.rose != nil {
		close(u.rose)
	}
}

// fall marks the peer as down. The caller holds pulse.mu.
func (p *peer) fall() (was bool) {
	u := &p.pulse
	was, u.streak = u.up, 0
	if !was {
		return false
	}
	if time.Since(u.since) < calmAfter*p.t.silence {
		u.need = min(2*u.need, mostUpAfter)
	} else {
		u.need = upAfter
	}
	u.up, u.since, u.rose = false, time.Now(), nil
	return true
}

// beat pings the peer, and redials it, until ctx ends.
func (p *peer) beat(ctx context.Context) {
	tick := time.NewTicker(p.t.silence / pingsPerTimeout)
	defer tick.Stop()
	for {
		l, refused := p.live()
		if l != nil {
			p.ping(l)
		}
		p.judge(l, refused)
		select {
		case <-tick.C:
			p.count()
		case <-p.nudged:
		case <-ctx.Done():
			return
		}
	}
}

// count counts the pings in a row after which nothing was heard. Only they make a peer
// silent: a clock would also run while this process, or this machine, stands still.
func (p *peer) count() {
	p.pulse.mu.Lock()
	defer p.pulse.mu.Unlock()
	p.pulse.missed++
}

func (p *peer) nudge() {
	select {
	case p.nudged <- struct{}{}:
	default:
	}
}

// live is the connection, if there is one; else it dials when it is time for that.
// refused: the last dial, after the connection's end, has failed.
func (p *peer) live() (l *link, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.link != nil && p.link.ctx.Err() == nil {
		return p.link, false
	}
	if p.dialing == nil && !time.Now().Before(p.retry) {
		p.dial()
	}
	return nil, p.failures > 0
}

// ping sends one ping; the answer is noted by ponged.
func (p *peer) ping(l *link) {
	sent := time.Now()
	_, _ = l.start(request{
		kind: kindPing, timeout: max(rpcTimeout, 3*p.t.silence),
		encode: func(b []byte) []byte { return b },
	}, func(payload []byte, err error) {
		if err != nil {
			return // judge sees the silence, and the end of the link.
		}
		r := byteReader{b: payload}
		breaks := r.uvarint()
		if err := r.end(); err != nil {
			l.close(err)
			return
		}
		p.ponged(l, sent, breaks)
	})
}

func (p *peer) ponged(l *link, sent time.Time, breaks uint64) {
	u := &p.pulse
	u.mu.Lock()
	moved := u.link != l && u.up
	if u.link != l {
		if l.ctx.Err() != nil || u.stop == nil {
			u.mu.Unlock()
			return
		}
		u.link, u.sent, u.streak = l, time.Time{}, 0
	}
	now := time.Now()
	u.heard, u.missed = now, 0
	if sent.After(u.sent) {
		u.sent, u.breaks, u.rtt = sent, breaks, now.Sub(sent)
	}
	u.streak++
	rises := !u.up && u.streak >= u.need
	if rises {
		p.rise(now)
	}
	again := !u.up && u.need == upAfter
	u.mu.Unlock()
	if rises {
		p.t.log.Debug("a node is up", "node", p.id)
	}
	if rises || moved { // It has heard nothing of the databases on a connection that is new.
		p.t.changed(p.id)
	}
	if again { // The first answer of a peer that is new: no reason to wait.
		p.nudge()
	}
}

// judge finds out whether a peer that was up is down: its process does not take connections
// any more, or nothing came from it for the heartbeat timeout.
func (p *peer) judge(l *link, refused bool) {
	u := &p.pulse
	u.mu.Lock()
	last := u.heard
	if l != nil && l.lastHeard().After(last) {
		last, u.heard, u.missed = l.lastHeard(), l.lastHeard(), 0
	}
	quiet := u.missed > pingsPerTimeout && time.Since(last) > p.t.silence
	fell := false
	if quiet || refused {
		fell = p.fall()
	}
	u.mu.Unlock()
	if fell {
		p.t.log.Info("a node is down", "node", p.id, "silent", time.Since(last))
	}
	alive := p.t.alive(p.id)
	u.mu.Lock()
	died := u.alive && !alive
	u.alive = alive
	u.mu.Unlock()
	if fell || died {
		p.t.changed(p.id)
	}
}
