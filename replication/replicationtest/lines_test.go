package replicationtest

import (
	"errors"
	"io"
	"testing"
	"time"

	"tongban/replication"
)

// TestAnEndThatAHoleHoldsUpArrivesAfterIt: the acceptor has closed its end meanwhile.
func TestAnEndThatAHoleHoldsUpArrivesAfterIt(t *testing.T) {
	t.Parallel()
	n := NewLines(1)
	e, err := replication.Open(replication.Options{Dir: t.TempDir(), Node: "n2"})
	if err != nil {
		t.Fatal(err)
	}
	n.Attach("n1", e) // Nobody dials it.
	n.Attach("n2", e)
	n.Slow("n2", "n1", 200*time.Millisecond, 0)
	c, err := n.Dialer("n1")(t.Context(), "n2", "none")
	if err != nil {
		t.Fatal(err)
	}
	n.Wait() // n2 knows no such protocol.
	n.Hole("n2", "n1")
	ended := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		ended <- err
	}()
	select {
	case err := <-ended:
		t.Fatalf("through the hole came %v", err)
	case <-time.After(250 * time.Millisecond): // It would have arrived.
	}
	n.Open("n2", "n1")
	select {
	case err := <-ended:
		if !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("the end never arrives")
	}
	if err := errors.Join(c.Close(), e.Close()); err != nil {
		t.Error(err)
	}
}
