package mesh

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// dialPatience bounds connecting to a node on this machine.
const dialPatience = 5 * time.Second

// Way is a direction between two nodes.
type Way struct{ From, To string }

// Mesh is the network. Close it. Its methods may be called concurrently.
type Mesh struct {
	ctx  context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup
	who  func(net.Addr) (string, bool) // Whose socket this is.

	mu     sync.Mutex
	random *rand.Rand
	doors  map[string]*door
	lines  map[Way]*line
	pids   map[string]int
	strict bool
	// strangers are the connections of processes that are no node, or were not known to be
	// one yet.
	strangers map[*pair]bool
}

// door is where the others reach a node.
type door struct {
	listener net.Listener
	target   string // Empty: nobody is there yet.
}

// New returns a mesh without nodes. The seed decides the jitter and the losses.
func New(seed uint64) *Mesh {
	m := &Mesh{random: rand.New(rand.NewPCG(seed, 0x6d657368)), doors: map[string]*door{}, lines: map[Way]*line{}, pids: map[string]int{}, strangers: map[*pair]bool{}}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.who = m.owner
	return m
}

// Door opens the door of a node and returns its address. Connections wait until Target.
func (m *Mesh) Door(node string) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("open a door for %s: %w", node, err)
	}
	m.mu.Lock()
	m.doors[node] = &door{listener: l}
	m.mu.Unlock()
	m.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			m.wg.Go(func() { m.serve(node, c) })
		}
	})
	return l.Addr().String(), nil
}

// Target says where a node itself listens.
func (m *Mesh) Target(node, address string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doors[node].target = address
}

// Process says which process a node is now.
func (m *Mesh) Process(node string, pid int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pids[node] = pid
}

// Strict ends and refuses connections of processes that are no node, from here on; until
// then they cross lines that are never cut.
func (m *Mesh) Strict() {
	m.mu.Lock()
	m.strict = true
	strangers := slices.Collect(maps.Keys(m.strangers))
	m.mu.Unlock()
	for _, p := range strangers {
		p.close()
	}
}

// admit says where a connection to a node's door goes on; "": nowhere.
func (m *Mesh) admit(to string, known bool, p *pair) (target string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case known:
	case m.strict:
		return ""
	default:
		m.strangers[p] = true
	}
	return m.doors[to].target
}

func (m *Mesh) forget(p *pair) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.strangers, p)
}

// line returns the line of a way.
func (m *Mesh) line(w Way) *line {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lines[w] == nil {
		m.lines[w] = &line{open: make(chan struct{}), carried: map[*pair]bool{}, random: rand.New(rand.NewPCG(m.random.Uint64(), 0))}
		close(m.lines[w].open)
	}
	return m.lines[w]
}

// Cut makes black holes of ways.
func (m *Mesh) Cut(ways ...Way) {
	for _, w := range ways {
		m.line(w).cut()
	}
}

// Heal opens ways again, at full speed. Broken: connections that had something waiting
// break instead of delivering it.
func (m *Mesh) Heal(broken bool, ways ...Way) {
	for _, w := range ways {
		m.line(w).heal(broken)
	}
}

// Slow delays a way's data by delay ± jitter; a share loss of the pieces takes another
// 200–400 ms, as a packet does that TCP must send again.
func (m *Mesh) Slow(delay, jitter time.Duration, loss float64, ways ...Way) {
	for _, w := range ways {
		m.line(w).slow(delay, jitter, loss)
	}
}

// serve carries one connection to a node's door.
func (m *Mesh) serve(to string, near net.Conn) {
	p := &pair{near: near}
	defer p.close()
	from, known := m.who(near.RemoteAddr())
	target := m.admit(to, known, p)
	defer m.forget(p)
	if target == "" {
		return
	}
	there, back := m.line(Way{from, to}), m.line(Way{to, from})
	stop := context.AfterFunc(m.ctx, p.close)
	defer stop()
	if !there.await(m.ctx) { // A connection request waits as data does.
		return
	}
	far, err := (&net.Dialer{Timeout: dialPatience}).DialContext(m.ctx, "tcp", target)
	if err != nil || !p.connect(far) {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { there.carry(m.ctx, p, near, far) })
	wg.Go(func() { back.carry(m.ctx, p, far, near) })
	wg.Wait()
}

// Close ends the network for good.
func (m *Mesh) Close() error {
	m.stop()
	m.mu.Lock()
	var errs []error
	for _, d := range m.doors {
		if err := d.listener.Close(); err != nil {
			errs = append(errs, fmt.Errorf("close a door: %w", err))
		}
	}
	m.mu.Unlock()
	m.wg.Wait()
	return errors.Join(errs...)
}
