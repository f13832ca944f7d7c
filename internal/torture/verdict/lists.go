package verdict

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ListAppend is a value at the end of a list. No value is ever appended twice.
type ListAppend struct {
	Key   string `json:"key"`
	Value int64  `json:"value"`
}

// ListRead is a whole list, in its order.
type ListRead struct {
	Key    string  `json:"key"`
	Values []int64 `json:"values"`
}

// Txn is a transaction over lists. Its reads see what was there before its appends.
type Txn struct {
	Span
	Reads   []ListRead   `json:"reads,omitempty"` // Known when Done.
	Appends []ListAppend `json:"appends,omitempty"`
}

// lists is a history of transactions while it is judged.
type lists struct {
	txns   []Txn
	writer map[ListAppend]int // → txns
	order  map[string][]int64 // By key: the longest list that was read.
	found  findings
	graph  graph
}

// Lists checks that the transactions are strictly serializable, as far as the reads show:
// the lists read of a key are prefixes of one another and hold what was appended, once and
// all of a transaction or nothing, and the dependencies of the transactions (write-write,
// write-read, read-write, and real time) have no cycle.
func Lists(txns []Txn) []string {
	l := &lists{writer: map[ListAppend]int{}, order: map[string][]int64{}}
	for _, t := range txns {
		if t.Outcome != Done {
			t.Reads = nil
		}
		for _, a := range t.Appends {
			l.writer[a] = len(l.txns)
		}
		l.txns = append(l.txns, t)
	}
	l.readOrders()
	if l.found.n > 0 { // Without an order there are no dependencies.
		return l.found.words()
	}
	l.dependencies()
	if cycle := l.graph.cycle(); len(cycle) > 0 {
		l.found.add("lists: %s", l.story(cycle))
	}
	return l.found.words()
}

// readOrders finds the order of each key, and what no order explains.
func (l *lists) readOrders() {
	for _, t := range l.txns {
		for _, r := range t.Reads {
			l.checkRead(t, r)
			if len(r.Values) > len(l.order[r.Key]) {
				l.order[r.Key] = r.Values
			}
		}
	}
	for _, t := range l.txns {
		for _, r := range t.Reads {
			if longest := l.order[r.Key]; !slices.Equal(r.Values, longest[:len(r.Values)]) {
				l.found.add("lists: list %s was read as %v and as %v: neither is the beginning of the other", r.Key, r.Values, longest)
			}
		}
	}
	for key, values := range l.order {
		l.checkWhole(key, values)
	}
}

// checkRead looks at one list by itself.
func (l *lists) checkRead(t Txn, r ListRead) {
	seen := map[int64]bool{}
	for _, v := range r.Values {
		w, ok := l.writer[ListAppend{r.Key, v}]
		switch {
		case seen[v]:
			l.found.add("lists: list %s holds %d twice (%s)", r.Key, v, t.Span)
		case !ok:
			l.found.add("lists: list %s holds %d, which nobody appended (%s)", r.Key, v, t.Span)
		case l.txns[w].Outcome == Refused:
			l.found.add("lists: list %s holds %d, whose append was refused (%s)", r.Key, v, l.txns[w].Span)
		}
		seen[v] = true
	}
	if n := len(r.Values); n > 0 {
		l.checkLast(t, r.Key, r.Values[n-1])
	}
}

// checkLast: a reader that sees the last value of a list sees its whole transaction.
func (l *lists) checkLast(t Txn, key string, last int64) {
	w, ok := l.writer[ListAppend{key, last}]
	if !ok {
		return
	}
	own := l.txns[w].on(key)
	if own[len(own)-1] != last {
		l.found.add("lists: list %s was read in the middle of a transaction, at %d (%s)", key, last, t.Span)
	}
}

// on are the values that a transaction appends to a key, in its order.
func (t Txn) on(key string) []int64 {
	var list []int64
	for _, a := range t.Appends {
		if a.Key == key {
			list = append(list, a.Value)
		}
	}
	return list
}

// checkWhole: the values of one transaction stand together.
func (l *lists) checkWhole(key string, values []int64) {
	for i, v := range values {
		w, ok := l.writer[ListAppend{key, v}]
		if !ok {
			continue
		}
		own := l.txns[w].on(key)
		first := i - slices.Index(own, v)
		there := values[max(0, first):min(len(values), max(0, first)+len(own))]
		if !slices.Equal(own, there) {
			l.found.add("lists: list %s has %v where one transaction appended %v", key, there, own)
		}
	}
}

