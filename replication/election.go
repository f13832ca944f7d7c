package replication

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// Elections are started from here, not by raft's timers, which are of minutes. A database
// is vacant, as seen from this node, when raft knows no leader or the leader's node is
// down. A voter of a vacant database asks the others who leads. If nobody leads, and nobody
// follows a leader that lives, the voters whose log is good enough take turns of one
// heartbeat timeout, in an order that is the same on all nodes and differs from database to
// database, which spreads the leaders. Whose turn it is gets raft's own request to take over.

const (
	// maxCampaigns is how many elections this node begins at once: they share an fsync.
	maxCampaigns = 64
	// campaignGap is how long another one waits for its place.
	campaignGap = 20 * time.Millisecond
	// afterPromise is added to the wait for a promise, for the clocks of two machines.
	afterPromise = 2 * time.Millisecond
)

// elections looks after the vacant databases of a node, in one goroutine.
type elections struct {
	e    *Engine
	wake chan struct{}
	done chan struct{}

	mu        sync.Mutex
	vacant    map[*DB]*vacancy
	campaigns int
	resigned  bool // This node hands over, and is not elected any more.
}

// vacancy is a database without a leader. Guarded by elections.mu.
type vacancy struct {
	next     time.Time // Look again then.
	asked    bool      // A round is under way.
	again    bool      // Something has changed meanwhile.
	since    time.Time // The turns are counted from here; zero: there is no majority.
	turn     int       // The last turn that was used, from 1.
	campaign bool      // Counts in campaigns.
}

func newElections(e *Engine) *elections {
	return &elections{e: e, wake: make(chan struct{}, 1), done: make(chan struct{}), vacant: map[*DB]*vacancy{}}
}

// look has databases looked at, soon.
func (l *elections) look(dbs ...*DB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, db := range dbs {
		v := l.vacant[db]
		if v == nil {
			v = &vacancy{}
			l.vacant[db] = v
		}
		v.next, v.again = time.Now(), v.asked
	}
	l.nudge()
}

// leaderChanged notes that raft has heard of another leader, or of none.
func (l *elections) leaderChanged(db *DB, leader NodeID) {
	l.mu.Lock()
	known := leader != "" && l.vacant[db] == nil && leader != l.e.opts.Node
	l.mu.Unlock()
	if !known || !l.e.transport.alive(leader) {
		l.look(db)
	}
}

// resign makes this node begin no elections any more.
func (l *elections) resign() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.resigned = true
}

func (l *elections) hasResigned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.resigned
}

func (l *elections) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run looks after the vacant databases until ctx ends.
func (l *elections) run(ctx context.Context) {
	defer close(l.done)
	var rounds sync.WaitGroup
	defer rounds.Wait()
	for {
		due, next := l.due()
		if len(due) > 0 {
			rounds.Go(func() { l.round(due) })
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-l.wake:
		case <-timer:
		case <-ctx.Done():
			return
		}
	}
}

// due takes the databases that are to be looked at now, and says when the next one is.
func (l *elections) due() (due []*DB, next time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for db, v := range l.vacant {
		switch {
		case v.asked:
		case !v.next.After(now):
			v.asked = true
			due = append(due, db)
		case next.IsZero() || v.next.Before(next):
			next = v.next
		}
	}
	return due, next
}

// round looks at databases that seem vacant: it asks their other voters, and begins the
// elections that are this node's to begin.
func (l *elections) round(dbs []*DB) {
	h := l.e.transport.silence
	asks := map[NodeID][]*DB{}
	for _, db := range dbs {
		others, lonely := db.othersUp()
		switch {
		case !db.isVacant():
			l.filled(db)
		case lonely:
			l.later(db, h, true)
		default:
			for _, n := range others {
				asks[n] = append(asks[n], db)
			}
			if len(others) == 0 {
				l.decide(db, nil)
			}
		}
	}
	answers := l.askAll(asks, h/2)
	for db, got := range answers {
		l.decide(db, got)
	}
}

