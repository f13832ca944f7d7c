package calendar

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	day, err := time.ParseInLocation("2006-01-02 15:04:05", s+" 00:00:00"[min(len(s)-10, 9):], Zone)
	if err != nil {
		t.Fatal(err)
	}
	return day
}

func TestWorkdaysAsPublished(t *testing.T) {
	c := Default()
	for s, want := range map[string]bool{
		"2026-10-01": false, // National Day.
		"2026-10-07": false, // Its last day off, a Wednesday.
		"2026-10-08": true,
		"2026-10-10": true,  // A make-up Saturday.
		"2026-10-11": false, // An ordinary Sunday.
		"2026-09-20": true,  // A make-up Sunday.
		"2026-02-14": true,  // The Saturday before Spring Festival.
		"2026-02-16": false, // New Year's Eve of the old calendar, a Monday.
		"2026-02-23": false,
		"2026-02-24": true,
		"2026-02-28": true,  // The Saturday after.
		"2020-01-31": false, // Spring Festival prolonged because of the epidemic.
		"2020-02-03": true,
		"2006-12-30": true,  // A make-up Saturday in December for the year after.
		"2015-09-03": false, // 70th anniversary, in that year only.
		"2016-09-03": false, // A Saturday.
		"2018-09-03": true,
		"2026-11-24": true,
		"2030-10-01": true, // Not published: an ordinary Tuesday.
		"1969-12-28": false,
		"1969-12-29": true,
	} {
		if got := c.IsWorkday(at(t, s)); got != want {
			t.Errorf("%s is a working day: %v, want %v", s, got, want)
		}
	}
}

func TestDeadlines(t *testing.T) {
	c := Default()
	tests := []struct {
		name, from string
		n          int
		want       string
	}{
		{"one day from a Tuesday", "2026-11-24 09:00:00", 1, "2026-11-25"},
		{"the time of day does not matter", "2026-11-24 23:59:59", 1, "2026-11-25"},
		{"over a weekend", "2026-11-27", 1, "2026-11-30"},
		{"five days are a week", "2026-11-24", 5, "2026-12-01"},
		{"over National Day, with a make-up Saturday", "2026-09-30", 3, "2026-10-10"},
		{"over National Day, past the make-up Saturday", "2026-09-30", 4, "2026-10-12"},
		{"over Spring Festival, with a make-up Saturday before", "2026-02-13", 2, "2026-02-24"},
		{"20 working days over Spring Festival", "2026-02-10", 20, "2026-03-16"},
		{"from a day off", "2026-10-03", 1, "2026-10-08"},
		{"no days: the end of the day itself", "2026-11-24", 0, "2026-11-24"},
		{"no days on a day off", "2026-10-03", 0, "2026-10-03"},
		{"one day before", "2026-10-08", -1, "2026-09-30"},
		{"three days before, over a make-up Saturday", "2026-10-13", -3, "2026-10-09"},
		{"into a year not published", "2026-12-31", 1, "2027-01-01"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := c.AddWorkdays(at(t, test.from), test.n)
			if want := EndOfDay(at(t, test.want)); !got.Equal(want) || got.Location() != Zone {
				t.Errorf("the deadline is %s, want %s", got, want)
			}
		})
	}
}

func TestADayIsADayInChina(t *testing.T) {
	c := Default()
	// 17:00 UTC on Friday is 01:00 on Saturday.
	utc := time.Date(2026, 11, 27, 17, 0, 0, 0, time.UTC)
	if c.IsWorkday(utc) {
		t.Error("01:00 on a Saturday is a working day")
	}
	if got, want := c.AddWorkdays(utc.Add(-2*time.Hour), 1), "2026-11-30 23:59:59.999999999 +0800 CST"; got.String() != want {
		t.Errorf("the deadline is %s, want %s", got, want)
	}
	if got := StartOfDay(utc).String(); got != "2026-11-28 00:00:00 +0800 CST" {
		t.Errorf("the day starts at %s", got)
	}
}

func TestProvisionalOutsideThePublishedYears(t *testing.T) {
	c := Default()
	if got := c.Until().Format(time.DateTime); got != "2026-12-31 23:59:59" {
		t.Errorf("published until %s", got)
	}
	for year, want := range map[int]bool{2003: false, 2004: true, 2026: true, 2027: false} {
		if c.Covered(year) != want {
			t.Errorf("Covered(%d) is %v", year, !want)
		}
	}
	for s, want := range map[string]bool{"2003-12-31": true, "2004-01-01": false, "2026-12-31": false, "2027-01-01": true} {
		if c.Provisional(at(t, s)) != want {
			t.Errorf("Provisional(%s) is %v", s, !want)
		}
	}
	if c.Provisional(time.Date(2003, 12, 31, 17, 0, 0, 0, time.UTC)) {
		t.Error("01:00 on New Year's Day in China counts as the year before")
	}
	if !c.Provisional(c.AddWorkdays(at(t, "2026-12-30"), 2)) {
		t.Error("a deadline after the last published day is not provisional")
	}
	zero := Calendar{}
	if zero.Covered(0) || !zero.Provisional(at(t, "2026-01-05")) || !zero.Until().IsZero() || !zero.IsWorkday(at(t, "2026-10-01")) {
		t.Error("the zero calendar covers something")
	}
}

