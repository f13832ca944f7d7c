package replication

import (
	"context"
	"sync"
	"sync/atomic"
)

const maxReaders = 8 // Read connections a database; more views wait.

// pool holds the read connections of one database.
type pool struct {
	path     string
	slots    chan struct{} // One token for each connection in use.
	draining atomic.Bool   // Views must end: the file is about to go.

	mu   sync.Mutex
	idle []*conn
	used map[*conn]struct{}
}

func (p *pool) open(path string) {
	p.path = path
	p.slots = make(chan struct{}, maxReaders)
	p.used = map[*conn]struct{}{}
}

// get waits for a connection; ErrClosed once close has been called.
func (p *pool) get(ctx context.Context) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := p.take()
	if err != nil {
		<-p.slots
	}
	return c, err
}

func (p *pool) take() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.draining.Load() {
		return nil, ErrClosed
	}
	var c *conn
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	} else {
		var err error
		if c, err = openConn(p.path, readerConn); err != nil {
			return nil, err
		}
	}
	p.used[c] = struct{}{}
	return c, nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	delete(p.used, c)
	if c.inTransaction() {
		c.close()
	} else {
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	<-p.slots
}

// drain interrupts the views at work, waits for them, and closes all connections. Nobody
// gets one until resume.
func (p *pool) drain() {
	p.mu.Lock()
	p.draining.Store(true)
	for c := range p.used {
		c.interrupt()
	}
	p.mu.Unlock()
	for range maxReaders {
		p.slots <- struct{}{}
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

func (p *pool) resume() { p.draining.Store(false) }
