package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// A replica's file is its own snapshot. The store keeps only a pointer, and copies the
// live file when a follower needs it. Beside state.db lie
//
//	snapshot.json         the pointer
//	snapshot-<id>.recv    what was received and is not installed yet (see finishInstall)
//	snapshot-*.part       what is being received
//	snapshot-*.copy       a copy that is being made; it has no name when it is served
const (
	filePrefix = "snapshot-"
	recvSuffix = ".recv"
	partSuffix = ".part"
	copySuffix = ".copy"

	// streamHeader is the length of the file, big-endian, which begins a stream.
	streamHeader = 8
)

var (
	// errCopying: a copy is being made, and a new pointer would let the log forget the
	// entries that tell its configuration.
	errCopying = errors.New("replication: the replica's file is being copied")
	// errStale: what was received is older than what is there.
	errStale = errors.New("replication: the received snapshot is older than this replica")
)

// snapshotSource is the replica whose file is the snapshot.
type snapshotSource interface {
	// copyLive returns an open copy of the file without a name, as of a commit that is not
	// before the call, and what its row says. It fails when the file is replaced meanwhile.
	copyLive(ctx context.Context) (*os.File, state, error)
	// Applied is the index of the live file.
	Applied() Index
	// entries is the group's log, which tells term and configuration of an index.
	entries() *groupLog
	// committed is an index up to which entries never change.
	committed() uint64
	// failure is why the replica serves nothing; nil: it does.
	failure() error
	// unsynced returns err, after which the node ends if it tells of a failed fsync.
	unsynced(err error) error
}

func (db *DB) entries() *groupLog { return db.logs.(*groupLog) }

func (db *DB) committed() uint64 {
	if g := db.group.Load(); g != nil {
		return g.raft.CommitIndex()
	}
	return 0
}

// snapshotStore is raft's SnapshotStore for one database.
type snapshotStore struct {
	dir string
	src snapshotSource
	log *slog.Logger

	mu      sync.Mutex
	pointer *pointer // nil: none.
	waits   bool     // A received file has not been installed yet.
	copying int      // Copies being made: the pointer does not move.
	streams int      // Copies that are being made or are open: what follows them should stay in the log.
}

// newSnapshotStore reads the pointer in dir and removes what interrupted streams left.
func newSnapshotStore(dir string, src snapshotSource, log *slog.Logger) (*snapshotStore, error) {
	s := &snapshotStore{dir: dir, src: src, log: log}
	p, err := readPointer(dir)
	if err != nil {
		return nil, err
	}
	s.pointer = p
	if p != nil {
		_, err := os.Stat(recvPath(dir, p.ID))
		s.waits = err == nil
	}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("remove interrupted snapshots: %w", err)
	}
	return s, nil
}

func recvPath(dir, id string) string { return filepath.Join(dir, filePrefix+id+recvSuffix) }

// sweep removes all files of snapshots but a received one that waits.
func (s *snapshotStore) sweep() error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	keep := ""
	if s.waits {
		keep = filepath.Base(recvPath(s.dir, s.pointer.ID))
	}
	for _, e := range names {
		if strings.HasPrefix(e.Name(), filePrefix) && e.Name() != keep {
			if err := removeAll(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// latest is a copy of the pointer; false if there is none.
func (s *snapshotStore) latest() (pointer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pointer == nil {
		return pointer{}, false
	}
	return *s.pointer, true
}

// position is that of the pointer.
func (s *snapshotStore) position() position {
	p, _ := s.latest()
	return position{LastTerm: p.Term, LastIndex: p.Index}
}

// base is the index up to which the file that is there holds all of the log; 0: there is no
// snapshot, or its file waits to be installed.
func (s *snapshotStore) base() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pointer == nil || s.waits {
		return 0
	}
	return s.pointer.Index
}

// busy says whether copies are being made or sent.
func (s *snapshotStore) busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams > 0
}

// installed is told that the received file is the replica's now.
func (s *snapshotStore) installed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = false
}

// List returns the pointer, if there is one. Its size is that of a received file.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	p, ok := s.latest()
	if !ok {
		return nil, nil
	}
	return []*raft.SnapshotMeta{p.meta(p.Received)}, nil
}

