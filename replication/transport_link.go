package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// maxPending is how much of log entries may wait to be written on a connection.
	// A heartbeat waits behind it, so it must pass in less than HeartbeatTimeout: 0.3 s
	// at 100 Mbit/s. Requests without entries and answers are small and not counted.
	maxPending = 4 << 20
	// writeChunk is written within writeTimeout, or the peer is taken to be gone.
	writeChunk   = 256 << 10
	writeTimeout = 10 * time.Second
	// keepBuffer is the largest buffer that is used again.
	keepBuffer = 1 << 20
	readBuffer = 64 << 10
	// maxFailureText of an error is sent.
	maxFailureText = 1 << 10
)

var (
	errUnanswered = errors.New("no answer in time")
	errRefused    = errors.New("answered")
)

// link is one connection of the raft protocol, after its hellos. On the dialer's side it
// has calls that wait for answers, on the acceptor's it only writes.
type link struct {
	conn net.Conn
	peer NodeID

	ctx    context.Context // Ends with the link.
	cancel context.CancelCauseFunc
	wake   chan struct{} // Holds one token when pending is not empty.
	room   *semaphore.Weighted
	made   time.Time
	heard  atomic.Int64 // When the last frame came, in ns after made.

	// On the acceptor's side; guarded by transport.vows.mu.
	promised time.Time // Until when the groups that follow over this link do not vote.
	pinged   time.Time // The last ping.

	mu       sync.Mutex
	pending  []byte // Whole frames; the writer takes all at once.
	spare    []byte
	reserved int64 // Of room, by frames in pending.
	calls    map[uint64]*call
	seq      uint64
}

// call is a request under way. done is called exactly once.
type call struct {
	began time.Time
	timer *time.Timer
	done  func(payload []byte, err error)
}

func newLink(ctx context.Context, conn net.Conn, peer NodeID) *link {
	l := &link{
		conn: conn, peer: peer,
		wake:  make(chan struct{}, 1),
		room:  semaphore.NewWeighted(maxPending),
		calls: make(map[uint64]*call),
	}
	l.ctx, l.cancel = context.WithCancelCause(ctx)
	l.made = time.Now()
	return l
}

// lastHeard is when the last frame came.
func (l *link) lastHeard() time.Time { return l.made.Add(time.Duration(l.heard.Load())) }

// close ends the link; the first reason counts. Calls under way fail with it.
func (l *link) close(why error) {
	l.mu.Lock()
	l.cancel(why)
	calls := l.calls
	l.calls = nil
	l.mu.Unlock()
	_ = l.conn.Close()
	for _, c := range calls {
		c.timer.Stop()
		c.done(nil, l.reason())
	}
}

// reason is why the link has ended.
func (l *link) reason() error {
	return fmt.Errorf("replication: the connection with %s ended: %w", l.peer, context.Cause(l.ctx))
}

// request is what start sends.
type request struct {
	kind    frameKind
	group   DatabaseID
	bulk    int // Bytes of entries; 0: small, never waits for room.
	encode  func([]byte) []byte
	timeout time.Duration
	still   func() error // Says, when the link is chosen, why it is not to be sent; may be nil.
}

