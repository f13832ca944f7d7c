package verdict

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// during is a span of client c.
func during(c int, call, ret int64, o Outcome) Span {
	return Span{Client: c, Node: "n1", Call: call, Return: ret, Outcome: o}
}

// expect fails unless what was found holds every wanted text, or nothing when none is.
func expect(t *testing.T, found []string, wanted ...string) {
	t.Helper()
	all := strings.Join(found, "\n")
	if len(wanted) == 0 && len(found) > 0 {
		t.Errorf("found in a good history: %s", all)
	}
	for _, w := range wanted {
		if !strings.Contains(all, w) {
			t.Errorf("%q was not found, but: %s", w, all)
		}
	}
}

func TestRegister(t *testing.T) {
	write := func(c int, call, ret, to int64, o Outcome) RegisterOp {
		return RegisterOp{Span: during(c, call, ret, o), Key: "k", Verb: Write, To: to}
	}
	read := func(c int, call, ret, value int64) RegisterOp {
		return RegisterOp{Span: during(c, call, ret, Done), Key: "k", Verb: Read, Value: value}
	}
	swap := func(c int, call, ret, from, to int64, swapped bool, o Outcome) RegisterOp {
		return RegisterOp{Span: during(c, call, ret, o), Key: "k", Verb: Swap, From: from, To: to, Swapped: swapped}
	}
	cases := []struct {
		name   string
		ops    []RegisterOp
		wanted []string
	}{
		{"a read of what was written", []RegisterOp{write(1, 1, 2, 7, Done), read(2, 3, 4, 7)}, nil},
		{"a read beside a write sees either", []RegisterOp{write(1, 1, 5, 7, Done), read(2, 2, 3, 0), read(2, 4, 6, 7)}, nil},
		{"a stale read", []RegisterOp{write(1, 1, 2, 7, Done), read(2, 3, 4, 0)}, []string{"no order"}},
		{"a read that goes back", []RegisterOp{write(1, 1, 9, 7, Done), read(2, 2, 3, 7), read(3, 4, 5, 0)}, []string{"no order"}},
		{"a lost write", []RegisterOp{write(1, 1, 2, 7, Done), write(1, 3, 4, 8, Done), read(2, 5, 6, 7)}, []string{"no order"}},
		{"an open write may happen much later", []RegisterOp{write(1, 1, 2, 7, Open), read(2, 3, 4, 0), read(2, 5, 6, 7)}, nil},
		{"an open write may never happen", []RegisterOp{write(1, 1, 2, 7, Open), read(2, 3, 4, 0)}, nil},
		{"an open write happens once", []RegisterOp{write(1, 1, 2, 7, Open), read(2, 3, 4, 7), write(2, 5, 6, 8, Done), read(2, 7, 8, 7)}, []string{"no order"}},
		{"a refused write was seen", []RegisterOp{write(1, 1, 2, 7, Refused), read(2, 3, 4, 7)}, []string{"no order"}},
		{"an open write taken for a failed one would hide nothing", []RegisterOp{write(1, 1, 2, 7, Open), read(2, 3, 4, 9)}, []string{"no order"}},
		{"a swap", []RegisterOp{swap(1, 1, 2, 0, 7, true, Done), read(2, 3, 4, 7), swap(1, 5, 6, 0, 8, false, Done), read(2, 7, 8, 7)}, nil},
		{"two swaps of the same value", []RegisterOp{swap(1, 1, 5, 0, 7, true, Done), swap(2, 1, 5, 0, 8, true, Done)}, []string{"no order"}},
		{"a swap that should have happened", []RegisterOp{swap(1, 1, 2, 0, 7, false, Done)}, []string{"no order"}},
		{"an open swap may or may not have happened", []RegisterOp{swap(1, 1, 2, 0, 7, false, Open), read(2, 3, 4, 0), read(2, 5, 6, 7)}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := Register("k", c.ops, 10*time.Second)
			expect(t, v.Wrong, c.wanted...)
			if !v.Decided {
				t.Error("it was not decided")
			}
		})
	}
}

