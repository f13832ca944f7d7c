//go:build mutants

package torture

import (
	"testing"
	"time"
)

// mutantRuns is how many seeds a mutant may survive.
const mutantRuns = 3

// TestMutantsThatProcessesShow runs nodes that lack a safeguard. The suites of the others
// are in replication: what a node lacks inside, the door in front of it often makes good.
func TestMutantsThatProcessesShow(t *testing.T) {
	binary := program(t, "-tags", "mutants")
	for _, name := range []string{"acknowledge-before-commit"} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(mutantRuns) {
				r, err := Run(t.Context(), Options{Binary: binary, Seed: seed + 1, Duration: 20 * time.Second, Slack: busySlack, NoDisks: true,
					Faults: []string{Kill, Stop, Partition}, Environment: []string{"TONGBAN_MUTANT=" + name}, Say: t.Logf})
				if err != nil {
					t.Fatal(err)
				}
				if !r.Linearizable || r.Lost > 0 || r.Doubled > 0 {
					t.Logf("seed %d noticed it: %.400s", r.Seed, r.Text())
					return
				}
			}
			t.Errorf("%d runs did not notice it", mutantRuns)
		})
	}
}
