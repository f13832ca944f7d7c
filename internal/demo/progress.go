package demo

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress tells people what is going on, a line each with the seconds since the start. A
// nil Progress says nothing. It may be used concurrently.
type Progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// NewProgress returns a Progress that writes to out from now on.
func NewProgress(out io.Writer) *Progress { return &Progress{out: out, start: time.Now()} }

// Step says one thing.
func (p *Progress) Step(format string, args ...any) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%6.1f s  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// Elapsed is the time since the start.
func (p *Progress) Elapsed() time.Duration {
	if p == nil {
		return 0
	}
	return time.Since(p.start)
}
