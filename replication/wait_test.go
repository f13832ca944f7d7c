package replication

import (
	"testing"
	"time"
)

// HoldUntil makes a hook of a test stand still until goOn is closed, or the test has ended:
// what a test that failed has stopped would hold up the closing of its nodes for ever.
func HoldUntil(t testing.TB, goOn <-chan struct{}) {
	select {
	case <-goOn:
	case <-t.Context().Done():
	}
}

// mostReached is how long Reached waits, on a loaded machine.
const mostReached = 30 * time.Second

// Reached waits until a hook has closed reached, and fails the test if that never comes.
func Reached(t testing.TB, reached <-chan struct{}) {
	t.Helper()
	select {
	case <-reached:
	case <-time.After(mostReached):
		t.Fatalf("nothing came to the hook in %v", mostReached)
	}
}
