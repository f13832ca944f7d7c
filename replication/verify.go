package replication

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The leader verifies that all replicas hold the same: it has an entry committed that does
// nothing but mark its index, every replica pins its file there and computes its checksum
// beside its writer, and the leader compares them. Reading a file to its end also finds its
// damaged pages. The odd one of three or more rebuilds itself; where no majority agrees
// nobody can tell who is right, and all say so.

const (
	verifyWait    = 5 * time.Second // Until a replica that is not ready says so.
	verifyAgain   = 200 * time.Millisecond
	verifyMarks   = 5                // Attempts to find a connection for the pin on every replica.
	verifyPatient = 30 * time.Minute // For the replicas' checksums, in the hourly run.
)

var (
	// verifyMark is the extension of the entry.
	verifyMark = []byte("verify")

	errNoPin     = errors.New("all read connections were in use")
	errVerifying = errors.New("replication: a verification of the database is under way")
)

// Verification is what the replicas of a database hold at one index.
type Verification struct {
	Database DatabaseID        `json:"database"`
	Index    Index             `json:"index"`
	Replicas []ReplicaChecksum `json:"replicas"` // By node.
	Equal    bool              `json:"equal"`    // All members answered, with the same checksum.
	Odd      []NodeID          `json:"odd"`      // They differ from a majority, and rebuild themselves.
	// Doubt: there are different checksums and no majority for one.
	Doubt bool `json:"doubt"`
}

// ReplicaChecksum is one replica's answer.
type ReplicaChecksum struct {
	Node     NodeID `json:"node"`
	Checksum string `json:"checksum,omitempty"` // Hex; empty: it has not answered, and Err says why.
	Err      string `json:"err,omitempty"`
}

// verdict is the checksum of this replica at a marked index.
type verdict struct {
	index uint64
	done  chan struct{} // Closed when sum and err are set.
	sum   string
	err   error
}

func marks(l *raft.Log) bool {
	return l.Type == raft.LogCommand && bytes.Equal(l.Extensions, verifyMark)
}

// applyMarked is applyEntries up to the first entry that asks for it, and pins the file
// there. The caller holds mu.
func (db *DB) applyMarked(logs []*raft.Log) (n int, err error) {
	if i := slices.IndexFunc(logs, marks); i >= 0 {
		logs = logs[:i+1]
	}
	last := logs[len(logs)-1]
	again := last.Index <= db.state.applied // It was applied before a restart.
	if n, err = db.applyEntries(logs); err == nil && n == len(logs) && marks(last) && !again {
		db.pin(last.Index)
	}
	return n, err
}

// pin begins a verdict on the file as it is now. The caller holds mu.
func (db *DB) pin(index uint64) {
	d := &verdict{index: index, done: make(chan struct{})}
	db.verdict.Store(d)
	c, err := db.readers.try()
	if err != nil {
		d.err = err
		close(d.done)
		return
	}
	v := &View{ctx: context.Background(), c: c, pool: &db.readers, open: map[*Rows]struct{}{}}
	err = v.begin()
	db.tasks.Add(1)
	go func() {
		defer db.tasks.Done()
		defer close(d.done)
		defer db.readers.put(c)
		defer v.end()
		if err == nil {
			var sum [32]byte
			sum, err = checksum(c, func() error {
				if db.closed.Load() {
					return ErrClosed
				}
				return v.usable()
			})
			d.sum = hex.EncodeToString(sum[:])
		}
		v.end()
		if err == nil { // What nobody reads may be damaged, too.
			err = db.scrubBeside()
		}
		if faultOf(err) == faultDamage {
			db.engine.report(db, err)
		}
		d.err = err
	}()
}

