package replication

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// rpcTimeout is for requests without entries: their answer needs at most an fsync.
	rpcTimeout = 3 * time.Second
	// entriesTimeout is for requests with entries: a slow disk has to store them.
	entriesTimeout = 10 * time.Second
	// pipelineDepth is how many AppendEntries of a group are under way to a follower.
	// Deeper queues make small batches (hashicorp/raft pull request 541).
	pipelineDepth = 4
	// pipelineResults is how many results may wait for raft, which takes them at once.
	pipelineResults = 64
	// laneMax requests of a group wait for raft: several leaders' full pipelines, votes.
	// heartbeatMax: a heartbeat more is of no use.
	laneMax      = 64
	heartbeatMax = 4
	// mergeMax is how many entries neighbouring requests are merged to.
	mergeMax = 1024
)

var errBusy = errors.New("too many requests wait for this database; try again")

// groupTransport is one group's raft.Transport. A node's address is its NodeID.
type groupTransport struct {
	t         *transport
	id        DatabaseID
	consumer  chan raft.RPC
	heartbeat atomic.Pointer[func(raft.RPC)]
	requests  lane       // For raft's main goroutine, in order.
	beats     lane       // Heartbeats pass requests that wait for the disk.
	terms     sync.Mutex // Held while raft has a heartbeat of beats, or a vote.
	vow       vow
	stood     time.Time                                        // When raft was last made to stand for election; of requests alone.
	book      *progress                                        // Hears what the pipelines come to; nil in tests of the transport.
	install   atomic.Pointer[func() (end func())]              // See onInstall.
	before    atomic.Pointer[func(*raft.AppendEntriesRequest)] // See onAppend.
	fetched   atomic.Pointer[fetchHandler]                     // Serves a fetch; nil: not yet.

	ctx    context.Context // Ends with Close.
	cancel context.CancelFunc
}

var (
	_ raft.Transport   = (*groupTransport)(nil)
	_ raft.WithPreVote = (*groupTransport)(nil)
	_ raft.WithClose   = (*groupTransport)(nil)
)

// group opens a group: from now on its requests are received. One that is open is closed.
func (t *transport) group(id DatabaseID) *groupTransport {
	g := &groupTransport{t: t, id: id, consumer: make(chan raft.RPC)}
	g.ctx, g.cancel = context.WithCancel(t.ctx)
	g.requests = lane{g: g, max: laneMax, handle: g.pass}
	g.beats = lane{g: g, max: heartbeatMax, handle: g.beat}
	t.mu.Lock()
	old := t.groups[id]
	t.groups[id] = g
	closed := t.closed
	if old != nil {
		old.forget()
	}
	g.vow.quiet = t.quietUntil(id)
	t.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
	if closed {
		_ = g.Close()
	}
	return g
}

// silent is a group that is closed already, and is not known to the transport.
func (t *transport) silent(id DatabaseID) *groupTransport {
	g := &groupTransport{t: t, id: id, consumer: make(chan raft.RPC)}
	g.ctx, g.cancel = context.WithCancel(t.ctx)
	g.cancel()
	return g
}

// Close ends the group's calls; later requests are answered that it is not open.
func (g *groupTransport) Close() error {
	g.t.mu.Lock()
	if g.t.groups[g.id] == g {
		delete(g.t.groups, g.id)
	}
	g.t.mu.Unlock()
	g.forget()
	g.cancel()
	g.requests.wait()
	g.beats.wait()
	return nil
}

// Consumer is where raft takes requests from.
func (g *groupTransport) Consumer() <-chan raft.RPC { return g.consumer }

// LocalAddr is the node's id.
func (g *groupTransport) LocalAddr() raft.ServerAddress { return raft.ServerAddress(g.t.self) }

// EncodePeer is the node's id.
func (g *groupTransport) EncodePeer(_ raft.ServerID, addr raft.ServerAddress) []byte {
	return []byte(addr)
}

