package relay

import (
	"net"
	"sync"
)

// mtu is what still crosses a [Narrow] line at once, bytes: a small question and its
// answer, and none of the full packets of a batch.
const mtu = 1200

// Hole is how packets vanish on a line without a word: no connection ends by it.
type Hole int

// Holes.
const (
	Whole  Hole = iota // None.
	Black              // Everything vanishes, the first packet of a new connection too.
	Narrow             // What is longer than mtu vanishes, with all that follows it on its connection.
)

// hole is the state of a line. Its zero value is Whole.
type hole struct {
	mu      sync.Mutex
	is      Hole
	changed chan struct{} // Closed by the next change; nil: nobody waits.
}

// Vanish makes packets vanish from now on, until it is called again. What has vanished
// arrives after that on connections that are still there, as TCP sends it again.
func (l *Line) Vanish(h Hole) {
	l.hole.mu.Lock()
	defer l.hole.mu.Unlock()
	l.hole.is = h
	if l.hole.changed != nil {
		close(l.hole.changed)
		l.hole.changed = nil
	}
}

// pass waits until n bytes cross; 0: the first packet of a connection. It fails when done
// is closed first.
func (h *hole) pass(n int, done <-chan struct{}) error {
	for {
		h.mu.Lock()
		if h.is == Whole || h.is == Narrow && n <= mtu {
			h.mu.Unlock()
			return nil
		}
		if h.changed == nil {
			h.changed = make(chan struct{})
		}
		changed := h.changed
		h.mu.Unlock()
		select {
		case <-changed:
		case <-done:
			return net.ErrClosed
		}
	}
}

// through is the far end of a direction, as a line with a hole reaches it.
type through struct {
	net.Conn
	hole *hole
	done <-chan struct{}
}

// Write waits until what is written crosses; net.ErrClosed when the pair ends before.
func (t through) Write(b []byte) (int, error) {
	if err := t.hole.pass(len(b), t.done); err != nil {
		return 0, err
	}
	return t.Conn.Write(b)
}
