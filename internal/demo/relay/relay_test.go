package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// echo is a server that sends everything back.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func open(t *testing.T, slow *Slow, targets ...string) *Line {
	t.Helper()
	l, err := Open(slow, targets...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// dial connects; the connection is bounded, so that a test that is wrong ends.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// say sends text and reads as much back.
func say(c net.Conn, text string) (string, error) {
	if _, err := c.Write([]byte(text)); err != nil {
		return "", err
	}
	got := make([]byte, len(text))
	_, err := io.ReadFull(c, got)
	return string(got), err
}

func TestALineCarriesBothWaysAndCounts(t *testing.T) {
	l := open(t, nil, echo(t), echo(t))
	if len(l.Addresses()) != 2 {
		t.Fatalf("two targets have %v", l.Addresses())
	}
	for _, address := range l.Addresses() {
		c := dial(t, address)
		if got, err := say(c, "hello"); err != nil || got != "hello" {
			t.Fatalf("said hello, heard %q, %v", got, err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("the end of one side did not end the other: %q, %v", rest, err)
		}
	}
	if n := l.Counters(); n.Up != 10 || n.Down != 10 || n.WhileCut != 0 || n.Refused != 0 || n.Opened != 2 || n.Pieces != 4 || n.Broken != 0 {
		t.Errorf("counted %+v", n)
	}
}

func TestNothingCrossesWhileALineIsCut(t *testing.T) {
	l := open(t, nil, echo(t))
	address := l.Addresses()[0]
	old := dial(t, address)
	if _, err := say(old, "before"); err != nil {
		t.Fatal(err)
	}
	l.Cut()
	before := l.Counters()
	if _, err := say(old, "secret"); err == nil {
		t.Error("an open connection lives on")
	}
	for range 3 {
		if got, err := say(dial(t, address), "knock"); err == nil {
			t.Errorf("a new connection carried %q", got)
		}
	}
	after := l.Counters()
	if !l.IsCut() || after.WhileCut != 0 || after.Up != before.Up || after.Down != before.Down || after.Refused != 3 || after.Opened != 1 {
		t.Errorf("before %+v, after %+v", before, after)
	}
	l.Heal()
	if got, err := say(dial(t, address), "again"); err != nil || got != "again" || l.IsCut() {
		t.Errorf("after the heal: %q, %v, cut %v", got, err, l.IsCut())
	}
	if n := l.Counters(); n.WhileCut != 0 || n.Up != before.Up+5 {
		t.Errorf("after the heal: %+v", n)
	}
}

func TestACutEndsConnectionsUnderFullLoad(t *testing.T) {
	l := open(t, nil, echo(t))
	ended := make(chan error, 8)
	busy := make(chan struct{}, 8)
	for range 8 {
		c := dial(t, l.Addresses()[0])
		go func() {
			_, _ = io.CopyN(io.Discard, c, 1<<20)
			busy <- struct{}{}
			_, _ = io.Copy(io.Discard, c)
		}()
		go func() {
			data := bytes.Repeat([]byte("x"), 8<<10)
			for {
				if _, err := c.Write(data); err != nil {
					ended <- err
					return
				}
			}
		}()
	}
	<-busy
	l.Cut()
	mark := l.Counters()
	for range 8 {
		<-ended
	}
	if n := l.Counters(); mark.Down < 1<<20 || n.WhileCut != 0 || n.Up != mark.Up || n.Down != mark.Down {
		t.Errorf("at the cut %+v, later %+v", mark, n)
	}
}

// TestTheCountOfACutLineIsNoConstant makes a copy loop run on although the line is cut, as
// a mistake would.
func TestTheCountOfACutLineIsNoConstant(t *testing.T) {
	l := open(t, nil, echo(t))
	l.Cut()
	a, b := net.Pipe()
	c, d := net.Pipe()
	p := newPair(b)
	p.connect(c)
	done := make(chan struct{})
	go func() { defer close(done); l.carry(p) }()
	go func() { _, _ = a.Write([]byte("leak")); _ = a.Close() }()
	got := make([]byte, 4)
	if _, err := io.ReadFull(d, got); err != nil {
		t.Fatal(err)
	}
	_ = d.Close()
	<-done
	if n := l.Counters(); n.WhileCut != 4 {
		t.Errorf("4 bytes crossed, %d are counted", n.WhileCut)
	}
	l.Heal()
	if n := l.Counters(); n.WhileCut != 4 {
		t.Errorf("the heal forgot them: %d", n.WhileCut)
	}
}

// pipe is one direction of a slow line in virtual time.
func pipe(t *testing.T, s *shaper, n int) (took time.Duration, got int, err error) {
	t.Helper()
	in, from := net.Pipe()
	to, out := net.Pipe()
	done := make(chan struct{})
	var read, written atomic.Int64
	copied := make(chan error, 1)
	begin := time.Now()
	go func() {
		copied <- s.copy(done, up, from, to, meter{&read, &written, new(atomic.Int64)})
		_ = to.Close()
	}()
	go func() { _, _ = in.Write(make([]byte, n)); _ = in.Close() }()
	data, rerr := io.ReadAll(out)
	if rerr != nil {
		t.Fatal(rerr)
	}
	err = <-copied
	if int64(len(data)) != written.Load() {
		t.Errorf("%d bytes came, %d are counted", len(data), written.Load())
	}
	return time.Since(begin), len(data), err
}

func TestASlowLineIsAsSlowAsItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShaper(Slow{BitsPerSecond: 64_000, RoundTrip: 800 * time.Millisecond})
		took, got, err := pipe(t, s, 80_000)
		if got != 80_000 || !errors.Is(err, io.EOF) {
			t.Fatalf("%d bytes, %v", got, err)
		}
		if took < 10*time.Second+400*time.Millisecond || took > 11*time.Second {
			t.Errorf("80 kB at 64 kbit/s and 400 ms one way took %s", took)
		}
	})
}

