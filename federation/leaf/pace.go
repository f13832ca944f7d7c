package leaf

import (
	"sync"
	"time"
)

// pace is how quickly things are noticed and done again. Tests shorten it.
type pace struct {
	watch    time.Duration // 200 ms between looks at the lines; 1 µs of work a line.
	ask      time.Duration // 2 s for the answer to the question after a call timed out.
	askAgain time.Duration // 5 s for each further one.
	stall    time.Duration // 45 s without a sign of life, then the line is dropped; see patience.
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

// maxPatience bounds patience: the largest message takes 131 s at 64 kbit/s.
const maxPatience = 4 * time.Minute

// forget is how long after the last drop a line is taken for a quick one again.
const forget = time.Hour

// patience is how long a line may show no sign of life before it is dropped. It doubles
// with each drop: on a slow line a large message of the other side looks like a standstill,
// and would never arrive if the line were dropped under it each time.
type patience struct {
	mu    sync.Mutex
	drops int
	last  time.Time
}

// of is the time after a call with so large a body began: the body may take long too.
func (p *patience) of(pace pace, body int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.last) > forget {
		p.drops = 0
	}
	return min(pace.stall<<p.drops, maxPatience) + time.Duration(body/slowest)*time.Second
}

func (p *patience) dropped() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drops, p.last = min(p.drops+1, 4), time.Now()
}
