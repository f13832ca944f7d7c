package replication

import (
	"context"
	"fmt"
	"time"
)

// standing is what a node says of one of its replicas that is asked who leads.
type standing struct {
	open    bool          // It has the database.
	leads   bool          // It leads; the asker is about to hear from it.
	follows bool          // It follows a leader whose node lives, as far as it can see.
	last    entryID       // Its last log entry.
	unfit   bool          // It votes, but should not lead: see DB.unfit.
	wait    time.Duration // Until it may vote, and an election under way has had its time.
}

const (
	standingOpen = 1 << iota
	standingLeads
	standingFollows
	standingUnfit
	// asksInMessage bounds a message; more go in several.
	asksInMessage = 512
)

func appendStandings(b []byte, list []standing) []byte {
	for _, s := range list {
		var flags uint64
		for bit, is := range map[uint64]bool{standingOpen: s.open, standingLeads: s.leads, standingFollows: s.follows, standingUnfit: s.unfit} {
			if is {
				flags |= bit
			}
		}
		b = appendUvarints(b, flags, s.last.term, s.last.index, uint64(max(s.wait, 0)/time.Microsecond))
	}
	return b
}

func decodeStandings(b []byte, n int) ([]standing, error) {
	r := byteReader{b: b}
	out := make([]standing, n)
	for i := range out {
		flags := r.uvarint()
		out[i] = standing{open: flags&standingOpen != 0, leads: flags&standingLeads != 0, follows: flags&standingFollows != 0, unfit: flags&standingUnfit != 0}
		out[i].last.term, out[i].last.index = r.uvarint(), r.uvarint()
		out[i].wait = time.Duration(min(r.uvarint(), uint64(time.Hour/time.Microsecond))) * time.Microsecond
	}
	return out, r.end()
}

// question is about one database; term is the asker's.
type question struct {
	id   DatabaseID
	term uint64
}

func appendQuestions(b []byte, list []question) []byte {
	b = appendUvarints(b, uint64(len(list)))
	for _, q := range list {
		b = appendUvarints(appendText(b, string(q.id)), q.term)
	}
	return b
}

func decodeQuestions(b []byte) ([]question, error) {
	r := byteReader{b: b}
	n := r.uvarint()
	if n > asksInMessage {
		return nil, fmt.Errorf("%d databases, where at most %d are allowed", n, asksInMessage)
	}
	out := make([]question, 0, n)
	for range n {
		q := question{id: DatabaseID(r.bytes(r.uvarint()))}
		q.term = r.uvarint()
		out = append(out, q)
	}
	return out, r.end()
}

// ask asks n about databases. The answers are in their order; none when it does not answer
// in time.
func (t *transport) ask(n NodeID, about []question, timeout time.Duration) []standing {
	ctx, cancel := context.WithTimeout(t.ctx, timeout) // Of the dial; the answer has its own.
	defer cancel()
	l, err := t.peer(n).connected(ctx.Done())
	if err != nil {
		return nil
	}
	answered := make(chan []byte, 1)
	_, err = l.start(request{
		kind: kindAsk, timeout: timeout,
		encode: func(b []byte) []byte { return appendQuestions(b, about) },
	}, func(payload []byte, err error) {
		if err != nil {
			payload = nil
		}
		answered <- payload
	})
	if err != nil {
		return nil
	}
	out, err := decodeStandings(<-answered, len(about))
	if err != nil {
		return nil
	}
	return out
}

// serveNode serves the requests that concern many groups. It must not wait for raft.
func (t *transport) serveNode(l *link, f frame) error {
	switch f.kind {
	case kindAsk:
		about, err := decodeQuestions(f.payload)
		if err != nil {
			return err
		}
		t.spawn(func() {
			answers := make([]standing, len(about))
			if t.standing != nil {
				for i, q := range about {
					answers[i] = t.standing(l.peer, q)
				}
			}
			l.reply(f.seq, appendStandings(nil, answers))
		})
	case kindHints:
		list, err := decodeHints(f.payload)
		if err != nil {
			return err
		}
		t.takeHints(l, f.seq, list)
	case kindRelease:
		list, err := decodeReleases(f.payload)
		if err != nil {
			return err
		}
		for _, r := range list {
			t.mu.Lock()
			g := t.groups[r.group]
			t.mu.Unlock()
			if g != nil {
				g.release(l, r)
			}
		}
		l.reply(f.seq, nil)
	}
	return nil
}
