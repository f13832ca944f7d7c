package databases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tongban/internal/bench/proc"
)

// door is a server with as much of the API as a contest needs.
type door struct {
	*httptest.Server
	delay time.Duration // Of each write.
	loses int64         // Every so many queued rows get lost; 0: none.

	mu      sync.Mutex // One write at a time.
	rows    atomic.Int64
	queued  atomic.Int64
	refuses atomic.Bool
	targets sync.Map
}

func newDoor(t *testing.T, delay time.Duration) *door {
	t.Helper()
	d := &door{delay: delay}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	return d
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Rqlite-Version", "v0.0.1")
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/status":
		fmt.Fprint(w, "{}")
		return
	case "/nodes":
		fmt.Fprintf(w, `{"1":{"api_addr":"http://127.0.0.1:1","leader":false},"2":{"api_addr":%q,"leader":true}}`, d.URL)
		return
	case "/db/query":
		if bytes.Contains(body, []byte("count(*)")) {
			fmt.Fprintf(w, `{"results":[{"columns":["count(*)"],"values":[[%d]]}]}`, d.rows.Load())
			return
		}
	}
	d.targets.Store(r.URL.Path+"?"+r.URL.RawQuery, true)
	if !json.Valid(body) || d.refuses.Load() {
		fmt.Fprint(w, `{"results":[{"error":"no such table"}]}`)
		return
	}
	d.write(int64(strings.Count(string(body), "INTO tongban_bench_insert(number")), strings.Contains(r.URL.RawQuery, "queue"))
	fmt.Fprint(w, `{"results":[{"rows_affected":1}]}`)
}

func (d *door) write(rows int64, queued bool) {
	if d.delay > 0 {
		d.mu.Lock()
		<-time.After(d.delay)
		d.mu.Unlock()
	}
	if queued && d.loses > 0 && d.queued.Add(1)%d.loses == 0 {
		return
	}
	d.rows.Add(rows)
}

func (d *door) side(t *testing.T, name string) *side {
	t.Helper()
	s, what, err := openPeer(t.Context(), d.URL)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(what, "rqlite v0.0.1 at 127.0.0.1:") {
		t.Errorf("the peer is %q", what)
	}
	s.name = name
	return s
}

// newBench is a short bench of some rows.
func newBench(t *testing.T, only ...string) *bench {
	t.Helper()
	b := &bench{o: Options{Only: only, For: 50 * time.Millisecond, Rounds: 3}, size: sizes{tenants: 4, warm: 5 * time.Millisecond}, rows: map[string]Row{}}
	if err := b.choose(stages(b.size)); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTheFasterSideWinsAndTheSlowerDoesNot(t *testing.T) {
	b := newBench(t, "insert-16", "batch", "queued-16")
	fast, slow := newDoor(t, 0), newDoor(t, 2*time.Millisecond)
	if err := b.compare(t.Context(), fast.side(t, "ours"), slow.side(t, "peer")); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"insert-16", "batch-64", "queued-16"} {
		if r := b.rows[key]; !r.Pass || !strings.Contains(r.Figure, "x") || !strings.Contains(r.Detail, "of a core") {
			t.Errorf("%s: %+v", key, r)
		}
	}
	if len(b.rows) != 3 {
		t.Errorf("rows that nobody asked for: %v", b.rows)
	}
	b = newBench(t, "insert-16", "tenants-64")
	if err := b.compare(t.Context(), slow.side(t, "ours"), fast.side(t, "peer")); err != nil {
		t.Fatal(err)
	}
	for key, r := range b.rows {
		if r.Pass || r.verdict() != "MISSED" {
			t.Errorf("%s: %+v", key, r)
		}
	}
}

func TestWithoutAPeerARowThatComparesNeverPasses(t *testing.T) {
	b := newBench(t)
	if err := b.compare(t.Context(), newDoor(t, 0).side(t, "ours"), nil); err != nil {
		t.Fatal(err)
	}
	if len(b.rows) != len(workloads(b.size)) {
		t.Errorf("%d rows", len(b.rows))
	}
	for key, r := range b.rows {
		if r.Pass || r.Figure != noPeer || !strings.Contains(r.Detail, "ours ") {
			t.Errorf("%s: %+v", key, r)
		}
	}
}

func TestEveryLoadAsksForWhatItIsNamedAfter(t *testing.T) {
	b, d := newBench(t), newDoor(t, 0)
	if err := b.compare(t.Context(), d.side(t, "ours"), nil); err != nil {
		t.Fatal(err)
	}
	for _, target := range []string{"/db/execute?", "/db/execute?queue", "/db/request?transaction", "/db/execute?transaction", "/db/query?level=linearizable", "/db/query?level=weak"} {
		if _, asked := d.targets.Load(target); !asked {
			t.Errorf("nobody asked for %s", target)
		}
	}
}

func TestARefusalOrALostRowIsNoFigure(t *testing.T) {
	b, d := newBench(t, "insert-16", "queued-16"), newDoor(t, time.Millisecond)
	s := d.side(t, "ours")
	d.refuses.Store(true)
	row, err := b.contest(t.Context(), workloads(b.size)[0], s, nil)
	if err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("%+v, %v", row, err)
	}
	d.refuses.Store(false)
	if err := s.drained(t.Context(), int(d.rows.Load())); err != nil {
		t.Error(err)
	}
	d.rows.Add(1)
	if err := s.drained(t.Context(), int(d.rows.Load())-1); err == nil {
		t.Error("a row too many is none")
	}
}

func TestQuickRowsPassNothingAndUnknownRowsAreRefused(t *testing.T) {
	b := newBench(t, "inprocess")
	b.o.Quick = true
	b.put("inprocess-256", Row{Row: "closures", Pass: true, Figure: "1"})
	if r := b.rows["inprocess-256"]; r.Pass || !strings.Contains(r.Figure, "quick") {
		t.Errorf("%+v", r)
	}
	if _, err := Run(t.Context(), Options{Only: []string{"weather"}}); err == nil || !strings.Contains(err.Error(), "insert-64") {
		t.Errorf("%v", err)
	}
	if _, err := Run(t.Context(), Options{Only: []string{"insert"}, Peer: "https://h"}); err == nil || !strings.Contains(err.Error(), "http://host:port") {
		t.Errorf("%v", err)
	}
}

func TestTheTableIsForPeopleAndForPrograms(t *testing.T) {
	r := Report{Machine: proc.Machine{CPU: "a CPU", Cores: 2}, Peer: "rqlite v1", Rows: []Row{{"a load", "≥ 3.0x", "3.20x", true, "ours 5"}, {"another", "≥ 2.0x", noPeer, false, ""}}}
	text := r.String()
	for _, wanted := range []string{"a CPU, 2 cores", "Peer: rqlite v1", "| a load | ≥ 3.0x | 3.20x | pass |", "| another | ≥ 2.0x | no peer | - |", "- a load: ours 5"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the table lacks %q:\n%s", wanted, text)
		}
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if want := `{"row":"a load","goal":"≥ 3.0x","figure":"3.20x","pass":true,"detail":"ours 5"}` + "\n" + `{"row":"another","goal":"≥ 2.0x","figure":"no peer","pass":false}` + "\n"; b.String() != want {
		t.Errorf("as JSON: %s", b.String())
	}
}

func TestThreeEnginesCommitClosures(t *testing.T) {
	b := newBench(t, "inprocess")
	b.o.Rounds = 1
	if err := b.inProcess(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := b.rows["inprocess-256"]; !strings.Contains(r.Figure, "closures/s") || strings.HasPrefix(r.Figure, "0 ") {
		t.Errorf("%+v", r)
	}
}
