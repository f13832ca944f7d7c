// Package replicationtest starts real replicated databases for tests: real engines, real
// files, and a network in memory.
//
// [Cluster] runs in real time, on lines that can be cut. [World] runs in virtual time,
// inside a bubble of testing/synctest: real engines under storms of cut, slow and broken
// [Lines], kills and power cuts, with clients whose [History] is checked for an order that
// explains everything they saw. One seed decides all that happens, but for the order in
// which goroutines run: a seed that fails may have to run a few times.
package replicationtest

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	"tongban/replication"
)

// Heartbeat is the engines' HeartbeatTimeout: so long that no leadership is lost by accident
// on a loaded machine of two cores.
const Heartbeat = 800 * time.Millisecond

// deadline is how long Await waits for a condition.
const deadline = 20 * time.Second

// MaxClosure is the engines' Options.MaxClosure: long, for the race detector and loaded
// machines.
const MaxClosure = 10 * time.Second

// ID is the database that One and Cluster open.
const ID replication.DatabaseID = "test/main"

// One is a ready, leading database on a single node; it is closed with the test.
func One(tb testing.TB, options ...func(*replication.Options)) *replication.DB {
	tb.Helper()
	o := Options(tb, "n1")
	o.HeartbeatTimeout = 20 * time.Millisecond // Nobody else to wait for.
	for _, f := range options {
		f(&o)
	}
	e, err := replication.Open(o)
	if err != nil {
		tb.Fatalf("open the engine: %v", err)
	}
	tb.Cleanup(func() {
		if err := e.Close(); err != nil {
			tb.Errorf("close the engine: %v", err)
		}
	})
	db, err := e.OpenDB(ID, replication.DBOptions{Voters: []replication.NodeID{o.Node}})
	if err != nil {
		tb.Fatalf("open the database: %v", err)
	}
	Await(tb, "the node leads", db.IsLeader)
	return db
}

// Options are those of a test's engine; the folder goes with the test. Logs are shown
// only if TONGBAN_TEST_LOG is set.
func Options(tb testing.TB, n replication.NodeID) replication.Options {
	tb.Helper()
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("TONGBAN_TEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return replication.Options{
		Dir: tb.TempDir(), Node: n, Log: log, HeartbeatTimeout: Heartbeat, MaxClosure: MaxClosure,
	}
}

// Await polls until what is true, and fails the test in these words if it never is.
func Await(tb testing.TB, what string, is func() bool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			tb.Fatalf("it never came that %s (waited %v)", what, deadline)
		}
	}
}
