package calendar

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Zone is China Standard Time, UTC+8, by which days begin and end.
var Zone = time.FixedZone("CST", 8*60*60)

// MaxWorkdays is the greatest distance in working days that AddWorkdays goes, about 3,800
// years: a greater one is taken as this, so that a result stays a printable date.
const MaxWorkdays = 1_000_000

// Exception is a day that is not what its weekday says.
type Exception struct {
	Day    time.Time // Any time of the day.
	Work   bool      // True: a working day; false: a day off.
	Name   string    // In Chinese, such as 国庆节.
	NameEN string    // In English, such as "National Day".
}

// Calendar tells working days from days off. The zero Calendar knows weekends only and
// covers no year. It is a value: With and WithYear leave it as it is.
type Calendar struct {
	days  []entry // Sorted by day, each day once.
	first int     // The first covered year.
	years int     // How many years are covered.
}

// entry is an exception and how many more working days there are up to its day than
// weekends alone would give.
type entry struct {
	day   int // Days since 1970-01-01.
	extra int
	Exception
}

// IsWorkday tells whether the day of t is a working day.
func (c Calendar) IsWorkday(t time.Time) bool {
	day := dayOf(t)
	if i, ok := c.find(day); ok {
		return c.days[i].Work
	}
	return weekday(day)
}

// Exception returns what makes the day of t differ from its weekday or gives a weekend
// its name; false: it is an ordinary day.
func (c Calendar) Exception(t time.Time) (Exception, bool) {
	if i, ok := c.find(dayOf(t)); ok {
		return c.days[i].Exception, true
	}
	return Exception{}, false
}

// AddWorkdays returns the end of the n-th working day after the day of from, which itself
// is not counted: the deadline of a limit of n working days. With n = 0 it is the end of
// the day of from, with a negative n the end of the n-th working day before it. Ask
// Provisional of the result, and of from if it may be before the covered years.
func (c Calendar) AddWorkdays(from time.Time, n int) time.Time {
	n = max(-MaxWorkdays, min(n, MaxWorkdays))
	day := dayOf(from)
	// The most days that n working days can take: two a working day and two an exception,
	// and a weekend.
	span := 2*(max(n, -n)+len(c.days)) + 7
	if n > 0 {
		target := c.through(day) + n
		day += sort.Search(span, func(i int) bool { return c.through(day+i) >= target })
	} else if n < 0 {
		target := c.through(day-1) + n
		day -= sort.Search(span, func(i int) bool { return c.through(day-i-1) <= target })
	}
	return endOf(day)
}

// WorkdaysBetween counts the working days after the day of a up to and including the day
// of b: the working days left at a until a deadline b. It is negative when b's day is
// before a's, and then minus WorkdaysBetween(b, a).
func (c Calendar) WorkdaysBetween(a, b time.Time) int {
	return c.through(dayOf(b)) - c.through(dayOf(a))
}

// Covered tells whether the days off of a year are known.
func (c Calendar) Covered(year int) bool {
	return c.first <= year && year < c.first+c.years
}

// Until is the end of the last covered year; the zero time when none is covered.
func (c Calendar) Until() time.Time {
	if c.years == 0 {
		return time.Time{}
	}
	return EndOfDay(time.Date(c.first+c.years-1, time.December, 31, 0, 0, 0, 0, Zone))
}

// Provisional tells whether t lies outside the covered years, so that a day or a deadline
// there rests on plain weekends and may still move.
func (c Calendar) Provisional(t time.Time) bool {
	return !c.Covered(t.In(Zone).Year())
}

// With returns a calendar with more exceptions, such as a division's own holidays. They
// replace those of the same days; of two for one day the later one holds. The covered
// years stay as they are.
func (c Calendar) With(exceptions ...Exception) Calendar {
	days := slices.Clone(c.days)
	for _, e := range exceptions {
		days = append(days, entry{day: dayOf(e.Day), Exception: e})
	}
	slices.SortStableFunc(days, func(a, b entry) int { return cmp.Compare(a.day, b.day) })
	kept, extra := days[:0], 0
	for i, e := range days {
		if i+1 < len(days) && days[i+1].day == e.day {
			continue
		}
		if e.Work && !weekday(e.day) {
			extra++
		} else if !e.Work && weekday(e.day) {
			extra--
		}
		e.extra, e.Day = extra, startOf(e.day)
		kept = append(kept, e)
	}
	c.days = kept
	return c
}

// WithYear returns a calendar that also covers year, with its exceptions as published;
// some may lie at the end of the year before. Years are covered without gaps: it is an
// error if neither year nor the one before is covered.
func (c Calendar) WithYear(year int, exceptions ...Exception) (Calendar, error) {
	if c.years == 0 {
		c.first = year
	}
	next := c.first + c.years
	if year < c.first || year > next {
		return Calendar{}, fmt.Errorf("calendar: %d cannot be added: the calendar covers %d to %d, so the next year is %d",
			year, c.first, next-1, next)
	}
	for _, e := range exceptions {
		day := e.Day.In(Zone)
		if day.Year() != year && (day.Year() != year-1 || day.Month() != time.December) {
			return Calendar{}, fmt.Errorf("calendar: %s is neither in %d nor in the December before", day.Format(time.DateOnly), year)
		}
	}
	if year == next {
		c.years++
	}
	return c.With(exceptions...), nil
}

// StartOfDay is the first moment of the day of t.
func StartOfDay(t time.Time) time.Time { return startOf(dayOf(t)) }

// EndOfDay is the last nanosecond of the day of t, so that it prints as that day and
// After tells whether it has passed.
func EndOfDay(t time.Time) time.Time { return endOf(dayOf(t)) }

// through counts the working days up to and including day, from some fixed day on.
func (c Calendar) through(day int) int {
	// Day -3 is a Monday: 1970-01-01 was a Thursday.
	weeks, rest := divide(day+4, 7)
	count := 5*weeks + min(rest, 5)
	if i, ok := c.find(day); ok {
		count += c.days[i].extra
	} else if i > 0 {
		count += c.days[i-1].extra
	}
	return count
}

// find returns the index of the exception of day, or where it would be.
func (c Calendar) find(day int) (int, bool) {
	return slices.BinarySearchFunc(c.days, day, func(e entry, day int) int { return cmp.Compare(e.day, day) })
}

const (
	daySeconds  = 24 * 60 * 60
	zoneSeconds = 8 * 60 * 60
)

func dayOf(t time.Time) int {
	day, _ := divide(int(t.Unix())+zoneSeconds, daySeconds)
	return day
}

func startOf(day int) time.Time {
	return time.Unix(int64(day)*daySeconds-zoneSeconds, 0).In(Zone)
}

func endOf(day int) time.Time { return startOf(day + 1).Add(-time.Nanosecond) }

// weekday tells whether day is a Monday to Friday.
func weekday(day int) bool {
	_, rest := divide(day+3, 7)
	return rest < 5
}

// divide rounds down, unlike the operators, so that days before 1970 count right.
func divide(a, b int) (quotient, rest int) {
	quotient, rest = a/b, a%b
	if rest < 0 {
		return quotient - 1, rest + b
	}
	return quotient, rest
}
