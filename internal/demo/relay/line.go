package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// dialPatience bounds the connection to a target: it is on this machine.
const dialPatience = 2 * time.Second

// Counters are what a line has carried so far, bytes. They are exact when no connection
// is open, and otherwise behind by what is being copied.
type Counters struct {
	Up       int64 // From those who dialled the line to its targets.
	Down     int64 // Back.
	WhileCut int64 // Read or written, whichever is more, while the line was cut.
	Refused  int64 // Connections that were closed at once, because the line was cut.
	Opened   int64 // Connections that were not.
	Broken   int64 // Those that a slow line broke.
	Pieces   int64 // Reads, both directions: on an idle line, packets.
}

// Line is one line. It is safe for concurrent use. Close it.
type Line struct {
	listeners []net.Listener
	slow      *shaper // Nil: at full speed.
	hole      hole
	ctx       context.Context
	stop      context.CancelFunc
	accepting sync.WaitGroup

	switching sync.Mutex // Held by Cut, Heal and Close, so that they do not meet.
	mu        sync.Mutex // Of what follows.
	cut       bool
	pairs     map[*pair]struct{}
	carrying  sync.WaitGroup // One a pair; grows only while not cut.
	marked    bool           // The last Cut has ended, at mark.
	mark      totals
	crossed   int64 // While cut, before that.

	read, written [2]atomic.Int64 // By direction.
	refused       atomic.Int64
	opened        atomic.Int64
	broken        atomic.Int64
	pieces        atomic.Int64
}

// Directions.
const (
	up = iota
	down
)

// totals are both ends' counts of all copy loops.
type totals struct{ read, written int64 }

// Open listens on one free loopback port for each target (host:port). slow is nil for a
// line at full speed.
func Open(slow *Slow, targets ...string) (*Line, error) {
	l := &Line{pairs: map[*pair]struct{}{}}
	if slow != nil {
		l.slow = newShaper(*slow)
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	for _, target := range targets {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open a line to %s: %w", target, err), l.Close())
		}
		l.listeners = append(l.listeners, listener)
		l.accepting.Go(func() { l.accept(listener, target) })
	}
	return l, nil
}

// Addresses are the ports of the line, in the order of its targets.
func (l *Line) Addresses() []string {
	var list []string
	for _, one := range l.listeners {
		list = append(list, one.Addr().String())
	}
	return list
}

// accept takes connections until the listener is closed.
func (l *Line) accept(listener net.Listener, target string) {
	for {
		near, err := listener.Accept()
		if err != nil {
			return
		}
		p := newPair(near)
		if !l.enter(p) {
			l.refused.Add(1)
			_ = near.Close()
			continue
		}
		l.opened.Add(1)
		go func() { // Waited for by carrying.
			defer l.leave(p)
			if l.hole.pass(0, p.done) != nil {
				return
			}
			d := net.Dialer{Timeout: dialPatience}
			far, err := d.DialContext(l.ctx, "tcp", target)
			if err == nil && p.connect(far) {
				l.carry(p)
			}
		}()
	}
}

// enter makes the pair one that the next Cut closes; false: the line is cut.
func (l *Line) enter(p *pair) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return false
	}
	l.pairs[p] = struct{}{}
	l.carrying.Add(1)
	return true
}

func (l *Line) leave(p *pair) {
	p.close()
	l.mu.Lock()
	delete(l.pairs, p)
	l.mu.Unlock()
	l.carrying.Done()
}

// carry copies both directions until both have ended.
func (l *Line) carry(p *pair) {
	var wg sync.WaitGroup
	wg.Go(func() { l.copy(p, up, p.near, p.far) })
	wg.Go(func() { l.copy(p, down, p.far, p.near) })
	wg.Wait()
}

// Cut cuts the line. When it returns nothing crosses any more; see the package's guarantees.
func (l *Line) Cut() {
	l.switching.Lock()
	defer l.switching.Unlock()
	l.mu.Lock()
	was := l.cut
	l.cut = true
	for p := range l.pairs {
		p.close()
	}
	l.mu.Unlock()
	l.carrying.Wait()
	if was {
		return
	}
	l.mu.Lock()
	l.mark, l.marked = l.totals(), true
	l.mu.Unlock()
}

// Heal lets connections through again.
func (l *Line) Heal() {
	l.switching.Lock()
	defer l.switching.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut {
		return
	}
	l.crossed += l.sinceMark()
	l.cut, l.marked = false, false
}

// IsCut reports whether the line is cut.
func (l *Line) IsCut() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// Counters returns what the line has carried.
func (l *Line) Counters() Counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Counters{Up: l.written[up].Load(), Down: l.written[down].Load(), WhileCut: l.crossed, Refused: l.refused.Load(),
		Opened: l.opened.Load(), Broken: l.broken.Load(), Pieces: l.pieces.Load()}
	if l.marked {
		c.WhileCut += l.sinceMark()
	}
	return c
}

// sinceMark is what crossed since the end of the last Cut; mu is held.
func (l *Line) sinceMark() int64 {
	now := l.totals()
	return max(now.read-l.mark.read, now.written-l.mark.written)
}

func (l *Line) totals() totals {
	return totals{l.read[up].Load() + l.read[down].Load(), l.written[up].Load() + l.written[down].Load()}
}

// Close closes the line for good.
func (l *Line) Close() error {
	l.stop()
	var errs []error
	for _, listener := range l.listeners {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("close a line: %w", err))
		}
	}
	l.accepting.Wait()
	l.Cut()
	return errors.Join(errs...)
}
