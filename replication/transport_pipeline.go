package replication

import (
	"context"
	"time"

	"github.com/hashicorp/raft"
)

// AppendEntriesPipeline sends AppendEntries without waiting for each answer.
func (g *groupTransport) AppendEntriesPipeline(_ raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	l, err := g.t.peer(NodeID(target)).connected(g.ctx.Done())
	if err != nil {
		return nil, err
	}
	p := &pipeline{
		g: g, link: l, to: NodeID(target),
		slots:   make(chan struct{}, pipelineDepth),
		results: make(chan raft.AppendFuture, pipelineResults),
	}
	p.ctx, p.cancel = context.WithCancelCause(l.ctx)
	// raft notices the end of an idle pipeline at its next request, which is lost then.
	context.AfterFunc(p.ctx, func() {
		p.deliver(&appendFuture{args: new(raft.AppendEntriesRequest), resp: new(raft.AppendEntriesResponse)})
	})
	return p, nil
}

// pipeline is bound to one connection and ends with it.
type pipeline struct {
	g       *groupTransport
	link    *link
	to      NodeID
	ctx     context.Context
	cancel  context.CancelCauseFunc
	slots   chan struct{} // One token per request under way.
	results chan raft.AppendFuture
}

// AppendEntries sends a request; it blocks while pipelineDepth are under way. It may
// send fewer entries than asked and then shortens args, which raft reads afterwards.
func (p *pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if p.ctx.Err() != nil || p.g.ctx.Err() != nil { // See guardedLog.
		return nil, raft.ErrPipelineShutdown
	}
	cutEntries(args)
	f := &appendFuture{began: time.Now(), args: args, resp: resp, done: make(chan struct{})}
	select {
	case p.slots <- struct{}{}:
	case <-p.ctx.Done():
		return nil, raft.ErrPipelineShutdown
	case <-p.g.ctx.Done():
		return nil, raft.ErrPipelineShutdown
	}
	if p.g.stillLeads(args.Term) != nil {
		<-p.slots
		return nil, raft.ErrPipelineShutdown
	}
	book := p.g.book
	book.sends(p.to, args, 1)
	_, err := p.link.start(appendRequest(p.g.id, args), func(payload []byte, err error) {
		var got raft.AppendEntriesResponse // raft takes a response for good if Success is set.
		answer := vowedAppend{AppendEntriesResponse: &got}
		if err == nil {
			if err = p.g.decode(p.link, payload, &answer); err == nil {
				*resp = got
			}
		}
		book.note(p.to, f.began, args, &got, answer.from(p.link), err)
		f.err = err
		close(f.done)
		<-p.slots
		p.deliver(f)
	})
	if err != nil {
		book.note(p.to, f.began, args, nil, promises{}, err)
		<-p.slots
		return nil, err
	}
	return f, nil
}

// deliver hands a result to raft. When raft does not take them the pipeline ends, and
// raft goes on from what it has seen.
func (p *pipeline) deliver(f *appendFuture) {
	if p.ctx.Err() != nil && context.Cause(p.ctx) == raft.ErrPipelineShutdown { //nolint:errorlint // Set by Close.
		return
	}
	select {
	case p.results <- f:
	default:
		p.cancel(errBusy)
	}
}

// Consumer is where raft takes the results from.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.results }

// Close ends the pipeline; results that are under way are dropped.
func (p *pipeline) Close() error {
	p.cancel(raft.ErrPipelineShutdown)
	p.g.book.pipelineEnded(p.to)
	return nil
}

// appendFuture is one request of a pipeline.
type appendFuture struct {
	began time.Time
	args  *raft.AppendEntriesRequest
	resp  *raft.AppendEntriesResponse
	done  chan struct{}
	err   error
}

// Error waits for the answer.
func (f *appendFuture) Error() error {
	<-f.done
	return f.err
}

// Start is when the request was made.
func (f *appendFuture) Start() time.Time { return f.began }

// Request is what was sent.
func (f *appendFuture) Request() *raft.AppendEntriesRequest { return f.args }

// Response is the answer, after Error returned nil.
func (f *appendFuture) Response() *raft.AppendEntriesResponse { return f.resp }
