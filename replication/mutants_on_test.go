//go:build mutants

package replication_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// mutantSeeds is how many seeds of the simulation a mutant may survive.
const mutantSeeds = 150

// mutantPlugs is how many file systems a mutant may survive.
const mutantPlugs = 6

// TestMutantsAreCaught expects of each mutant that the suite of its row notices it.
func TestMutantsAreCaught(t *testing.T) {
	for _, m := range replication.Mutants {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			switch m.Suite {
			case replication.InSimulation:
				caughtBySimulation(t, m)
			case replication.InStory:
				caughtByAStory(t, m)
			case replication.InPowerCut:
				caughtByAPowerCut(t, m)
			default:
				t.Fatalf("no suite %q", m.Suite)
			}
		})
	}
}

func TestMutantsAreDescribed(t *testing.T) {
	text, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range replication.Mutants {
		if row := fmt.Sprintf("\n| %s | %s | %s |\n", m.Name, m.What, m.Suite); !strings.Contains(string(text), row) {
			t.Errorf("DESIGN.md lacks the row%s", row)
		}
	}
}

func caughtBySimulation(t *testing.T, m replication.Mutant) {
	for seed := range uint64(mutantSeeds) {
		_, wrong := simulate(t, replicationtest.WorldOptions{Seed: seed, Prepare: func(_ replication.NodeID, o *replication.Options) {
			replication.Without(o, m)
		}})
		if wrong != nil {
			t.Logf("seed %d noticed it: %.400v", seed, wrong)
			return
		}
	}
	t.Errorf("%d seeds did not notice it", mutantSeeds)
}

func caughtByAStory(t *testing.T, m replication.Mutant) {
	story := stories[m.Name]
	if story == nil {
		t.Fatal("it has no story")
	}
	if _, wrong := story(t, func(o *replication.Options) { replication.Without(o, m) }); wrong == nil {
		t.Error("nobody noticed")
	} else {
		t.Logf("noticed: %.400v", wrong)
	}
}

func caughtByAPowerCut(t *testing.T, m replication.Mutant) {
	if why := powerUnable(); why != "" {
		t.Skipf("not run: %s; %s", why, powerHint)
	}
	r := attackSeed(t)
	for range mutantPlugs {
		p, err := newPlug(t)
		if err != nil {
			t.Skipf("not run: %v; %s", err, powerHint)
		}
		last := int64(-1)
		for range powerCuts {
			var wrong error
			if last, wrong = p.round(t, r, m.Name, last); wrong != nil {
				t.Logf("noticed: %.400v", wrong)
				return
			}
		}
	}
	t.Errorf("%d power cuts did not notice it", mutantPlugs*powerCuts)
}
