package replicationtest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"

	"tongban/replication"
)

// stream is one direction of a connection: chunks, each with the time at which it arrives.
type stream struct {
	lines    *Lines
	from, to replication.NodeID

	mu      sync.Mutex
	changed chan struct{} // Closed and replaced when something has changed.
	chunks  []chunk
	size    int
	last    time.Time // When the newest chunk arrives: the order stays.
	end     error     // io.EOF after the chunks, or errReset at once.
	endAt   time.Time
	deaf    bool // Its reader has closed: a writer gets errReset.
	dropped bool // Its reader has no power: a writer does not notice.
	// Deadlines of the two sides; zero: none.
	readBy, writeBy time.Time
}

type chunk struct {
	data []byte
	at   time.Time
}

func newStream(n *Lines, from, to replication.NodeID) *stream {
	return &stream{lines: n, from: from, to: to, changed: make(chan struct{})}
}

func (s *stream) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notifyLocked()
}

func (s *stream) notifyLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// finish ends the stream after what is under way, at the earliest after wait.
func (s *stream) finish(wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil {
		s.end, s.endAt = io.EOF, time.Now().Add(wait)
	}
	s.notifyLocked()
}

// reset ends it at once, for both sides; what is under way is lost.
func (s *stream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end, s.chunks, s.size = errReset, nil, 0
	s.notifyLocked()
}

// drop is a power cut at the reader.
func (s *stream) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped, s.chunks, s.size = true, nil, 0
	s.notifyLocked()
}

// close is what a reader does: nobody will read any more.
func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf, s.chunks, s.size = true, nil, 0
	s.notifyLocked()
}

// until waits for a change, or for the earlier of two times; a zero time never comes.
func until(changed <-chan struct{}, times ...time.Time) {
	var next time.Time
	for _, t := range times {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if next.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(next))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

func past(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (s *stream) read(b []byte) (int, error) {
	for {
		s.mu.Lock()
		changed := s.changed // Before what may change.
		s.mu.Unlock()
		holed := s.lines.holed(s.from, s.to)
		s.mu.Lock()
		var wake time.Time
		switch {
		case s.deaf:
			s.mu.Unlock()
			return 0, net.ErrClosed
		case s.dropped || s.end == errReset: //nolint:errorlint // It is ours.
			s.mu.Unlock()
			return 0, errReset
		case past(s.readBy):
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case holed:
		case len(s.chunks) > 0:
			if past(s.chunks[0].at) {
				n := s.take(b)
				s.mu.Unlock()
				return n, nil
			}
			wake = s.chunks[0].at
		case s.end != nil:
			if past(s.endAt) {
				s.mu.Unlock()
				return 0, s.end
			}
			wake = s.endAt
		}
		by := s.readBy
		s.mu.Unlock()
		until(changed, wake, by)
	}
}

// take reads what has arrived. The caller holds mu.
func (s *stream) take(b []byte) (n int) {
	for len(s.chunks) > 0 && n < len(b) && past(s.chunks[0].at) {
		k := copy(b[n:], s.chunks[0].data)
		n += k
		if s.chunks[0].data = s.chunks[0].data[k:]; len(s.chunks[0].data) == 0 {
			s.chunks = s.chunks[1:]
		}
	}
	if s.size >= window {
		defer s.notifyLocked()
	}
	s.size -= n
	return n
}

func (s *stream) write(b []byte) (int, error) {
	at := time.Now().Add(s.lines.transit(s.from, s.to))
	for {
		s.mu.Lock()
		switch {
		case s.end != nil || s.deaf:
			s.mu.Unlock()
			return 0, errReset
		case s.dropped:
			s.mu.Unlock()
			return len(b), nil
		case past(s.writeBy):
			s.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case s.size < window:
			if at.Before(s.last) {
				at = s.last
			}
			s.last = at
			s.chunks = append(s.chunks, chunk{append([]byte(nil), b...), at})
			s.size += len(b)
			s.notifyLocked()
			s.mu.Unlock()
			return len(b), nil
		}
		changed, by := s.changed, s.writeBy
		s.mu.Unlock()
		until(changed, by)
	}
}

// conn is one end of a connection.
type conn struct {
	self, peer replication.NodeID
	in, out    *stream
}

// Read reads what has arrived.
func (c *conn) Read(b []byte) (int, error) { return c.in.read(b) }

// Write sends; it waits while the window is full.
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }

// Close ends both directions; the other side reads what is under way.
func (c *conn) Close() error {
	c.in.close()
	c.out.finish(c.out.lines.transit(c.self, c.peer))
	c.out.lines.forget(c)
	return nil
}

// LocalAddr is the node.
func (c *conn) LocalAddr() net.Addr { return address(c.self) }

// RemoteAddr is the other node.
func (c *conn) RemoteAddr() net.Addr { return address(c.peer) }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline bounds Reads.
func (c *conn) SetReadDeadline(t time.Time) error { c.in.deadline(&c.in.readBy, t); return nil }

// SetWriteDeadline bounds Writes.
func (c *conn) SetWriteDeadline(t time.Time) error { c.out.deadline(&c.out.writeBy, t); return nil }

func (s *stream) deadline(which *time.Time, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*which = t
	s.notifyLocked()
}

type address replication.NodeID

// Network is "lines".
func (address) Network() string { return "lines" }

// String is the node's name.
func (a address) String() string { return string(a) }
