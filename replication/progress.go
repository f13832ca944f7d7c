package replication

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// progress is a raft.Transport that notes what each peer acknowledged, and when the
// acknowledged request was sent: raft keeps neither where we can read it. Leader reads
// rest on the times (a lease counts from the sending, not from the answer), AddNode on
// the indexes.
type progress struct {
	raft.Transport
	mu    sync.Mutex
	peers map[raft.ServerID]ack
	tasks sync.WaitGroup
}

type ack struct {
	term uint64
	sent time.Time
	last uint64
}

func newProgress(t raft.Transport) *progress {
	return &progress{Transport: t, peers: map[raft.ServerID]ack{}}
}

func (p *progress) note(id raft.ServerID, sent time.Time, q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) {
	if !r.Success || r.Term != q.Term {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.peers[id]
	if q.Term > a.term {
		a = ack{term: q.Term}
	}
	if q.Term < a.term {
		return
	}
	if sent.After(a.sent) {
		a.sent = sent
	}
	// A heartbeat carries no entries and says nothing about the log.
	if n := q.PrevLogEntry + uint64(len(q.Entries)); n > a.last {
		a.last = n
	}
	p.peers[id] = a
}

// of is what id acknowledged in term.
func (p *progress) of(id NodeID, term uint64) ack {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.peers[raft.ServerID(id)]; a.term == term {
		return a
	}
	return ack{}
}

// quorumSent is the newest time at which a majority of the voters is known to have
// followed this leader; the zero time if there is none.
func (p *progress) quorumSent(self NodeID, voters []NodeID, term uint64) time.Time {
	var times []time.Time
	for _, v := range voters {
		if v == self {
			times = append(times, time.Now())
		} else {
			times = append(times, p.of(v, term).sent)
		}
	}
	if len(times) == 0 {
		return time.Time{}
	}
	slices.SortFunc(times, func(a, b time.Time) int { return b.Compare(a) })
	return times[len(times)/2]
}

// AppendEntries is also how raft sends heartbeats.
func (p *progress) AppendEntries(id raft.ServerID, to raft.ServerAddress, q *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	sent := time.Now()
	err := p.Transport.AppendEntries(id, to, q, r)
	if err == nil {
		p.note(id, sent, q, r)
	}
	return err
}

// RequestPreVote makes raft use pre-votes.
func (p *progress) RequestPreVote(id raft.ServerID, to raft.ServerAddress, q *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	return p.Transport.(raft.WithPreVote).RequestPreVote(id, to, q, r)
}

// Close closes the transport below.
func (p *progress) Close() error {
	if c, ok := p.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}

// wait waits for the pipelines' goroutines.
func (p *progress) wait() { p.tasks.Wait() }

func (p *progress) AppendEntriesPipeline(id raft.ServerID, to raft.ServerAddress) (raft.AppendPipeline, error) {
	inner, err := p.Transport.AppendEntriesPipeline(id, to)
	if err != nil {
		return nil, err
	}
	n := &notingPipeline{AppendPipeline: inner, out: make(chan raft.AppendFuture), stop: make(chan struct{})}
	p.tasks.Add(1)
	go func() {
		defer p.tasks.Done()
		n.forward(func(f raft.AppendFuture) { p.note(id, f.Start(), f.Request(), f.Response()) })
	}()
	return n, nil
}

// notingPipeline looks at each answer on its way to raft.
type notingPipeline struct {
	raft.AppendPipeline
	out  chan raft.AppendFuture
	once sync.Once
	stop chan struct{}
}

func (n *notingPipeline) forward(note func(raft.AppendFuture)) {
	for {
		select {
		case f := <-n.AppendPipeline.Consumer():
			if f == nil { // Closed.
				return
			}
			if f.Error() == nil {
				note(f)
			}
			select {
			case n.out <- f:
			case <-n.stop:
				return
			}
		case <-n.stop:
			return
		}
	}
}

func (n *notingPipeline) Consumer() <-chan raft.AppendFuture { return n.out }

func (n *notingPipeline) Close() error {
	n.once.Do(func() { close(n.stop) })
	return n.AppendPipeline.Close()
}
