package replicationtest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"tongban/replication"
)

// Kinds of object. Each is a text to the checks: a number, or words in order.
const (
	Register = "register" // Written blindly, by a statement list.
	Counter  = "counter"  // Read, and written one higher as a literal, by a closure.
	List     = "list"     // Read, and appended to, by a closure.
	Set      = "set"      // Inserted into blindly, by a statement list.
)

// Result is what a client knows of its operation.
type Result int

// Results.
const (
	Done    Result = iota // It happened.
	Refused               // It certainly did not.
	Unknown               // Nobody knows: the history's end tells.
)

// Op is one operation of a client. Texts are values of objects.
type Op struct {
	ID      string // Unique; empty: a read.
	Client  int
	Node    replication.NodeID
	Level   string // Of a read.
	Kind    string
	Key     string
	Arg     string // What a change writes.
	Seen    string // The object before it, if it was read.
	Looked  bool   // Whether it was.
	Index   replication.Index
	Token   replication.Index // What a read had to wait for.
	Stale   bool              // A read that need not be the newest.
	Result  Result
	called  int64 // Position in the order of all calls and returns.
	back    int64
	At      time.Time
	Message string // The error.
}

// String is one line for the report of a failure.
func (o Op) String() string {
	what := fmt.Sprintf("%s %s", cmp.Or(o.Level, "change"), o.Key)
	if o.ID != "" {
		what += fmt.Sprintf(" %s (%s)", o.Arg, o.ID)
	}
	return fmt.Sprintf("%d..%d %s client %d on %s: %s, saw %q at index %d: %s %s", o.called, o.back, o.At.Format("04:05.000"), o.Client,
		o.Node, what, o.Seen, o.Index, [...]string{"done", "refused", "unknown"}[o.Result], o.Message)
}

// History is what all clients did, in the order in which calls and returns happened. Its
// clock is a counter: in virtual time much happens at once.
type History struct {
	mu    sync.Mutex
	clock int64
	ops   []Op
}

// Call notes the beginning of an operation.
func (h *History) Call(o *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	o.called, o.At = h.clock, time.Now()
}

// Return notes its end.
func (h *History) Return(o *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clock++
	o.back = h.clock
	h.ops = append(h.ops, *o)
}

// Count is how many operations had a result.
func (h *History) Count(r Result) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.ops {
		if o.Result == r {
			n++
		}
	}
	return n
}

// Trace is one change as it stands in the database in the end.
type Trace struct {
	ID, Seen string
}

// checkFor bounds the search for an order of one object's operations; it takes
// milliseconds, so that a search without an end is a failure.
const checkFor = 30 * time.Second

// Check compares the history with the traces of changes that the database holds in the
// end: every acknowledged change is there once, every refused one is not, and there is an
// order of all operations on each object that explains what was seen
// (porcupine; Herlihy and Wing, "Linearizability", TOPLAS 1990). It must not be called
// inside a bubble: its search takes real time.
func (h *History) Check(traces []Trace) error {
	ops, errs := h.resolve(traces)
	errs = append(errs, checkIndexes(ops)...)
	for _, key := range keys(ops) {
		var one []porcupine.Operation
		for _, o := range ops {
			if o.Key == key && !o.Stale {
				one = append(one, porcupine.Operation{ClientId: o.Client, Input: o, Output: o, Call: o.called, Return: o.back})
			}
		}
		switch porcupine.CheckOperationsTimeout(model, one, checkFor) {
		case porcupine.Illegal:
			errs = append(errs, fmt.Errorf("%s is not linearizable:\n%s", key, lines(one)))
		case porcupine.Unknown:
			errs = append(errs, fmt.Errorf("no order of the operations on %s was found in %v", key, checkFor))
		}
	}
	return errors.Join(errs...)
}

