package simulate_test

import (
	"testing"
	"time"

	"tongban/federation"
	"tongban/internal/simulate"
)

// mutantSeeds is how many seeds a mutant may survive.
const mutantSeeds = 20

func TestTheSimulationNoticesWhatIsMissing(t *testing.T) {
	t.Parallel()
	for _, mutant := range []federation.Mutant{federation.MutantGap, federation.MutantNoProof, federation.MutantNoSweep,
		federation.MutantNoEpoch, federation.MutantEarly, federation.MutantApart} {
		t.Run(string(mutant), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(mutantSeeds) {
				var wrong []string
				runWith(t, simulate.Options{Mutant: mutant, Seed: seed, Tree: branch, Chance: bad}, func(s story) {
					_, err := s.Torment(s.t.Context(), torment)
					s.must(err)
					s.Wire.Heal()
					wrong = s.wait()
				})
				if len(wrong) > 0 {
					t.Logf("seed %d: %s", seed, wrong[0])
					return
				}
			}
			t.Errorf("%d seeds did not notice it", mutantSeeds)
		})
	}
}

// A copy of a county runs beside it. The city must close both lines: it cannot know which
// one is right.
func TestACopyOfAChildIsHeld(t *testing.T) {
	run(t, 1, branch, simulate.Chance{}, func(s story) {
		if !clone(s) {
			t.Error("the copy was taken for the division itself")
		}
		if n := s.held(guangan); n != 1 {
			t.Errorf("the city holds %d children, want 1", n)
		}
		// An operator says: the division itself is the right one, the copy is switched off.
		s.free(guangan, district)
		s.publish(district, 10)
		s.settle()
	})
}

func TestACopyIsNoticedByItsTokens(t *testing.T) {
	runWith(t, simulate.Options{Mutant: federation.MutantNoTokens, Seed: 1, Tree: branch}, func(s story) {
		if clone(s) {
			t.Error("the copy was held without a look at tokens: the story above proves nothing")
		}
	})
}

// clone runs a copy of the district beside it for a while. It reports whether the city
// holds it.
func clone(s story) bool {
	s.t.Helper()
	s.publish(district, 10)
	<-time.After(2 * time.Minute)
	twin, err := s.Divisions[district].Clone(s.t.Context())
	s.must(err)
	for range 6 {
		s.publish(district, 5)
		s.must(twin.Publish(s.t.Context(), 5, 40))
		<-time.After(time.Minute)
	}
	s.must(twin.Close())
	return s.held(guangan) > 0
}