// Open streams the replica's file, led by its length: the live one, as of an index that
// the returned meta tells. Of a received one that waits to be installed it streams
// nothing: fsm.Restore takes that file itself. Cost: one copy of the file on this disk.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	p, waits := s.pointer, s.waits
	s.mu.Unlock()
	if p == nil || p.ID != id {
		return nil, nil, fmt.Errorf("replication: there is no snapshot %q", id)
	}
	if waits {
		return p.meta(p.Received), io.NopCloser(bytes.NewReader(nil)), nil
	}
	f, at, err := s.copyAt(context.Background()) // raft gives no context; a stop ends it.
	if err != nil {
		return nil, nil, fmt.Errorf("copy the replica's file: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	head := binary.BigEndian.AppendUint64(nil, uint64(info.Size()))
	stream := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), f), f}
	return at.meta(streamHeader + info.Size()), stream, nil
}

// liveCopy is an open copy of the file, without a name: it is gone when it is closed.
// Until then no snapshot is taken, so that the log keeps what follows it.
type liveCopy struct {
	*os.File
	once  sync.Once
	store *snapshotStore
	err   error
}

// Read fails once the replica is known to be wrong.
func (c *liveCopy) Read(b []byte) (int, error) {
	if err := c.store.src.failure(); err != nil {
		return 0, err
	}
	return c.File.Read(b)
}

// WriteTo goes by Read.
func (c *liveCopy) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{c}) }

// Close also closes when it is called again: raft and its FSM both do.
func (c *liveCopy) Close() error {
	c.once.Do(func() {
		c.store.count(0, -1)
		c.err = c.File.Close()
	})
	return c.err
}

func (s *snapshotStore) count(copying, streams int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.copying += copying
	s.streams += streams
}

// copyAt returns a copy of the live file, and the pointer that goes with it: a replica that
// has both is as far as this one was. The caller closes the copy.
func (s *snapshotStore) copyAt(ctx context.Context) (*liveCopy, pointer, error) {
	s.count(1, 1)
	defer s.count(-1, 0)
	f, in, err := s.src.copyLive(ctx)
	if err != nil {
		s.count(0, -1)
		return nil, pointer{}, err
	}
	c := &liveCopy{File: f, store: s}
	at, err := s.pointerAt(in)
	if err != nil {
		return nil, pointer{}, errors.Join(fmt.Errorf("take a snapshot at %d: %w", in.applied, err), c.Close())
	}
	return c, at, nil
}

// pointerAt is the pointer moved up to where a copy is: its term, and the configuration
// that the entries up to there leave. They are committed, so they never change.
func (s *snapshotStore) pointerAt(in state) (pointer, error) {
	p, ok := s.latest()
	if !ok {
		p = pointer{Format: pointerFormat}
	}
	from := p.Index
	if in.applied < p.Applied {
		return pointer{}, fmt.Errorf("the file is at %d, its pointer at %d", in.applied, p.Applied)
	}
	if in.applied > p.Index {
		p.Index, p.Term = in.applied, in.term
	}
	p.Applied, p.Received = in.applied, 0
	entries := s.src.entries()
	for i := p.Index + 1; i <= s.src.committed(); i++ { // Those that never reach the file.
		var e raft.Log
		if err := entries.GetLog(i, &e); err != nil {
			return pointer{}, fmt.Errorf("read entry %d: %w", i, err)
		}
		if e.Type == raft.LogCommand {
			break
		}
		p.Index, p.Term = i, e.Term
	}
	p.name()
	if p.Index == from {
		return p, nil
	}
	found, err := entries.lastConfiguration(from, p.Index)
	if err != nil || found == nil {
		return p, err
	}
	if p.Configuration, err = decodeConfiguration(found.Data); err != nil {
		return pointer{}, fmt.Errorf("entry %d: %w", found.Index, err)
	}
	p.ConfigurationIndex = found.Index
	return p, nil
}

// Create begins a snapshot: of the own file (see fsm.Snapshot), or of what is written to
// the sink.
func (s *snapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	p := &pointer{
		Format: pointerFormat, Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}
	p.name()
	return &snapshotSink{store: s, pointer: p, since: time.Now()}, nil
}

