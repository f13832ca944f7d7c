package replication

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// raft tells a follower of a commit with the next entries, or after CommitTimeout, which is
// minutes. So the leader's node tells of the last commit itself: one message to each peer
// for many groups, which the peer's transport turns into AppendEntries without entries.
// The same message tells a node that has come up, or asks, who leads.

const (
	// hintDelay is how long a commit waits for entries that carry it, and for company.
	hintDelay = 10 * time.Millisecond
	// hintsInMessage bounds a message; more go in several.
	hintsInMessage = 512
	hintsTimeout   = 10 * time.Second
)

// hint is one group's part of the message: an AppendEntries without entries. prev is an
// entry that is committed; 0: the message only says who leads.
type hint struct {
	group                DatabaseID
	term, prev, prevTerm uint64
}

// hints collects what is to be told to the peers.
type hints struct {
	e *Engine

	mu    sync.Mutex
	armed bool
	dbs   map[*DB]struct{}            // Something was committed.
	pokes map[NodeID]map[*DB]struct{} // Tell the node in any case.
}

// entryID is a place in a log.
type entryID struct{ index, term uint64 }

// tellCommit is called when entries are committed.
func (db *DB) tellCommit() {
	if !db.solo && db.raft().State() == raft.Leader {
		db.engine.hints.committed(db)
	}
}

func newHints(e *Engine) *hints {
	return &hints{e: e, dbs: map[*DB]struct{}{}, pokes: map[NodeID]map[*DB]struct{}{}}
}

// committed has the followers told of db's last commit, unless entries do it first.
func (h *hints) committed(db *DB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dbs[db] = struct{}{}
	h.arm()
}

// poke has n told who leads db.
func (h *hints) poke(n NodeID, db *DB) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.pokes[n] == nil {
		h.pokes[n] = map[*DB]struct{}{}
	}
	h.pokes[n][db] = struct{}{}
	h.arm()
}

// arm sees to it that send runs soon. The caller holds mu.
func (h *hints) arm() {
	if !h.armed {
		h.armed = true
		time.AfterFunc(hintDelay, func() {
			if !h.e.transport.spawn(h.send) {
				return // The engine is closed.
			}
		})
	}
}

// send tells the peers what they are to know.
func (h *hints) send() {
	h.mu.Lock()
	dbs, pokes := h.dbs, h.pokes
	h.dbs, h.pokes, h.armed = map[*DB]struct{}{}, map[NodeID]map[*DB]struct{}{}, false
	h.mu.Unlock()
	out := map[NodeID][]told{}
	for n, list := range pokes {
		for db := range list {
			if t, ok := db.newHint(); ok {
				out[n] = append(out[n], t)
			}
		}
	}
	for db := range dbs {
		t, ok := db.newHint()
		if !ok || t.hint.prev == 0 {
			continue
		}
		for _, s := range db.servers() {
			n := NodeID(s.ID)
			if _, poked := pokes[n][db]; n != h.e.opts.Node && !poked && t.progress.mustTell(n, t.hint) {
				out[n] = append(out[n], t)
			}
		}
	}
	for n, list := range out {
		if up, _ := h.e.transport.up(n); !up {
			continue // It is told when it comes up.
		}
		for len(list) > 0 {
			k := min(len(list), hintsInMessage)
			h.e.transport.tell(n, list[:k:k])
			list = list[k:]
		}
	}
}

// told is a hint on its way, with whom its answer concerns.
type told struct {
	hint     hint
	progress *progress
}

// newHint is what there is to tell of a database that is led here.
func (db *DB) newHint() (told, bool) {
	r := db.raft()
	term, ok := ledTerm(r)
	if !ok {
		return told{}, false
	}
	t := told{hint: hint{group: db.id, term: term}, progress: db.progress()}
	e := db.entryAt(r.CommitIndex())
	if e.term != 0 { // Else it is enough to say who leads.
		t.hint.prev, t.hint.prevTerm = e.index, e.term
	}
	return t, true
}

// ledTerm is a term that r leads. raft steps down before it takes a new term, and leads
// after it took one: a state between two equal terms is the state in that term.
func ledTerm(r *raft.Raft) (uint64, bool) {
	term := r.CurrentTerm()
	leads := r.State() == raft.Leader
	return term, leads && r.CurrentTerm() == term
}

