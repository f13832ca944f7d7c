package simulate_test

import (
	"fmt"
	"testing"
	"time"

	"tongban/division"
	"tongban/internal/simulate"
)

// scenario is short, and has all that is special: first contact, rows in both directions,
// and a restore of the middle.
func scenario(s story) {
	s.t.Helper()
	for _, p := range []division.Ref{nation, sichuan, guangan} {
		s.publish(p, 6)
	}
	<-time.After(10 * time.Second)
	file, err := s.Divisions[sichuan].Backup(s.t.Context())
	s.must(err)
	s.publish(guangan, 6)
	<-time.After(10 * time.Second)
	s.must(s.Divisions[sichuan].Restore(s.t.Context(), file))
	s.publish(sichuan, 6)
	<-time.After(20 * time.Second)
}

// Every message of the scenario fails once, in every way.
func TestNoMessageMayFail(t *testing.T) {
	t.Parallel()
	short := tree[:3]
	messages := 0
	run(t, 1, short, simulate.Chance{}, func(s story) {
		scenario(s)
		messages = s.Wire.Sent()
		s.settle()
	})
	if messages < 20 {
		t.Fatalf("the scenario has %d messages; what is there to fail?", messages)
	}
	t.Logf("%d messages", messages)
	fates := map[string]func(s story, n int) simulate.Fate{
		"the request is lost":     func(story, int) simulate.Fate { return simulate.Fate{LoseRequest: true} },
		"the answer is lost":      func(story, int) simulate.Fate { return simulate.Fate{LoseAnswer: true} },
		"it comes twice":          func(story, int) simulate.Fate { return simulate.Fate{Again: 7 * time.Millisecond} },
		"it comes again later":    func(story, int) simulate.Fate { return simulate.Fate{LoseAnswer: true, Again: 45 * time.Second} },
		"it comes much too late":  func(story, int) simulate.Fate { return simulate.Fate{Late: 33 * time.Second} },
		"a leader changes at it":  func(s story, n int) simulate.Fate { return meanwhile(s, n, false) },
		"its answer meets no one": func(s story, n int) simulate.Fate { return meanwhile(s, n, true) },
	}
	for name, fate := range fates {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= messages; n++ {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					run(t, 1, short, simulate.Chance{}, func(s story) {
						s.Wire.At(n, fate(s, n))
						scenario(s)
						s.settle()
					})
				})
			}
		})
	}
}

// meanwhile is a change of one division's leader while the nth message is on its way.
func meanwhile(s story, n int, lose bool) simulate.Fate {
	d := s.Divisions[tree[n%3].Ref]
	return simulate.Fate{LoseAnswer: lose, Meanwhile: d.Restart}
}