// askAll asks every node about its databases, all at once.
func (l *elections) askAll(asks map[NodeID][]*DB, timeout time.Duration) map[*DB]map[NodeID]standing {
	out := map[*DB]map[NodeID]standing{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, dbs := range asks {
		for _, db := range dbs {
			out[db] = map[NodeID]standing{}
		}
	}
	for n, dbs := range asks {
		for part := range slices.Chunk(dbs, asksInMessage) {
			wg.Go(func() {
				about := make([]question, len(part))
				for i, db := range part {
					about[i] = question{id: db.id, term: db.raft().CurrentTerm()}
				}
				answers := l.e.transport.ask(n, about, timeout)
				mu.Lock()
				defer mu.Unlock()
				for i, a := range answers {
					out[part[i]][n] = a
				}
			})
		}
	}
	wg.Wait()
	return out
}

// decide begins an election if that is this node's to do now, and says when to look again.
func (l *elections) decide(db *DB, answers map[NodeID]standing) {
	h := l.e.transport.silence
	for n, a := range answers {
		if _, leader := db.raft().LeaderWithID(); a.leads && NodeID(leader) == n {
			db.disowned.Store(0)
		}
		if a.leads || a.follows { // It will be heard of; or a majority has what we have not.
			l.later(db, h/2, false)
			return
		}
	}
	voters, err := db.voters()
	self := l.e.opts.Node
	if err != nil || !slices.Contains(voters, self) {
		l.later(db, h, true)
		return
	}
	own := db.standing()
	have := map[NodeID]standing{self: own}
	for n, a := range answers {
		if a.open && slices.Contains(voters, n) {
			have[n] = a
		}
	}
	need := len(voters)/2 + 1
	if len(have) < need {
		l.later(db, h/2, true)
		return
	}
	order := eligible(db.id, have, need)
	waits := votersFor(own, have)
	if len(waits) < need { // Another one's log is needed; it is that one's turn, sooner or later.
		l.later(db, h/2, false)
		return
	}
	if wait := max(own.wait, waits[need-1]); wait > 0 && len(voters) > 1 {
		l.start(db)
		l.later(db, wait+afterPromise, false)
		return
	}
	rank := slices.Index(order, self)
	if rank < 0 {
		l.later(db, h/2, false)
		return
	}
	l.takeTurn(db, rank, len(order))
}

// votersFor are the waits of the voters that can vote for a replica, in order.
func votersFor(own standing, have map[NodeID]standing) []time.Duration {
	var waits []time.Duration
	for _, s := range have {
		if !own.last.before(s.last) {
			waits = append(waits, s.wait)
		}
	}
	slices.Sort(waits)
	return waits
}

// eligible are the voters that a majority can vote for, in the order of their turns.
func eligible(id DatabaseID, have map[NodeID]standing, need int) []NodeID {
	var fit, all []NodeID
	for n, s := range have {
		if len(votersFor(s, have)) < need {
			continue
		}
		all = append(all, n)
		if !s.unfit {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		fit = all
	}
	return ranked(id, fit)
}

// ranked sorts nodes into an order that depends on the database.
func ranked(id DatabaseID, nodes []NodeID) []NodeID {
	score := func(n NodeID) uint64 {
		f := fnv.New64a()
		_, _ = f.Write([]byte(n))
		_, _ = f.Write([]byte{0})
		_, _ = f.Write([]byte(id))
		x := f.Sum64() // Of texts that hardly differ it differs little: mix it (MurmurHash3's last step).
		x = (x ^ x>>33) * 0xff51afd7ed558ccd
		x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
		return x ^ x>>33
	}
	return slices.SortedFunc(slices.Values(nodes), func(a, b NodeID) int {
		return cmp.Or(cmp.Compare(score(a), score(b)), cmp.Compare(a, b))
	})
}

// before says whether e's log ends before o's does.
func (e entryID) before(o entryID) bool {
	return e.term < o.term || e.term == o.term && e.index < o.index
}

// takeTurn campaigns if it is the turn of this node, which is at place rank of n.
func (l *elections) takeTurn(db *DB, rank, n int) {
	h := l.e.transport.silence
	l.mu.Lock()
	v := l.vacant[db]
	if v == nil || l.resigned { // Who has resigned needs no places.
		delete(l.vacant, db)
		l.mu.Unlock()
		return
	}
	if v.since.IsZero() {
		v.since = time.Now()
	}
	turn := int(time.Since(v.since)/h) + 1
	switch {
	case (turn-1)%n != rank || v.turn == turn:
		l.put(v, h/4)
		l.mu.Unlock()
		return
	case !v.campaign && l.campaigns >= maxCampaigns:
		l.put(v, campaignGap)
		l.mu.Unlock()
		return
	}
	if !v.campaign {
		v.campaign = true
		l.campaigns++
	}
	v.turn = turn
	l.put(v, h)
	l.mu.Unlock()
	db.campaign(func(err error) {
		if errors.Is(err, errPromised) { // It has come between the question and now.
			l.look(db)
		}
	})
}

// start begins to count the turns of a vacancy.
func (l *elections) start(db *DB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.vacant[db]; v != nil && v.since.IsZero() {
		v.since = time.Now()
	}
}

// later looks at a vacancy again after wait; lost: there is no majority to count turns with.
func (l *elections) later(db *DB, wait time.Duration, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if v := l.vacant[db]; v != nil {
		if lost {
			v.since, v.turn = time.Time{}, 0
		}
		l.giveBack(v)
		l.put(v, wait)
	}
}

// put ends the round of a vacancy. The caller holds mu.
func (l *elections) put(v *vacancy, wait time.Duration) {
	v.next, v.asked = time.Now().Add(wait), false
	if v.again {
		v.next, v.again = time.Now(), false
	}
	l.nudge()
}

// giveBack gives the place of a campaign back. The caller holds mu.
func (l *elections) giveBack(v *vacancy) {
	if v.campaign {
		v.campaign = false
		l.campaigns--
	}
}

// filled ends a vacancy.
func (l *elections) filled(db *DB) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := l.vacant[db]
	if v == nil {
		return
	}
	l.giveBack(v)
	if v.again {
		l.put(v, 0)
		return
	}
	delete(l.vacant, db)
}

// isVacant says whether the database has no leader that lives, as far as can be seen here.
func (db *DB) isVacant() bool {
	r := db.raft()
	switch r.State() {
	case raft.Leader, raft.Shutdown:
		return false
	}
	_, id := r.LeaderWithID()
	return id == "" || NodeID(id) == db.engine.opts.Node || !db.engine.transport.alive(NodeID(id)) ||
		db.disowned.Load() == r.CurrentTerm() || !db.progress().hears(NodeID(id))
}

// disown notes that n does not lead in term any more. raft still takes it for the leader.
func (db *DB) disown(n NodeID, term uint64) {
	r := db.raft()
	if _, id := r.LeaderWithID(); NodeID(id) == n && r.CurrentTerm() <= term {
		db.disowned.Store(r.CurrentTerm())
		db.engine.elections.look(db)
	}
}

// othersUp are the other voters whose nodes are up. lonely: with this node they are no
// majority, or nothing is known of the group yet.
func (db *DB) othersUp() (others []NodeID, lonely bool) {
	voters, err := db.voters()
	for _, n := range voters {
		if up, _ := db.engine.transport.up(n); up && n != db.engine.opts.Node {
			others = append(others, n)
		}
	}
	n := len(others)
	if slices.Contains(voters, db.engine.opts.Node) {
		n++
	}
	return others, err != nil || len(voters) == 0 || 2*n <= len(voters) && len(others) == 0
}

// answerStanding is what this replica says when a node asks that is itself in term.
func (db *DB) answerStanding(from NodeID, term uint64) standing {
	if db.group.Load() == nil {
		return standing{}
	}
	db.progress().retry(from)
	if term >= db.raft().CurrentTerm() {
		db.disown(from, term) // It would not ask if it led.
	}
	s := db.standing()
	if s.leads {
		db.engine.hints.poke(from, db)
	}
	return s
}

// standing is how this replica stands.
func (db *DB) standing() standing {
	r := db.raft()
	if r.State() == raft.Shutdown || db.ended() || db.logLost.Load() {
		return standing{}
	}
	p := db.progress()
	s := standing{open: true, last: db.entryAt(r.LastIndex()), wait: max(p.mayVoteIn(), p.electing()), unfit: db.unfit() != nil}
	if r.State() == raft.Leader {
		barren := db.barren.Load() == r.CurrentTerm()
		s.leads, s.unfit = db.hasQuorum() && !barren, s.unfit || barren
		return s
	}
	s.follows = !db.isVacant()
	return s
}

// entryAt is the entry of an index; its term is 0 if that is not known here.
func (db *DB) entryAt(index uint64) entryID {
	e := entryID{index: index}
	var l raft.Log
	if err := db.logs.GetLog(index, &l); err == nil {
		e.term = l.Term
	} else if list, err := db.group.Load().snapshots.List(); err == nil && len(list) > 0 && list[0].Index == index {
		e.term = list[0].Term
	}
	return e
}
