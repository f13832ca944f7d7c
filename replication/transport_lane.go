package replication

import (
	"sync"

	"github.com/hashicorp/raft"
)

// lane is a bounded queue with a goroutine while it is not empty.
type lane struct {
	g      *groupTransport
	max    int
	handle func(inbound)

	mu      sync.Mutex
	queue   []inbound
	running chan struct{} // Closed when the goroutine has ended; nil: there is none.
}

func (n *lane) put(in inbound) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.queue) >= n.max {
		return errBusy
	}
	n.queue = append(n.queue, in)
	if n.running == nil {
		n.running = make(chan struct{})
		if !n.g.t.spawn(n.drain) {
			close(n.running)
			n.running, n.queue = nil, nil
			return ErrClosed
		}
	}
	return nil
}

func (n *lane) drain() {
	for {
		n.mu.Lock()
		if len(n.queue) == 0 {
			close(n.running)
			n.running, n.queue = nil, nil
			n.mu.Unlock()
			return
		}
		in := n.queue[0]
		n.queue[0] = inbound{}
		n.queue = n.queue[1:]
		n.mu.Unlock()
		n.handle(in)
	}
}

// takeFollowing takes the requests off the head of the queue that continue q: the same
// leader and term, the next entries. It adds their entries to q.
func (n *lane) takeFollowing(q *raft.AppendEntriesRequest, from NodeID) (taken []inbound) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for len(n.queue) > 0 {
		next, ok := n.queue[0].command.(*raft.AppendEntriesRequest)
		last := q.Entries[len(q.Entries)-1]
		if !ok || n.queue[0].from != from || next.Term != q.Term || len(next.Entries) == 0 ||
			next.PrevLogEntry != last.Index || next.PrevLogTerm != last.Term ||
			len(q.Entries)+len(next.Entries) > mergeMax {
			break
		}
		q.Entries = append(q.Entries, next.Entries...)
		q.LeaderCommitIndex = max(q.LeaderCommitIndex, next.LeaderCommitIndex)
		taken = append(taken, n.queue[0])
		n.queue[0] = inbound{}
		n.queue = n.queue[1:]
	}
	return taken
}

// wait waits until the goroutine has ended.
func (n *lane) wait() {
	n.mu.Lock()
	running := n.running
	n.mu.Unlock()
	if running != nil {
		<-running
	}
}
