package torture

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/internal/torture/verdict"
)

func decked(seed uint64, without ...string) *nemesis {
	r := &run{o: Options{Seed: seed, Duration: time.Minute}, cannot: map[string]string{}}
	for _, kind := range without {
		r.cannot[kind] = "because"
	}
	return r.newNemesis()
}

func TestTheSeedDecidesTheFaults(t *testing.T) {
	draw := func(seed uint64) (list []string) {
		n := decked(seed)
		for range 60 {
			f := n.next()
			list = append(list, f.kind+" "+f.how)
		}
		return list
	}
	if !slices.Equal(draw(1), draw(1)) || slices.Equal(draw(1), draw(2)) {
		t.Error("the same seed must draw the same faults, and another one others")
	}
}

func TestEachKindComesBeforeASecondOfAny(t *testing.T) {
	for seed := range uint64(50) {
		n := decked(seed, PowerCut, FullDisk, DiskError, Clock)
		seen := map[string]bool{}
		for range 5 {
			f := n.next()
			if seen[f.kind] || f.kind == PowerCut {
				t.Fatalf("seed %d drew %s", seed, f.kind)
			}
			seen[f.kind] = true
		}
		all := map[string]bool{}
		for range len(n.deck) - 5 {
			f := n.next()
			all[f.kind+f.how] = true
		}
		if len(all) != len(n.deck)-5 {
			t.Errorf("seed %d: a fault came twice before all had come", seed)
		}
	}
}

func TestWhoIsCutFromWhom(t *testing.T) {
	if got := describe(between([]string{"a"}, []string{"a", "b"})); got != " a→b b→a" {
		t.Error(got)
	}
	if got := describe(toward([]string{"a", "b"}, []string{"b"})); got != " a→b" {
		t.Error(got)
	}
}

func TestTheReportEndsWithItsLine(t *testing.T) {
	r := Report{Seed: 7, Faults: map[string]int{Kill: 3, Partition: 2}, Operations: 1234, Linearizable: true, Compared: true, Equal: true,
		NotRun: []NotRun{{Clock, "no switch"}}}
	lines := strings.Split(strings.TrimSpace(r.Text()), "\n")
	want := "seed=7 5 faults (kill 3, partition 2), 1234 operations (0 open): lost=0 doubled=0 linearizable=true"
	if lines[len(lines)-1] != want {
		t.Error(lines[len(lines)-1])
	}
	if !strings.Contains(r.Text(), "not run: clock: no switch") || !r.OK() {
		t.Error(r.Text())
	}
	r.Violations, r.Lost = []string{"lost: n1 lacks v"}, 1
	if r.OK() || !strings.Contains(r.Text(), "lost: n1 lacks v\n") || !strings.Contains(r.Line(), "lost=1") || !strings.Contains(r.Line(), "violations=1") {
		t.Error(r.Text())
	}
}

func TestWhatComesWhileThePowerIsCutStaysOpen(t *testing.T) {
	var s spans
	end := s.begin(10)
	if !s.during(1e9) {
		t.Error("a cut that is under way has ended")
	}
	end(20)
	for at, want := range map[int64]bool{9: false, 10: true, 20: true, 21: false} {
		if s.during(at) != want {
			t.Errorf("at %d: %v", at, !want)
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	c := &client{run: &run{begun: time.Now(), pulse: newPulse(), surprises: map[string]int{}}, random: r}
	op := c.begin()
	over := c.cuts.begin(0)
	c.surprise("the disk is gone")
	c.end(&op, &door{node: "n1"}, 1)
	over(1)
	if op.Outcome != 0 || c.open.Load() != 1 || len(c.surprises) != 0 {
		t.Errorf("%v %v", op, c.surprises)
	}
	if c.surprise("the disk is wrong"); len(c.surprises) != 1 {
		t.Error("a surprise after a cut was not noted")
	}
}

func TestARunThatIsStuckIsJudgedAllTheSame(t *testing.T) {
	r := &run{o: Options{Say: t.Logf}, begun: time.Now(), pulse: newPulse(), surprises: map[string]int{}, stuck: make(chan struct{}),
		report: Report{Equal: true}}
	c := &client{run: r, random: rand.New(rand.NewPCG(1, 1))}
	insert := func(value string) {
		op := verdict.Insert{Span: c.begin(), Value: value}
		c.end(&op.Span, &door{node: "n1"}, verdict.Done)
		r.histories.inserts.add(op)
	}
	insert("everywhere")
	insert("twice")
	insert("not yet applied")
	r.histories.visits.add(verdict.Visit{Span: verdict.Span{Outcome: verdict.Done, Call: 1, Return: 2}, Wrote: true, N: 2})
	r.histories.visits.add(verdict.Visit{Span: verdict.Span{Outcome: verdict.Done, Call: 3, Return: 4}, N: 1})
	r.judge(map[string]held{"n1": {entries: map[string]int{"everywhere": 1, "twice": 2}, accounts: verdict.Accounts{Balances: r.initial()}}})
	r.conclude()
	if r.report.Operations != 3 || r.report.Doubled != 1 || r.report.Lost != 0 || r.report.Linearizable {
		t.Error(r.report.Line(), r.report.Violations)
	}
	if !strings.Contains(r.report.Line(), "3 operations (0 open): lost=unknown doubled=1 linearizable=false") || r.report.OK() {
		t.Error(r.report.Line())
	}
	r.report.Violations, r.report.Linearizable = nil, true
	if r.report.OK() {
		t.Error("replicas that were not compared count as good")
	}
	// What was compared is lost, where a replica lacks it.
	r.report.Compared = true
	r.judge(map[string]held{"n1": {entries: map[string]int{"everywhere": 1, "twice": 2}, accounts: verdict.Accounts{Balances: r.initial()}}})
	if r.report.Lost != 1 {
		t.Error(r.report.Line(), r.report.Violations)
	}
}
