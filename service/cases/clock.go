package cases

import (
	"slices"
	"time"

	"tongban/division/calendar"
)

// Limits in working days (Administrative Licensing Law).
const (
	JudgeDays     = 5  // To ask for corrections or refuse; silence is acceptance (art. 32).
	StatutoryDays = 20 // To decide, unless the item says otherwise (art. 42).
	ExtensionDays = 10 // Once, with the head's approval (art. 42).
	DeliverDays   = 10 // From the decision (art. 44).

	// WarnDays is when a lamp turns yellow: so many working days are left.
	WarnDays = 2
)

// Stopped is a time in which the clocks stood.
type Stopped struct {
	From time.Time  `json:"from"`
	To   *time.Time `json:"to,omitempty"` // Nil: they still stand.
	Kind string     `json:"kind"`         // Code of the special procedure.
	Days int        `json:"days"`         // Working days that the applicant was told it takes.
}

// Deadline is the end of a limit, as seen at one moment.
type Deadline struct {
	At          time.Time `json:"at"`          // End of a day in Beijing.
	Left        int       `json:"left"`        // Working days; 0: today; negative: late.
	Provisional bool      `json:"provisional"` // Beyond the published calendar: it may still move.
	Stands      bool      `json:"stands"`      // The clock is stopped: At moves, Left stays.
	Lamp        string    `json:"lamp"`        // green, yellow, red
}

// NewDeadline returns the deadline of a limit that began at start, leaving out the times
// in which the clock stood. The day of start is not counted, and neither is the day on
// which a clock stops or goes on counted twice: what is left of the limit when it stops is
// what is left when it goes on.
func NewDeadline(cal calendar.Calendar, start time.Time, limit int, stops []Stopped, now time.Time) Deadline {
	d := Deadline{}
	for _, s := range stops {
		to := now
		if s.To != nil {
			to = *s.To
		} else {
			d.Stands = true
		}
		limit += max(0, cal.WorkdaysBetween(s.From, to))
	}
	d.At = cal.AddWorkdays(start, limit)
	d.Left = left(cal, now, d.At)
	d.Provisional = cal.Provisional(d.At)
	d.Lamp = Lamp(d.Left)
	return d
}

// left counts the working days until a deadline. Once it has passed that is at least one
// day too many, also on the weekend right after it.
func left(cal calendar.Calendar, now, at time.Time) int {
	n := cal.WorkdaysBetween(now, at)
	if now.After(at) {
		return min(n, -1)
	}
	return n
}

// Lamp returns the colour for so many working days left: red when it is late, yellow from
// WarnDays on, else green.
func Lamp(left int) string {
	switch {
	case left < 0:
		return "red"
	case left <= WarnDays:
		return "yellow"
	}
	return "green"
}

// Clocks are the limits that count for a case now; nil: it does not count (any more).
type Clocks struct {
	Judge     *Deadline `json:"judge,omitempty"`     // To accept, refuse or ask for corrections.
	Promise   *Deadline `json:"promise,omitempty"`   // To decide, as promised.
	Statutory *Deadline `json:"statutory,omitempty"` // To decide, by law.
	Deliver   *Deadline `json:"deliver,omitempty"`
}

// Clocks returns the limits that count for the case at now. Cost: microseconds.
func (c Case) Clocks(cal calendar.Calendar, now time.Time) Clocks {
	var out Clocks
	deadline := func(start time.Time, limit int, stops []Stopped) *Deadline {
		d := NewDeadline(cal, start, limit, stops, now)
		return &d
	}
	switch {
	case slices.Contains(judging, c.State):
		out.Judge = deadline(c.Received, JudgeDays, nil)
	case slices.Contains(handling, c.State) && c.Accepted != nil:
		out.Promise = deadline(*c.Accepted, c.PromiseDays, c.Stops)
		out.Statutory = deadline(*c.Accepted, c.StatutoryDays+c.ExtensionDays, c.Stops)
	case slices.Contains(decided, c.State) && c.Decided != nil:
		out.Deliver = deadline(*c.Decided, DeliverDays, nil)
	}
	return out
}

// Next returns the deadline that the department works towards: the promise, or the
// statutory limit once that was extended, because the promise is then known not to hold.
// Nil: it is not the department's turn.
func (k Clocks) Next(extended bool) *Deadline {
	switch {
	case k.Judge != nil:
		return k.Judge
	case k.Statutory != nil && extended:
		return k.Statutory
	case k.Promise != nil:
		return k.Promise
	}
	return k.Deliver
}

// limitsOf returns the statutory limit and the promise of an item in working days. What
// the item does not say is the law's; a promise never exceeds the statutory limit.
func limitsOf(statutory, promise int, instant bool) (int, int) {
	if statutory <= 0 {
		statutory = StatutoryDays
	}
	switch {
	case promise <= 0 && instant:
		promise = 1
	case promise <= 0:
		promise = statutory
	}
	return statutory, min(statutory, promise)
}
