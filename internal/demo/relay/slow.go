package relay

import (
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Slow is a poor line. Loss is seen as TCP's user sees it: as a wait for the packet that
// is sent again, or as a connection that breaks.
type Slow struct {
	BitsPerSecond int           // Each direction, shared by all connections.
	RoundTrip     time.Duration // Half of it in each direction.
	Stalls        float64       // Share of packets that are lost and sent again.
	StallFor      time.Duration // Up to twice this until such a packet arrives; what follows it waits.
	Resets        float64       // Share of packets after which the connection breaks.
	Seed          uint64
}

// Village is the line by which the slowest division is measured: 64 kbit/s, 800 ms
// there and back, two packets in a hundred lost, and one in four thousand lost for good.
func Village(seed uint64) Slow {
	return Slow{BitsPerSecond: 64_000, RoundTrip: 800 * time.Millisecond, Stalls: 0.02, StallFor: time.Second,
		Resets: 1.0 / 4000, Seed: seed}
}

const (
	// packet is what a slow line carries at once, bytes: as an Ethernet frame.
	packet = 1460
	// inFlight bounds what a connection has on a slow line, packets: what the line holds
	// in a round trip, and a modem's buffer.
	inFlight = 16
)

// errReset breaks a connection on purpose.
var errReset = errors.New("relay: the slow line broke the connection")

// shaper paces all connections of a slow line.
type shaper struct {
	o Slow

	mu     sync.Mutex
	random *rand.Rand
	free   [2]time.Time // When a direction has carried all that was given to it.
}

func newShaper(o Slow) *shaper {
	return &shaper{o: o, random: rand.New(rand.NewPCG(o.Seed, o.Seed^0x9e3779b97f4a7c15))}
}

// fate is when a packet arrives, and whether the connection breaks instead.
type fate struct {
	at    time.Time
	reset bool
}

// send gives n bytes to the line now.
func (s *shaper) send(direction, n int, now time.Time) fate {
	s.mu.Lock()
	defer s.mu.Unlock()
	begin := now
	if s.free[direction].After(begin) {
		begin = s.free[direction]
	}
	s.free[direction] = begin.Add(time.Duration(float64(n*8) / float64(s.o.BitsPerSecond) * float64(time.Second)))
	f := fate{at: s.free[direction].Add(s.o.RoundTrip / 2)}
	if s.random.Float64() < s.o.Stalls {
		f.at = f.at.Add(time.Duration((1 + s.random.Float64()) * float64(s.o.StallFor)))
	}
	f.reset = s.random.Float64() < s.o.Resets
	return f
}

// flight is a packet on its way; without data, the end of what is read.
type flight struct {
	fate
	data []byte
	err  error
}

// meter counts what a direction carries.
type meter struct{ read, written, pieces *atomic.Int64 }

// copy carries one direction of one connection, in order, until from ends (io.EOF), until
// something fails, or until done is closed: what is on its way then is lost.
func (s *shaper) copy(done <-chan struct{}, direction int, from, to net.Conn, m meter) error {
	if c, ok := from.(*net.TCPConn); ok { // Else the kernel takes a minute's worth of traffic at once.
		_ = c.SetReadBuffer(inFlight * packet)
	}
	line := make(chan flight, inFlight)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(line)
		for {
			buffer := make([]byte, packet)
			n, err := from.Read(buffer)
			m.read.Add(int64(n))
			if n > 0 {
				m.pieces.Add(1)
			}
			select {
			case line <- flight{s.send(direction, n, time.Now()), buffer[:n], err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	})
	err := deliver(done, line, to, m.written)
	if !errors.Is(err, io.EOF) {
		_ = from.Close() // The reader above may be waiting for it, or
		for range line { // for room.
		}
	}
	wg.Wait()
	return err
}

// deliver writes what arrives when it arrives.
func deliver(done <-chan struct{}, line <-chan flight, to net.Conn, written *atomic.Int64) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for f := range line {
		timer.Reset(time.Until(f.at))
		select {
		case <-timer.C:
		case <-done:
			return net.ErrClosed
		}
		n, err := to.Write(f.data)
		written.Add(int64(n))
		switch {
		case err != nil:
			return err
		case f.err != nil:
			return f.err
		case f.reset:
			return errReset
		}
	}
	return net.ErrClosed // The reader saw done.
}