// snapshotSink is a snapshot in the making. It is used by one goroutine.
type snapshotSink struct {
	store   *snapshotStore
	pointer *pointer
	head    []byte   // Of the stream; none: the snapshot is of the own file.
	file    *os.File // The .part.
	synced  int64    // Bytes of it that are on their way to the disk.
	since   time.Time
}

// ID is the snapshot's name.
func (k *snapshotSink) ID() string { return k.pointer.ID }

// Write takes a received stream.
func (k *snapshotSink) Write(b []byte) (int, error) {
	n := min(streamHeader-len(k.head), len(b))
	k.head = append(k.head, b[:n]...)
	if len(k.head) < streamHeader {
		return n, nil
	}
	if k.file == nil {
		f, err := os.OpenFile(recvPath(k.store.dir, k.pointer.ID)+partSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return n, err
		}
		k.file = f
	}
	m, err := k.file.Write(b[n:])
	k.pointer.Received += int64(m)
	k.synced = writeBehind(k.file, k.synced, k.pointer.Received)
	return n + m, err
}

// Cancel leaves everything as it was.
func (k *snapshotSink) Cancel() error {
	if k.file == nil {
		return nil
	}
	f := k.file
	k.file = nil
	return errors.Join(f.Close(), removeAll(f.Name()))
}

// Close decides for the snapshot. An error leaves everything as it was, and raft then
// forgets the snapshot: its own notion of it must not move back either, for a replica
// answers with it how far its log reaches.
func (k *snapshotSink) Close() error {
	s := k.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.src.unsynced(k.decide()); err != nil {
		return errors.Join(err, k.Cancel())
	}
	s.pointer, s.waits = k.pointer, len(k.head) > 0
	if s.waits {
		s.log.Info("a copy of the database was received", "bytes", k.pointer.Received, "index", k.pointer.Index, "took", time.Since(k.since).Round(time.Millisecond))
	}
	return s.sweep()
}

func (k *snapshotSink) decide() error {
	s := k.store
	if s.waits {
		return errors.New("replication: a received snapshot waits to be installed")
	}
	at := uint64(s.src.Applied())
	if len(k.head) == 0 {
		switch {
		case s.copying > 0:
			return errCopying
		case s.pointer != nil && k.pointer.Index <= s.pointer.Index:
			return errStale
		case at < k.pointer.Applied:
			return fmt.Errorf("replication: a snapshot at %d of a file at %d", k.pointer.Applied, at)
		}
	} else {
		if s.pointer != nil {
			at = max(at, s.pointer.Index)
		}
		if k.pointer.Index < at {
			return fmt.Errorf("%w: it is at %d, the replica at %d", errStale, k.pointer.Index, at)
		}
		if err := k.place(); err != nil {
			return fmt.Errorf("keep the received snapshot: %w", err)
		}
	}
	if err := writePointer(s.dir, k.pointer); err != nil {
		return fmt.Errorf("write the snapshot pointer: %w", err)
	}
	return nil
}

// place checks the received file, makes it durable and gives it its name.
func (k *snapshotSink) place() error {
	if len(k.head) < streamHeader || k.file == nil {
		return errors.New("the stream ended within its header")
	}
	if want := binary.BigEndian.Uint64(k.head); want != uint64(k.pointer.Received) {
		return fmt.Errorf("%d bytes were received of a file of %d", k.pointer.Received, want)
	}
	part := k.file.Name()
	if err := synced(k.file); err != nil {
		return err
	}
	if err := k.file.Close(); err != nil {
		return err
	}
	in, err := stateOf(part)
	if err == nil {
		_, err = scrub(context.Background(), part) // Reading it costs as much again as writing it did.
	}
	if err != nil {
		return fmt.Errorf("the received copy cannot be used: %w", err)
	}
	k.pointer.Applied = in.applied
	if in.applied > k.pointer.Index {
		return fmt.Errorf("the received copy is at %d, its snapshot at %d", in.applied, k.pointer.Index)
	}
	return errors.Join(os.Rename(part, recvPath(k.store.dir, k.pointer.ID)), syncDir(k.store.dir))
}
