package replication

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/raft"
)

// A replica that is damaged asks the others on a stream: where they are, for their file, or
// for their file and what their log has after it. The dialer sends a kindFetch whose payload
// is a fetchRequest as JSON; the acceptor answers with a kindResponse whose payload is a
// fetchAnswer, then the file, then the entries, in frames of kind kindResponse, and at the
// very end an empty one: up to there nothing counts.

// fetchWhat is what is asked for.
type fetchWhat string

const (
	fetchPosition fetchWhat = "position" // The answer alone.
	fetchFile     fetchWhat = "file"     // And the file.
	fetchLog      fetchWhat = "log"      // And the log's end.
	fetchSum      fetchWhat = "sum"      // Its checksum at Index, if it is ready (see Verify).
	fetchOdd      fetchWhat = "odd"      // It is told what a verification has found.
)

type fetchRequest struct {
	What  fetchWhat `json:"what"`
	Index uint64    `json:"index,omitempty"`
	Sum   string    `json:"sum,omitempty"`  // That of a majority.
	Text  string    `json:"text,omitempty"` // Why nobody can tell who is right.
}

// position is how far a replica's log is. A later one has a higher term of its last entry,
// or the same and a higher index.
type position struct {
	LastTerm  uint64 `json:"last_term"`
	LastIndex uint64 `json:"last_index"`
}

func (p position) before(q position) bool {
	return p.LastTerm < q.LastTerm || p.LastTerm == q.LastTerm && p.LastIndex < q.LastIndex
}

type fetchAnswer struct {
	position
	Term    uint64   `json:"term"` // The current one.
	Members []Member `json:"members"`
	Pointer *pointer `json:"pointer,omitempty"` // Of the file that follows.
	// First is the first of the entries that follow the file: the file's last one, with
	// which raft can compare the next, or, where that has been cut, the one after it.
	First   uint64 `json:"first,omitempty"`
	Size    int64  `json:"size,omitempty"` // Its bytes.
	Sum     string `json:"sum,omitempty"`
	Trouble string `json:"trouble,omitempty"` // Why there will be no Sum.
}

const (
	fetchChunk = 1 << 20 // Bytes of entries in a frame.
	// maxFetchedLog bounds the entries that follow a file: the log is cut long before.
	maxFetchedLog = 1 << 30
)

// serveFetch answers a replica that is damaged.
func (t *transport) serveFetch(conn net.Conn, f frame, from NodeID) error {
	var q fetchRequest
	if err := json.Unmarshal(f.payload, &q); err != nil {
		return fmt.Errorf("a malformed fetch for %q: %w", f.group, err)
	}
	refuse := func(err error) error {
		text := err.Error()
		return writeAll(conn, appendFrame(nil, frame{kind: kindFailure, seq: f.seq, payload: []byte(text[:min(len(text), maxFailureText)])}))
	}
	t.mu.Lock()
	g := t.groups[f.group]
	t.mu.Unlock()
	if g == nil || g.fetched.Load() == nil {
		return refuse(fmt.Errorf("%s is not open on %s", f.group, t.self))
	}
	select {
	case t.streams <- struct{}{}:
		defer func() { <-t.streams }()
	default:
		return refuse(errBusy)
	}
	defer context.AfterFunc(g.ctx, func() { _ = conn.Close() })()
	if err := (*g.fetched.Load())(g.ctx, q, conn); err != nil {
		t.log.Info("a damaged replica asked, and was not served", "database", string(f.group), "node", string(from), "err", err)
		return refuse(err)
	}
	return nil
}

// serveFetch writes what is asked for to w. After an error what was written does not count.
func (db *DB) serveFetch(ctx context.Context, q fetchRequest, w net.Conn) error {
	a := fetchAnswer{Term: db.raft().CurrentTerm()}
	var err error
	if a.position, err = db.position(); err != nil {
		return err
	}
	if a.Members, err = db.Members(); err != nil {
		return err
	}
	switch q.What {
	case fetchPosition:
		return writeAnswer(w, a)
	case fetchSum, fetchOdd:
		db.serveVerify(ctx, q, &a)
		return writeAnswer(w, a)
	}
	if err := db.failure(); err != nil {
		return err
	}
	file, at, err := db.group.Load().snapshots.copyAt(ctx)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	a.Pointer, a.Size, a.First = &at, info.Size(), at.Index
	if err := db.entries().GetLog(at.Index, new(raft.Log)); errors.Is(err, raft.ErrLogNotFound) {
		a.First++
	} else if err != nil {
		return err
	}
	if err := writeAnswer(w, a); err != nil {
		return err
	}
	sent, err := copyStream(w, io.LimitReader(file, a.Size))
	if err == nil && sent != a.Size {
		err = fmt.Errorf("the file ended after %d of %d bytes", sent, a.Size)
	}
	if err == nil && q.What == fetchLog {
		err = db.sendLog(w, a.First, a.LastIndex)
	}
	if err != nil {
		return err
	}
	return writeAll(w, appendFrame(nil, frame{kind: kindResponse}))
}

func writeAnswer(w net.Conn, a fetchAnswer) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return writeAll(w, appendFrame(nil, frame{kind: kindResponse, payload: b}))
}

