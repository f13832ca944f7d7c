package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// groupLog is one group's part of the log store. It is raft's LogStore and StableStore,
// safe for concurrent use. Everything it has acknowledged survives a power cut.
//
// A gap between entries is possible only where raft makes one: before the first entry
// after an installed snapshot.
type groupLog struct {
	logs *logs
	id   DatabaseID
	keys groupKeys

	// write is held by the writer: one at a time, so that entries reach the disk in
	// the order of their indexes.
	write sync.Mutex

	// truncated: the log's end was deleted to make place for entries that come next. Guarded
	// by write.
	truncated bool

	mu          sync.RWMutex
	loaded      bool
	first, last uint64 // 0, 0: no entry.

	cached map[uint64]*cachedEntry // Guarded by logs.cache.mu.
}

var (
	_ raft.LogStore          = (*groupLog)(nil)
	_ raft.MonotonicLogStore = (*groupLog)(nil)
	_ raft.StableStore       = (*groupLog)(nil)
)

// IsMonotonic is false: a gap is allowed, and raft keeps the entries after an installed
// snapshot instead of removing all (which could remove acknowledged ones when a late
// snapshot arrives).
func (g *groupLog) IsMonotonic() bool { return false }

// FirstIndex is the index of the first entry, 0 for none.
func (g *groupLog) FirstIndex() (uint64, error) {
	first, _, err := g.bounds()
	return first, err
}

// LastIndex is the index of the last entry, 0 for none.
func (g *groupLog) LastIndex() (uint64, error) {
	_, last, err := g.bounds()
	return last, err
}

// bounds are in memory after the first call.
func (g *groupLog) bounds() (first, last uint64, err error) {
	g.mu.RLock()
	first, last, loaded := g.first, g.last, g.loaded
	g.mu.RUnlock()
	if loaded {
		return first, last, nil
	}
	if err := g.logs.enter(); err != nil {
		return 0, 0, err
	}
	defer g.logs.leave()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.loaded {
		if err := g.load(); err != nil {
			return 0, 0, err
		}
	}
	return g.first, g.last, nil
}

// load finds the bounds on the disk. The caller holds mu.
func (g *groupLog) load() error {
	iter, err := g.logs.db.NewIter(&pebble.IterOptions{LowerBound: g.keys.entries, UpperBound: g.keys.entriesEnd})
	if err != nil {
		return fmt.Errorf("read the raft log of %s: %w", g.id, err)
	}
	var first, last uint64
	if iter.First() {
		if first, err = g.keys.index(iter.Key()); err == nil && iter.Last() {
			last, err = g.keys.index(iter.Key())
		}
	}
	if err = errors.Join(err, iter.Close()); err != nil {
		return fmt.Errorf("read the raft log of %s: %w", g.id, err)
	}
	g.first, g.last, g.loaded = first, last, true
	return nil
}

// GetLog reads one entry. It returns raft.ErrLogNotFound (itself: raft compares) when
// there is none, and another error when it is damaged.
func (g *groupLog) GetLog(index uint64, e *raft.Log) error {
	first, last, err := g.bounds()
	if err != nil {
		return err
	}
	if index < first || index > last || index == 0 {
		return raft.ErrLogNotFound
	}
	if g.logs.cache.get(g, index, e) {
		return nil
	}
	key := g.keys.entry(index)
	value, err := g.get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return raft.ErrLogNotFound
	} else if err != nil {
		return fmt.Errorf("read entry %d of %s: %w", index, g.id, err)
	}
	body, err := unseal(key, value, entryFormat)
	if err == nil {
		err = decodeEntryBody(body, e)
	}
	if err != nil {
		return fmt.Errorf("read entry %d of %s: %w", index, g.id, err)
	}
	e.Index = index
	return nil
}

// get returns a copy of a value, or an error that is pebble.ErrNotFound.
func (g *groupLog) get(key []byte) ([]byte, error) {
	if err := g.logs.enter(); err != nil {
		return nil, err
	}
	defer g.logs.leave()
	value, closer, err := g.logs.db.Get(key)
	if err != nil {
		return nil, err
	}
	value = append([]byte(nil), value...)
	return value, closer.Close()
}

// lastConfiguration finds the last entry after the index after, up to the index upTo, that
// is a configuration; nil if there is none. It reads the entries in between, back from
// the end.
func (g *groupLog) lastConfiguration(after, upTo uint64) (found *raft.Log, err error) {
	if err := g.logs.enter(); err != nil {
		return nil, err
	}
	defer g.logs.leave()
	iter, err := g.logs.db.NewIter(&pebble.IterOptions{LowerBound: g.keys.entry(after + 1), UpperBound: g.keys.entry(upTo + 1)})
	if err != nil {
		return nil, fmt.Errorf("read the raft log of %s: %w", g.id, err)
	}
	defer func() { err = errors.Join(err, iter.Close()) }()
	for ok := iter.Last(); ok; ok = iter.Prev() {
		// The type follows the header; only a configuration is worth its checksum.
		if v := iter.Value(); len(v) > checkedHeader && raft.LogType(v[checkedHeader]) != raft.LogConfiguration {
			continue
		}
		index, err := g.keys.index(iter.Key())
		if err != nil {
			return nil, err
		}
		e := &raft.Log{Index: index}
		body, err := unseal(iter.Key(), iter.Value(), entryFormat)
		if err == nil {
			err = decodeEntryBody(append([]byte(nil), body...), e)
		}
		if err != nil {
			return nil, fmt.Errorf("read entry %d of %s: %w", index, g.id, err)
		}
		return e, nil
	}
	return nil, iter.Error()
}

// StoreLog stores one entry; see StoreLogs.
func (g *groupLog) StoreLog(e *raft.Log) error { return g.StoreLogs([]*raft.Log{e}) }

