package databases

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tongban/replication"
)

const (
	// maxQueued bounds the statements that wait in the queue of one database.
	maxQueued = 50_000
	// flushStatements and flushBytes bound what goes into one list.
	flushStatements = 1024
	flushBytes      = 512 << 10
	// queueAgain is how soon a list is tried again that certainly was not executed.
	queueAgain = 50 * time.Millisecond
	// queuePatience is how long it is tried.
	queuePatience = 30 * time.Second
)

// queues are the queued writes of the databases that this node leads. There is a goroutine
// for a queue only while it is not empty: what comes while a list is being committed goes
// into the next one.
type queues struct {
	mu   sync.Mutex
	all  map[replication.DatabaseID]*queue
	last int64 // The newest sequence number.
	work sync.WaitGroup
}

// queue holds what waits for one database.
type queue struct {
	waiting    []*queued
	statements int
}

// runBatch executes requests.
type runBatch func(db *replication.DB, batch []*queued) error

// queued is one request.
type queued struct {
	list          []replication.Statement
	size          int
	authorization string     // Of its client, should another node have to execute it.
	done          chan error // Nil: nobody waits. One value: nil once it is committed.
}

// put adds a request and returns its sequence number; ErrOverloaded when too much waits.
func (q *queues) put(db *replication.DB, one *queued, run runBatch) (int64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all == nil {
		q.all = map[replication.DatabaseID]*queue{}
	}
	own := q.all[db.ID()]
	if own == nil {
		own = &queue{}
		q.all[db.ID()] = own
		q.work.Go(func() { q.flush(db, own, run) })
	}
	if own.statements+len(one.list) > maxQueued {
		return 0, replication.ErrOverloaded
	}
	own.waiting = append(own.waiting, one)
	own.statements += len(one.list)
	q.last = max(q.last+1, time.Now().UnixNano())
	return q.last, nil
}

// flush executes what waits, until nothing does.
func (q *queues) flush(db *replication.DB, own *queue, run runBatch) {
	for {
		batch := q.take(db.ID(), own)
		if batch == nil {
			return
		}
		err := run(db, batch)
		for _, one := range batch {
			if one.done != nil {
				one.done <- err
			}
		}
	}
}

// take takes the next requests for one list; nil, and the queue is gone, when there is none.
func (q *queues) take(id replication.DatabaseID, own *queue) []*queued {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, statements, size := 0, 0, 0
	for _, one := range own.waiting {
		if n > 0 && (statements+len(one.list) > flushStatements || size+one.size > flushBytes) {
			break
		}
		n++
		statements, size = statements+len(one.list), size+one.size
	}
	if n == 0 {
		delete(q.all, id)
		return nil
	}
	batch := own.waiting[:n:n]
	own.waiting = own.waiting[n:]
	own.statements -= statements
	return batch
}

// depth is the number of statements that wait for a database.
func (q *queues) depth(id replication.DatabaseID) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if own := q.all[id]; own != nil {
		return own.statements
	}
	return 0
}

// Close waits until what is queued is executed, or certainly cannot be.
func (s *Server) Close() { s.queues.work.Wait() }

// enqueue puts the request into its database's queue, and answers: at once, or with ?wait
// after the commit.
func (c *call) enqueue(ctx context.Context, list []replication.Statement) error {
	one := &queued{list: list, size: len(c.in), authorization: c.authorization}
	if c.params.wait {
		one.done = make(chan error, 1)
	}
	sequence, err := c.server.queues.put(c.db, one, c.server.runQueued)
	if err != nil {
		return err
	}
	if c.params.wait {
		select {
		case err := <-one.done:
			if err != nil {
				return err
			}
			c.at = c.db.Applied()
		case <-ctx.Done():
			return errors.Join(replication.ErrUnknownOutcome, ctx.Err())
		}
	}
	c.results()
	c.finish(sequence)
	return nil
}

// runQueued executes queued statements, each on its own. Those that certainly were not
// executed are tried again, here or at the node that leads now; those of which that is not
// known are not: they may have been.
func (s *Server) runQueued(db *replication.DB, batch []*queued) error {
	var list []replication.Statement
	for _, one := range batch {
		list = append(list, one.list...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), queuePatience)
	defer cancel()
	for {
		err := s.runOnce(ctx, db, list, batch[0].authorization)
		if err == nil {
			return nil
		}
		again := errors.Is(err, replication.ErrOverloaded) || errors.Is(err, replication.ErrNotLeader)
		if again {
			select {
			case <-time.After(queueAgain):
				continue
			case <-ctx.Done():
			}
		}
		s.o.Log.Warn("queued statements were not executed, or it is not known", "database", db.ID(), "statements", len(list), "err", err)
		return err
	}
}

// runOnce executes a list here, or at the leader.
func (s *Server) runOnce(ctx context.Context, db *replication.DB, list []replication.Statement, authorization string) error {
	leader, known := db.Leader()
	if !db.IsLeader() && known && leader != s.o.Self {
		return s.runThere(ctx, leader, list, authorization)
	}
	answers, _, err := db.Execute(ctx, replication.ListOptions{MaxTime: maxWrite}, list)
	failed := 0
	for i := range answers {
		if answers[i].Err != nil {
			failed++
		}
	}
	if failed > 0 && err == nil {
		s.o.Log.Debug("queued statements failed", "database", db.ID(), "failed", failed, "of", len(list))
	}
	return err
}

// runThere has another node execute a list.
func (s *Server) runThere(ctx context.Context, leader replication.NodeID, list []replication.Statement, authorization string) error {
	x := exchange{ctx: ctx, method: http.MethodPost, path: "/db/execute", query: "db_timeout=" + maxWrite.String(),
		authorization: authorization, contentType: "application/json"}
	c := call{buffers: &buffers{in: encodeStatements(nil, list)}, exchange: &x, server: s}
	if err := c.forward(ctx, leader); err != nil {
		return err
	}
	if x.reply.status != http.StatusOK {
		return fmt.Errorf("node %s answers %d: %s", leader, x.reply.status, x.reply.body)
	}
	return nil
}

// encodeStatements writes statements as decode reads them.
func encodeStatements(b []byte, list []replication.Statement) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, '['), s.SQL)
		for _, a := range s.Args {
			b = append(b, ',')
			if n, ok := a.(replication.Named); ok {
				b = append(appendText(append(b, '{'), n.Name), ':')
				b = append(appendArgument(b, n.Value), '}')
				continue
			}
			b = appendArgument(b, a)
		}
		b = append(b, ']')
	}
	return append(b, ']')
}

func appendArgument(b []byte, a any) []byte {
	switch v := a.(type) {
	case []byte:
		return append(hex.AppendEncode(append(b, `"x'`...), v), `'"`...)
	case bool:
		return strconv.AppendBool(b, v)
	case float64:
		return strconv.AppendFloat(b, v, 'e', -1, 64) // With an exponent: it stays a float.
	}
	return form{}.appendValue(b, a, plain)
}