func TestLossIsStallsAndResetsAndTheSameForASeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const seed = 7
		slow := Slow{BitsPerSecond: 64_000, RoundTrip: 800 * time.Millisecond, Stalls: 0.1, StallFor: time.Second, Seed: seed}
		first, _, _ := pipe(t, newShaper(slow), 80_000)
		again, _, _ := pipe(t, newShaper(slow), 80_000)
		slow.Seed++
		other, _, _ := pipe(t, newShaper(slow), 80_000)
		if first != again || first == other || first < 12*time.Second {
			t.Errorf("seed %d: %s, again %s, with another %s", seed, first, again, other)
		}
		slow.Resets = 0.2
		_, got, err := pipe(t, newShaper(slow), 80_000)
		if !errors.Is(err, errReset) || got >= 80_000 {
			t.Errorf("seed %d: a line that breaks carried %d bytes and ended with %v", slow.Seed, got, err)
		}
	})
}

func TestAConnectionThatASlowLineBrokeIsCounted(t *testing.T) {
	l := open(t, &Slow{BitsPerSecond: 1_000_000, Resets: 1, Seed: 1}, echo(t))
	c := dial(t, l.Addresses()[0])
	if got, err := say(c, "hello"); err == nil {
		t.Errorf("it carried %q", got)
	}
	l.Cut() // Waits for the end of what is copied.
	if n := l.Counters(); n.Opened != 1 || n.Broken != 1 {
		t.Errorf("%+v", n)
	}
}

func TestACutDoesNotWaitForWhatIsOnASlowLine(t *testing.T) {
	slow := Slow{BitsPerSecond: 8_000, RoundTrip: time.Hour}
	l := open(t, &slow, echo(t))
	c := dial(t, l.Addresses()[0])
	if _, err := c.Write([]byte("on its way")); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	l.Cut()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the cut took %s", took)
	}
	if n := l.Counters(); n.WhileCut != 0 {
		t.Errorf("%+v", n)
	}
}

// TestWhatVanishesArrivesLater puts holes into a line that is in use.
func TestWhatVanishesArrivesLater(t *testing.T) {
	l := open(t, nil, echo(t))
	c := dial(t, l.Addresses()[0])
	if got, err := say(c, "before"); err != nil || got != "before" {
		t.Fatalf("%q, %v", got, err)
	}
	l.Vanish(Narrow)
	if got, err := say(c, "small"); err != nil || got != "small" {
		t.Fatalf("a small one over a narrow line: %q, %v", got, err)
	}
	large := strings.Repeat("x", mtu+1)
	answered := make(chan error, 2)
	go func() {
		got, err := say(c, large)
		if err == nil && got != large {
			err = errors.New("it came back changed")
		}
		answered <- err
	}()
	l.Vanish(Black)
	fresh, err := net.Dial("tcp", l.Addresses()[0]) // A relay cannot leave this unanswered.
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	go func() {
		_, err := say(fresh, "over a line that is black")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Fatalf("it crossed a hole: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if n := l.Counters().Broken; n != 0 {
		t.Errorf("%d connections were broken", n)
	}
	l.Vanish(Whole)
	for range 2 {
		if err := <-answered; err != nil {
			t.Error(err)
		}
	}
}

// TestALineWithAHoleCanBeCut: what waits for the hole's end does not hold the cut up.
func TestALineWithAHoleCanBeCut(t *testing.T) {
	l := open(t, nil, echo(t))
	l.Vanish(Black)
	c := dial(t, l.Addresses()[0])
	if _, err := c.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	l.Cut()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("%d bytes came over a cut line", n)
	}
	l.Vanish(Whole)
	l.Heal()
	if got, err := say(dial(t, l.Addresses()[0]), "again"); err != nil || got != "again" {
		t.Errorf("%q, %v", got, err)
	}
}
