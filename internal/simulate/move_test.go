package simulate_test

import (
	"fmt"
	"testing"
	"time"

	"tongban/division"
	"tongban/internal/simulate"
	"tongban/replication"
	"tongban/service"
)

// total is the sum of the figures that a division has of all below it.
func (s story) total(at division.Ref) (n int64) {
	s.t.Helper()
	s.must(s.Divisions[at].DB.View(s.t.Context(), replication.Local, func(v *service.View) error {
		return v.QueryRow(`SELECT coalesce((SELECT n FROM figures_total WHERE feed = ?), 0)`, simulate.FeedFigures).Scan(&n)
	}))
	return n
}

// A district that was enrolled at the province moves below its city when that joins, and back,
// and then to a city of another province: at no moment does a division above both sides have
// another sum than before.
func TestFiguresAboveAMoveNeverChange(t *testing.T) {
	run(t, 7, tree, simulate.Chance{}, func(s story) {
		for _, p := range tree {
			if p.Ref != nation {
				s.must(s.Divisions[p.Ref].Publish(s.t.Context(), 600, 500))
			}
		}
		s.settle()
		for _, step := range []struct{ who, to, above division.Ref }{
			{district, sichuan, sichuan}, {district, guangan, sichuan}, {district, hangzhou, nation}, {guangan, zhejiang, nation}} {
			want := s.total(step.above)
			s.must(s.Move(s.t.Context(), step.who, step.to))
			for range 4000 { // Two minutes; all is settled in one.
				<-time.After(30 * time.Millisecond)
				if got := s.total(step.above); got != want {
					t.Fatalf("while %s moves to %s, %s has %d in place of %d", step.who, step.to, step.above, got, want)
				}
			}
			s.settle()
		}
	})
}

func TestNothingIsLostOrDoubledWhoeverMoves(t *testing.T) {
	t.Parallel()
	n := max(*seeds/4, 1)
	t.Logf("seeds %d to %d; -seed and -seeds run others", *first, *first+uint64(n)-1)
	for i := range n {
		seed := *first + uint64(i)
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			run(t, seed, tree, bad, func(s story) {
				c := torment
				if c.Moves = 12; seed%2 == 0 {
					c.Restores = 0
				}
				s.torment(c)
			})
		})
	}
}