func TestStale(t *testing.T) {
	write := func(call, ret, to int64, o Outcome) RegisterOp {
		return RegisterOp{Span: during(1, call, ret, o), Verb: Write, To: to}
	}
	swap := RegisterOp{Span: during(1, 9, 10, Done), Verb: Swap, From: 8, To: 9, Swapped: true}
	missed := RegisterOp{Span: during(1, 11, 12, Done), Verb: Swap, From: 8, To: 77}
	writes := []RegisterOp{write(1, 2, 7, Done), write(3, 6, 8, Done), swap, missed, write(13, 14, 5, Open), write(15, 16, 6, Refused)}
	cases := []struct {
		name             string
		value, call, ret int64
		wanted           []string
	}{
		{"nothing yet", 0, 0, 1, nil},
		{"the first value beside its write", 0, 1, 4, nil},
		{"a value beside the write that replaces it", 7, 5, 7, nil},
		{"the newest value", 9, 20, 21, nil},
		{"an open write", 5, 14, 21, nil},
		{"an old value", 7, 7, 8, []string{"stale: 7 was read", "replaced by 8"}},
		{"a value that a swap replaced", 8, 11, 12, []string{"replaced by 9"}},
		{"nothing, after writes", 0, 7, 8, []string{"stale: 0"}},
		{"a value of the future", 8, 0, 2, []string{"before it was written"}},
		{"a refused value", 6, 20, 21, []string{"nobody wrote"}},
		{"the value of a swap that missed", 77, 20, 21, []string{"nobody wrote"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			read := RegisterOp{Span: during(2, c.call, c.ret, Done), Verb: Read, Value: c.value}
			expect(t, Stale("k", writes, []RegisterOp{read}), c.wanted...)
		})
	}
}

func TestARegisterThatCannotBeJudgedIsNotAcquitted(t *testing.T) {
	var ops []RegisterOp
	for i := range int64(40) { // All at once, and then something impossible: 40! orders.
		ops = append(ops, RegisterOp{Span: during(int(i), 1, 100, Open), Key: "k", Verb: Write, To: i%7 + 1})
	}
	for i := range int64(60) {
		ops = append(ops, RegisterOp{Span: during(99, 200+2*i, 201+2*i, Done), Key: "k", Verb: Read, Value: i%7 + 1})
	}
	v := Register("k", ops, time.Millisecond)
	if v.Decided || len(v.Wrong) == 0 {
		t.Errorf("decided %v, %v", v.Decided, v.Wrong)
	}
	var page bytes.Buffer
	if err := v.Visualize(&page); err != nil || page.Len() == 0 {
		t.Errorf("no page: %v", err)
	}
}

func TestSet(t *testing.T) {
	inserts := []Insert{
		{Span: during(1, 1, 2, Done), Value: "a"}, {Span: during(1, 3, 4, Open), Value: "b"},
		{Span: during(1, 5, 6, Refused), Value: "c"}, {Span: during(1, 7, 8, Done), Value: "d"},
	}
	good := map[string]int{"a": 1, "d": 1}
	cases := []struct {
		name          string
		held          map[string]int
		lost, doubled int
		wanted        []string
	}{
		{"all that was acknowledged", good, 0, 0, nil},
		{"an open one may be there", map[string]int{"a": 1, "b": 1, "d": 1}, 0, 0, nil},
		{"a lost one", map[string]int{"a": 1}, 1, 0, []string{"lost: n2 lacks value d"}},
		{"a doubled one", map[string]int{"a": 2, "d": 1}, 0, 1, []string{"doubled: n2 has value a 2 times"}},
		{"a doubled open one", map[string]int{"a": 1, "b": 2, "d": 1}, 0, 1, []string{"doubled"}},
		{"a refused one", map[string]int{"a": 1, "c": 1, "d": 1}, 0, 0, []string{"which was refused"}},
		{"one from nowhere", map[string]int{"a": 1, "d": 1, "z": 1}, 0, 0, []string{"which nobody wrote"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			v := Set("value", inserts, map[string]map[string]int{"n1": good, "n2": c.held, "n3": good})
			if v.Lost != c.lost || v.Doubled != c.doubled {
				t.Errorf("lost %d, doubled %d", v.Lost, v.Doubled)
			}
			expect(t, v.Wrong, c.wanted...)
		})
	}
	expect(t, Unequal("the content", map[string]string{"n1": "x", "n2": "x"}))
	expect(t, Unequal("the content", map[string]string{"n1": "x", "n2": "y"}), "of n2 differs")
}

