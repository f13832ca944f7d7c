package cases

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"tongban/division/calendar"
)

func TestDeadlines(t *testing.T) {
	cal := calendar.Default()
	ended := day("2026-03-12 10:00")
	for _, c := range []struct {
		name        string
		start       string
		limit       int
		stops       []Stopped
		now         string
		at          string
		left        int
		lamp        string
		provisional bool
	}{
		{"the day of the start is not counted", "2026-03-02 09:00", 5, nil, "2026-03-02 10:00", "2026-03-09", 5, "green", false},
		{"the last minute of the last day is in time", "2026-03-02 09:00", 5, nil, "2026-03-09 23:59", "2026-03-09", 0, "yellow", false},
		{"the first minute after is late", "2026-03-02 09:00", 5, nil, "2026-03-10 00:00", "2026-03-09", -1, "red", false},
		{"on the weekend after the last day it is late", "2026-03-02 09:00", 4, nil, "2026-03-07 12:00", "2026-03-06", -1, "red", false},
		{"two days left are yellow", "2026-03-02 09:00", 5, nil, "2026-03-05 12:00", "2026-03-09", 2, "yellow", false},
		{"a start on a Saturday counts from Monday", "2026-03-07 09:00", 1, nil, "2026-03-07 10:00", "2026-03-09", 1, "yellow", false},
		{"Spring Festival is left out", "2026-02-13 09:00", 1, nil, "2026-02-13 10:00", "2026-02-14", 1, "yellow", false},
		{"a time in which the clock stood is left out", "2026-03-02 09:00", 5,
			[]Stopped{{From: day("2026-03-04 10:00"), To: &ended}}, "2026-03-12 11:00", "2026-03-17", 3, "green", false},
		{"while the clock stands what is left stays", "2026-03-02 09:00", 5,
			[]Stopped{{From: day("2026-03-04 10:00")}}, "2026-04-20 11:00", "2026-04-23", 3, "green", false},
		{"beyond the published calendar it is provisional", "2026-12-20 09:00", 20, nil, "2026-12-20 10:00", "2027-01-15", 20, "green", true},
	} {
		d := NewDeadline(cal, day(c.start), c.limit, c.stops, day(c.now))
		if !d.At.Equal(calendar.EndOfDay(day(c.at))) || d.Left != c.left || d.Lamp != c.lamp || d.Provisional != c.provisional {
			t.Errorf("%s: %s, %d left, %s, provisional %v; want %s, %d, %s, %v", c.name,
				d.At.Format(time.DateTime), d.Left, d.Lamp, d.Provisional, c.at, c.left, c.lamp, c.provisional)
		}
	}
}

func TestWhatIsLeftWhenAClockStopsIsLeftWhenItGoesOn(t *testing.T) {
	cal := calendar.Default()
	rapid.Check(t, func(t *rapid.T) {
		at := day("2026-01-05 09:00").AddDate(0, 0, rapid.IntRange(0, 300).Draw(t, "start"))
		start, limit := at, rapid.IntRange(1, 60).Draw(t, "limit")
		var stops []Stopped
		for range rapid.IntRange(1, 4).Draw(t, "stops") {
			at = at.Add(time.Duration(rapid.IntRange(0, 30*24).Draw(t, "running")) * time.Hour)
			before := NewDeadline(cal, start, limit, stops, at)
			stops = append(stops, Stopped{From: at})
			at = at.Add(time.Duration(rapid.IntRange(0, 60*24).Draw(t, "standing")) * time.Hour)
			standing := NewDeadline(cal, start, limit, stops, at)
			to := at
			stops[len(stops)-1].To = &to
			after := NewDeadline(cal, start, limit, stops, at)
			if !standing.Stands || after.Stands || !standing.At.Equal(after.At) {
				t.Fatalf("standing %+v, going on %+v", standing, after)
			}
			if after.At.Before(before.At) {
				t.Fatalf("a stop brought the deadline forward: %v, then %v", before.At, after.At)
			}
			if before.Left > 0 && after.Left != before.Left {
				t.Fatalf("%d days were left at the stop and %d afterwards", before.Left, after.Left)
			}
		}
	})
}

func TestAPromiseNeverExceedsTheStatutoryLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		instant := rapid.Bool().Draw(t, "instant")
		s, p := limitsOf(rapid.IntRange(-1, 60).Draw(t, "statutory"), rapid.IntRange(-1, 90).Draw(t, "promise"), instant)
		if s < 1 || p < 1 || p > s {
			t.Fatalf("statutory %d, promise %d", s, p)
		}
	})
	for _, c := range []struct {
		statutory, promise int
		instant            bool
		wantS, wantP       int
	}{{0, 0, false, 20, 20}, {0, 0, true, 20, 1}, {30, 5, false, 30, 5}, {5, 9, false, 5, 5}, {0, 7, false, 20, 7}} {
		if s, p := limitsOf(c.statutory, c.promise, c.instant); s != c.wantS || p != c.wantP {
			t.Errorf("%+v gives %d and %d", c, s, p)
		}
	}
}

func TestTheNextDeadlineIsThePromiseUntilTheLimitWasExtended(t *testing.T) {
	cal, now := calendar.Default(), day("2026-03-02 09:00")
	c := Case{State: Review, StatutoryDays: 20, PromiseDays: 5, Accepted: &now}
	if d := c.Clocks(cal, now).Next(false); !d.At.Equal(cal.AddWorkdays(now, 5)) {
		t.Errorf("before: %v", d.At)
	}
	c.ExtensionDays = ExtensionDays
	if d := c.Clocks(cal, now).Next(true); !d.At.Equal(cal.AddWorkdays(now, 30)) {
		t.Errorf("after: %v", d.At)
	}
	c.State, c.Decided = Granted, &now
	if k := c.Clocks(cal, now); k.Promise != nil || k.Statutory != nil || !k.Next(true).At.Equal(cal.AddWorkdays(now, DeliverDays)) {
		t.Errorf("decided: %+v", k)
	}
	for _, s := range []State{Correction, Refused, Withdrawn, Void, Delivered, Archived} {
		c.State = s
		if c.Clocks(cal, now).Next(false) != nil {
			t.Errorf("%s has a deadline", s)
		}
	}
}
