package simulate_test

import (
	"errors"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/internal/simulate"
	"tongban/replication"
	"tongban/service"
)

// left tells whether a division has it that another has left.
func (s story) left(at, who division.Ref) (left bool) {
	s.t.Helper()
	s.must(s.Divisions[at].DB.View(s.t.Context(), replication.Local, func(v *service.View) (err error) {
		left, err = federation.HasLeft(v, at, who)
		return err
	}))
	return left
}

// await polls until what is true, in the bubble's time.
func (s story) await(what string, within time.Duration, is func() bool) {
	s.t.Helper()
	for began := time.Now(); !is(); <-time.After(10 * time.Millisecond) {
		if time.Since(began) > within {
			s.t.Fatalf("seed %d: %s: not within %v", s.seed, what, within)
		}
	}
}

// A county leaves while the line above its city has a backlog of hours: the revocation does
// not wait behind it. Its figures stay everywhere as they were, and when it is enrolled again
// it tells all that was counted meanwhile.
func TestARevocationGoesBeforeAllThatWaits(t *testing.T) {
	run(t, 5, tree, simulate.Chance{}, func(s story) {
		s.publish(district, 30)
		s.settle()
		s.Wire.Cut(guangan, true)
		for range 20 {
			s.must(s.Divisions[guangan].Publish(s.t.Context(), 1000, 20_000))
		}
		s.must(s.Revoke(s.t.Context(), district))
		if !s.left(guangan, district) || s.left(guangan, qianfeng) {
			t.Error("the city does not have it that the county has left, and the county alone")
		}
		s.publish(district, 10) // It lives on.
		s.Wire.Cut(guangan, false)
		s.await("the province hears of it", time.Minute, func() bool { return s.left(sichuan, district) })
		if behind := s.behind(guangan, sichuan); behind < 5000 {
			t.Errorf("only %d rows were still behind it", behind)
		}
		for _, at := range []division.Ref{nation, zhejiang, hangzhou, qianfeng} {
			s.await(at.String()+" hears of it", time.Minute, func() bool { return s.left(at, district) })
		}
		if s.left(district, district) {
			t.Error("a division that has left takes itself for a stranger")
		}
		err := s.Divisions[nation].DB.View(s.t.Context(), replication.Local, func(v *service.View) error {
			_, err := federation.NextHop(v, nation, district)
			return err
		})
		if !errors.Is(err, federation.ErrLeft) {
			t.Errorf("the nation finds a way to it: %v", err)
		}
		s.must(s.Readmit(s.t.Context(), district))
		s.settle()
		for ref := range s.Divisions {
			if s.left(ref, district) {
				t.Errorf("at %s it has left for ever", ref)
			}
		}
	})
}

// behind is how many versions of its upward stream a division has not brought to its parent.
func (s story) behind(d, parent division.Ref) (n int) {
	s.t.Helper()
	s.must(s.Divisions[d].DB.View(s.t.Context(), replication.Local, func(v *service.View) error {
		return v.QueryRow(`SELECT (SELECT last FROM service_sequence WHERE name = 'feed:up')
			- (SELECT version FROM federation_sent WHERE neighbour = ?)`, parent.String()).Scan(&n)
	}))
	return n
}
