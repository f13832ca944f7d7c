// Package verdict judges histories: what clients asked of a database, what they were told
// and when, and what every replica holds in the end.
//
// A history is a list of operations with the times of call and return. An operation whose
// outcome nobody knows stays open for ever: it may have happened, may happen later, may
// never happen. Times are nanoseconds of one monotonic clock.
//
// The judges are [Register] (linearizability, by porcupine), [Set] (lost and doubled),
// [Bank] (atomic transactions), [Lists] (strict serializability by cycles, after Elle:
// Kingsbury and Alvaro, VLDB 2020), and [Session] (what one client may expect of followers).
// Each returns what is wrong in words, and nothing when nothing is.
//
// Not here: how the operations are made, which is in the package above.
package verdict

import "fmt"

// Outcome is what a client knows of an operation.
type Outcome int

const (
	// Open: it may have happened, and may still happen.
	Open Outcome = iota
	// Done: it has happened between call and return.
	Done
	// Refused: it has not happened and will not.
	Refused
)

// String is the outcome's name in a history.
func (o Outcome) String() string { return [...]string{"open", "done", "refused"}[o] }

// MarshalText writes the name.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Span is who did something when, and what came of it.
type Span struct {
	Client  int     `json:"client"`
	Node    string  `json:"node,omitempty"` // The last one that was asked.
	Call    int64   `json:"call"`
	Return  int64   `json:"return"` // Of an open operation: when its client gave up.
	Outcome Outcome `json:"outcome"`
}

// String is a span for people, in seconds.
func (s Span) String() string {
	return fmt.Sprintf("client %d at %s, %.3f–%.3f s, %s", s.Client, s.Node, float64(s.Call)/1e9, float64(s.Return)/1e9, s.Outcome)
}

// maxTold bounds how many findings of one kind a judge reports in words.
const maxTold = 10

// findings collects what is wrong, bounded.
type findings struct {
	list []string
	n    int
}

func (f *findings) add(format string, args ...any) {
	if f.n++; f.n <= maxTold {
		f.list = append(f.list, fmt.Sprintf(format, args...))
	}
}

func (f *findings) words() []string {
	if f.n > maxTold {
		f.list = append(f.list, fmt.Sprintf("and %d more of this kind", f.n-maxTold))
	}
	return f.list
}
