package replication

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A leader may read without asking anybody while a majority has promised not to elect
// another. Both sides hold on to one connection, a *link at either end:
//
//   - A follower that has answered an AppendEntries of (group, term) on a link with success
//     follows over it. Each answer to a ping on the link promises, for all groups that
//     follow over it, to let no vote in or out for transport.promise from now on. In the
//     answer to the AppendEntries and in that to the ping stands the number of breaks: of
//     votes that this node has let pass, for whichever group.
//   - The leader counts a follower while the link of its last promise lives, the newest
//     ping that was answered on it has the same number, and was sent less than
//     transport.lease ago.
//
// DESIGN.md has the proof.

// errPromised: a vote is refused, because it would break a promise.
var errPromised = errors.New("this replica has promised another leader not to vote yet")

// vows guards what this node has promised as a follower, over all groups.
type vows struct {
	mu     sync.Mutex
	breaks uint64
	closed map[DatabaseID]time.Time // When a group was closed here: its promises live on.
}

// vow is what one group has promised. Guarded by vows.mu.
type vow struct {
	quiet    time.Time // No votes before: what was promised before the start is forgotten.
	link     *link     // Over which it follows; nil: it follows nobody.
	heard    *link     // On which the last AppendEntries came that succeeded.
	term     uint64
	voted    time.Time // When a vote passed last.
	passes   uint64    // Votes of this group that were let pass.
	voting   int       // Of which raft has not answered yet.
	over     bool      // The group is closed.
	released struct {
		link *link
		term uint64
	}
}

// left is how long the group may not vote. The caller holds vows.mu.
func (v *vow) left() time.Duration {
	left := time.Until(v.quiet)
	if v.link != nil {
		left = max(left, time.Until(v.link.promised))
	}
	return left
}

// promised is how long the group may not vote. The caller holds vows.mu.
func (g *groupTransport) promised() time.Duration {
	if g.t.mutants.lacks(promiseKept) {
		return 0
	}
	return g.vow.left()
}

// mayVoteIn is how long the group may not vote; 0 or less: it may.
func (g *groupTransport) mayVoteIn() time.Duration {
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	return g.promised()
}

// electing is how long an election that may be under way should be left to itself.
func (g *groupTransport) electing() time.Duration {
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	if g.vow.voted.IsZero() {
		return 0
	}
	return g.t.silence/2 - time.Since(g.vow.voted)
}

// quietUntil is when a group that is opened now may vote first. The caller holds t.mu.
func (t *transport) quietUntil(id DatabaseID) time.Time {
	t.vows.mu.Lock()
	defer t.vows.mu.Unlock()
	until := t.began.Add(t.promise)
	if closed := t.vows.closed[id].Add(t.promise); closed.After(until) {
		until = closed
	}
	delete(t.vows.closed, id)
	return until
}

// forget ends the group's part in promises: what it has promised is kept by quietUntil, and
// the leader hears of the break with the next answer to a ping.
func (g *groupTransport) forget() {
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	if !g.vow.over {
		g.vow.over = true
		g.t.vows.breaks++
		maps.DeleteFunc(g.t.vows.closed, func(_ DatabaseID, at time.Time) bool { return time.Since(at) > g.t.promise })
		g.t.vows.closed[g.id] = time.Now()
	}
}

// letVote lets a vote pass, in or out, unless that would break a promise. The caller calls
// voted when raft has answered it.
func (g *groupTransport) letVote() (voted func(), err error) {
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	if g.promised() > 0 {
		return nil, fmt.Errorf("%s on %s: %w", g.id, g.t.self, errPromised)
	}
	g.t.vows.breaks++
	g.vow.passes++
	g.vow.voting++
	g.vow.voted = time.Now()
	return func() {
		g.t.vows.mu.Lock()
		defer g.t.vows.mu.Unlock()
		g.vow.voting--
	}, nil
}

