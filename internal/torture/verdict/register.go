package verdict

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verb is what an operation does to a register.
type Verb string

// The verbs.
const (
	Read  Verb = "read"
	Write Verb = "write"
	Swap  Verb = "swap" // Compare and swap.
)

// RegisterOp is one operation on one register. A register that was never written holds 0.
type RegisterOp struct {
	Span
	Key     string `json:"key"`
	Verb    Verb   `json:"verb"`
	From    int64  `json:"from,omitempty"` // Swap: only if the register holds this.
	To      int64  `json:"to,omitempty"`   // Write, Swap.
	Value   int64  `json:"value"`          // Read: what was read.
	Swapped bool   `json:"swapped"`        // Swap: whether it held From.
}

// registers is the sequential specification. Open operations return at the end of time, so
// one that never happened is a last one whose result nobody sees.
var registers = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		now, op := state.(int64), input.(RegisterOp)
		switch op.Verb {
		case Read:
			return op.Value == now, now
		case Write:
			return true, op.To
		}
		if op.Outcome == Done && op.Swapped != (now == op.From) {
			return false, now
		}
		if now == op.From {
			return true, op.To
		}
		return true, now
	},
	DescribeOperation: func(input, _ any) string {
		op := input.(RegisterOp)
		switch op.Verb {
		case Read:
			return fmt.Sprintf("read %d", op.Value)
		case Write:
			return fmt.Sprintf("write %d (%s)", op.To, op.Outcome)
		}
		return fmt.Sprintf("swap %d to %d: %v (%s)", op.From, op.To, op.Swapped, op.Outcome)
	},
}

// RegisterVerdict is the judgement of one key.
type RegisterVerdict struct {
	Wrong   []string // Empty: linearizable.
	Decided bool     // False: not judged within the limit, which is no acquittal.
	info    porcupine.LinearizationInfo
}

// Visualize writes a page that shows how far a linearization gets.
func (v RegisterVerdict) Visualize(w io.Writer) error {
	return porcupine.Visualize(registers, v.info, w)
}

// Register judges the history of one key within a limit of time.
func Register(key string, ops []RegisterOp, limit time.Duration) RegisterVerdict {
	var history []porcupine.Operation
	for _, op := range ops {
		if op.Outcome == Refused || op.Verb == Read && op.Outcome != Done {
			continue
		}
		o := porcupine.Operation{ClientId: op.Client, Input: op, Call: op.Call, Return: op.Return}
		if op.Outcome == Open {
			o.Return = math.MaxInt64
		}
		history = append(history, o)
	}
	result, info := porcupine.CheckOperationsVerbose(registers, history, limit)
	v := RegisterVerdict{info: info, Decided: result != porcupine.Unknown}
	switch result {
	case porcupine.Illegal:
		v.Wrong = []string{fmt.Sprintf("register %s: no order of its %d operations explains what the clients saw", key, len(history))}
	case porcupine.Unknown:
		v.Wrong = []string{fmt.Sprintf("register %s: its %d operations could not be judged within %s", key, len(history), limit)}
	}
	return v
}

// Stale checks readings of one register against its writes by real time alone, which takes
// time in proportion however many overlap: a reading is wrong if its value was written
// after it had returned, or replaced before it was called. Each value is written once.
func Stale(key string, writes, readings []RegisterOp) []string {
	written := map[int64]RegisterOp{0: {Span: Span{Return: -1, Outcome: Done}}}
	var done []RegisterOp
	for _, w := range writes {
		if w.Verb == Read || w.Outcome == Refused || w.Verb == Swap && w.Outcome == Done && !w.Swapped {
			continue
		}
		written[w.To] = w
		if w.Outcome == Done {
			done = append(done, w)
		}
	}
	slices.SortFunc(done, func(a, b RegisterOp) int { return cmp.Compare(a.Return, b.Return) })
	last := make([]RegisterOp, len(done)) // Of those that returned so far, the one that was called last.
	for i, w := range done {
		if last[i] = w; i > 0 && last[i-1].Call > w.Call {
			last[i] = last[i-1]
		}
	}
	var wrong findings
	for _, r := range readings {
		w, ok := written[r.Value]
		n, _ := slices.BinarySearchFunc(done, r.Call, func(d RegisterOp, call int64) int { return cmp.Compare(d.Return, call) })
		switch {
		case !ok:
			wrong.add("register %s: %d was read, which nobody wrote (%s)", key, r.Value, r.Span)
		case w.Call > r.Return:
			wrong.add("register %s: %d was read before it was written (%s; %s)", key, r.Value, r.Span, w.Span)
		case n > 0 && w.Outcome == Done && last[n-1].Call > w.Return:
			wrong.add("register %s: stale: %d was read (%s), which had been replaced by %d (%s)", key, r.Value, r.Span, last[n-1].To, last[n-1].Span)
		}
	}
	return wrong.words()
}
