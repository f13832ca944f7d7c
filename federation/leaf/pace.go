package leaf

import "time"

// pace is how quickly things are noticed and done again. Tests shorten it.
type pace struct {
	watch    time.Duration // 200 ms between looks at the lines; 1 µs of work a line.
	ask      time.Duration // 2 s for the answer to the question after a call timed out.
	askAgain time.Duration // 5 s for each further one.
	stall    time.Duration // 45 s without a sign of life, then the line is dropped.
	redial   []redial      // From quick to slow.
}

// redial is how often a parent is dialled: about every interval, up to twice that when it
// cannot be reached at all, until the line was down for so long.
type redial struct{ every, until time.Duration }

func (p pace) withDefaults() pace {
	if p.watch == 0 {
		p.watch = 200 * time.Millisecond
	}
	if p.ask == 0 {
		p.ask = 2 * time.Second
	}
	if p.askAgain == 0 {
		p.askAgain = 5 * time.Second
	}
	if p.stall == 0 {
		p.stall = 45 * time.Second
	}
	if p.redial == nil {
		p.redial = []redial{{500 * time.Millisecond, 20 * time.Second}, {2 * time.Second, 2 * time.Minute}, {5 * time.Second, 0}}
	}
	return p
}

// slowest is the line that patience is measured by, bytes a second: 32 kbit/s.
const slowest = 4 << 10

// patience is how long a line may show no sign of life after a call with so large a body
// began: the body itself may take long.
func (p pace) patience(body int) time.Duration {
	return p.stall + time.Duration(body/slowest)*time.Second
}