// beforeAppend is called before raft gets an AppendEntries. The result is for vowed; no:
// raft may be voting, so that nothing can be promised.
func (g *groupTransport) beforeAppend() (passes uint64, ok bool) {
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	return g.vow.passes, g.vow.voting == 0
}

// vowed notes that an AppendEntries of term over l succeeded, and whether that promises
// anything: not if a vote has passed meanwhile, or the leader wants no promise in this term.
func (g *groupTransport) vowed(l *link, term, passes uint64, free bool) (breaks uint64, promised bool) {
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	v := &g.vow
	v.heard = l
	if l == nil || v.over || !free || v.passes != passes || v.voting > 0 || term < v.term ||
		v.released.link == l && v.released.term >= term {
		return 0, false
	}
	v.link, v.term = l, term
	return g.t.vows.breaks, true
}

// release takes a release that came on l: the promise ends. Unless it has only lapsed, none
// of this term will be given on this link again.
func (g *groupTransport) release(l *link, r release) {
	g.t.vows.mu.Lock()
	v := &g.vow
	if r.why != lapsed {
		v.released.link, v.released.term = l, r.term
	}
	if v.link == l && v.term <= r.term {
		v.link = nil
	}
	g.t.vows.mu.Unlock()
	if r.why == ended && g.book != nil && g.book.db != nil {
		g.book.db.disown(l.peer, r.term)
	}
}

// hears says whether something of the leader has come on the connection that its node has
// now, or may still come.
func (g *groupTransport) hears(leader NodeID) bool {
	g.t.mu.Lock()
	l, ended := g.t.from[leader], g.t.ended[leader]
	g.t.mu.Unlock()
	if l == nil {
		return time.Since(ended) < g.t.silence
	}
	if time.Since(l.made) < g.t.silence {
		return true
	}
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	return g.vow.heard == l
}

// follows is the last sign that the leader of term gave, of its node; the zero time if this
// replica does not follow it.
func (g *groupTransport) follows(leader NodeID) time.Time {
	g.t.vows.mu.Lock()
	defer g.t.vows.mu.Unlock()
	if l := g.vow.link; l != nil && l.peer == leader {
		return l.pinged
	}
	return time.Time{}
}

// pinged answers a ping: with it the promises of all groups that follow over the link last
// longer.
func (t *transport) pinged(l *link, seq uint64) {
	now := time.Now()
	t.vows.mu.Lock()
	l.promised, l.pinged = now.Add(t.promise), now
	breaks := t.vows.breaks
	t.vows.mu.Unlock()
	l.reply(seq, appendUvarints(nil, breaks))
}

// vowedAppend is an AppendEntriesResponse with what it promises.
type vowedAppend struct {
	*raft.AppendEntriesResponse
	breaks   uint64
	promised bool
}

// promises is what a leader heard with an answer to an AppendEntries.
type promises struct {
	link   *link // nil: nothing was promised.
	breaks uint64
}

// from is what the answer promises, which came on l.
func (v *vowedAppend) from(l *link) promises {
	if !v.promised {
		return promises{}
	}
	return promises{link: l, breaks: v.breaks}
}

// held says whether a follower's promise holds now.
func (p *peer) held(v promises) bool {
	if v.link == nil || v.link.ctx.Err() != nil {
		return false
	}
	p.pulse.mu.Lock()
	defer p.pulse.mu.Unlock()
	return p.pulse.link == v.link && p.pulse.breaks == v.breaks && elapsed(p.pulse.sent) < p.t.lease
}

// elapsed is how long ago t was, by the clock that counts more: the monotonic one stands
// still while a machine is suspended, the other may be set.
func elapsed(t time.Time) time.Duration {
	now := time.Now()
	wall := now.Round(0).Sub(t.Round(0))
	if wall < 0 {
		return time.Hour // It was set back: nothing is known.
	}
	return max(wall, now.Sub(t))
}
