package replication

import (
	"maps"
	"slices"
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

// VerifiedAt is the index of the last verification.
func VerifiedAt(db *DB) uint64 { return db.verified.Load() }

// MissingWith says which voters do not answer a replica whose snapshot pointer knows of one more.
func MissingWith(t testing.TB, db *DB, voter string) []NodeID {
	t.Helper()
	p := &pointer{Format: pointerFormat, Index: 1, Term: 1, Configuration: servers("n1", "n2", "n3", voter), ConfigurationIndex: 1}
	p.name()
	if err := writePointer(db.dir(), p); err != nil {
		t.Fatal(err)
	}
	_, missing := db.ask(t.Context())
	return slices.Sorted(maps.Keys(missing))
}

// Poke has n told who leads db.
func Poke(db *DB, n NodeID) { db.engine.hints.poke(n, db) }