// scrubBeside scrubs the file that is served, on behalf of a caller that has a read
// connection: until that is given back nobody replaces the file.
func (db *DB) scrubBeside() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hurry := db.readers.hurried()
	go func() {
		select {
		case <-db.stopping:
		case <-hurry:
		case <-ctx.Done():
		}
		cancel()
	}()
	// A checkpoint that a crash has cut short may have left a page half written, which is
	// whole in the WAL: a pass writes it again.
	for !db.passes.mu.TryLock() { // Whoever has it may wait for our connection.
		select {
		case <-time.After(writeBackWait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, _, err := db.pass()
	db.passes.mu.Unlock()
	if err == nil {
		_, err = scrub(ctx, db.path)
	}
	return err
}

// ownVerdict is the newest one. An index is applied before its verdict has begun, but mu is
// held meanwhile.
func (db *DB) ownVerdict() *verdict {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.verdict.Load()
}

// verdictAt waits a while for the verdict at index; nil: there is none yet.
func (db *DB) verdictAt(ctx context.Context, index uint64) *verdict {
	ctx, cancel := context.WithTimeout(ctx, verifyWait)
	defer cancel()
	if db.WaitApplied(ctx, Index(index)) != nil {
		return nil
	}
	d := db.ownVerdict()
	if d == nil || d.index != index {
		return &verdict{index: index, err: errors.New("it has been started or rebuilt since")}
	}
	select {
	case <-d.done:
		return d
	case <-ctx.Done():
		return nil
	}
}

// Verify compares the contents of all replicas, on the leader. It takes as long as reading
// the file does; nothing is held up. ctx bounds how long it waits for replicas that do not
// answer. A replica that differs from a majority of three or more rebuilds itself.
//
// Errors: ErrNotLeader, ErrDisk, ErrClosed, ctx's error before anything was compared.
func (db *DB) Verify(ctx context.Context) (Verification, error) {
	v := Verification{Database: db.id, Replicas: []ReplicaChecksum{}, Odd: []NodeID{}}
	if !db.verifying.TryLock() {
		return v, errVerifying
	}
	defer db.verifying.Unlock()
	for attempt := 1; ; attempt++ {
		index, err := db.mark(ctx)
		if err != nil {
			return v, err
		}
		v.Index = Index(index)
		v.Replicas = db.collect(ctx, index)
		busy := slices.ContainsFunc(v.Replicas, func(r ReplicaChecksum) bool { return strings.Contains(r.Err, errNoPin.Error()) })
		if !busy || attempt == verifyMarks || ctx.Err() != nil {
			break
		}
		select {
		case <-time.After(verifyAgain):
		case <-ctx.Done():
		}
	}
	db.verified.Store(uint64(v.Index))
	db.judge(ctx, &v)
	return v, nil
}

// mark has a mark committed and applied here, between two batches of updates: one that is
// open would have to be given up.
func (db *DB) mark(ctx context.Context) (uint64, error) {
	if err := db.failure(); err != nil {
		return 0, err
	}
	if err := db.refusal(); err != nil {
		return 0, err
	}
	if db.tenure.term() == 0 {
		return 0, db.notLeader()
	}
	select {
	case db.batches <- struct{}{}:
		defer func() { <-db.batches }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	data := entry{id: db.engine.newProposal()}.encode()
	if db.solo {
		index := uint64(db.Applied()) + 1
		(&fsm{db}).Apply(&raft.Log{Type: raft.LogCommand, Index: index, Term: soloTerm, Data: data, Extensions: verifyMark})
		return index, db.failure()
	}
	g := db.group.Load()
	life := g.life.hold()
	f := g.raft.ApplyLog(raft.Log{Data: data, Extensions: verifyMark}, enqueueTimeout)
	if err := wait(ctx, life, f); err != nil {
		if certainlyNot(err) {
			return 0, db.notLeader()
		}
		return 0, fmt.Errorf("mark an index of %s: %w", db.id, err)
	}
	return f.Index(), db.WaitApplied(ctx, Index(f.Index()))
}

// collect asks all members for their checksums.
func (db *DB) collect(ctx context.Context, index uint64) []ReplicaChecksum {
	nodes := append(db.others(), db.engine.opts.Node)
	slices.Sort(nodes)
	out := make([]ReplicaChecksum, len(nodes))
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			out[i].Node = n
			var err error
			if n == db.engine.opts.Node {
				out[i].Checksum, err = db.ownChecksum(ctx, index)
			} else {
				out[i].Checksum, err = db.checksumOf(ctx, n, index)
			}
			if err != nil {
				out[i].Err = err.Error()
			}
		})
	}
	wg.Wait()
	return out
}

func (db *DB) ownChecksum(ctx context.Context, index uint64) (string, error) {
	for {
		if d := db.verdictAt(ctx, index); d != nil {
			return d.sum, d.err
		}
		if err := errors.Join(ctx.Err(), db.failure()); err != nil {
			return "", err
		}
	}
}

func (db *DB) checksumOf(ctx context.Context, n NodeID, index uint64) (string, error) {
	for {
		a, err := db.tellPeer(ctx, n, fetchRequest{What: fetchSum, Index: index})
		switch {
		case err != nil:
			return "", err
		case a.Sum != "":
			return a.Sum, nil
		case a.Trouble != "":
			return "", errors.New(a.Trouble)
		}
	}
}

