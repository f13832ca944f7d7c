package leaf

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"tongban/federation"
)

// up is the hop to the parent: it keeps one leaf connection to a node of it. The embedded
// server is replaced when the line does not move, and when it shall be dialled more or
// less often, which the library cannot be told otherwise.
type up struct {
	o      *Options
	parent Parent
	name   string // The own division in subjects.
	log    *slog.Logger
	calls  *calls
	serve  *neighbour
	wait   patience

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	session *session
	stalled *peer // The line that shall be replaced.
}

// session is one embedded server and the line it keeps.
type session struct {
	peer
	e *embedded
}

func openUp(o *Options, p Parent) *up {
	ctx, stop := context.WithCancel(context.Background())
	u := &up{o: o, parent: p, name: token(o.Self), log: o.Log.With("parent", p.Ref.String()), calls: newCalls(), ctx: ctx, stop: stop}
	u.serve = newNeighbour(ctx, o, p.Ref, u.send)
	u.work.Go(u.run)
	return u
}

func (u *up) close() {
	u.mu.Lock()
	u.stop() // With the lock: after this nobody starts work.
	u.mu.Unlock()
	u.work.Wait()
	u.serve.close()
}

// run keeps the line until the hop is closed.
func (u *up) run() {
	step := 0 // Of pace.redial.
	for u.ctx.Err() == nil {
		s, err := u.open(u.o.pace.redial[step].every)
		if err != nil {
			u.log.Error("the line to the parent cannot be opened; it is tried again", "err", err)
			pause(u.ctx, u.o.pace.redial[len(u.o.pace.redial)-1].every)
			continue
		}
		u.set(s)
		step = u.keep(s, step)
		u.set(nil)
		u.calls.breakOff(&s.peer)
		s.e.close()
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (u *up) set(s *session) {
	u.mu.Lock()
	u.session, u.stalled = s, nil
	u.mu.Unlock()
}

func (u *up) current() *session {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.session
}

// keep watches a session until it shall be replaced, and returns the step of the next one.
func (u *up) keep(s *session, step int) int {
	began, wasUp := time.Now(), false
	for {
		pause(u.ctx, u.o.pace.watch)
		if u.ctx.Err() != nil {
			return step
		}
		u.mu.Lock()
		stalled := u.stalled == &s.peer
		u.mu.Unlock()
		if stalled {
			return 0
		}
		isUp := s.e.server.NumLeafNodes() > 0
		if !isUp {
			u.calls.breakOff(&s.peer)
		}
		if wasUp && !isUp {
			began = time.Now()
			if step > 0 {
				return 0
			}
		}
		wasUp = isUp
		if limit := u.o.pace.redial[step].until; !isUp && limit > 0 && time.Since(began) > limit {
			return min(step+1, len(u.o.pace.redial)-1)
		}
	}
}

// open starts an embedded server that dials the parent about every interval.
func (u *up) open(every time.Duration) (*session, error) {
	var urls []*url.URL
	for _, a := range u.parent.Addresses {
		urls = append(urls, &url.URL{Scheme: "nats-leaf", Host: a})
	}
	if len(urls) == 0 {
		return nil, errors.New("the parent has no address")
	}
	node := newNode(u.o.Self)
	opts := baseOptions(node, server.LeafNodeOpts{
		// A different delay for each child: after a restart of the parent they do not all
		// come in the same instant.
		ReconnectInterval: every/2 + rand.N(every/2), WriteDeadline: writeLimit,
		Remotes: []*server.RemoteLeafOpts{{
			LocalAccount: accountName, URLs: urls, TLS: true, TLSConfig: u.parent.TLS, TLSHandshakeFirst: true,
			TLSTimeout: handshakeLimit.Seconds(), FirstInfoTimeout: handshakeLimit, DialTimeout: dialLimit,
			IgnoreDiscoveredServers: true, Compression: server.CompressionOpts{Mode: server.CompressionOff},
		}},
	})
	e, err := newEmbedded(opts, nil, u.log)
	if err != nil {
		return nil, err
	}
	s := &session{e: e}
	prefix := "dn." + u.name
	err = e.start(map[string]nats.MsgHandler{
		prefix + ".rq." + node + ".*": func(m *nats.Msg) { u.request(s, m) },
		prefix + ".rp." + node + ".*": func(m *nats.Msg) {
			if m.Reply == "" {
				u.calls.answered(m)
			}
		},
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// request takes a request of the parent. It must not wait.
func (u *up) request(s *session, m *nats.Msg) {
	reply, ok := checkReply(m.Reply, "up."+u.name+".rp.")
	if !ok {
		u.log.Warn("the parent asks for an answer where it may not have one", "reply", m.Reply)
		return
	}
	u.calls.hear(&s.peer)
	kind := m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	if kind == kindAlive {
		u.send(reply, packAnswer(nil, nil))
		return
	}
	u.serve.receive(kind, reply, m.Data)
}

// send publishes an answer over the line there is now; a request that came over an earlier
// one is answered all the same, if the node of the parent is the same.
func (u *up) send(reply replyTo, data []byte) {
	s := u.current()
	if s == nil {
		return
	}
	if err := s.e.nc.Publish(string(reply), data); err != nil {
		u.log.Warn("an answer to the parent was not sent", "err", err)
	}
}

func (u *up) call(ctx context.Context, kind string, body []byte) ([]byte, error) {
	s := u.current()
	if s == nil || u.parent.Only != "" && u.parent.Only != kind {
		return nil, federation.ErrUnreachable
	}
	began := u.calls.clock()
	answer, err := u.ask(ctx, s, kind, body)
	if errors.Is(err, context.DeadlineExceeded) && s.heard.Load() < began {
		u.mu.Lock()
		if u.ctx.Err() == nil {
			u.work.Go(func() { u.probe(s, began, len(body)) })
		}
		u.mu.Unlock()
	}
	return answer, err
}

func (u *up) ask(ctx context.Context, s *session, kind string, body []byte) ([]byte, error) {
	return u.calls.do(ctx, s.e, &s.peer, "up."+u.name+".rq."+kind, "dn."+u.name+".rp."+s.e.name+"."+newName(), body)
}

func (u *up) probe(s *session, began int64, body int) {
	u.calls.probe(u.ctx, &s.peer, began, u.wait.of(u.o.pace, body), u.o.pace,
		func(ctx context.Context) error {
			_, err := u.ask(ctx, s, kindAlive, nil)
			return err
		},
		func() {
			u.log.Warn("the line to the parent is dialled anew: it does not move")
			u.wait.dropped()
			u.mu.Lock()
			u.stalled = &s.peer
			u.mu.Unlock()
		})
}

// connected tells whether a node of the parent takes requests.
func (u *up) connected() bool {
	s := u.current()
	return s != nil && !s.silent.Load() && s.e.server.NumLeafNodes() > 0 &&
		s.e.acc.SubscriptionInterest("up."+u.name+".rq."+kindAlive)
}
