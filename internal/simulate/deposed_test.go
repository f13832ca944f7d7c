package simulate_test

import (
	"testing"
	"time"

	"tongban/internal/simulate"
)

// A leader that was asleep while another took over wakes up and goes on sending, until it
// hears that it leads no more. It is no copy of its division.
func TestAFormerLeaderThatDoesNotKnowItYetIsNoCopy(t *testing.T) {
	run(t, 1, branch, simulate.Chance{}, func(s story) {
		s.publish(district, 10)
		<-time.After(2 * time.Minute)
		former, err := s.Divisions[district].Clone(s.t.Context())
		s.must(err)
		former.Depose()
		for range 6 {
			s.publish(district, 5)
			<-time.After(time.Minute)
		}
		s.must(former.Close())
		if n := s.held(guangan); n != 0 {
			t.Error("the city holds the district for its former leader")
		}
		s.settle()
	})
}
