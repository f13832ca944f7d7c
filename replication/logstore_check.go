package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"
)

// The names under which raft keeps its term and vote, in its own words.
var (
	nameTerm     = []byte("CurrentTerm")
	nameVoteTerm = []byte("LastVoteTerm")
	nameVote     = []byte("LastVoteCand")
)

// condition is what check has found.
type condition struct {
	entries error     // Damage to the entries; nil: they are whole.
	last    *position // How far the log is; nil: that cannot be told.
	vote    error     // Damage to the term or the vote.
}

func (c condition) damaged() bool { return c.entries != nil || c.vote != nil }

// check reads all of a group's log. base is the index and term of its snapshot, which tells
// how far a log without entries is. A damaged store, which is another thing than a damaged
// value, is the returned error: it wraps errStore.
func (g *groupLog) check(base position) (condition, error) {
	var c condition
	for _, name := range [][]byte{nameTerm, nameVoteTerm, nameVote} {
		if _, err := g.Get(name); errors.Is(err, errStore) {
			return c, err
		} else if err != nil {
			c.vote = err
		}
	}
	if err := g.logs.enter(); err != nil {
		return c, err
	}
	defer g.logs.leave()
	iter, err := g.logs.db.NewIter(&pebble.IterOptions{LowerBound: g.keys.entries, UpperBound: g.keys.entriesEnd})
	if err != nil {
		return c, g.logs.damaged(err)
	}
	c.last = &base
	next := base.LastIndex + 1
	for ok := iter.First(); ok; ok = iter.Next() {
		var l raft.Log
		index, err := g.keys.index(iter.Key())
		if err == nil && index > next {
			err = fmt.Errorf("entries %d to %d are missing: %w", next, index-1, errCorrupt)
		}
		if err != nil && c.entries == nil {
			c.entries = err
		}
		next = max(next, index+1)
		body, err := unseal(iter.Key(), iter.Value(), entryFormat)
		if err == nil {
			err = decodeEntryBody(body, &l)
		}
		switch {
		case err != nil:
			c.last = nil
			if c.entries == nil {
				c.entries = fmt.Errorf("entry %d: %w", index, err)
			}
		case index >= base.LastIndex:
			c.last = &position{LastTerm: l.Term, LastIndex: index}
		}
	}
	if err := errors.Join(iter.Error(), iter.Close()); err != nil {
		return c, g.logs.damaged(err)
	}
	return c, nil
}

// replace makes entries the whole log of the group, and term its term, in one step. spent:
// the vote of that term counts as given, to nobody.
func (g *groupLog) replace(entries []*raft.Log, term uint64, spent bool) error {
	g.write.Lock()
	defer g.write.Unlock()
	if err := g.logs.enter(); err != nil {
		return err
	}
	defer g.logs.leave()
	batch := g.logs.db.NewBatch()
	defer func() { _ = batch.Close() }()
	err := batch.DeleteRange(g.keys.entries, g.keys.entriesEnd, nil)
	for _, e := range entries {
		key := g.keys.entry(e.Index)
		value := appendEntryBody([]byte{0, 0, 0, 0, entryFormat}, e)
		seal(key, value)
		err = errors.Join(err, batch.Set(key, value, nil))
	}
	set := func(name, value []byte) {
		key := g.keys.value(name)
		sealed := append([]byte{0, 0, 0, 0, stableFormat}, value...)
		seal(key, sealed)
		err = errors.Join(err, batch.Set(key, sealed, nil))
	}
	set(nameTerm, uint64Bytes(term))
	if spent {
		set(nameVoteTerm, uint64Bytes(term))
		set(nameVote, []byte(voteSpent))
	}
	if err != nil {
		return fmt.Errorf("replace the log of %s: %w", g.id, err)
	}
	if err := g.logs.commit(batch); err != nil {
		return fmt.Errorf("replace the log of %s: %w", g.id, err)
	}
	g.logs.cache.forget(g, 0, ^uint64(0))
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.load()
}

// voteSpent is no node's name.
const voteSpent = "-"

// clear removes all that the store has of the group.
func (g *groupLog) clear() error {
	batch := g.logs.db.NewBatch()
	defer func() { _ = batch.Close() }()
	err := errors.Join(batch.DeleteRange(g.keys.stable, g.stableEnd(), nil), batch.DeleteRange(g.keys.entries, g.keys.entriesEnd, nil))
	if err != nil {
		return fmt.Errorf("clear the log of %s: %w", g.id, err)
	}
	return g.logs.commit(batch)
}

func (g *groupLog) stableEnd() []byte {
	end := slices.Clone(g.keys.stable)
	end[len(end)-1]++
	return end
}

// copyTo copies what is whole of a group into another store: all of it, or, of a damaged
// one, the term and the vote. The error wraps errStore if this store could not be read.
func (g *groupLog) copyTo(to *logs, c condition) error {
	bounds := []*pebble.IterOptions{}
	if c.vote == nil {
		bounds = append(bounds, &pebble.IterOptions{LowerBound: g.keys.stable, UpperBound: g.stableEnd()})
	}
	if c.entries == nil {
		bounds = append(bounds, &pebble.IterOptions{LowerBound: g.keys.entries, UpperBound: g.keys.entriesEnd})
	}
	for _, o := range bounds {
		iter, err := g.logs.db.NewIter(o)
		if err != nil {
			return g.logs.damaged(err)
		}
		batch := to.db.NewBatch()
		for ok := iter.First(); ok && err == nil; ok = iter.Next() {
			if err = batch.Set(iter.Key(), iter.Value(), nil); err == nil && batch.Len() > logMemTableBytes/2 {
				err = batch.Commit(pebble.NoSync) // The next, or close, syncs.
				batch = to.db.NewBatch()
			}
		}
		if rerr := errors.Join(iter.Error(), iter.Close()); err == nil && rerr != nil {
			err = g.logs.damaged(rerr)
		}
		if err != nil {
			return err
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			return err
		}
	}
	return nil
}

func uint64Bytes(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