func TestBank(t *testing.T) {
	initial := map[string]int64{"s1": 10, "c1": 10}
	move := Transfer{Span: during(1, 1, 2, Done), ID: "t", From: "s1", To: "c1", Amount: 4, Paid: true}
	booked := map[string]Booked{"t": {"s1", "c1", 4, true}}
	cases := []struct {
		name   string
		sum    int64
		held   Accounts
		wanted []string
	}{
		{"a transfer", 20, Accounts{map[string]int64{"s1": 6, "c1": 14}, booked}, nil},
		{"half a transfer was seen", 16, Accounts{map[string]int64{"s1": 6, "c1": 14}, booked}, []string{"had 16 instead of 20"}},
		{"a transfer applied twice", 20, Accounts{map[string]int64{"s1": 2, "c1": 18}, booked}, []string{"holds 2; its transfers make it 6"}},
		{"half a transfer is there", 20, Accounts{map[string]int64{"s1": 6, "c1": 10}, booked}, []string{"account c1 of n1"}},
		{"another result than was told", 20, Accounts{map[string]int64{"s1": 10, "c1": 10}, map[string]Booked{"t": {"s1", "c1", 4, false}}}, []string{"told paid=true"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			readings := []Balance{{Span: during(2, 3, 4, Done), Sum: c.sum}, {Span: during(2, 3, 4, Open), Sum: 0}}
			expect(t, Bank(initial, []Transfer{move}, readings, map[string]Accounts{"n1": c.held}), c.wanted...)
		})
	}
}

func TestSession(t *testing.T) {
	step := func(call int64, wrote bool, n int64, o Outcome) Visit {
		return Visit{Span: during(1, call, call+1, o), Wrote: wrote, N: n}
	}
	cases := []struct {
		name   string
		visits []Visit
		wanted []string
	}{
		{"reads follow the writes", []Visit{step(1, true, 1, Done), step(3, false, 1, Done), step(5, true, 2, Open), step(7, false, 1, Done), step(9, false, 2, Done)}, nil},
		{"own write not read", []Visit{step(1, true, 1, Done), step(3, true, 2, Done), step(5, false, 1, Done)}, []string{"read 1 after it had written 2"}},
		{"a read that goes back", []Visit{step(1, true, 1, Done), step(3, true, 2, Open), step(5, false, 2, Done), step(7, false, 1, Done)}, []string{"read 1 after it had read 2"}},
		{"a read of the future", []Visit{step(1, true, 1, Done), step(3, false, 5, Done)}, []string{"never wrote"}},
		{"another client's writes do not count", []Visit{step(1, false, 0, Done), {Span: during(2, 0, 1, Done), Wrote: true, N: 9}}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { expect(t, Session(c.visits), c.wanted...) })
	}
}

