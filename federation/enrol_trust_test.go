package federation

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"tongban/division"
	"tongban/service"
	"tongban/service/servicetest"
)

// trustLine is a Wire and a Trust that note what they are asked.
type trustLine struct {
	mu      sync.Mutex
	up      []division.Ref
	fail    error
	calls   []string
	changed chan struct{}
	takes   int
}

func (l *trustLine) Call(_ context.Context, to division.Ref, kind string, body []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, kind+" "+to.String()+" "+string(body))
	return []byte("answer"), l.fail
}

func (l *trustLine) Connected(to division.Ref) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.up, to)
}

func (l *trustLine) Changed() <-chan struct{} { return l.changed }

func (l *trustLine) Ask(context.Context) ([]byte, error) { return []byte("{}"), nil }

func (l *trustLine) Serve(_ context.Context, from division.Ref, body []byte) ([]byte, error) {
	return []byte("signed for " + from.String() + " " + string(body)), nil
}

func (l *trustLine) Take(_ context.Context, answer []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if string(answer) != "answer" {
		return errors.New("another answer")
	}
	l.takes++
	return nil
}

// said returns what crossed since the last time.
func (l *trustLine) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls := l.calls
	l.calls = nil
	slices.Sort(calls)
	return calls
}

var (
	province = division.Ref{Level: division.Province, Code: "510000"}
	city     = division.Ref{Level: division.City, Code: "511600"}
	county   = division.Ref{Level: division.County, Code: "511602"}
	other    = division.Ref{Level: division.County, Code: "511603"}
)

func trustWorld(t *testing.T) (*servicetest.World, *trustLine, *Federation) {
	t.Helper()
	l := &trustLine{changed: make(chan struct{})}
	f := New(Options{Self: city, Wire: l, Trust: l, Definitions: func() []service.Definition { return nil }})
	w := servicetest.New(t, f.Definition())
	w.Update(w.Division, func(tx *service.Tx) error {
		for _, ref := range []division.Ref{county, other} {
			if err := EnterChild(tx, Child{Ref: ref, Name: ref.String(), CA: []byte("ca")}); err != nil {
				return err
			}
		}
		return SetParent(tx, Parent{Ref: province, Links: []string{"a:1"}, Chain: [][]byte{[]byte("one")}})
	})
	return w, l, f
}

func TestADivisionAsksForItsCertificateAtLinkUpAndDaily(t *testing.T) {
	w, l, f := trustWorld(t)
	k := trustKeeper{f: f, db: w.Division, told: map[division.Ref][32]byte{}, retold: map[division.Ref]time.Time{}}
	step := func() []string {
		t.Helper()
		if err := k.step(t.Context()); err != nil && !errors.Is(err, l.fail) {
			t.Fatal(err)
		}
		return l.said()
	}
	asked := []string{"trust province/510000 {}"}
	if got := step(); len(got) > 0 {
		t.Errorf("without a line: %q", got)
	}
	l.up = []division.Ref{province}
	if got := step(); !slices.Equal(got, asked) || l.takes != 1 {
		t.Errorf("at link-up: %q, taken %d times", got, l.takes)
	}
	if got := step(); len(got) > 0 {
		t.Errorf("just asked: %q", got)
	}
	k.asked, k.tried = time.Now().Add(-trustEvery), time.Now().Add(-trustEvery)
	if got := step(); !slices.Equal(got, asked) {
		t.Errorf("a day later: %q", got)
	}
	l.up = nil
	step()
	l.up, l.fail = []division.Ref{province}, errors.New("the line broke")
	if got := step(); !slices.Equal(got, asked) {
		t.Errorf("at the next link-up, soon after: %q", got)
	}
	if got := step(); len(got) > 0 {
		t.Errorf("at once after a failure: %q", got)
	}
	k.tried = time.Now().Add(-trustRetry)
	if got := step(); !slices.Equal(got, asked) {
		t.Errorf("some time after a failure: %q", got)
	}
}

func TestChildrenAreToldOfANewChain(t *testing.T) {
	w, l, f := trustWorld(t)
	k := trustKeeper{f: f, db: w.Division, told: map[division.Ref][32]byte{}, retold: map[division.Ref]time.Time{}}
	step := func() []string {
		t.Helper()
		if err := k.step(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l.said()
	}
	told := []string{"trust county/511602 changed"}
	l.up = []division.Ref{county}
	if got := step(); !slices.Equal(got, told) {
		t.Errorf("a new leader told %q", got)
	}
	if got := step(); len(got) > 0 {
		t.Errorf("told again: %q", got)
	}
	chain := func(text string) {
		w.Update(w.Division, func(tx *service.Tx) error {
			return SetParent(tx, Parent{Ref: province, Links: []string{"a:1"}, Chain: [][]byte{[]byte(text)}})
		})
	}
	chain("two")
	l.fail = errors.New("no answer came")
	if got := step(); !slices.Equal(got, told) {
		t.Errorf("of a new chain: %q", got)
	}
	l.fail = nil
	if got := step(); len(got) > 0 {
		t.Errorf("at once after a failure: %q", got)
	}
	k.retold[county] = time.Now().Add(-trustRetry)
	if got := step(); !slices.Equal(got, told) {
		t.Errorf("some time after a failure: %q", got)
	}
	w.Update(w.Division, func(tx *service.Tx) error { return HoldChild(tx, county, HeldOperator) })
	chain("three")
	l.up = append(l.up, other)
	if got := step(); !slices.Equal(got, []string{"trust county/511603 changed"}) {
		t.Errorf("while one is held: %q", got)
	}
}

func TestAParentHasItsChildAskAndAChildIsAnswered(t *testing.T) {
	w, l, f := trustWorld(t)
	l.up = []division.Ref{province}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- f.runTrust(ctx, service.Env{DB: w.Division, Now: w.Clock.Now, Log: w.Log}) }()
	defer func() { cancel(); <-done }()
	awaitTakes(t, l, 1)
	if out, err := f.Serve(ctx, divisionDatabase, KindTrust, province, trustChanged); err != nil || len(out) > 0 {
		t.Errorf("told by the parent: %q, %v", out, err)
	}
	awaitTakes(t, l, 2)
	out, err := f.Serve(ctx, divisionDatabase, KindTrust, county, []byte("{}"))
	if err != nil || string(out) != "signed for county/511602 {}" {
		t.Errorf("a child was answered %q, %v", out, err)
	}
}

func awaitTakes(t *testing.T, l *trustLine, want int) {
	t.Helper()
	deadline, tick := time.NewTimer(20*time.Second), time.NewTicker(10*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for {
		l.mu.Lock()
		takes := l.takes
		l.mu.Unlock()
		if takes >= want {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("the parent's answer was taken %d times, never %d", takes, want)
		}
	}
}
