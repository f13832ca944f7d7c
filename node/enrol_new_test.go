package node

import (
	"testing"
	"time"

	"tongban/federation"
)

// TestAChildThatWasJustEnrolledIsNotSilent: it takes seconds until it is heard first, and
// whoever enrolled it looks at once.
func TestAChildThatWasJustEnrolledIsNotSilent(t *testing.T) {
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	heard := federation.Freshness{AsOf: now.Add(-time.Hour), Known: true, Silent: true}
	for _, c := range []struct {
		name  string
		since time.Duration
		fresh federation.Freshness
		want  bool
	}{
		{"enrolled a moment ago", time.Second, federation.Freshness{Silent: true}, false},
		{"enrolled an hour ago, and never heard", time.Hour, federation.Freshness{Silent: true}, true},
		{"enrolled anew a moment ago, and not heard since long", time.Second, heard, true},
		{"heard", time.Hour, federation.Freshness{AsOf: now, Known: true}, false},
	} {
		s := childStatus(federation.Child{Enrolled: now.Add(-c.since)}, c.fresh, now)
		if s.Silent != c.want || (s.Confirmed == nil) == c.fresh.Known {
			t.Errorf("%s: silent is %v", c.name, s.Silent)
		}
	}
}
