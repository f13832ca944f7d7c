package replication

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// A request that a peer refuses is sent again after firstRetry, then twice that, up to
	// mostRetry heartbeat timeouts.
	firstRetry = 10 * time.Millisecond
	mostRetry  = 4
)

var errDeposed = errors.New("the leadership has ended")

// progress is the raft.Transport that raft uses. It notes what each peer acknowledged and
// when the acknowledged request was sent, for raft keeps neither where we can read it:
// reads rest on the times, AddNode and a hand-over on the indexes.
//
// Its AppendEntries is patient: it waits until the peer is up, and repeats, until the
// leadership or the membership ends. raft's own answer to a failure is to wait for its next
// write or for CommitTimeout, which is minutes here.
type progress struct {
	*groupTransport
	db *DB

	mu    sync.Mutex
	peers map[NodeID]*follower
	lost  chan struct{} // Closed when the leadership that runs is over.
}

// follower is what a leader knows of another replica. Guarded by progress.mu.
type follower struct {
	term     uint64
	sent     time.Time // When the newest request was sent that was acknowledged in term.
	last     uint64    // The last entry that was acknowledged in term.
	promises promises
	told     uint64        // The highest commit index that an AppendEntries carried to it.
	owed     bool          // It is to be told of a commit when it has the entry.
	flying   int           // Requests under way, or waiting for the peer.
	behind   bool          // It has answered that it lacks entries.
	checking bool          // A check of it is due.
	wait     time.Duration // Until the next one.
	refusing time.Time     // Since when it has refused all requests; zero: it does not.
	gone     chan struct{} // Closed when it has left the group.
	again    chan struct{} // Holds one token when a refused request is worth another attempt.
}

// ack is what a peer acknowledged in one term.
type ack struct {
	sent     time.Time
	last     uint64
	promises promises
}

func newProgress(t *groupTransport) *progress {
	p := &progress{groupTransport: t, peers: map[NodeID]*follower{}, lost: make(chan struct{})}
	t.book = p
	return p
}

// of returns what is known of a peer. The caller holds mu.
func (p *progress) of(id NodeID) *follower {
	f := p.peers[id]
	if f == nil {
		f = &follower{gone: make(chan struct{}), again: make(chan struct{}, 1)}
		p.peers[id] = f
	}
	return f
}

// in is f for what is said in term. The caller holds mu.
func (f *follower) in(term uint64) *follower {
	if term > f.term {
		f.term, f.sent, f.last, f.promises, f.told, f.behind = term, time.Time{}, 0, promises{}, 0, false
	}
	return f
}

// acked is what id acknowledged in term.
func (p *progress) acked(id NodeID, term uint64) ack {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f := p.peers[id]; f != nil && f.term == term {
		return ack{sent: f.sent, last: f.last, promises: f.promises}
	}
	return ack{}
}

// flies counts requests that are under way, or wait for the peer.
func (p *progress) flies(to NodeID, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.of(to).flying += n
}

// sends notes that a request goes out, n = 1, or has come to its end, n = -1.
func (p *progress) sends(to NodeID, q *raft.AppendEntriesRequest, n int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of(to)
	f.flying += n
	if n > 0 && q.Term >= f.term {
		f.in(q.Term).told = max(f.told, min(q.LeaderCommitIndex, q.PrevLogEntry+uint64(len(q.Entries))))
	}
}

// note notes what came of a request.
func (p *progress) note(to NodeID, sent time.Time, q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse, v promises, err error) {
	if p == nil {
		return
	}
	p.mu.Lock()
	f := p.of(to)
	f.flying--
	if err != nil {
		f.told = 0
		if errors.Is(err, errRefused) && f.refusing.IsZero() {
			f.refusing = time.Now()
		}
		p.mu.Unlock()
		p.check(to)
		return
	}
	back := !f.refusing.IsZero()
	f.refusing = time.Time{}
	tell := false
	if q.Term >= f.term {
		tell = f.in(q.Term).acknowledged(sent, q, r, v)
	}
	behind := f.behind
	p.mu.Unlock()
	if p.db == nil {
		return
	}
	if behind {
		p.check(to)
	}
	if tell {
		p.db.engine.hints.committed(p.db)
	}
	if back {
		p.db.quorumMayHaveChanged()
	}
}

