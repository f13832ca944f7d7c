package replication

import (
	"sync"

	"github.com/hashicorp/raft"
)

// entryCache keeps the entries that were stored last, of all groups of a node together,
// within a number of bytes. What came in first goes out first: entries are read shortly
// after they were written, or not for long.
type entryCache struct {
	mu    sync.Mutex
	max   int
	bytes int            // Of the entries in queue.
	queue []*cachedEntry // Oldest first; holds forgotten ones until their turn.
	head  int            // queue[:head] is used up.
}

type cachedEntry struct {
	group *groupLog
	entry raft.Log
	size  int
}

// cachedOverhead is about what a cached entry costs beside its bytes.
const cachedOverhead = 200

func newEntryCache(max int) *entryCache { return &entryCache{max: max} }

// put remembers entries of g. The slices are shared with the caller, who must not change
// them (raft does not).
func (c *entryCache) put(g *groupLog, entries []*raft.Log) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		size := cachedOverhead + len(e.Data) + len(e.Extensions)
		if size > c.max/4 {
			delete(g.cached, e.Index) // One entry must not drive out all others.
			continue
		}
		cached := &cachedEntry{group: g, entry: *e, size: size}
		g.cached[e.Index] = cached
		c.queue = append(c.queue, cached)
		c.bytes += size
	}
	for c.bytes > c.max {
		c.evict()
	}
	if c.head > len(c.queue)/2 {
		n := copy(c.queue, c.queue[c.head:])
		clear(c.queue[n:])
		c.queue, c.head = c.queue[:n], 0
	}
}

func (c *entryCache) evict() {
	oldest := c.queue[c.head]
	c.queue[c.head] = nil
	c.head++
	c.bytes -= oldest.size
	if cached := oldest.group.cached; cached[oldest.entry.Index] == oldest {
		delete(cached, oldest.entry.Index)
	}
}

func (c *entryCache) get(g *groupLog, index uint64, e *raft.Log) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	cached := g.cached[index]
	if cached == nil {
		return false
	}
	*e = cached.entry
	return true
}

// forget drops the entries min to max of g.
func (c *entryCache) forget(g *groupLog, min, max uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for index := range g.cached {
		if min <= index && index <= max {
			delete(g.cached, index)
		}
	}
}