// DecodePeer is the inverse of EncodePeer.
func (g *groupTransport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler makes heartbeats pass the queue of requests.
func (g *groupTransport) SetHeartbeatHandler(handle func(raft.RPC)) { g.heartbeat.Store(&handle) }

// AppendEntries sends entries or a heartbeat. It may send fewer entries than asked and
// then shortens args, which raft reads afterwards.
func (g *groupTransport) AppendEntries(_ raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	_, err := g.append(NodeID(target), args, resp)
	return err
}

// append is AppendEntries, and says what the answer promises.
func (g *groupTransport) append(to NodeID, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (promises, error) {
	cutEntries(args)
	answer := vowedAppend{AppendEntriesResponse: resp}
	q := appendRequest(g.id, args)
	q.still = func() error { return g.stillLeads(args.Term) }
	l, err := g.send(to, q, &answer)
	return answer.from(l), err
}

// stillLeads is asked between the choice of a connection and the sending on it: on one that
// was made since the end of the leadership no release is sent, so that what is promised on
// it would never be given back.
func (g *groupTransport) stillLeads(term uint64) error {
	if g.book == nil || g.book.db == nil {
		return nil
	}
	if r := g.running(); r != nil {
		if led, ok := ledTerm(r); !ok || led != term {
			return errDeposed
		}
	}
	return nil
}

// running is the raft of this group, once it runs; nil: it does not, or is another's by now.
func (g *groupTransport) running() *raft.Raft {
	if g.book == nil || g.book.db == nil {
		return nil
	}
	now := g.book.db.group.Load()
	if now == nil || now.progress != g.book {
		return nil
	}
	return now.raft
}

func appendRequest(id DatabaseID, args *raft.AppendEntriesRequest) request {
	q := request{
		kind: kindAppend, group: id, timeout: rpcTimeout,
		encode: func(b []byte) []byte { return appendAppendRequest(b, args) },
	}
	if len(args.Entries) > 0 {
		q.timeout = entriesTimeout
		for _, e := range args.Entries {
			q.bulk += entrySize(e)
		}
	}
	return q
}

// RequestVote asks for a vote.
func (g *groupTransport) RequestVote(_ raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	return g.call(target, request{
		kind: kindVote, group: g.id, timeout: rpcTimeout,
		encode: func(b []byte) []byte { return appendVoteRequest(b, args) },
	}, resp)
}

// RequestPreVote asks whether a vote would be given.
func (g *groupTransport) RequestPreVote(_ raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	return g.call(target, request{
		kind: kindPreVote, group: g.id, timeout: rpcTimeout,
		encode: func(b []byte) []byte { return appendPreVoteRequest(b, args) },
	}, resp)
}

// TimeoutNow makes the target campaign at once.
func (g *groupTransport) TimeoutNow(_ raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return g.call(target, request{
		kind: kindTimeoutNow, group: g.id, timeout: rpcTimeout,
		encode: func(b []byte) []byte { return append(b, byte(args.ProtocolVersion)) },
	}, resp)
}

// call sends one request and waits for its answer.
func (g *groupTransport) call(target raft.ServerAddress, q request, response any) error {
	_, err := g.send(NodeID(target), q, response)
	return err
}

// send is call, and says on which link the answer came.
func (g *groupTransport) send(to NodeID, q request, response any) (*link, error) {
	l, err := g.t.peer(to).connected(g.ctx.Done())
	if err == nil && g.ctx.Err() != nil { // See guardedLog.
		err = ErrClosed
	}
	if err == nil && q.still != nil {
		err = q.still()
	}
	if err != nil {
		return nil, err
	}
	type result struct {
		payload []byte
		err     error
	}
	answered := make(chan result, 1)
	seq, err := l.start(q, func(payload []byte, err error) { answered <- result{payload, err} })
	if err != nil {
		return nil, err
	}
	var r result
	select {
	case r = <-answered:
	case <-g.ctx.Done():
		l.finish(seq, nil, ErrClosed)
		r = <-answered
	}
	if r.err != nil {
		return nil, r.err
	}
	return l, g.decode(l, r.payload, response)
}

// decode reads a response. One that cannot be read says that the peer's messages cannot
// be trusted, so the connection ends.
func (g *groupTransport) decode(l *link, payload []byte, response any) error {
	if err := decodeResponse(payload, l.peer, response); err != nil {
		err = fmt.Errorf("a malformed response for %q: %w", g.id, err)
		l.close(err)
		return err
	}
	return nil
}

// inbound is a request that waits for raft.
type inbound struct {
	from    NodeID
	link    *link // On which it came; nil: this node's own, or on a stream.
	command any
	own     bool         // It breaks no promise, for it can lead to no vote for another.
	still   func() error // Says at the last moment why it is not wanted any more; may be nil.
	reader  io.Reader    // Of a snapshot.
	size    int
	answer  func(response any, err error)
}

// receive queues a request; it never blocks.
func (g *groupTransport) receive(in inbound) error {
	if g.t.inbound.Add(int64(in.size)) > maxInbound {
		g.t.inbound.Add(-int64(in.size))
		return errBusy
	}
	answer := in.answer
	in.answer = func(response any, err error) {
		g.t.inbound.Add(-int64(in.size))
		if g.ctx.Err() != nil { // See guardedLog.
			response, err = nil, ErrClosed
		}
		answer(response, err)
	}
	to := &g.requests
	if q, ok := in.command.(*raft.AppendEntriesRequest); ok && isHeartbeat(q) && g.heartbeat.Load() != nil && g.mayPass(q) {
		to = &g.beats
	}
	if err := to.put(in); err != nil {
		g.t.inbound.Add(-int64(in.size))
		return err
	}
	return nil
}

// mayPass says whether raft leaves its term and its state alone for a heartbeat. Else it
// could set its term back, for its main goroutine may be voting meanwhile.
func (g *groupTransport) mayPass(q *raft.AppendEntriesRequest) bool {
	if g.book == nil || g.book.db == nil {
		return true
	}
	r := g.running()
	return r != nil && r.State() == raft.Follower && q.Term <= r.CurrentTerm()
}

// onInstall makes f run before raft is given a snapshot to install, and end after that.
func (g *groupTransport) onInstall(f func() (end func())) { g.install.Store(&f) }

// onAppend makes f see every AppendEntries before raft does; it may change it.
func (g *groupTransport) onAppend(f func(*raft.AppendEntriesRequest)) { g.before.Store(&f) }

// beat handles a heartbeat in raft's own handler, which answers before it returns unless
// raft has stopped. One that may not pass any more waits its turn.
func (g *groupTransport) beat(in inbound) {
	if !g.passed(in) {
		if err := g.requests.put(in); err != nil {
			in.answer(nil, err)
		}
	}
}

func (g *groupTransport) passed(in inbound) bool {
	if !g.terms.TryLock() {
		return false
	}
	defer g.terms.Unlock()
	if q, ok := in.command.(*raft.AppendEntriesRequest); !ok || !g.mayPass(q) {
		return false
	}
	answered := make(chan raft.RPCResponse, 1)
	passes, free := g.beforeAppend()
	(*g.heartbeat.Load())(raft.RPC{Command: in.command, RespChan: answered})
	select {
	case r := <-answered:
		g.answerAppend(in, r, passes, free)
	default:
		in.answer(nil, ErrClosed)
	}
	return true
}

// answerAppend answers an AppendEntries, and notes whom this replica follows from now on.
func (g *groupTransport) answerAppend(in inbound, r raft.RPCResponse, passes uint64, free bool) {
	a, ok := r.Response.(*raft.AppendEntriesResponse)
	if ok && r.Error == nil && a.Success {
		v := vowedAppend{AppendEntriesResponse: a}
		v.breaks, v.promised = g.vowed(in.link, a.Term, passes, free)
		in.answer(v, nil)
		return
	}
	if q, sent := in.command.(*raft.AppendEntriesRequest); ok && sent && r.Error == nil && notStored(q, a) {
		r.Error = errNotStored
	}
	in.answer(r.Response, r.Error)
}

// pass hands a request to raft and waits for its answer. AppendEntries that follow it
// without a gap are handed over with it, so that they cost one fsync.
func (g *groupTransport) pass(in inbound) {
	if in.still != nil {
		if err := in.still(); err != nil {
			in.answer(nil, err)
			return
		}
	}
	switch q := in.command.(type) {
	case *raft.AppendEntriesRequest:
		all := []inbound{in}
		if len(q.Entries) > 0 {
			all = append(all, g.requests.takeFollowing(q, in.from)...)
		}
		if f := g.before.Load(); f != nil {
			(*f)(q)
		}
		passes, free := g.beforeAppend()
		r := g.consult(in)
		for _, in := range all {
			g.answerAppend(in, r, passes, free)
		}
	case *raft.RequestVoteRequest, *raft.TimeoutNowRequest:
		voted := func() {}
		if err := g.mayTakeOver(in); err != nil {
			in.answer(nil, err)
			return
		}
		if !in.own {
			var err error
			if voted, err = g.letVote(); err != nil {
				in.answer(nil, err)
				return
			}
		}
		g.terms.Lock()
		r := g.stand(in)
		g.terms.Unlock()
		voted()
		in.answer(r.Response, r.Error)
	case *raft.RequestPreVoteRequest:
		if g.mayVoteIn() > 0 {
			in.answer(nil, errPromised)
			return
		}
		r := g.consult(in)
		in.answer(r.Response, r.Error)
	case *raft.InstallSnapshotRequest:
		g.passSnapshot(in, q)
	default:
		r := g.consult(in)
		in.answer(r.Response, r.Error)
	}
}

// consult hands a request to raft's main goroutine and returns its answer.
func (g *groupTransport) consult(in inbound) raft.RPCResponse {
	answered := make(chan raft.RPCResponse, 1)
	select {
	case g.consumer <- raft.RPC{Command: in.command, Reader: in.reader, RespChan: answered}:
		select {
		case r := <-answered:
			return r
		case <-g.ctx.Done():
		}
	case <-g.ctx.Done():
	}
	return raft.RPCResponse{Error: fmt.Errorf("%s is being closed on %s", g.id, g.t.self)}
}