func TestADivisionAddsItsOwnDays(t *testing.T) {
	c := Default()
	own := c.With(
		Exception{Day: at(t, "2026-07-20 15:00:00"), Name: "那达慕", NameEN: "Nadam"},
		Exception{Day: at(t, "2026-07-18"), Work: true},
		Exception{Day: at(t, "2026-10-08"), Name: "先"},
		Exception{Day: at(t, "2026-10-08"), Work: true, Name: "后"}, // The later one holds.
		Exception{Day: at(t, "2026-10-01"), Work: true},            // Replaces the published one.
	)
	for s, want := range map[string]bool{"2026-07-20": false, "2026-07-18": true, "2026-10-08": true, "2026-10-01": true, "2026-10-02": false} {
		if own.IsWorkday(at(t, s)) != want {
			t.Errorf("%s is a working day: %v", s, !want)
		}
	}
	if e, ok := own.Exception(at(t, "2026-07-20")); !ok || e.NameEN != "Nadam" || !e.Day.Equal(at(t, "2026-07-20")) {
		t.Errorf("the day is %+v, %v", e, ok)
	}
	if _, ok := own.Exception(at(t, "2026-07-21")); ok {
		t.Error("an ordinary day is an exception")
	}
	if !c.IsWorkday(at(t, "2026-07-20")) || c.IsWorkday(at(t, "2026-10-01")) {
		t.Error("With changed the calendar it was called on")
	}
	if n := own.WorkdaysBetween(at(t, "2026-07-17"), at(t, "2026-07-21")); n != 2 {
		t.Errorf("%d working days, want 2", n)
	}
}

func TestAYearPublishedLaterIsAdded(t *testing.T) {
	c := Default()
	next, err := c.WithYear(2027, Exception{Day: at(t, "2027-01-01"), Name: "元旦"}, Exception{Day: at(t, "2026-12-26"), Work: true})
	if err != nil {
		t.Fatal(err)
	}
	if next.IsWorkday(at(t, "2027-01-01")) || !next.IsWorkday(at(t, "2026-12-26")) || !next.Covered(2027) || next.Provisional(at(t, "2027-05-01")) {
		t.Error("the year is not taken")
	}
	if c.Covered(2027) || !c.IsWorkday(at(t, "2027-01-01")) {
		t.Error("WithYear changed the calendar it was called on")
	}
	if again, err := next.WithYear(2027); err != nil || again.Until() != next.Until() {
		t.Errorf("a covered year cannot be corrected: %v", err)
	}
	if only, err := (Calendar{}).WithYear(2030); err != nil || !only.Covered(2030) || only.Covered(2029) || only.Covered(2031) {
		t.Errorf("a calendar of one year: %v", err)
	}
	for _, bad := range []struct {
		year int
		day  string
	}{{2028, "2028-01-01"}, {2003, "2003-01-01"}, {2027, "2028-01-01"}, {2027, "2026-11-30"}} {
		if _, err := c.WithYear(bad.year, Exception{Day: at(t, bad.day)}); err == nil {
			t.Errorf("the year %d with %s is accepted", bad.year, bad.day)
		}
	}
}