// resolve settles what was unknown, and compares with the traces.
func (h *History) resolve(traces []Trace) (ops []Op, errs []error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, known := map[string]Trace{}, map[string]bool{}
	for _, t := range traces {
		if _, twice := found[t.ID]; twice {
			errs = append(errs, fmt.Errorf("doubled: %s", t.ID))
		}
		found[t.ID] = t
	}
	for _, o := range h.ops {
		t, there := found[o.ID]
		known[o.ID] = true
		switch {
		case o.ID == "" && o.Result != Done:
			continue
		case o.ID != "" && o.Result == Done && !there:
			errs = append(errs, fmt.Errorf("lost: %s", o))
		case o.ID != "" && o.Result == Refused && there:
			errs = append(errs, fmt.Errorf("refused, and yet there: %s", o))
		}
		if o.ID != "" && !there {
			continue
		}
		if o.Result != Done { // Its effect may come at any time.
			o.Seen, o.back = t.Seen, math.MaxInt64
		}
		ops = append(ops, o)
	}
	for id := range found {
		if !known[id] {
			errs = append(errs, fmt.Errorf("nobody made %s", id))
		}
	}
	return ops, errs
}

func keys(ops []Op) (out []string) {
	for _, o := range ops {
		if !slices.Contains(out, o.Key) {
			out = append(out, o.Key)
		}
	}
	slices.Sort(out)
	return out
}

func lines(ops []porcupine.Operation) string {
	var b strings.Builder
	for _, o := range ops {
		fmt.Fprintln(&b, o.Input.(Op))
	}
	return b.String()
}

// model is an object: what it holds is a text.
var model = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		o, s := input.(Op), state.(string)
		if o.Looked && o.Seen != s {
			return false, s
		}
		if o.ID == "" {
			return true, s
		}
		return true, o.after(s)
	},
	Equal: func(a, b any) bool { return a == b },
}

// after is the object once o is done.
func (o Op) after(s string) string {
	words := strings.Fields(s)
	switch o.Kind {
	case Register:
		return o.Arg
	case Counter:
		n, _ := strconv.Atoi(cmp.Or(s, "0"))
		return strconv.Itoa(n + 1)
	case Set:
		words = append(words, o.Arg)
		slices.Sort(words)
		return strings.Join(words, " ")
	}
	return strings.Join(append(words, o.Arg), " ")
}

// checkIndexes compares everything that was read, on whichever replica and at whichever
// level, with the index that it was read at: an index has one content, a change is in it
// from its own index on and not before, and a token was waited for.
func checkIndexes(ops []Op) (errs []error) {
	type place struct {
		key string
		at  replication.Index
	}
	content := map[place]Op{}
	for _, r := range ops {
		if r.ID != "" || r.Index == 0 {
			continue
		}
		if r.Index < r.Token {
			errs = append(errs, fmt.Errorf("a read at index %d that had to wait for %d: %s", r.Index, r.Token, r))
		}
		p := place{r.Key, r.Index}
		if first, ok := content[p]; ok && first.Seen != r.Seen {
			errs = append(errs, fmt.Errorf("two contents of one index:\n%s\n%s", first, r))
		}
		content[p] = r
		for _, c := range ops {
			if c.Key != r.Key || c.ID == "" || c.Result != Done || c.Index == 0 || c.Kind == Register {
				continue
			}
			if has(r.Seen, c) != (c.Index <= r.Index) {
				errs = append(errs, fmt.Errorf("the change is at index %d, the read at %d:\n%s\n%s", c.Index, r.Index, c, r))
			}
		}
		if len(errs) > maxErrors {
			break
		}
	}
	return errs
}

// maxErrors are enough to see what is wrong.
const maxErrors = 4

// has says whether a text holds what a change did.
func has(text string, c Op) bool {
	if c.Kind == Counter {
		now, _ := strconv.Atoi(cmp.Or(text, "0"))
		before, _ := strconv.Atoi(cmp.Or(c.Seen, "0"))
		return now > before
	}
	return slices.Contains(strings.Fields(text), c.Arg)
}
