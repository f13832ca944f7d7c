package divisions

import (
	"fmt"
	"strings"
)

// Report is what a run did and found.
type Report struct {
	Seed    uint64         `json:"seed"`
	Seconds float64        `json:"seconds"` // Of load under faults.
	Faults  map[string]int `json:"faults"`  // By kind.
	Cases   int            `json:"cases"`   // Acknowledged applications.
	Mails   int            `json:"mails"`   // Acknowledged cases that were lodged in another province.
	BackS   float64        `json:"back_s"`  // From when all was whole until everything had arrived.

	Lost       int      `json:"lost"`
	Doubled    int      `json:"doubled"`
	Violations []string `json:"violations"` // Everything that is wrong, in words.
	Dir        string   `json:"dir,omitempty"`
}

// OK reports whether nothing at all was wrong.
func (r Report) OK() bool { return len(r.Violations) == 0 && r.Lost == 0 && r.Doubled == 0 }

// Line is the result in one line.
func (r Report) Line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed=%d ", r.Seed)
	for _, kind := range Kinds() {
		fmt.Fprintf(&b, "%s=%d ", kind, r.Faults[kind])
	}
	fmt.Fprintf(&b, "cases=%d mails=%d lost=%d doubled=%d", r.Cases, r.Mails, r.Lost, r.Doubled)
	if n := len(r.Violations); n > 0 {
		fmt.Fprintf(&b, " violations=%d", n)
	}
	return b.String()
}

// Text is the result for people; its last line is Line.
func (r Report) Text() string {
	var b strings.Builder
	for _, v := range r.Violations {
		fmt.Fprintln(&b, v)
	}
	if r.Dir != "" {
		fmt.Fprintf(&b, "logs and data are in %s\n", r.Dir)
	}
	fmt.Fprintf(&b, "%.0f s of load over four levels; everything had arrived %.1f s after all was whole\n", r.Seconds, r.BackS)
	fmt.Fprintln(&b, r.Line())
	return b.String()
}
