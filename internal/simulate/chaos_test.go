package simulate_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"tongban/internal/simulate"
)

var (
	seeds = flag.Int("seeds", 200, "so many seeds of chaos")
	first = flag.Uint64("seed", 1, "the first of them")
)

// bad is a line as bad as lines get.
var bad = simulate.Chance{LoseRequest: 40, LoseAnswer: 60, Double: 80, Late: 40, LateBy: 2 * time.Minute}

// torment is the usual portion.
var torment = simulate.Chaos{For: 15 * time.Minute, Rows: 400, Bursts: 25, Keys: 15, Cuts: 8, Restarts: 6, Restores: 4}

// torment lets chaos loose and settles.
func (s story) torment(c simulate.Chaos) {
	s.t.Helper()
	log, err := s.Torment(s.t.Context(), c)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			for _, line := range log {
				s.t.Logf("seed %d: %s", s.seed, line)
			}
		}
	})
	s.must(err)
	s.settle()
}

// A month of a tree with 10,000 rows a day, on lines that fail every other day.
func TestAMonthWithTenThousandRowsADay(t *testing.T) {
	t.Parallel()
	o := simulate.Options{Seed: 30, Tree: tree, Chance: bad, Beat: 15 * time.Minute} // Of idle questions alone a month has a million.
	runWith(t, o, func(s story) {
		s.torment(simulate.Chaos{For: 30 * 24 * time.Hour, Rows: 300_000, Bursts: 30 * 24, Keys: 2000, Cuts: 60, Restarts: 30, Restores: 6})
	})
}

func TestNothingIsLostOrDoubledWhateverHappens(t *testing.T) {
	t.Parallel()
	t.Logf("seeds %d to %d; -seed and -seeds run others", *first, *first+uint64(*seeds)-1)
	for n := range *seeds {
		seed := *first + uint64(n)
		places := branch
		if seed%8 == 0 {
			places = tree
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			run(t, seed, places, bad, func(s story) {
				s.torment(torment)
			})
		})
	}
}