// dependencies makes the graph. Transactions that nobody saw and whose outcome is open
// have no place in it.
func (l *lists) dependencies() {
	l.graph = make(graph, len(l.txns))
	after := map[string][]int{} // By key: who follows all that was read: acknowledged, and seen by nobody.
	for i, t := range l.txns {
		for _, a := range t.Appends {
			if t.Outcome == Done && !slices.Contains(l.order[a.Key], a.Value) {
				after[a.Key] = append(after[a.Key], i)
			}
		}
	}
	for key, values := range l.order {
		for i := 1; i < len(values); i++ {
			l.edge(l.of(key, values[i-1]), l.of(key, values[i]), "was appended before")
		}
		if n := len(values); n > 0 {
			for _, late := range after[key] {
				l.edge(l.of(key, values[n-1]), late, "was appended before")
			}
		}
	}
	for i, t := range l.txns {
		for _, r := range t.Reads {
			l.readEdges(i, r, after[r.Key])
		}
	}
	l.realTime()
}

func (l *lists) readEdges(reader int, r ListRead, after []int) {
	n := len(r.Values)
	if n > 0 {
		l.edge(l.of(r.Key, r.Values[n-1]), reader, "was read by")
	}
	if order := l.order[r.Key]; n < len(order) {
		l.edge(reader, l.of(r.Key, order[n]), "did not see")
		return
	}
	for _, late := range after {
		l.edge(reader, late, "did not see")
	}
}

func (l *lists) of(key string, value int64) int { return l.writer[ListAppend{key, value}] }

func (l *lists) edge(from, to int, why string) {
	if from != to {
		l.graph[from] = append(l.graph[from], edge{to, why})
	}
}

// realTime orders a transaction after all that had returned before it was called: through
// one node for each return, chained, so that there are few edges.
func (l *lists) realTime() {
	var returned []int
	for i, t := range l.txns {
		if t.Outcome == Done {
			returned = append(returned, i)
		}
	}
	slices.SortFunc(returned, func(a, b int) int { return cmp.Compare(l.txns[a].Return, l.txns[b].Return) })
	first := len(l.graph)
	for j, i := range returned {
		l.graph = append(l.graph, nil)
		l.edge(i, first+j, "returned before")
		if j > 0 {
			l.edge(first+j-1, first+j, "")
		}
	}
	for i, t := range l.txns {
		if t.Outcome == Refused {
			continue
		}
		n, _ := slices.BinarySearchFunc(returned, t.Call, func(k int, call int64) int { return cmp.Compare(l.txns[k].Return, call) })
		if n > 0 {
			l.edge(first+n-1, i, "")
		}
	}
}

// story tells a cycle in words.
func (l *lists) story(cycle []edge) string {
	var parts []string
	for _, e := range cycle {
		switch {
		case e.to < len(l.txns) && e.why == "":
			parts = append(parts, "the call of "+l.name(e.to))
		case e.to < len(l.txns):
			parts = append(parts, e.why+" "+l.name(e.to))
		case e.why != "":
			parts = append(parts, e.why)
		}
	}
	return "a cycle: … " + strings.Join(parts, " ")
}

func (l *lists) name(i int) string {
	t := l.txns[i]
	var what []string
	for _, a := range t.Appends {
		what = append(what, fmt.Sprintf("append %d to %s", a.Value, a.Key))
	}
	for _, r := range t.Reads {
		what = append(what, fmt.Sprintf("read %d values of %s", len(r.Values), r.Key))
	}
	return fmt.Sprintf("[%s: %s]", strings.Join(what, ", "), t.Span)
}

// Orders are the lists as replicas hold them in the end; those of one key must be equal.
func Orders(replicas map[string]map[string][]int64) []string {
	names := slices.Sorted(maps.Keys(replicas))
	var wrong findings
	for _, name := range names {
		for key, values := range replicas[name] {
			if first := replicas[names[0]][key]; !slices.Equal(values, first) {
				wrong.add("lists: list %s is %v at %s and %v at %s", key, values, name, first, names[0])
			}
		}
	}
	return wrong.words()
}
