package torture

import (
	"fmt"
	"strconv"
	"strings"
)

// Report is what a run did and found.
type Report struct {
	Seed       uint64         `json:"seed"`
	Seconds    float64        `json:"seconds"` // Of load under faults.
	Network    string         `json:"network"`
	Faults     map[string]int `json:"faults"`     // By kind.
	Operations int64          `json:"operations"` // That are in a history.
	Open       int64          `json:"open"`       // Of them, those whose outcome nobody knows.
	Refused    int64          `json:"refused"`    // Of them, those that certainly changed nothing.
	Unanswered int64          `json:"unanswered"` // Readings beside, which no node answered.
	Registers  int            `json:"registers"`  // Histories that were judged.
	Minority   int64          `json:"minority"`   // Questions to nodes that were cut off.
	// Recovery is how long after a fault's end a write was acknowledged, ms.
	Recovery Recovery `json:"recovery_ms"`

	Lost         int      `json:"lost"`
	Doubled      int      `json:"doubled"`
	Linearizable bool     `json:"linearizable"`
	Compared     bool     `json:"compared"` // The replicas came to an end; else nobody knows what is lost.
	Equal        bool     `json:"checksums_equal"`
	Violations   []string `json:"violations"` // Everything that is wrong, in words.
	NotRun       []NotRun `json:"not_run"`    // What this machine or user cannot do.
	Dir          string   `json:"dir,omitempty"`
}

// Recovery is a distribution, milliseconds.
type Recovery struct {
	Median int64 `json:"p50"`
	P99    int64 `json:"p99"`
	Max    int64 `json:"max"`
}

// NotRun is a kind of fault that was not tried.
type NotRun struct {
	Fault string `json:"fault"`
	Why   string `json:"why"`
}

// OK reports whether nothing at all was wrong.
func (r Report) OK() bool { return len(r.Violations) == 0 && r.Linearizable && r.Compared && r.Equal }

// faults are the counts in words.
func (r Report) faults() string {
	var parts []string
	total := 0
	for _, kind := range Kinds() {
		if n := r.Faults[kind]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", kind, n))
			total += n
		}
	}
	return fmt.Sprintf("%d faults (%s)", total, strings.Join(parts, ", "))
}

// Line is the result in one line.
func (r Report) Line() string {
	word := ""
	if n := len(r.Violations); n > 0 {
		word = fmt.Sprintf(" violations=%d", n)
	}
	lost := "unknown"
	if r.Compared || r.Lost > 0 {
		lost = strconv.Itoa(r.Lost)
	}
	return fmt.Sprintf("seed=%d %s, %d operations (%d open): lost=%s doubled=%d linearizable=%v%s",
		r.Seed, r.faults(), r.Operations, r.Open, lost, r.Doubled, r.Linearizable, word)
}

// Text is the result for people; its last line is Line.
func (r Report) Text() string {
	var b strings.Builder
	for _, v := range r.Violations {
		fmt.Fprintln(&b, v)
	}
	if r.Dir != "" {
		fmt.Fprintf(&b, "histories, logs and data are in %s\n", r.Dir)
	}
	for _, n := range r.NotRun {
		fmt.Fprintf(&b, "not run: %s: %s\n", n.Fault, n.Why)
	}
	fmt.Fprintf(&b, "%.0f s over %s; writes went on after a fault's end within %d ms (p50), %d ms (p99), %d ms (max); %d questions to nodes without a majority\n",
		r.Seconds, r.Network, r.Recovery.Median, r.Recovery.P99, r.Recovery.Max, r.Minority)
	fmt.Fprintln(&b, r.Line())
	return b.String()
}
