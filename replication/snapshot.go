package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/hashicorp/raft"
)

// A replica's file is its own snapshot. The store keeps only a pointer: from which index
// the log goes on, with which configuration. Two files lie beside state.db:
//
//	snapshot.json        the pointer
//	snapshot-<id>.recv   what a follower received and has not installed yet
//
// A received snapshot becomes the replica in steps that a crash may cut anywhere: the
// stream is written to a .part; whole and durable it is renamed to .recv; the pointer
// is replaced (the decision); the file is installed. A pointer above the replica's
// applied index is therefore a received file that waits, and a start installs it first.
const (
	pointerName = "snapshot.json"
	filePrefix  = "snapshot-"
	recvSuffix  = ".recv"
	copySuffix  = ".copy"

	// streamHeader is the length of the file, which begins a stream (see install).
	streamHeader = 8
)

// snapshotSource is the replica whose file is the snapshot.
type snapshotSource interface {
	// Backup writes a consistent copy to path, which does not exist, and says at which
	// applied index it is.
	Backup(ctx context.Context, path string) (Index, error)
	// Applied is the index of the live file.
	Applied() Index
	// entries is the group's log, which tells term and configuration of an index.
	entries() *groupLog
}

func (db *DB) entries() *groupLog { return db.logs.(*groupLog) }

// pointer is what snapshot.json holds.
type pointer struct {
	Format             int                `json:"format"` // 1.
	ID                 string             `json:"id"`
	Index              uint64             `json:"index"`
	Term               uint64             `json:"term"`
	Configuration      raft.Configuration `json:"configuration"`
	ConfigurationIndex uint64             `json:"configuration_index"`
	Received           int64              `json:"received,omitempty"` // Bytes of the .recv file; 0: there never was one.
}

const pointerFormat = 1

func (p *pointer) meta(size int64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: p.ID, Index: p.Index, Term: p.Term,
		Configuration: p.Configuration, ConfigurationIndex: p.ConfigurationIndex, Size: size,
	}
}

// snapshotStore is raft's SnapshotStore for one database.
type snapshotStore struct {
	dir string
	src snapshotSource
	log *slog.Logger

	mu      sync.Mutex
	pointer *pointer // nil: none.
}

// newSnapshotStore reads the pointer in dir and removes what interrupted streams left.
// src must know its applied index already.
func newSnapshotStore(dir string, src snapshotSource, log *slog.Logger) (raft.SnapshotStore, error) {
	s := &snapshotStore{dir: dir, src: src, log: log}
	p, err := readPointer(dir)
	if err != nil {
		return nil, err
	}
	s.pointer = p
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("remove interrupted snapshots: %w", err)
	}
	return s, nil
}

func readPointer(dir string) (*pointer, error) {
	path := filepath.Join(dir, pointerName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the snapshot pointer: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	p := &pointer{}
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("read the snapshot pointer %s: %w; rebuild this replica from the others", path, err)
	}
	if p.Format != pointerFormat {
		return nil, fmt.Errorf("read the snapshot pointer %s: format %d is not known to this version, which knows %d", path, p.Format, pointerFormat)
	}
	if p.Index == 0 || p.Term == 0 || p.ID == "" {
		return nil, fmt.Errorf("read the snapshot pointer %s: index, term or id is missing; rebuild this replica from the others", path)
	}
	return p, nil
}

// writePointer replaces the pointer, durably.
func writePointer(dir string, p *pointer) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, pointerName)
	if err := writeDurably(path+partSuffix, append(b, '\n')); err != nil {
		return err
	}
	if err := os.Rename(path+partSuffix, path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// waits says whether a received file waits to be installed.
func (s *snapshotStore) waits() bool {
	return s.pointer != nil && s.pointer.Received > 0 && uint64(s.src.Applied()) < s.pointer.Index
}

func (s *snapshotStore) recvPath(id string) string {
	return filepath.Join(s.dir, filePrefix+id+recvSuffix)
}

// sweep removes all files of snapshots but a received one that waits.
func (s *snapshotStore) sweep() error {
	names, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	keep := ""
	if s.waits() {
		keep = filepath.Base(s.recvPath(s.pointer.ID))
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

// List returns the pointer, if there is one. Its size is that of a received file.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pointer == nil {
		return nil, nil
	}
	return []*raft.SnapshotMeta{s.pointer.meta(s.pointer.Received)}, nil
}

// Open streams the replica's file, led by its length: the live one, as of its applied
// index, which is that of the returned meta; or the received one if it waits to be
// installed. Cost: one copy of the file on this disk.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	p, waits := s.pointer, s.waits()
	s.mu.Unlock()
	if p == nil || p.ID != id {
		return nil, nil, fmt.Errorf("replication: there is no snapshot %q", id)
	}
	if waits {
		return s.openReceived(p)
	}
	return s.openLive(p)
}

