package mesh

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// patience bounds what must happen, glance what must not.
const (
	patience = 10 * time.Second
	glance   = 150 * time.Millisecond
)

// echo is a node that sends everything back.
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

// open makes a mesh with the door of n2 and this process as n1.
func open(t *testing.T) (*Mesh, string) {
	t.Helper()
	m := New(1)
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	address, err := m.Door("n2")
	if err != nil {
		t.Fatal(err)
	}
	m.Target("n2", echo(t))
	m.Process("n1", os.Getpid())
	m.Strict()
	return m, address
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// hear reads what was said within a time.
func hear(c net.Conn, n int, within time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	got := make([]byte, n)
	m, err := io.ReadFull(c, got)
	return string(got[:m]), err
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func TestConnectionsCrossTheLinesOfTheirOwner(t *testing.T) {
	m, address := open(t)
	c := dial(t, address)
	say(t, c, "hello")
	if got, err := hear(c, 5, patience); got != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
	m.Cut(Way{"n3", "n2"}, Way{"n2", "n3"}) // Of another.
	say(t, c, "again")
	if got, err := hear(c, 5, patience); got != "again" {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestAStrangerIsRefused(t *testing.T) {
	m, address := open(t)
	m.Process("n1", 1<<30) // This process is nobody now.
	if got, err := hear(dial(t, address), 1, patience); !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestACutLineHoldsWhatIsSentAndDeliversItLate(t *testing.T) {
	for _, way := range []Way{{"n1", "n2"}, {"n2", "n1"}} {
		t.Run(way.From+" to "+way.To, func(t *testing.T) {
			m, address := open(t)
			c := dial(t, address)
			say(t, c, "a")
			if got, err := hear(c, 1, patience); got != "a" {
				t.Fatalf("%q, %v", got, err)
			}
			m.Cut(way)
			say(t, c, "b")
			fresh := dial(t, address) // The kernel accepts it; nobody answers.
			say(t, fresh, "c")
			if got, err := hear(c, 1, glance); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q crossed a cut line, %v", got, err)
			}
			m.Heal(false, way)
			if got, err := hear(c, 1, patience); got != "b" {
				t.Errorf("after the heal: %q, %v", got, err)
			}
			if got, err := hear(fresh, 1, patience); got != "c" {
				t.Errorf("after the heal, a new connection: %q, %v", got, err)
			}
		})
	}
}

func TestAOneWayCutStillCarriesTheOtherWay(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, address := open(t)
	m.Target("n2", l.Addr().String())
	m.Cut(Way{"n2", "n1"})
	c := dial(t, address)
	say(t, c, "x")
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if got, err := hear(far, 1, patience); got != "x" {
		t.Errorf("the open way: %q, %v", got, err)
	}
	say(t, far, "y")
	if got, err := hear(c, 1, glance); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the cut way carried %q, %v", got, err)
	}
}

func TestTheEndOfAConnectionWaitsOnACutLine(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, address := open(t)
	m.Target("n2", l.Addr().String())
	c := dial(t, address)
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	m.Cut(Way{"n1", "n2"})
	_ = c.Close()
	if _, err := hear(far, 1, glance); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the end crossed a cut line: %v", err)
	}
	m.Heal(false, Way{"n1", "n2"})
	if _, err := hear(far, 1, patience); !errors.Is(err, io.EOF) {
		t.Errorf("the end never came: %v", err)
	}
}

func TestABrokenHealEndsWhatWaited(t *testing.T) {
	m, address := open(t)
	waiting, idle := dial(t, address), dial(t, address)
	for _, c := range []net.Conn{waiting, idle} {
		say(t, c, "a")
		if got, err := hear(c, 1, patience); got != "a" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	way := Way{"n1", "n2"}
	m.Cut(way)
	say(t, waiting, "b")
	if _, err := hear(waiting, 1, glance); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	m.Heal(true, way)
	if got, err := hear(waiting, 1, patience); err == nil {
		t.Errorf("it delivered %q", got)
	}
	say(t, idle, "c")
	if got, err := hear(idle, 1, patience); got != "c" {
		t.Errorf("a connection that had nothing waiting: %q, %v", got, err)
	}
}

func TestASlowLineIsSlowUntilItIsHealed(t *testing.T) {
	m, address := open(t)
	c := dial(t, address)
	way := Way{"n1", "n2"}
	m.Slow(100*time.Millisecond, 20*time.Millisecond, 0.5, way)
	begin := time.Now()
	say(t, c, "a")
	if got, err := hear(c, 1, patience); got != "a" || time.Since(begin) < 80*time.Millisecond {
		t.Errorf("%q after %s, %v", got, time.Since(begin), err)
	}
	m.Heal(false, way)
	l := m.line(way)
	if now := time.Now(); !l.arrival(now).Equal(now) {
		t.Error("it is slow still")
	}
}

// TestAConnectionFromBeforeItsNodeWasKnownEnds: it would cross a line that is never cut.
func TestAConnectionFromBeforeItsNodeWasKnownEnds(t *testing.T) {
	m := New(1)
	t.Cleanup(func() { _ = m.Close() })
	address, err := m.Door("n2")
	if err != nil {
		t.Fatal(err)
	}
	m.Target("n2", echo(t))
	early := dial(t, address)
	say(t, early, "hello")
	if got, err := hear(early, 5, 5*time.Second); got != "hello" {
		t.Fatalf("heard %q (%v) while strangers may come", got, err)
	}
	m.Process("n1", os.Getpid())
	m.Strict()
	if got, err := hear(early, 1, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("heard %q (%v) on a connection of nobody's", got, err)
	}
	late := dial(t, address)
	say(t, late, "hello")
	if got, err := hear(late, 5, 5*time.Second); got != "hello" {
		t.Errorf("heard %q (%v) on a new one", got, err)
	}
}