// acknowledged takes an answer of f's term, and says whether f can be told of a commit now.
// The caller holds mu.
func (f *follower) acknowledged(sent time.Time, q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse, v promises) bool {
	if !r.Success {
		f.told = 0 // It took no commit either: it lacks the entry, which may come without one.
		f.behind = f.behind || r.Term == q.Term
		return false
	}
	if sent.After(f.sent) {
		f.sent = sent
	}
	if v.link != nil {
		f.promises = v
	}
	// A heartbeat carries no entries and says nothing about the log.
	if n := q.PrevLogEntry + uint64(len(q.Entries)); n >= f.last {
		f.last, f.behind = n, f.behind && n == 0
	}
	tell := f.owed
	f.owed = false
	return tell
}

// quorumSent is the newest time at which a majority of the voters is known to have
// followed this leader; the zero time if there is none.
func (p *progress) quorumSent(self NodeID, voters []NodeID, term uint64) time.Time {
	var times []time.Time
	for _, v := range voters {
		if v == self {
			times = append(times, time.Now())
		} else {
			times = append(times, p.acked(v, term).sent)
		}
	}
	if len(times) == 0 {
		return time.Time{}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return times[len(times)/2]
}

// deposed ends all that waits for a peer in the leadership that was.
func (p *progress) deposed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.lost)
	p.lost = make(chan struct{})
}

// keep forgets the peers that are no members.
func (p *progress) keep(members []raft.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, f := range p.peers {
		if !slices.ContainsFunc(members, func(s raft.Server) bool { return NodeID(s.ID) == id }) {
			close(f.gone)
			delete(p.peers, id)
		}
	}
}

// retry makes a request that n has refused go out again at once.
func (p *progress) retry(n NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.of(n).again <- struct{}{}:
	default:
	}
}

// refuses says whether n, though up, has taken none of the group's requests for so long
// that its replica must be down.
func (p *progress) refuses(n NodeID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.peers[n]
	return f != nil && !f.refusing.IsZero() && time.Since(f.refusing) >= p.t.silence
}

// AppendEntries is also how raft sends heartbeats.
func (p *progress) AppendEntries(_ raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	n := NodeID(to)
	peer := p.t.watch(n)
	p.mu.Lock()
	lost, gone, again := p.lost, p.of(n).gone, p.of(n).again
	p.mu.Unlock()
	if p.db != nil && p.db.raft().CurrentTerm() > q.Term {
		return errDeposed // Its notice may have come before lost was taken.
	}
	if !isHeartbeat(q) { // raft is at it, also between two attempts: see checked.
		p.flies(n, 1)
		defer p.flies(n, -1)
	}
	wait := firstRetry
	for {
		select {
		case <-peer.rising():
		default:
			select {
			case <-peer.rising():
			case <-lost:
				return errDeposed
			case <-gone:
				return errDeposed
			case <-p.ctx.Done():
				return ErrClosed
			}
		}
		p.sends(n, q, 1)
		sent := time.Now()
		v, err := p.append(n, q, r)
		if p.db != nil && p.db.hooks.answered != nil && isHeartbeat(q) {
			p.db.hooks.answered(n)
		}
		p.note(n, sent, q, r, v, err)
		if err == nil || errors.Is(err, errDeposed) {
			return err
		}
		if p.refuses(n) {
			p.db.quorumMayHaveChanged()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			wait = min(2*wait, mostRetry*p.t.silence)
		case <-again:
			wait = firstRetry
		case <-lost:
			err = errDeposed
		case <-gone:
			err = errDeposed
		case <-p.ctx.Done():
			err = ErrClosed
		}
		timer.Stop()
		if errors.Is(err, errDeposed) || errors.Is(err, ErrClosed) {
			return err
		}
	}
}

// RequestVote asks for a vote, unless that would break a promise of this replica.
func (p *progress) RequestVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestVoteRequest, r *raft.RequestVoteResponse) error {
	voted, err := p.letVote()
	if err != nil {
		return err
	}
	defer voted()
	return p.groupTransport.RequestVote(id, to, q, r)
}

// RequestPreVote makes raft use pre-votes.
func (p *progress) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	if p.mayVoteIn() > 0 {
		return fmt.Errorf("%s on %s: %w", p.id, p.t.self, errPromised)
	}
	return p.groupTransport.RequestPreVote(id, to, q, r)
}

// cut lets nothing in or out any more, at once; Close waits as well.
func (p *progress) cut() { p.groupTransport.cancel() }
