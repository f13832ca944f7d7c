package replication

import (
	"fmt"
	"time"
)

// release is a leader's word that a follower need not keep its promise any longer: the
// leadership has ended, or is about to be handed over.
type release struct {
	group DatabaseID
	term  uint64
	why   releaseReason
}

type releaseReason byte

const (
	lapsed      releaseReason = iota // The leader sees no majority; it may see one again.
	handingOver                      // It still leads, and wants no promise of this term any more.
	ended                            // It does not lead any more.
)

// releasePatience is how long a hand-over waits until the promises are given back. A
// follower that has not heard of it refuses its vote, for transport.promise at most.
const releasePatience = 100 * time.Millisecond

func appendReleases(b []byte, list []release) []byte {
	b = appendUvarints(b, uint64(len(list)))
	for _, r := range list {
		b = appendText(b, string(r.group))
		b = append(appendUvarints(b, r.term), byte(r.why))
	}
	return b
}

func decodeReleases(b []byte) ([]release, error) {
	r := byteReader{b: b}
	n := r.uvarint()
	if n > uint64(len(b)) {
		return nil, fmt.Errorf("%d releases in %d bytes", n, len(b))
	}
	out := make([]release, 0, n)
	for range n {
		one := release{group: DatabaseID(r.bytes(r.uvarint())), term: r.uvarint()}
		one.why = releaseReason(r.byte())
		out = append(out, one)
	}
	return out, r.end()
}

// release sends n a release, on the connection on which it has promised. The channel is
// closed when it was answered, or never will be.
func (t *transport) release(n NodeID, r release) <-chan struct{} {
	done := make(chan struct{})
	p := t.peer(n)
	p.mu.Lock()
	l := p.link
	p.mu.Unlock()
	if l == nil {
		close(done)
		return done
	}
	_, err := l.start(request{
		kind: kindRelease, timeout: rpcTimeout,
		encode: func(b []byte) []byte { return appendReleases(b, []release{r}) },
	}, func([]byte, error) { close(done) })
	if err != nil {
		close(done)
	}
	return done
}

// release gives the promises of all followers back, and waits a moment for the answers.
func (db *DB) release(term uint64, why releaseReason, patience time.Duration) {
	var waits []<-chan struct{}
	for _, s := range db.servers() {
		if n := NodeID(s.ID); n != db.engine.opts.Node {
			waits = append(waits, db.engine.transport.release(n, release{group: db.id, term: term, why: why}))
		}
	}
	if patience == 0 {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for _, done := range waits {
		select {
		case <-done:
		case <-timer.C:
			return
		}
	}
}
