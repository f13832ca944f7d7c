package replication

import (
	"errors"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// promising is one leader, n1, and one follower, n2, of a database, with a heartbeat timeout
// of which nothing passes in a test but by setting times.
type promising struct {
	t      *testing.T
	ta, tb *transport
	a, b   *groupTransport
	p      *peer
}

func newPromising(t *testing.T) *promising {
	const h = 10 * time.Second
	lan := newTestLAN(t)
	s := &promising{t: t, ta: lan.transport("n1"), tb: lan.transport("n2")}
	for _, tr := range []*transport{s.ta, s.tb} {
		tr.detect(h, func(NodeID) {}, nil)
		tr.began = time.Now().Add(-h) // It has been quiet for long.
	}
	s.a, s.b = s.ta.group("a/main"), s.tb.group("a/main")
	answering(t, s.b, grant)
	s.p = s.ta.watch("n2")
	return s
}

// appended is what an AppendEntries of a term promises.
func (s *promising) appended(term uint64) promises {
	s.t.Helper()
	v, err := s.a.append("n2", &raft.AppendEntriesRequest{RPCHeader: header(), Term: term}, new(raft.AppendEntriesResponse))
	if err != nil {
		s.t.Fatal(err)
	}
	return v
}

// pinged waits for the answer to a ping that is sent now.
func (s *promising) pinged() {
	s.t.Helper()
	u := &s.p.pulse
	now := time.Now()
	s.p.nudge()
	eventually(s.t, "a ping is answered", func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.sent.After(now)
	})
}

func (s *promising) holds(v promises, want bool, when string) {
	s.t.Helper()
	if got := s.p.held(v); got != want {
		s.t.Errorf("%s the promise counts: %v", when, got)
	}
}

func TestWhenAPromiseCounts(t *testing.T) {
	checkLeaks(t)
	s := newPromising(t)
	s.holds(promises{}, false, "that was not given,")
	s.pinged()
	v := s.appended(5)
	s.pinged()
	s.holds(v, true, "after a ping")
	if err := vote(s.a, "n2"); err == nil {
		t.Error("the follower votes")
	}
	s.p.pulse.mu.Lock()
	s.p.pulse.sent = s.p.pulse.sent.Add(-s.ta.lease)
	s.p.pulse.mu.Unlock()
	s.holds(v, false, "when the answer is old (the leader's process stood still)")
	s.pinged()
	s.holds(v, true, "after another ping")

	// A vote of another group breaks what the leader knows of this one.
	other := s.tb.group("b/main")
	answering(t, other, grant)
	if err := vote(s.ta.group("b/main"), "n2"); err != nil {
		t.Fatal(err)
	}
	s.pinged()
	s.holds(v, false, "after a vote for another database")
	v = s.appended(5)
	s.holds(v, true, "after the next append")

	// A replica that is opened again has forgotten, and keeps quiet.
	if err := s.b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.tb.group("a/main").letVote(); !errors.Is(err, errPromised) {
		t.Errorf("a replica that was opened again votes: %v", err)
	}
	s.pinged()
	s.holds(v, false, "after the follower's replica was closed")
}

func TestWhenAPromiseIsNotGiven(t *testing.T) {
	checkLeaks(t)
	s := newPromising(t)
	s.pinged()
	if s.appended(5).link == nil {
		t.Error("no promise")
	}
	<-s.ta.release("n2", release{group: "a/main", term: 5, why: handingOver})
	if err := vote(s.a, "n2"); err != nil {
		t.Errorf("after the release it does not vote: %v", err)
	}
	if s.appended(5).link != nil {
		t.Error("a promise in a term that is being handed over")
	}
	if s.appended(6).link == nil {
		t.Error("no promise in the next term")
	}
	s.tb.mu.Lock()
	l := s.tb.from["n1"]
	s.tb.mu.Unlock()
	<-s.ta.release("n2", release{group: "a/main", term: 6, why: lapsed})
	voted, err := s.b.letVote()
	if err != nil {
		t.Fatal(err)
	}
	passes, free := s.b.beforeAppend()
	if _, promised := s.b.vowed(l, 7, passes, free); free || promised {
		t.Error("a promise while a vote is with raft")
	}
	voted()
	if _, promised := s.b.vowed(l, 7, passes-1, true); promised {
		t.Error("a promise though a vote has passed since raft got the append")
	}
}
