package replication

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// crashGroup writes one group's log and remembers what each of its operations makes of
// it, so that what is found after a crash can be named.
type crashGroup struct {
	log    *groupLog
	mu     sync.Mutex
	states []map[uint64]uint64 // index → term after operation i; states[0] is empty.
	acked  atomic.Int64        // Operations that have returned.
}

// step does one operation: it appends, or deletes the end or the beginning.
func (c *crashGroup) step(rng *rand.Rand, term uint64) error {
	c.mu.Lock()
	now := c.states[len(c.states)-1]
	c.mu.Unlock()
	first, last := bounds(now)
	next := make(map[uint64]uint64, len(now))
	var act func() error
	switch choice := rng.IntN(10); {
	case choice == 0 && len(now) > 3: // A conflict: the end goes.
		from := last - uint64(rng.IntN(3))
		for i, term := range now {
			if i < from {
				next[i] = term
			}
		}
		act = func() error { return c.log.DeleteRange(from, last) }
	case choice == 1 && len(now) > 20: // Compaction: the beginning goes.
		to := first + uint64(rng.IntN(10))
		for i, term := range now {
			if i > to {
				next[i] = term
			}
		}
		act = func() error { return c.log.DeleteRange(first, to) }
	default:
		for i, term := range now {
			next[i] = term
		}
		to := last + 1 + uint64(rng.IntN(4))
		for i := last + 1; i <= to; i++ {
			next[i] = term
		}
		act = func() error { return c.log.StoreLogs(testEntries(term, last+1, to)) }
	}
	c.mu.Lock()
	c.states = append(c.states, next)
	c.mu.Unlock()
	err := act()
	c.acked.Add(1)
	return err
}

func bounds(state map[uint64]uint64) (first, last uint64) {
	for i := range state {
		if first == 0 || i < first {
			first = i
		}
		last = max(last, i)
	}
	return first, last
}

// found reads the whole log of a group; it fails on a gap or on wrong content.
func found(t *testing.T, g *groupLog) map[uint64]uint64 {
	t.Helper()
	first, _ := g.FirstIndex()
	last, err := g.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	state := make(map[uint64]uint64)
	for i := first; i <= last && first > 0; i++ {
		var e raft.Log
		if err := g.GetLog(i, &e); err != nil {
			t.Fatalf("entry %d of %d to %d: %v", i, first, last, err)
		}
		if want := fmt.Sprintf("entry %d of term %d", i, e.Term); string(e.Data) != want {
			t.Fatalf("entry %d reads %q, want %q", i, e.Data, want)
		}
		state[i] = e.Term
	}
	return state
}

func same(a, b map[uint64]uint64) bool {
	if len(a) != len(b) {
		return false
	}
	for i, term := range a {
		if b[i] != term {
			return false
		}
	}
	return true
}

// TestAcknowledgedEntriesSurviveACrash cuts the power at random moments while groups
// write. What is found must be exactly what some operation made of the log: one that is
// at least as late as the last one acknowledged before the cut.
func TestAcknowledgedEntriesSurviveACrash(t *testing.T) {
	checkLeaks(t)
	rounds := 30
	if testing.Short() {
		rounds = 8
	}
	for round := range rounds {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("round %d", round), func(t *testing.T) {
			crashOnce(t, seed)
			if t.Failed() {
				t.Logf("seed %d", seed)
			}
		})
	}
}

func crashOnce(t *testing.T, seed uint64) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %#x", seed)
		}
	}()
	rng := rand.New(rand.NewPCG(seed, 0))
	mem := vfs.NewCrashableMem()
	l := openTestLogs(t, mem)
	groups := make([]*crashGroup, 6)
	var stop atomic.Bool
	var writers sync.WaitGroup
	var total atomic.Int64
	for i := range groups {
		c := &crashGroup{log: l.group(DatabaseID(fmt.Sprintf("t%d/main", i))), states: []map[uint64]uint64{{}}}
		groups[i] = c
		own := rand.New(rand.NewPCG(seed, uint64(i)+1))
		writers.Go(func() {
			for term := uint64(1); !stop.Load() && term < 400; term++ {
				if err := c.step(own, term); err != nil {
					t.Error(err)
					return
				}
				total.Add(1)
			}
		})
	}
	cut := int64(rng.IntN(1200))
	eventually(t, "enough operations before the cut", func() bool { return total.Load() >= cut })
	acked := make([]int64, len(groups))
	for i, c := range groups {
		acked[i] = c.acked.Load() // Before the cut: later acknowledgements do not count.
	}
	after := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rand.New(rand.NewPCG(seed, 99))})
	stop.Store(true)
	writers.Wait()

	reopened := openTestLogs(t, after)
	for i, c := range groups {
		got := found(t, reopened.group(c.log.id))
		fits := false
		for _, state := range c.states[acked[i]:] {
			fits = fits || same(got, state)
		}
		if !fits {
			t.Errorf("group %d: found %d entries, which none of the operations %d to %d left behind",
				i, len(got), acked[i], len(c.states)-1)
		}
	}
}