// StoreLogs stores entries whose indexes rise by one and lie above the last one. It
// returns nil only after the fsync that covers them all; on an error none of them counts
// as stored. ErrDisk: the disk refused or is nearly full.
func (g *groupLog) StoreLogs(entries []*raft.Log) error {
	if len(entries) == 0 {
		return nil
	}
	g.write.Lock()
	defer g.write.Unlock()
	first, last, err := g.bounds()
	if err != nil {
		return err
	}
	from := entries[0].Index
	if from <= last {
		return fmt.Errorf("store entry %d of %s: the log reaches to %d already; its end must be deleted first", from, g.id, last)
	}
	if err := g.logs.enter(); err != nil {
		return err
	}
	defer g.logs.leave()
	size := 0
	for _, e := range entries {
		size += entrySize(e) + len(g.keys.entries) + 16
	}
	// DeleteRange has looked for room when it deleted what these replace.
	if !g.truncated {
		if err := g.logs.room(logLastBytes); err != nil {
			return fmt.Errorf("store entries of %s: %w", g.id, err)
		}
	}
	g.truncated = false
	batch := g.logs.db.NewBatchWithSize(size)
	defer func() { _ = batch.Close() }()
	var value []byte
	for i, e := range entries {
		if e.Index != from+uint64(i) {
			return fmt.Errorf("store entries of %s: %d follows %d", g.id, e.Index, entries[i-1].Index)
		}
		key := g.keys.entry(e.Index)
		value = appendEntryBody(append(value[:0], 0, 0, 0, 0, entryFormat), e)
		seal(key, value)
		if err := batch.Set(key, value, nil); err != nil {
			return fmt.Errorf("store entry %d of %s: %w", e.Index, g.id, err)
		}
	}
	if err := g.logs.commit(batch); err != nil {
		return fmt.Errorf("store entries %d to %d of %s: %w", from, from+uint64(len(entries)-1), g.id, err)
	}
	g.logs.cache.put(g, entries)
	g.mu.Lock()
	if first == 0 {
		g.first = from
	}
	g.last = entries[len(entries)-1].Index
	g.mu.Unlock()
	return nil
}

// DeleteRange deletes the entries from min to max, both included: the log's beginning
// (compaction) or its end (a conflict), never a part in between. ErrDisk: the end is not
// deleted while its replacement would be refused, for raft goes on believing in a last entry
// that is gone when its append fails after that, and never takes another one.
func (g *groupLog) DeleteRange(min, max uint64) error {
	g.write.Lock()
	defer g.write.Unlock()
	first, last, err := g.bounds()
	if err != nil {
		return err
	}
	if first == 0 || min > max || max < first || min > last {
		return nil
	}
	if min > first && max < last {
		return fmt.Errorf("delete entries %d to %d of %s: they lie in the middle of %d to %d", min, max, g.id, first, last)
	}
	if max >= last {
		if err := g.logs.room(logLastBytes); err != nil {
			return fmt.Errorf("delete the end of the log of %s: %w", g.id, err)
		}
	}
	if err := g.logs.enter(); err != nil {
		return err
	}
	defer g.logs.leave()
	end := g.keys.entriesEnd
	if max < last {
		end = g.keys.entry(max + 1)
	}
	batch := g.logs.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := batch.DeleteRange(g.keys.entry(min), end, nil); err != nil {
		return fmt.Errorf("delete entries of %s: %w", g.id, err)
	}
	// Forgotten before, so that nobody reads an entry that may be gone.
	g.logs.cache.forget(g, min, max)
	if err := g.logs.commit(batch); err != nil {
		return fmt.Errorf("delete entries %d to %d of %s: %w", min, max, g.id, err)
	}
	g.truncated = max >= last
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.load() // After a gap the neighbour is not min-1 or max+1.
}

// Set stores a value (the vote) durably. raft panics when it cannot; so when a write has
// failed and the engine has cut this node off, nobody hears what rests on the value any
// more, and Set returns nil.
func (g *groupLog) Set(name, value []byte) error {
	if err := g.logs.enter(); err != nil {
		return err
	}
	defer g.logs.leave()
	key := g.keys.value(name)
	sealed := append([]byte{0, 0, 0, 0, stableFormat}, value...)
	seal(key, sealed)
	batch := g.logs.db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := batch.Set(key, sealed, nil); err != nil {
		return fmt.Errorf("store %s of %s: %w", name, g.id, err)
	}
	if err := g.logs.commit(batch); err != nil && g.logs.lost.Load() == nil {
		return fmt.Errorf("store %s of %s: %w", name, g.id, err)
	}
	return nil
}

// Get returns a value, empty when there is none, and an error when it is damaged: a
// vote that cannot be read must not be taken for a vote not given.
func (g *groupLog) Get(name []byte) ([]byte, error) {
	key := g.keys.value(name)
	sealed, err := g.get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, g.id, err)
	}
	value, err := unseal(key, sealed, stableFormat)
	if err != nil {
		return nil, fmt.Errorf("read %s of %s: %w", name, g.id, err)
	}
	return value, nil
}

// SetUint64 stores a number (the term) durably.
func (g *groupLog) SetUint64(name []byte, value uint64) error {
	return g.Set(name, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 returns a number, 0 when there is none.
func (g *groupLog) GetUint64(name []byte) (uint64, error) {
	value, err := g.Get(name)
	if err != nil || len(value) == 0 {
		return 0, err
	}
	if len(value) != 8 {
		return 0, fmt.Errorf("read %s of %s: %d bytes where 8 belong", name, g.id, len(value))
	}
	return binary.BigEndian.Uint64(value), nil
}