// mustTell says whether n has the entry and was not told that it is committed.
func (p *progress) mustTell(n NodeID, h hint) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.of(n)
	if f.term != h.term || f.told >= h.prev {
		return false
	}
	f.owed = f.last < h.prev
	return !f.owed
}

// request is the AppendEntries that the hint stands for.
func (h hint) request(from NodeID) *raft.AppendEntriesRequest {
	return &raft.AppendEntriesRequest{
		//lint:ignore SA1019 raft's own followers of protocol 2 still look at it
		RPCHeader: peerHeader(byte(raft.ProtocolVersionMax), from), Leader: []byte(from), Term: h.term,
		PrevLogEntry: h.prev, PrevLogTerm: h.prevTerm, LeaderCommitIndex: h.prev,
	}
}

func appendText(b []byte, s string) []byte {
	return append(appendUvarints(b, uint64(len(s))), s...)
}

func appendHints(b []byte, list []hint) []byte {
	b = appendUvarints(b, uint64(len(list)))
	for _, h := range list {
		b = appendText(b, string(h.group))
		b = appendUvarints(b, h.term, h.prev, h.prevTerm)
	}
	return b
}

func decodeHints(b []byte) ([]hint, error) {
	r := byteReader{b: b}
	n := r.uvarint()
	if n > hintsInMessage {
		return nil, fmt.Errorf("%d hints, where at most %d are allowed", n, hintsInMessage)
	}
	out := make([]hint, 0, n)
	for range n {
		h := hint{group: DatabaseID(r.bytes(r.uvarint()))}
		h.term, h.prev, h.prevTerm = r.uvarint(), r.uvarint(), r.uvarint()
		out = append(out, h)
	}
	return out, r.end()
}

// tell sends hints and notes the answers as those of AppendEntries.
func (t *transport) tell(n NodeID, list []told) {
	l, _ := t.peer(n).live()
	if l == nil { // The other peers do not wait for its dial; it is told over its new connection.
		return
	}
	list = slices.DeleteFunc(list, func(v told) bool { return v.progress.stillLeads(v.hint.term) != nil })
	if len(list) == 0 {
		return
	}
	hints := make([]hint, len(list))
	for i, v := range list {
		hints[i] = v.hint
		v.progress.sends(n, v.hint.request(t.self), 1)
	}
	sent := time.Now()
	done := func(payload []byte, err error) {
		r := byteReader{b: payload}
		for _, v := range list {
			q := v.hint.request(t.self)
			var got raft.AppendEntriesResponse
			answer := vowedAppend{AppendEntriesResponse: &got}
			failed := err
			if err == nil {
				failed = decodeHintAnswer(r.bytes(r.uvarint()), l.peer, &answer)
			}
			v.progress.note(n, sent, q, &got, answer.from(l), failed)
		}
	}
	_, err := l.start(request{
		kind: kindHints, timeout: hintsTimeout,
		encode: func(b []byte) []byte { return appendHints(b, hints) },
	}, done)
	if err != nil {
		done(nil, err)
	}
}

// decodeHintAnswer reads a response; nothing stands for a refusal.
func decodeHintAnswer(b []byte, from NodeID, out *vowedAppend) error {
	if len(b) == 0 {
		return fmt.Errorf("replication: %s %w: it does not take the database's messages", from, errRefused)
	}
	return decodeResponse(b, from, out)
}

// takeHints gives each group its AppendEntries, and answers when all are answered.
func (t *transport) takeHints(l *link, seq uint64, list []hint) {
	answers := make([][]byte, len(list))
	var left atomic.Int64
	left.Store(int64(len(list)))
	if len(list) == 0 {
		l.reply(seq, nil)
	}
	for i, h := range list {
		t.deliver(h.group, inbound{
			from: l.peer, link: l, command: h.request(l.peer), size: hintBytes,
			answer: func(response any, err error) {
				if err == nil {
					answers[i], _ = appendResponse(nil, response) // None is a refusal.
				}
				if left.Add(-1) == 0 {
					var b []byte
					for _, a := range answers {
						b = appendText(b, string(a))
					}
					l.reply(seq, b)
				}
			},
		})
	}
}

// hintBytes is what a hint in a queue counts for.
const hintBytes = 256