// tellPeer makes one request that is answered without a file.
func (db *DB) tellPeer(ctx context.Context, n NodeID, q fetchRequest) (fetchAnswer, error) {
	s, err := db.engine.transport.fetch(ctx, db.id, n, q)
	if err != nil {
		return fetchAnswer{}, err
	}
	s.close()
	return s.fetchAnswer, nil
}

// judge compares the answers, and makes the odd ones rebuild.
func (db *DB) judge(ctx context.Context, v *Verification) {
	votes, most := map[string]int{}, ""
	answered := 0
	for _, r := range v.Replicas {
		if r.Checksum != "" {
			answered++
			if votes[r.Checksum]++; votes[r.Checksum] > votes[most] {
				most = r.Checksum
			}
		}
	}
	v.Equal = answered == len(v.Replicas) && len(votes) == 1
	v.Doubt = len(votes) > 1 && (answered < 3 || 2*votes[most] <= len(v.Replicas))
	var doubt string
	if v.Doubt {
		var list []string
		for _, r := range v.Replicas {
			list = append(list, fmt.Sprintf("%s %.8s", r.Node, r.Checksum+r.Err))
		}
		doubt = fmt.Sprintf("the replicas of %s differ at index %d (%s), and no majority says which is right; compare them, and take the wrong one out of the division",
			db.id, v.Index, strings.Join(list, ", "))
	}
	db.setDoubt(doubt)
	for _, r := range v.Replicas {
		q := fetchRequest{What: fetchOdd, Index: uint64(v.Index), Text: doubt}
		if !v.Doubt {
			q.Sum = most
		}
		odd := !v.Doubt && r.Checksum != "" && r.Checksum != most
		if odd {
			v.Odd = append(v.Odd, r.Node)
		}
		if r.Node == db.engine.opts.Node {
			if odd {
				db.differs(r.Checksum, most, v.Index)
			}
			continue
		}
		if !odd && !v.Doubt && !v.Equal {
			continue
		}
		if _, err := db.tellPeer(ctx, r.Node, q); err != nil {
			db.log.Warn("tell a replica what the verification found", "node", string(r.Node), "err", err)
		}
	}
}

// differs begins the rebuild of a replica that a majority contradicts.
func (db *DB) differs(own, most string, at Index) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.damaged(fmt.Errorf("%w: its checksum at index %d is %.8s, that of the majority %.8s", errDiverged, at, own, most))
}

func (db *DB) setDoubt(text string) {
	if text == "" {
		db.doubt.Store(nil)
		return
	}
	db.log.Error("the replicas of a database differ", "text", text)
	db.doubt.Store(&text)
}

// serveVerify answers what the leader asks or tells in a verification.
func (db *DB) serveVerify(ctx context.Context, q fetchRequest, a *fetchAnswer) {
	if q.What == fetchSum {
		if d := db.verdictAt(ctx, q.Index); d != nil && d.err != nil {
			a.Trouble = d.err.Error()
		} else if d != nil {
			a.Sum = d.sum
		} else if err := db.failure(); err != nil {
			a.Trouble = err.Error()
		}
		return
	}
	db.setDoubt(q.Text)
	d := db.ownVerdict()
	if q.Sum == "" || d == nil || d.index != q.Index {
		return
	}
	select {
	case <-d.done:
		if d.err == nil && d.sum != q.Sum {
			db.differs(d.sum, q.Sum, Index(q.Index))
		}
	default:
	}
}

// verifyAll verifies the databases that this node leads and that have changed, one after
// another, about every interval.
func (e *Engine) verifyAll(every time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		wait := every/2 + rand.N(every)
		select {
		case <-time.After(wait):
		case <-e.closing:
			return
		}
		for _, id := range e.Databases() {
			db, ok := e.DB(id)
			if !ok || db.tenure.term() == 0 || uint64(db.Applied()) <= db.verified.Load() {
				continue
			}
			e.verifyOne(ctx, db)
		}
	}
}

func (e *Engine) verifyOne(ctx context.Context, db *DB) {
	ctx, cancel := context.WithTimeout(ctx, verifyPatient)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-e.closing:
			cancel()
		case <-ended:
		}
	}()
	v, err := db.Verify(ctx)
	switch {
	case err != nil:
		db.log.Warn("verify the replicas of a database", "err", err)
	case v.Equal:
		db.log.Debug("the replicas of a database are equal", "index", v.Index)
	default:
		db.log.Warn("the replicas of a database were not all found equal", "verification", v)
	}
}