func (s *snapshotStore) openReceived(p *pointer) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f, err := os.Open(s.recvPath(p.ID))
	if err != nil {
		return nil, nil, fmt.Errorf("open the received snapshot: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != p.Received {
		err = fmt.Errorf("the received snapshot has %d bytes, not %d", info.Size(), p.Received)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return p.meta(p.Received), &receivedReader{File: f, store: s, path: f.Name()}, nil
}

// receivedReader removes the received file when it was installed.
type receivedReader struct {
	*os.File
	store *snapshotStore
	path  string
}

// Close also closes when it is called again: raft and its FSM both do.
func (r *receivedReader) Close() error {
	err := r.File.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if !r.store.waits() {
		err = errors.Join(err, removeAll(r.path))
	}
	return err
}

// openLive copies the live file and streams the copy: a reader on the live file would
// hold up its checkpoints for as long as a slow line takes.
func (s *snapshotStore) openLive(p *pointer) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f, at, err := s.copyLive()
	if err != nil {
		return nil, nil, fmt.Errorf("copy the replica's file: %w", err)
	}
	now, err := s.pointerAt(p, uint64(at))
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("take a snapshot at %d: %w", at, err), f.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	head := binary.BigEndian.AppendUint64(nil, uint64(info.Size()))
	stream := struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), f), closeOnce{f}}
	return now.meta(streamHeader + info.Size()), stream, nil
}

// closeOnce lets a file be closed again: raft and its FSM both do.
type closeOnce struct{ f *os.File }

func (c closeOnce) Close() error {
	if err := c.f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// copyLive returns an open copy without a name: it is gone when it is closed.
func (s *snapshotStore) copyLive() (*os.File, Index, error) {
	name, err := os.CreateTemp(s.dir, filePrefix+"*"+copySuffix)
	if err != nil {
		return nil, 0, err
	}
	path := name.Name()
	if err := errors.Join(name.Close(), os.Remove(path)); err != nil { // Backup wants to make it.
		return nil, 0, err
	}
	at, err := s.src.Backup(context.Background(), path) // raft gives no context; a stop waits for it.
	if err != nil {
		return nil, 0, errors.Join(err, removeAll(path))
	}
	f, err := os.Open(path)
	if err = errors.Join(err, os.Remove(path)); err != nil {
		return nil, 0, err
	}
	return f, at, nil
}

// pointerAt is the pointer moved up to a later index: its term, and the configuration
// that the entries up to there leave. They are applied, so they never change.
func (s *snapshotStore) pointerAt(p *pointer, at uint64) (*pointer, error) {
	if at < p.Index {
		return nil, fmt.Errorf("the file is at %d, its pointer at %d", at, p.Index)
	}
	moved := *p
	if at == p.Index {
		return &moved, nil
	}
	entries := s.src.entries()
	var e raft.Log
	if err := entries.GetLog(at, &e); err != nil {
		return nil, fmt.Errorf("find the term of entry %d: %w", at, err)
	}
	moved.Index, moved.Term = at, e.Term
	found, err := entries.lastConfiguration(p.Index, at)
	if err != nil {
		return nil, err
	}
	if found != nil {
		if moved.Configuration, err = decodeConfiguration(found.Data); err != nil {
			return nil, fmt.Errorf("entry %d: %w", found.Index, err)
		}
		moved.ConfigurationIndex = found.Index
	}
	return &moved, nil
}

// Create begins a snapshot: of the own file when nothing is written to the sink, or of
// what is written.
func (s *snapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	p := &pointer{
		Format: pointerFormat, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}
	return &snapshotSink{store: s, pointer: p}, nil
}

// snapshotSink is a snapshot in the making. It is used by one goroutine.
type snapshotSink struct {
	store   *snapshotStore
	pointer *pointer
	file    *os.File // The .part; nil before the first write.
}

// ID is the snapshot's name. After Close it is that of the snapshot to restore.
func (k *snapshotSink) ID() string { return k.pointer.ID }

// Write takes a received stream.
func (k *snapshotSink) Write(b []byte) (int, error) {
	if k.file == nil {
		f, err := os.OpenFile(k.store.recvPath(k.pointer.ID)+partSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, err
		}
		k.file = f
	}
	n, err := k.file.Write(b)
	k.pointer.Received += int64(n)
	return n, err
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

// Close decides for the snapshot. A pointer never moves back: a snapshot that is not
// above the present one changes nothing, since the log may not reach back to it.
func (k *snapshotSink) Close() error {
	s := k.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pointer != nil && k.pointer.Index <= s.pointer.Index && !s.waits() {
		err := k.Cancel()
		k.pointer = s.pointer
		return err
	}
	if k.file == nil {
		if at := uint64(s.src.Applied()); at < k.pointer.Index {
			return fmt.Errorf("replication: a snapshot at %d of a file at %d", k.pointer.Index, at)
		}
	} else if err := k.place(); err != nil {
		return errors.Join(fmt.Errorf("keep the received snapshot: %w", err), k.Cancel())
	}
	if err := writePointer(s.dir, k.pointer); err != nil {
		return fmt.Errorf("write the snapshot pointer: %w", err)
	}
	s.pointer = k.pointer
	return s.sweep()
}

// place checks the received file and gives it its name.
func (k *snapshotSink) place() error {
	var head [streamHeader]byte
	f, err := os.Open(k.file.Name())
	if err == nil {
		_, err = io.ReadFull(f, head[:])
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return err
	}
	if want := binary.BigEndian.Uint64(head[:]); want != uint64(k.pointer.Received-streamHeader) {
		return fmt.Errorf("%d bytes were received of a file of %d", k.pointer.Received-streamHeader, want)
	}
	if err := k.file.Sync(); err != nil {
		return err
	}
	part := k.file.Name()
	if err := k.file.Close(); err != nil {
		return err
	}
	if err := os.Rename(part, k.store.recvPath(k.pointer.ID)); err != nil {
		return err
	}
	k.file = nil
	return syncDir(k.store.dir)
}