// sendLog sends the entries from first to last. Each is read twice: if the log's end was
// replaced meanwhile, what was sent would be no log that any replica ever had.
func (db *DB) sendLog(w net.Conn, first, last uint64) error {
	store := db.entries()
	var terms []uint64
	var b []byte
	flush := func() error {
		defer func() { b = b[:0] }()
		if len(b) == 0 {
			return nil
		}
		return writeAll(w, appendFrame(nil, frame{kind: kindResponse, payload: b}))
	}
	for i := first; i <= last; i++ {
		var l raft.Log
		if err := store.GetLog(i, &l); err != nil {
			return fmt.Errorf("read entry %d: %w", i, err)
		}
		terms = append(terms, l.Term)
		body := appendEntryBody(nil, &l)
		b = append(binary.AppendUvarint(b, uint64(len(body))), body...)
		if len(b) >= fetchChunk {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	for i, term := range terms {
		var l raft.Log
		if err := store.GetLog(first+uint64(i), &l); err != nil || l.Term != term {
			return errors.Join(errors.New("the log has changed meanwhile"), err)
		}
	}
	return nil
}

// position is how far this replica's log is.
func (db *DB) position() (position, error) {
	store := db.entries()
	last, err := store.LastIndex()
	if err != nil {
		return position{}, err
	}
	p, _ := db.group.Load().snapshots.latest()
	if last <= p.Index {
		return position{LastTerm: p.Term, LastIndex: p.Index}, nil
	}
	var l raft.Log
	if err := store.GetLog(last, &l); err != nil {
		return position{}, err
	}
	return position{LastTerm: l.Term, LastIndex: last}, nil
}

// fetchStream is an answer that is being read.
type fetchStream struct {
	fetchAnswer
	conn net.Conn
	r    *bufio.Reader
	from NodeID
	stop func() bool
}

func (s *fetchStream) close() {
	s.stop()
	_ = s.conn.Close()
}

// fetch asks a node about this database. The caller closes the stream.
func (t *transport) fetch(ctx context.Context, id DatabaseID, from NodeID, q fetchRequest) (*fetchStream, error) {
	conn, r, _, err := t.connect(ctx, from, streamProtocol)
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", from, id, err)
	}
	s := &fetchStream{conn: conn, r: r, from: from, stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}
	payload, err := json.Marshal(q)
	if err == nil {
		err = writeAll(conn, appendFrame(nil, frame{kind: kindFetch, group: id, payload: payload}))
	}
	var f frame
	if err == nil {
		f, err = s.next(installTimeout) // It makes a copy of its file first.
	}
	if err == nil {
		err = json.Unmarshal(f.payload, &s.fetchAnswer)
	}
	if err == nil && (q.What == fetchFile || q.What == fetchLog) && (s.Pointer == nil || s.Size <= 0 || s.Pointer.Index == 0 || s.Pointer.Term == 0) {
		err = errors.New("the answer names no file")
	}
	if err == nil && s.Pointer != nil && s.First-s.Pointer.Index > 1 {
		err = fmt.Errorf("the answer has entries from %d on, and a file up to %d", s.First, s.Pointer.Index)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("ask %s for %s: %w", from, id, err)
	}
	return s, nil
}

// next reads a frame of the answer.
func (s *fetchStream) next(patience time.Duration) (frame, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return frame{}, err
	}
	f, err := readFrame(s.r, maxFrame)
	switch {
	case err != nil:
		return f, err
	case f.kind == kindFailure:
		return f, fmt.Errorf("%s answered: %.*s", s.from, maxFailureText, f.payload)
	case f.kind != kindResponse:
		return f, fmt.Errorf("an answer of kind %d", f.kind)
	}
	return f, nil
}

// file copies the file to w.
func (s *fetchStream) file(w io.Writer) error {
	n, err := io.Copy(w, io.LimitReader(&stallReader{conn: s.conn, r: s.r}, s.Size))
	if err == nil && n != s.Size {
		err = fmt.Errorf("the file ended after %d of %d bytes", n, s.Size)
	}
	return err
}

// entries reads to the end of the answer, which follows the file: the entries after it.
func (s *fetchStream) entries() ([]*raft.Log, error) {
	var out []*raft.Log
	next, size := s.First, 0
	for {
		f, err := s.next(streamTimeout)
		if err != nil {
			return nil, err
		}
		if len(f.payload) == 0 {
			return out, nil
		}
		if size += len(f.payload); size > maxFetchedLog {
			return nil, fmt.Errorf("more than %d bytes of entries", maxFetchedLog)
		}
		r := byteReader{b: f.payload}
		for len(r.b) > 0 && r.err == nil {
			l := &raft.Log{Index: next}
			body := r.bytes(r.uvarint())
			if r.err == nil {
				r.err = decodeEntryBody(body, l)
			}
			out, next = append(out, l), next+1
		}
		if r.err != nil {
			return nil, fmt.Errorf("read entry %d: %w", next, r.err)
		}
	}
}

// fetchHandler answers a fetch on w.
type fetchHandler = func(ctx context.Context, q fetchRequest, w net.Conn) error
