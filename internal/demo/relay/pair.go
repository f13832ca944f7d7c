package relay

import (
	"errors"
	"io"
	"net"
	"sync"
)

// chunk is how much is read at once, bytes.
const chunk = 32 << 10

// pair is a connection to the line and the one that continues it to the target.
type pair struct {
	near net.Conn
	done chan struct{} // Closed by close.

	mu     sync.Mutex
	far    net.Conn // Nil until connected.
	closed bool
}

func newPair(near net.Conn) *pair { return &pair{near: near, done: make(chan struct{})} }

// connect continues the pair with far; false: it was closed meanwhile, and far is too.
func (p *pair) connect(far net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = far.Close()
		return false
	}
	p.far = far
	return true
}

// close ends both connections at once. It may be called again.
func (p *pair) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	close(p.done)
	_ = p.near.Close()
	if p.far != nil {
		_ = p.far.Close()
	}
}

// copy carries one direction until its source ends, which is passed on, or until anything
// fails, which ends the pair.
func (l *Line) copy(p *pair, direction int, from, to net.Conn) {
	var err error
	over := through{to, &l.hole, p.done}
	if l.slow != nil {
		err = l.slow.copy(p.done, direction, from, over, meter{&l.read[direction], &l.written[direction], &l.pieces})
	} else {
		err = l.copyFast(direction, from, over)
	}
	if errors.Is(err, errReset) {
		l.broken.Add(1)
	}
	// The end of a connection crosses as its bytes do.
	if l.hole.pass(1, p.done) != nil || !errors.Is(err, io.EOF) || closeWrite(to) != nil {
		p.close()
	}
}

func (l *Line) copyFast(direction int, from, to net.Conn) error {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		l.read[direction].Add(int64(n))
		if n > 0 {
			l.pieces.Add(1)
			m, werr := to.Write(buffer[:n])
			l.written[direction].Add(int64(m))
			if werr != nil {
				return werr
			}
		}
		if err != nil {
			return err
		}
	}
}

// closeWrite tells the reader of c that nothing more comes.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