func TestLists(t *testing.T) {
	txn := func(call int64, o Outcome, parts ...any) Txn {
		tx := Txn{Span: during(int(call), call, call+1, o)}
		for _, p := range parts {
			switch p := p.(type) {
			case ListAppend:
				tx.Appends = append(tx.Appends, p)
			case ListRead:
				tx.Reads = append(tx.Reads, p)
			}
		}
		return tx
	}
	add := func(key string, v int64) ListAppend { return ListAppend{key, v} }
	see := func(key string, v ...int64) ListRead { return ListRead{key, v} }
	cases := []struct {
		name   string
		txns   []Txn
		wanted []string
	}{
		{"one after another", []Txn{txn(1, Done, add("x", 1)), txn(3, Done, see("x", 1), add("y", 2)), txn(5, Done, see("y", 2), see("x", 1))}, nil},
		{"an open append appears late", []Txn{txn(1, Open, add("x", 1)), txn(3, Done, see("x")), txn(5, Done, see("x", 1))}, nil},
		{"an open append never appears", []Txn{txn(1, Open, add("x", 1)), txn(3, Done, see("x"))}, nil},
		{"a lost append", []Txn{txn(1, Done, add("x", 1)), txn(3, Done, see("x"))}, []string{"a cycle", "did not see"}},
		{"a stale read", []Txn{txn(1, Done, add("x", 1)), txn(3, Done, add("x", 2)), txn(5, Done, see("x", 1)), txn(7, Done, see("x", 1, 2))}, []string{"a cycle"}},
		{"two orders", []Txn{txn(1, Open, add("x", 1)), txn(1, Open, add("x", 2)), txn(5, Done, see("x", 1, 2)), txn(7, Done, see("x", 2))}, []string{"neither is the beginning"}},
		{"a value twice", []Txn{txn(1, Done, add("x", 1)), txn(3, Done, see("x", 1, 1))}, []string{"holds 1 twice"}},
		{"a value from nowhere", []Txn{txn(3, Done, see("x", 1))}, []string{"nobody appended"}},
		{"a refused append", []Txn{txn(1, Refused, add("x", 1)), txn(3, Done, see("x", 1))}, []string{"was refused"}},
		{"half of a transaction at the end", []Txn{txn(1, Done, add("x", 1), add("x", 2)), txn(1, Done, see("x", 1))}, []string{"in the middle"}},
		{"a transaction torn apart", []Txn{txn(1, Open, add("x", 1), add("x", 2)), txn(1, Open, add("x", 3)), txn(5, Done, see("x", 1, 3, 2))}, []string{"where one transaction appended [1 2]"}},
		{"write skew", []Txn{
			{Span: during(1, 1, 9, Done), Reads: []ListRead{see("x")}, Appends: []ListAppend{add("y", 1)}},
			{Span: during(2, 1, 9, Done), Reads: []ListRead{see("y")}, Appends: []ListAppend{add("x", 2)}},
			txn(10, Done, see("x", 2), see("y", 1))}, []string{"a cycle"}},
		{"a fractured read", []Txn{
			{Span: during(1, 1, 9, Done), Appends: []ListAppend{add("x", 1), add("y", 1)}},
			{Span: during(2, 1, 9, Done), Reads: []ListRead{see("x", 1), see("y")}},
			txn(10, Done, see("x", 1), see("y", 1))}, []string{"a cycle"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { expect(t, Lists(c.txns), c.wanted...) })
	}
	same := map[string]map[string][]int64{"n1": {"x": {1, 2}}, "n2": {"x": {1, 2}}}
	expect(t, Orders(same))
	same["n2"]["x"] = []int64{2, 1}
	expect(t, Orders(same), "at n2")
}

// TestGoodHistoriesPassAndSpoiltOnesDoNot makes histories by executing transactions one
// after another, with calls and returns around the moment of execution, and spoils them.
func TestGoodHistoriesPassAndSpoiltOnesDoNot(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		txns := serial(r, 60)
		if found := Lists(txns); len(found) > 0 {
			t.Fatalf("seed %d: a serial history: %v", seed, found)
		}
		if how := spoil(r, txns); len(Lists(txns)) == 0 {
			t.Errorf("seed %d: nobody noticed: %s", seed, how)
		}
	}
}

func serial(r *rand.Rand, n int) []Txn {
	state := map[string][]int64{}
	var txns []Txn
	for i := range n {
		now := int64(100 * (i + 1))
		tx := Txn{Span: during(i%5, now-r.Int64N(200), now+r.Int64N(200), Done)}
		if r.IntN(10) == 0 {
			tx.Outcome = Open
		}
		for k := range 2 {
			key := fmt.Sprint("k", (r.IntN(2)+2*k)%4)
			tx.Reads = append(tx.Reads, ListRead{key, slices.Clone(state[key])})
		}
		if tx.Outcome == Done || r.IntN(2) == 0 { // An open one may not have happened.
			for k := range r.IntN(3) {
				a := ListAppend{fmt.Sprint("k", r.IntN(4)), int64(10*i + k + 1)}
				tx.Appends = append(tx.Appends, a)
				state[a.Key] = append(state[a.Key], a.Value)
			}
		}
		txns = append(txns, tx)
	}
	last := Txn{Span: during(9, int64(100*n+1000), int64(100*n+1001), Done)}
	for _, key := range slices.Sorted(maps.Keys(state)) {
		last.Reads = append(last.Reads, ListRead{key, state[key]})
	}
	return append(txns, last)
}

// spoil makes the first append to a list lost to all readers, or turns a list round for the
// last one.
func spoil(r *rand.Rand, txns []Txn) string {
	last := &txns[len(txns)-1]
	i := r.IntN(len(last.Reads))
	for len(last.Reads[i].Values) < 3 {
		i = (i + 1) % len(last.Reads)
	}
	read := &last.Reads[i]
	if r.IntN(2) == 0 {
		for k := range txns {
			if slices.ContainsFunc(txns[k].Appends, func(a ListAppend) bool { return a == ListAppend{read.Key, read.Values[0]} }) {
				txns[k].Outcome = Done
			}
		}
		for k := range txns {
			for j := range txns[k].Reads {
				if one := &txns[k].Reads[j]; one.Key == read.Key && len(one.Values) > 0 {
					one.Values = one.Values[1:]
				}
			}
		}
		return "the first value of " + read.Key + " was lost by all"
	}
	read.Values = slices.Clone(read.Values)
	slices.Reverse(read.Values)
	return "the last reading saw " + read.Key + " the other way round"
}
