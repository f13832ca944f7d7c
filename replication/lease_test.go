package replication

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestWhatAPromiseIsWorth is about one leader and one follower: when the leader may count
// it, and when it may vote.
func TestWhatAPromiseIsWorth(t *testing.T) {
	checkLeaks(t)
	const h = 10 * time.Second // Nothing of it passes in this test, but by setting times.
	lan := newTestLAN(t)
	ta, tb := lan.transport("n1"), lan.transport("n2")
	for _, tr := range []*transport{ta, tb} {
		tr.detect(h, func(NodeID) {}, nil)
		tr.began = time.Now().Add(-h) // It has been quiet for long.
	}
	a, b := ta.group("a/main"), tb.group("a/main")
	answering(t, b, grant)
	p := ta.watch("n2")
	appended := func() promises {
		t.Helper()
		v, err := a.append("n2", &raft.AppendEntriesRequest{RPCHeader: header(), Term: 5}, new(raft.AppendEntriesResponse))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	pinged := func() {
		t.Helper()
		p.pulse.mu.Lock()
		before := p.pulse.sent
		p.pulse.mu.Unlock()
		p.nudge()
		eventually(t, "a ping is answered", func() bool {
			p.pulse.mu.Lock()
			defer p.pulse.mu.Unlock()
			return p.pulse.sent.After(before)
		})
	}
	holds := func(v promises, want bool, when string) {
		t.Helper()
		if got := p.held(v); got != want {
			t.Errorf("%s the promise counts: %v", when, got)
		}
	}
	holds(promises{}, false, "that was not given,")
	pinged()
	v := appended()
	pinged()
	holds(v, true, "after a ping")
	if err := vote(a, "n2"); err == nil {
		t.Error("it votes")
	}
	p.pulse.mu.Lock()
	sent := p.pulse.sent
	p.pulse.sent = sent.Add(-ta.lease)
	p.pulse.mu.Unlock()
	holds(v, false, "when the answer is old (the leader's process stood still)")
	pinged()
	holds(v, true, "after another ping")

	// A vote of another group breaks what the leader knows of this one.
	other := tb.group("b/main")
	answering(t, other, grant)
	if err := vote(ta.group("b/main"), "n2"); err != nil {
		t.Fatal(err)
	}
	pinged()
	holds(v, false, "after a vote for another database")
	v = appended()
	holds(v, true, "after the next append")

	// A vote that is under way makes an append promise nothing.
	voted, err := other.letVote()
	if err != nil {
		t.Fatal(err)
	}
	if _, promised := other.vowed(tb.from["n1"], 9, other.vow.passes, false); promised {
		t.Error("a promise is given while a vote is under way")
	}
	voted()

	// The leader gives it back, for good: the vote goes out, and no promise is given again.
	<-ta.release("n2", release{group: "a/main", term: 5, why: handingOver})
	if err := vote(a, "n2"); err != nil {
		t.Errorf("after the release it does not vote: %v", err)
	}
	if v := appended(); v.link != nil {
		t.Error("a promise in a term that is being handed over")
	}
	if v, err := a.append("n2", &raft.AppendEntriesRequest{RPCHeader: header(), Term: 6}, new(raft.AppendEntriesResponse)); err != nil || v.link == nil {
		t.Errorf("no promise in the next term (%v)", err)
	}

	// A replica that is opened again has forgotten, and keeps quiet.
	pinged()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := tb.group("a/main")
	if _, err := again.letVote(); !errors.Is(err, errPromised) {
		t.Errorf("a replica that was opened again votes: %v", err)
	}
	pinged()
	holds(v, false, "after the follower's replica was closed")
}