func TestEmbeddedDays(t *testing.T) {
	exceptions, err := parse(published)
	if err != nil {
		t.Fatal(err)
	}
	off, work := 0, 0
	for _, e := range exceptions {
		if weekend := e.Day.Weekday() == time.Saturday || e.Day.Weekday() == time.Sunday; e.Work && !weekend {
			t.Errorf("%s is a make-up day in the week", e.Day)
		}
		if e.Work {
			work++
		} else {
			off++
		}
	}
	if off != 619 || work != 150 || len(Default().days) != 769 {
		t.Errorf("%d days off, %d make-up days, want 619 and 150", off, work)
	}
	if last := exceptions[len(exceptions)-1].Day.Year(); last != lastYear {
		t.Errorf("the last embedded day is of %d, the last covered year is %d", last, lastYear)
	}
	for year := firstYear; year <= lastYear; year++ {
		first, last := time.Date(year-1, 12, 31, 0, 0, 0, 0, Zone), time.Date(year, 12, 31, 0, 0, 0, 0, Zone)
		if n := Default().WorkdaysBetween(first, last); n < 247 || n > 252 {
			t.Errorf("%d has %d working days", year, n)
		}
	}
	for _, bad := range []string{"2026-01-01 off 元旦", "2026-01-01 2026-01-03 rest 元旦", "x 2026-01-03 off 元旦",
		"2026-01-03 2026-01-01 off 元旦", "2026-01-01 2027-01-01 off 元旦", "2026-01-01 2026-01-03 off 节"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if strings.Contains(published, "\r") {
		t.Error("the embedded days have foreign line ends")
	}
}

func TestHugeDistancesEnd(t *testing.T) {
	c := Default()
	for _, n := range []int{MaxWorkdays, -MaxWorkdays} {
		got := c.AddWorkdays(at(t, "2026-11-24"), n)
		if beyond := c.AddWorkdays(at(t, "2026-11-24"), n*1000); !beyond.Equal(got) {
			t.Errorf("%d working days are %s, 1000 times as many %s", n, got, beyond)
		}
		if back := c.WorkdaysBetween(at(t, "2026-11-24"), got); n > 0 && back != n {
			t.Errorf("%d working days, %d counted back", n, back)
		}
	}
}

// model is the calendar day by day, as a person counts.
type model map[string]bool

func (m model) workday(t time.Time) bool {
	if work, ok := m[t.Format(time.DateOnly)]; ok {
		return work
	}
	return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday
}

func (m model) add(t time.Time, n int) time.Time {
	step := 1
	if n < 0 {
		step, n = -1, -n
	}
	for n > 0 {
		if t = t.AddDate(0, 0, step); m.workday(t) {
			n--
		}
	}
	return time.Date(t.Year(), t.Month(), t.Day(), 23, 59, 59, 999999999, Zone)
}

func (m model) between(a, b time.Time) int {
	n := 0
	for a.Format(time.DateOnly) < b.Format(time.DateOnly) {
		if a = a.AddDate(0, 0, 1); m.workday(a) {
			n++
		}
	}
	return n
}

func TestCountsLikeAPerson(t *testing.T) {
	published := model{}
	for _, e := range Default().days {
		published[e.Day.Format(time.DateOnly)] = e.Work
	}
	rapid.Check(t, func(t *rapid.T) {
		c, m := Default(), model{}
		if rapid.Bool().Draw(t, "no published days") {
			c = Calendar{}
		} else {
			for day, work := range published {
				m[day] = work
			}
		}
		// Near each other and dense, so that counting crosses many exceptions; from before
		// 1970 to after the published years.
		base := time.Date(rapid.SampledFrom([]int{1969, 2003, 2020, 2026}).Draw(t, "year"), 12, 1, 0, 0, 0, 0, Zone)
		for range rapid.IntRange(0, 60).Draw(t, "exceptions") {
			e := Exception{Day: base.AddDate(0, 0, rapid.IntRange(-40, 90).Draw(t, "day")), Work: rapid.Bool().Draw(t, "work")}
			c = c.With(e)
			m[e.Day.Format(time.DateOnly)] = e.Work
		}
		from := base.Add(time.Duration(rapid.IntRange(-60*86400, 60*86400).Draw(t, "from")) * time.Second)
		n := rapid.IntRange(-60, 60).Draw(t, "n")

		if got, want := c.IsWorkday(from), m.workday(from); got != want {
			t.Fatalf("IsWorkday(%s) is %v", from, got)
		}
		end := c.AddWorkdays(from.UTC(), n)
		if want := m.add(from, n); !end.Equal(want) {
			t.Fatalf("AddWorkdays(%s, %d) is %s, want %s", from, n, end, want)
		}
		if n > 0 && (c.WorkdaysBetween(from, end) != n || !c.IsWorkday(end)) {
			t.Fatalf("%d working days end at %s, counted back %d", n, end, c.WorkdaysBetween(from, end))
		}
		to := from.AddDate(0, 0, rapid.IntRange(0, 200).Draw(t, "days"))
		got, want := c.WorkdaysBetween(from, to), m.between(from, to)
		if got != want || c.WorkdaysBetween(to, from) != -want {
			t.Fatalf("WorkdaysBetween(%s, %s) is %d and back %d, want %d", from, to, got, c.WorkdaysBetween(to, from), want)
		}
	})
}

func BenchmarkAddWorkdays(b *testing.B) {
	c, from := Default(), time.Date(2026, 2, 10, 9, 0, 0, 0, Zone)
	b.ReportAllocs()
	for b.Loop() {
		c.AddWorkdays(from, 20)
	}
}