// start sends a request and returns its seq; done hears the answer. When the link has
// ended, or there was no room in time, start returns an error and done is not called.
// done must not block.
func (l *link) start(q request, done func(payload []byte, err error)) (uint64, error) {
	reserve := min(int64(q.bulk), maxPending)
	if reserve > 0 && !l.room.TryAcquire(reserve) {
		ctx, cancel := context.WithTimeout(l.ctx, q.timeout)
		err := l.room.Acquire(ctx, reserve)
		cancel()
		if l.ctx.Err() != nil {
			return 0, l.reason()
		} else if err != nil {
			return 0, fmt.Errorf("replication: the line to %s is too slow for what waits on it: %w", l.peer, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil || l.calls == nil {
		l.room.Release(reserve)
		return 0, l.reason()
	}
	from := len(l.pending)
	l.seq++
	seq := l.seq
	l.pending = q.encode(beginFrame(l.pending, q.kind, q.group, seq))
	if size := len(l.pending) - from; size > maxFrame {
		l.pending = l.pending[:from]
		l.room.Release(reserve)
		return 0, fmt.Errorf("replication: a request of %d bytes, where at most %d can be sent", size, maxFrame)
	}
	l.pending = endFrame(l.pending, from)
	l.reserved += reserve
	c := &call{began: time.Now(), done: done}
	c.timer = time.AfterFunc(q.timeout, func() { l.expire(seq) })
	l.calls[seq] = c
	l.wakeWriter()
	return seq, nil
}

// expire fails a call that was not answered. When nothing at all came since it was sent,
// the peer is taken to be gone.
func (l *link) expire(seq uint64) {
	l.mu.Lock()
	c := l.calls[seq]
	l.mu.Unlock()
	if c == nil {
		return
	}
	silent := !l.lastHeard().After(c.began)
	l.finish(seq, nil, fmt.Errorf("replication: %s: %w", l.peer, errUnanswered))
	if silent {
		l.close(errUnanswered)
	}
}

// finish ends a call, if it is still under way.
func (l *link) finish(seq uint64, payload []byte, err error) {
	l.mu.Lock()
	c := l.calls[seq]
	delete(l.calls, seq)
	l.mu.Unlock()
	if c != nil {
		c.timer.Stop()
		c.done(payload, err)
	}
}

// answer sends what a request is answered with: its response, or why there is none.
func (l *link) answer(seq uint64, response any, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return
	}
	from := len(l.pending)
	if err == nil {
		var encoded []byte
		encoded, err = appendResponse(beginFrame(l.pending, kindResponse, "", seq), response)
		if err == nil {
			l.pending = endFrame(encoded, from)
		}
	}
	if err != nil {
		text := err.Error()
		l.pending = appendFrame(l.pending[:from], frame{kind: kindFailure, seq: seq, payload: []byte(text[:min(len(text), maxFailureText)])})
	}
	l.wakeWriter()
}

// reply sends an answer that is none of raft's.
func (l *link) reply(seq uint64, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return
	}
	l.pending = appendFrame(l.pending, frame{kind: kindResponse, seq: seq, payload: payload})
	l.wakeWriter()
}

func (l *link) wakeWriter() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// write is the link's writer: it takes the whole pending buffer for each write.
func (l *link) write() {
	for {
		select {
		case <-l.wake:
		case <-l.ctx.Done():
			return
		}
		l.mu.Lock()
		b, reserved := l.pending, l.reserved
		l.pending, l.spare, l.reserved = l.spare[:0], nil, 0
		l.mu.Unlock()
		if err := writeAll(l.conn, b); err != nil {
			l.close(fmt.Errorf("write: %w", err))
			return
		}
		l.room.Release(reserved)
		if cap(b) <= keepBuffer {
			l.mu.Lock()
			l.spare = b
			l.mu.Unlock()
		}
	}
}

// writeAll writes b in chunks that each have writeTimeout, so that a slow line is told
// from a dead one.
func writeAll(conn net.Conn, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), writeChunk)
		if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// readAnswers is the dialer's reader. It returns why it stopped.
func (l *link) readAnswers(r *bufio.Reader) error {
	for {
		f, err := readFrame(r, maxFrame)
		if err != nil {
			return err
		}
		l.heard.Store(int64(time.Since(l.made)))
		switch f.kind {
		case kindResponse:
			l.finish(f.seq, f.payload, nil)
		case kindFailure:
			l.finish(f.seq, nil, fmt.Errorf("replication: %s %w: %.*s", l.peer, errRefused, maxFailureText, f.payload))
		default:
			return fmt.Errorf("an answer of kind %d", f.kind)
		}
	}
}
