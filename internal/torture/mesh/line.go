package mesh

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

const (
	// piece is how much is carried at once, bytes.
	piece = 32 << 10
	// inFlight bounds what a connection has on a line in a direction, pieces; then its
	// sender's TCP fills up.
	inFlight = 64
	// resend is how long TCP waits at least before it sends a lost packet again.
	resend = 200 * time.Millisecond
)

// line is one direction between two nodes.
type line struct {
	mu            sync.Mutex
	open          chan struct{} // Closed while the line is open.
	isCut         bool
	delay, jitter time.Duration
	loss          float64
	random        *rand.Rand
	carried       map[*pair]bool // True: something of it waits.
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isCut {
		l.isCut, l.open = true, make(chan struct{})
	}
}

func (l *line) heal(broken bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.jitter, l.loss = 0, 0, 0
	if !l.isCut {
		return
	}
	for p, waits := range l.carried {
		if waits && broken {
			p.close()
		}
	}
	l.isCut = false
	close(l.open)
}

func (l *line) slow(delay, jitter time.Duration, loss float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay, l.jitter, l.loss = delay, jitter, loss
}

// await waits until the line is open; false: ctx has ended.
func (l *line) await(ctx context.Context) bool {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	select {
	case <-open:
		return true
	case <-ctx.Done():
		return false
	}
}

// arrival is when what is sent now arrives.
func (l *line) arrival(now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := l.delay
	if l.jitter > 0 {
		d += time.Duration(l.random.Int64N(int64(2*l.jitter))) - l.jitter
	}
	if l.loss > 0 && l.random.Float64() < l.loss {
		d += resend + time.Duration(l.random.Int64N(int64(resend)))
	}
	return now.Add(d)
}

// flight is a piece on its way; err: the end of what is read.
type flight struct {
	at   time.Time
	data []byte
	err  error
}

// carry carries one direction of a connection, in order, until it ends or fails. An end is
// passed on over the line, too.
func (l *line) carry(ctx context.Context, p *pair, from, to net.Conn) {
	queue := make(chan flight, inFlight)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(queue)
		for {
			buffer := make([]byte, piece)
			n, err := from.Read(buffer)
			select {
			case queue <- flight{l.arrival(time.Now()), buffer[:n], err}:
			case <-p.closed():
				return
			}
			if err != nil {
				return
			}
		}
	})
	if err := l.deliver(ctx, p, queue, to); !errors.Is(err, io.EOF) || closeWrite(to) != nil {
		p.close()
	}
	wg.Wait()
	l.mu.Lock()
	delete(l.carried, p)
	l.mu.Unlock()
}

// deliver writes what arrives when it arrives and the line is open.
func (l *line) deliver(ctx context.Context, p *pair, queue <-chan flight, to net.Conn) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for f := range queue {
		timer.Reset(time.Until(f.at))
		select {
		case <-timer.C:
		case <-p.closed():
			return net.ErrClosed
		}
		if !l.pass(ctx, p) {
			return net.ErrClosed
		}
		if _, err := to.Write(f.data); err != nil {
			return err
		}
		if f.err != nil {
			return f.err
		}
	}
	return net.ErrClosed
}

// pass waits with something in hand until the line is open; false: the connection is
// closed instead.
func (l *line) pass(ctx context.Context, p *pair) bool {
	l.mu.Lock()
	open, waits := l.open, l.isCut
	l.carried[p] = waits
	l.mu.Unlock()
	select {
	case <-open:
	case <-p.closed():
		return false
	case <-ctx.Done():
		return false
	}
	if waits {
		l.mu.Lock()
		l.carried[p] = false
		l.mu.Unlock()
	}
	return true
}

// pair is a connection to a door and the one that continues it.
type pair struct {
	near net.Conn

	mu   sync.Mutex
	far  net.Conn
	done chan struct{} // Made when first asked for.
	over bool
}

// closed is closed when the pair is.
func (p *pair) closed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ended()
}

func (p *pair) ended() chan struct{} {
	if p.done == nil {
		p.done = make(chan struct{})
	}
	return p.done
}

// connect continues the pair; false: it was closed meanwhile, and far is too.
func (p *pair) connect(far net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		_ = far.Close()
		return false
	}
	p.far = far
	return true
}

func (p *pair) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return
	}
	p.over = true
	close(p.ended())
	_ = p.near.Close()
	if p.far != nil {
		_ = p.far.Close()
	}
}

// closeWrite tells the reader of c that nothing more comes.
func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
