package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// answering stands in for raft: it answers every request of g until the test ends.
func answering(t testing.TB, g *groupTransport, answer func(raft.RPC) (any, error)) {
	var done sync.WaitGroup
	stop := make(chan struct{})
	done.Go(func() {
		for {
			select {
			case rpc := <-g.Consumer():
				rpc.Respond(answer(rpc))
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		done.Wait()
	})
}

// grant answers everything with yes.
func grant(rpc raft.RPC) (any, error) {
	switch q := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		r := &raft.AppendEntriesResponse{Term: q.Term, Success: true}
		if n := len(q.Entries); n > 0 {
			r.LastLog = q.Entries[n-1].Index
		}
		return r, nil
	case *raft.RequestVoteRequest:
		return &raft.RequestVoteResponse{Term: q.Term, Granted: true}, nil
	case *raft.RequestPreVoteRequest:
		return &raft.RequestPreVoteResponse{Term: q.Term, Granted: true}, nil
	case *raft.TimeoutNowRequest:
		return &raft.TimeoutNowResponse{}, nil
	}
	return nil, fmt.Errorf("a %T", rpc.Command)
}

func header() raft.RPCHeader { return raft.RPCHeader{ProtocolVersion: 3} }

func vote(g *groupTransport, to NodeID) error {
	var r raft.RequestVoteResponse
	err := g.RequestVote(raft.ServerID(to), raft.ServerAddress(to), &raft.RequestVoteRequest{RPCHeader: header(), Term: 5}, &r)
	if err == nil && (!r.Granted || r.Term != 5 || string(r.ID) != string(to)) {
		return fmt.Errorf("the response is %+v", r)
	}
	return err
}

func appendTo(g *groupTransport, to NodeID, entries []*raft.Log) (*raft.AppendEntriesRequest, raft.AppendEntriesResponse, error) {
	q := &raft.AppendEntriesRequest{RPCHeader: header(), Term: 5, PrevLogEntry: entries[0].Index - 1, PrevLogTerm: 5, Entries: entries}
	var r raft.AppendEntriesResponse
	err := g.AppendEntries(raft.ServerID(to), raft.ServerAddress(to), q, &r)
	return q, r, err
}

func TestTransportCarriesEveryRequest(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	a, b := lan.transport("n1").group("a/main"), lan.transport("n2").group("a/main")
	var seen []raft.RPC
	answering(t, b, func(rpc raft.RPC) (any, error) {
		seen = append(seen, rpc)
		return grant(rpc)
	})
	if err := vote(a, "n2"); err != nil {
		t.Fatal(err)
	}
	var pre raft.RequestPreVoteResponse
	if err := a.RequestPreVote("n2", "n2", &raft.RequestPreVoteRequest{RPCHeader: header(), Term: 6, LastLogIndex: 7, LastLogTerm: 4}, &pre); err != nil || !pre.Granted || pre.Term != 6 {
		t.Fatalf("pre-vote: %+v, %v", pre, err)
	}
	var now raft.TimeoutNowResponse
	if err := a.TimeoutNow("n2", "n2", &raft.TimeoutNowRequest{RPCHeader: header()}, &now); err != nil {
		t.Fatal(err)
	}
	if _, r, err := appendTo(a, "n2", testEntries(5, 11, 13)); err != nil || !r.Success || r.LastLog != 13 {
		t.Fatalf("append: %+v, %v", r, err)
	}
	if len(seen) != 4 {
		t.Fatalf("%d requests arrived, want 4", len(seen))
	}
	for _, rpc := range seen {
		h := rpc.Command.(raft.WithRPCHeader).GetRPCHeader()
		if string(h.ID) != "n1" || string(h.Addr) != "n1" || h.ProtocolVersion != 3 {
			t.Errorf("a %T of %q at %q, version %d; want n1, n1, 3", rpc.Command, h.ID, h.Addr, h.ProtocolVersion)
		}
	}
	if n := lan.dialed("n1", "n2"); n != 1 {
		t.Errorf("%d connections were made, want one", n)
	}
}

func TestTransportTellsTheErrorOfTheOtherSide(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	ta, tb := lan.transport("n1"), lan.transport("n2")
	b := tb.group("a/main")
	answering(t, b, func(raft.RPC) (any, error) { return nil, errors.New("the disk is on fire") })
	for id, want := range map[DatabaseID]string{"a/main": "the disk is on fire", "b/main": "b/main is not open on n2"} {
		begun := time.Now()
		err := vote(ta.group(id), "n2")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "n2") {
			t.Errorf("%v, want %q and the node", err, want)
		}
		if took := time.Since(begun); took > rpcTimeout/2 {
			t.Errorf("%q took %v", want, took)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vote(ta.group("a/main"), "n2"); err == nil || !strings.Contains(err.Error(), "not open") {
		t.Errorf("a closed group: %v", err)
	}
}

func TestABlockedGroupHoldsUpNoOther(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	ta, tb := lan.transport("n1"), lan.transport("n2")
	stuckA, stuckB := ta.group("stuck/main"), tb.group("stuck/main") // Nobody takes its requests.
	fineA, fineB := ta.group("fine/main"), tb.group("fine/main")
	answering(t, fineB, grant)
	beats := 0
	stuckB.SetHeartbeatHandler(func(rpc raft.RPC) {
		beats++
		rpc.Respond(grant(rpc))
	})
	var calls sync.WaitGroup
	errs := make(chan error, laneMax+10)
	for range laneMax + 10 {
		calls.Go(func() {
			_, _, err := appendTo(stuckA, "n2", testEntries(5, 1, 1))
			errs <- err
		})
	}
	for range 9 { // One is in hand, laneMax wait, the others are refused.
		if err := <-errs; err == nil || !strings.Contains(err.Error(), errBusy.Error()) {
			t.Fatalf("a request too many: %v, want %q", err, errBusy)
		}
	}
	if err := vote(fineA, "n2"); err != nil {
		t.Fatalf("another group: %v", err)
	}
	var r raft.AppendEntriesResponse
	if err := stuckA.AppendEntries("n2", "n2", &raft.AppendEntriesRequest{RPCHeader: header(), Term: 5}, &r); err != nil || !r.Success || beats != 1 {
		t.Fatalf("a heartbeat of the blocked group: %+v, %v, handled %d times", r, err, beats)
	}
	if err := stuckA.Close(); err != nil { // Its calls end with it.
		t.Fatal(err)
	}
	calls.Wait()
	if err := stuckB.Close(); err != nil {
		t.Fatal(err)
	}
	if n := tb.inbound.Load(); n != 0 {
		t.Errorf("%d bytes are still counted as waiting", n)
	}
}

func TestRequestsBeyondTheNodesBytesAreRefused(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	a, tb := lan.transport("n1").group("a/main"), lan.transport("n2")
	b := tb.group("a/main")
	answering(t, b, grant)
	tb.inbound.Store(maxInbound)
	if _, _, err := appendTo(a, "n2", testEntries(5, 1, 1)); err == nil || !strings.Contains(err.Error(), errBusy.Error()) {
		t.Fatalf("%v, want %q", err, errBusy)
	}
	tb.inbound.Store(0)
	if _, _, err := appendTo(a, "n2", testEntries(5, 1, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestAppendEntriesIsCutToWhatOneFrameShouldHold(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	a, b := lan.transport("n1").group("a/main"), lan.transport("n2").group("a/main")
	answering(t, b, grant)
	tests := []struct {
		name string
		size int
		want int
	}{
		{"small entries go together", 100, 8},
		{"large ones are cut", appendSoftBytes/3 + 1, 2},
		{"one that is larger goes alone", appendSoftBytes * 2, 1},
	}
	for _, test := range tests {
		entries := testEntries(5, 1, 8)
		for _, e := range entries {
			e.Data = make([]byte, test.size)
		}
		q, r, err := appendTo(a, "n2", entries)
		if err != nil || len(q.Entries) != test.want || r.LastLog != uint64(test.want) {
			t.Errorf("%s: %d were sent, %d arrived (%v), want %d", test.name, len(q.Entries), r.LastLog, err, test.want)
		}
	}
	entries := testEntries(5, 1, 1)
	entries[0].Data = make([]byte, maxFrame)
	if _, _, err := appendTo(a, "n2", entries); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("an entry over the frame: %v, want a refusal", err)
	}
	if err := vote(a, "n2"); err != nil {
		t.Errorf("the request after it: %v", err)
	}
}

func TestPipelineKeepsOrderAndMergesWhatWaits(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	a, b := lan.transport("n1").group("a/main"), lan.transport("n2").group("a/main")
	p, err := a.AppendEntriesPipeline("n2", "n2")
	if err != nil {
		t.Fatal(err)
	}
	send := func(from uint64) {
		t.Helper()
		q := &raft.AppendEntriesRequest{RPCHeader: header(), Term: 5, PrevLogEntry: from - 1, PrevLogTerm: 5, Entries: testEntries(5, from, from+1), LeaderCommitIndex: from}
		if _, err := p.AppendEntries(q, new(raft.AppendEntriesResponse)); err != nil {
			t.Fatal(err)
		}
	}
	send(1)
	first := <-b.Consumer() // raft has it in hand, the others wait.
	send(3)
	send(5)
	send(9) // Does not follow.
	eventually(t, "three requests wait", func() bool {
		b.requests.mu.Lock()
		defer b.requests.mu.Unlock()
		return len(b.requests.queue) == 3
	})
	first.Respond(grant(first))
	for _, want := range []struct{ from, to, commit uint64 }{{3, 6, 5}, {9, 10, 9}} {
		rpc := <-b.Consumer()
		q := rpc.Command.(*raft.AppendEntriesRequest)
		if q.PrevLogEntry != want.from-1 || q.Entries[len(q.Entries)-1].Index != want.to || q.LeaderCommitIndex != want.commit {
			t.Fatalf("got entries %d to %d, commit %d; want %+v", q.PrevLogEntry+1, q.Entries[len(q.Entries)-1].Index, q.LeaderCommitIndex, want)
		}
		for i, e := range q.Entries {
			if e.Index != want.from+uint64(i) {
				t.Fatalf("entry %d is at the place of %d", e.Index, want.from+uint64(i))
			}
		}
		rpc.Respond(grant(rpc))
	}
	for _, want := range []uint64{1, 3, 5, 9} {
		f := <-p.Consumer()
		if err := f.Error(); err != nil || !f.Response().Success || f.Request().Entries[0].Index != want || f.Start().IsZero() {
			t.Fatalf("result %+v (%v), want that of entry %d", f.Response(), err, want)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{}, nil); !errors.Is(err, raft.ErrPipelineShutdown) {
		t.Fatalf("after Close: %v, want ErrPipelineShutdown", err)
	}
}

func TestRequestsOfAnotherLeaderOrTermAreNotMerged(t *testing.T) {
	request := func(from NodeID, term, first uint64) inbound {
		return inbound{from: from, command: &raft.AppendEntriesRequest{
			Term: term, PrevLogEntry: first - 1, PrevLogTerm: 5, Entries: testEntries(5, first, first),
		}}
	}
	tests := []struct {
		name string
		next inbound
		want int
	}{
		{"the same leader and term", request("n1", 5, 4), 1},
		{"another leader", request("n3", 5, 4), 0},
		{"another term", request("n1", 6, 4), 0},
		{"a gap", request("n1", 5, 5), 0},
		{"an overlap", request("n1", 5, 3), 0},
		{"a vote", inbound{from: "n1", command: &raft.RequestVoteRequest{}}, 0},
	}
	for _, test := range tests {
		lane := lane{queue: []inbound{test.next}}
		q := request("n1", 5, 3).command.(*raft.AppendEntriesRequest)
		if n := len(lane.takeFollowing(q, "n1")); n != test.want || len(lane.queue) != 1-test.want {
			t.Errorf("%s: %d merged, want %d", test.name, n, test.want)
		}
	}
}

func TestCallsFailAtOnceWhileANodeIsAwayAndWorkWhenItIsBack(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	ta, tb := lan.transport("n1"), lan.transport("n2")
	a := ta.group("a/main")
	answering(t, tb.group("a/main"), grant)
	if err := vote(a, "n2"); err != nil {
		t.Fatal(err)
	}
	p, err := a.AppendEntriesPipeline("n2", "n2")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	lan.cut("n1", "n2")
	eventually(t, "calls fail", func() bool { return vote(a, "n2") != nil })
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{RPCHeader: header()}, new(raft.AppendEntriesResponse)); err == nil {
		t.Fatal("the pipeline outlived its connection")
	}
	begun, dials := time.Now(), lan.dialed("n1", "n2")
	for range 1000 {
		if err := vote(a, "n2"); !errors.Is(err, errAway) {
			t.Fatalf("%v, want that the node is away", err)
		}
	}
	if took, tried := time.Since(begun), lan.dialed("n1", "n2")-dials; took > time.Second || tried > 20 {
		t.Fatalf("1000 calls took %v and %d dials", took, tried)
	}
	lan.heal("n1", "n2")
	eventually(t, "calls work again", func() bool { return vote(a, "n2") == nil })
}

// TestConnectionsThatEndAtOnceAreNotAStorm dials a node that takes each connection and
// ends it, as one does to which two boxes of one name connect.
func TestConnectionsThatEndAtOnceAreNotAStorm(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	ta := lan.transport("n1")
	a := ta.group("a/main")
	tb := newTransport("n2", nil, nil, quiet())
	stop := lan.listen("n2", func(conn net.Conn, from NodeID, _ string) error {
		_, err := tb.greeted(conn, bufio.NewReader(conn), from)
		return errors.Join(err, conn.Close())
	})
	defer stop()
	for begun := time.Now(); time.Since(begun) < 300*time.Millisecond; {
		if err := vote(a, "n2"); err == nil {
			t.Fatal("nobody answers, and yet there is an answer")
		}
	}
	if n := lan.dialed("n1", "n2"); n < 2 || n > 12 {
		t.Errorf("%d dials in 0.3 s", n)
	}
}

func TestANodeThatConnectsIsDialledAtOnce(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	ta, tb := lan.transport("n1"), lan.transport("n2")
	a, b := ta.group("a/main"), tb.group("a/main")
	answering(t, a, grant)
	answering(t, b, grant)
	p := ta.peer("n2")
	p.failures, p.err, p.retry = 9, errAway, time.Now().Add(time.Hour)
	if err := vote(a, "n2"); !errors.Is(err, errAway) {
		t.Fatalf("%v, want that the node is away", err)
	}
	if err := vote(b, "n1"); err != nil {
		t.Fatal(err)
	}
	if err := vote(a, "n2"); err != nil {
		t.Fatalf("after it came back by itself: %v", err)
	}
}

func TestPeerHelloIsKnownWhileThereIsAConnection(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	ta, tb := lan.transport("n1"), lan.transport("n2")
	a := ta.group("a/main")
	answering(t, tb.group("a/main"), grant)
	if _, ok := ta.peerHello("n2"); ok {
		t.Fatal("a hello before any connection")
	}
	if err := vote(a, "n2"); err != nil {
		t.Fatal(err)
	}
	for n, tr := range map[NodeID]*transport{"n2": ta, "n1": tb} {
		if h, ok := tr.peerHello(n); !ok || string(h) != "hello of "+string(n) {
			t.Errorf("the hello of %s is %q, %v", n, h, ok)
		}
	}
	lan.cut("n1", "n2")
	eventually(t, "the hellos are forgotten", func() bool {
		_, one := ta.peerHello("n2")
		_, two := tb.peerHello("n1")
		return !one && !two
	})
}

func TestANewerConnectionTakesThePlaceOfTheOld(t *testing.T) {
	checkLeaks(t)
	lan := newTestLAN(t)
	tb := lan.transport("n2")
	answering(t, tb.group("a/main"), grant)
	old := newTransport("n1", lan.dialer("n1"), nil, quiet())
	defer func() { _ = old.close() }()
	if err := vote(old.group("a/main"), "n2"); err != nil {
		t.Fatal(err)
	}
	// The box lost power and starts again; the old connection never ended.
	if err := vote(lan.transport("n1").group("a/main"), "n2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old connection ends", func() bool {
		p := old.peer("n2")
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.link.ctx.Err() != nil
	})
}

func TestATransportWithoutADialFailsItsCalls(t *testing.T) {
	checkLeaks(t)
	tr := newTransport("n1", nil, nil, quiet())
	if err := vote(tr.group("a/main"), "n2"); !errors.Is(err, errAway) || !strings.Contains(err.Error(), "one node") {
		t.Fatalf("%v, want that there is one node", err)
	}
	if err := tr.close(); err != nil {
		t.Fatal(err)
	}
	if err := vote(tr.group("a/main"), "n2"); err == nil {
		t.Fatal("a call after close succeeded")
	}
}

// TestASilentPeerIsGivenUp: the peer's power failed, no packet says so.
func TestASilentPeerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		var ends []net.Conn
		dial := func(_ context.Context, to NodeID, _ string) (net.Conn, error) {
			dials++
			near, far := net.Pipe()
			ends = append(ends, far)
			go func() {
				r := bufio.NewReader(far)
				if _, err := readHello(r, to, "n1"); err != nil {
					t.Error(err)
				}
				_, _ = far.Write(appendHello(nil, helloFrame{from: to, to: "n1"}))
				for { // Reads on and says nothing.
					if _, err := r.ReadByte(); err != nil {
						return
					}
				}
			}()
			return near, nil
		}
		tr := newTransport("n1", dial, nil, quiet())
		g := tr.group("a/main")
		begun := time.Now()
		if err := vote(g, "n2"); !errors.Is(err, errUnanswered) {
			t.Fatalf("%v, want that there was no answer", err)
		}
		if took := time.Since(begun); took != rpcTimeout {
			t.Fatalf("it took %v, want %v", took, rpcTimeout)
		}
		synctest.Wait()
		if err := vote(g, "n2"); !errors.Is(err, errUnanswered) || dials != 2 {
			t.Fatalf("the next call: %v after %d dials, want a second connection", err, dials)
		}
		if err := tr.close(); err != nil {
			t.Fatal(err)
		}
		for _, c := range ends {
			_ = c.Close()
		}
	})
}
