package replication

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxReaders = 8 // Read connections a database; more views wait.
	// drainGrace is how long views may go on while the file waits to be replaced.
	drainGrace = time.Second
)

// pool holds the read connections of one database.
type pool struct {
	path    string
	opened  func()        // Follows the opening of a connection, with mu held.
	used    func()        // Follows each use.
	damaged func(error)   // See conn.
	slots   chan struct{} // One token for each connection in use.

	mu   sync.Mutex
	idle []*conn
	work map[*conn]struct{} // In use.
	// While the file is being replaced: closed afterwards. Views that come wait for it.
	draining chan struct{}
	hurry    chan struct{} // Closed when end is set.
	closed   bool

	end atomic.Pointer[error] // Why the views at work must end now; nil: they may go on.
}

func (p *pool) open(path string, opened, used func()) {
	p.path, p.opened, p.used = path, opened, used
	p.slots = make(chan struct{}, maxReaders)
	p.work = map[*conn]struct{}{}
	p.hurry = make(chan struct{})
}

// get waits for a connection, also until a file has been replaced. ErrClosed: the database
// has stopped. ErrReplaced: a view that was at work held the replacement up for too long;
// it may be the caller's own, so that waiting for the end could be waiting for oneself.
func (p *pool) get(ctx context.Context) (*conn, error) {
	for {
		p.mu.Lock()
		closed, draining, hurry := p.closed, p.draining, p.hurry
		p.mu.Unlock()
		if closed {
			return nil, ErrClosed
		}
		if draining != nil {
			select {
			case <-draining:
				continue
			case <-hurry:
				return nil, ErrReplaced
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		select {
		case p.slots <- struct{}{}:
		case <-hurry: // Perhaps for good: closed says so.
			if p.ends() != nil {
				return nil, p.ends()
			}
			continue
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		c, err := p.take()
		if c != nil || err != nil {
			return c, err
		}
	}
}

// try is get for a caller that cannot wait: errNoPin.
func (p *pool) try() (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		return nil, errNoPin
	}
	c, err := p.take()
	if c == nil && err == nil {
		err = errNoPin
	}
	return c, err
}

// take returns a connection, or none if the pool is being drained; it gives the slot back
// unless it returns one.
func (p *pool) take() (c *conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer func() {
		if c == nil {
			<-p.slots
		}
	}()
	if p.closed || p.draining != nil {
		return nil, nil
	}
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	} else {
		if c, err = openConn(p.path, readerConn); err != nil {
			if p.damaged != nil && faultOf(err) == faultDamage {
				p.damaged(err)
			}
			return nil, err
		}
		p.opened()
	}
	c.damaged = p.damaged
	p.work[c] = struct{}{}
	p.used()
	return c, nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	delete(p.work, c)
	p.used()
	if c.inTransaction() {
		c.close()
	} else {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	<-p.slots
}

// hurried is closed when the views at work must end.
func (p *pool) hurried() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hurry
}

// ends says why the views at work must end; nil if they need not.
func (p *pool) ends() error {
	if why := p.end.Load(); why != nil {
		return *why
	}
	return nil
}

// closeIdle closes the connections, unless one is in use, and calls then, before anybody
// gets a new one.
func (p *pool) closeIdle(then func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.work) > 0 || p.draining != nil {
		return nil
	}
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	return errors.Join(append(errs, then())...)
}

// drain lets no view begin, waits for those at work, ends them with ErrReplaced after
// drainGrace, and closes all connections. Nobody gets one until resume.
func (p *pool) drain() {
	p.mu.Lock()
	p.draining = make(chan struct{})
	p.mu.Unlock()
	p.empty(drainGrace, ErrReplaced)
}

// resume lets the views begin that have waited.
func (p *pool) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end.Swap(nil) != nil {
		p.hurry = make(chan struct{})
	}
	close(p.draining)
	p.draining = nil
}

// shut is drain for good: the views at work end with ErrClosed, at once.
func (p *pool) shut() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.empty(0, ErrClosed)
}

// empty takes all slots, so that no view is at work, and closes the connections.
func (p *pool) empty(grace time.Duration, why error) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	tick := time.NewTicker(interruptAgain)
	defer tick.Stop()
	for taken := 0; taken < maxReaders; {
		select {
		case p.slots <- struct{}{}:
			taken++
		case <-timer.C:
			p.hasten(why)
		case <-tick.C:
			p.interrupt()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.idle {
		c.close()
	}
	p.idle = nil
	for range maxReaders {
		<-p.slots
	}
}

// hasten tells the views at work why they must end.
func (p *pool) hasten(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end.CompareAndSwap(nil, &why) {
		close(p.hurry)
	}
}

// interrupt ends the statements of views that must end.
func (p *pool) interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end.Load() == nil {
		return
	}
	for c := range p.work {
		c.interrupt()
	}
}
