package replication

import (
	"testing"

	"github.com/hashicorp/raft"
)

// TestARequestThatBeginsBeforeTheLogIsCut: the snapshot has all up to entry 25.
func TestARequestThatBeginsBeforeTheLogIsCut(t *testing.T) {
	snapshots := &snapshotStore{pointer: &pointer{Index: 25, Term: 2}}
	for name, c := range map[string]struct {
		prev, to, commit        uint64
		newPrev, n, firstCommit uint64
	}{
		"across the beginning": {prev: 20, to: 30, commit: 28, n: 5, firstCommit: 28},
		"all before it":        {prev: 20, to: 23, commit: 28, n: 0, firstCommit: 25},
		"empty, before it":     {prev: 20, to: 20, commit: 28, n: 0, firstCommit: 25},
		"from the first ever":  {prev: 0, to: 26, commit: 26, n: 1, firstCommit: 26},
		"right after it":       {prev: 25, to: 27, commit: 28, n: 2, firstCommit: 27},
		"empty, after it":      {prev: 25, to: 25, commit: 28, n: 0, firstCommit: 25},
		"later":                {prev: 26, to: 27, commit: 28, newPrev: 26, n: 1, firstCommit: 28},
		"a heartbeat":          {prev: 0, to: 0, commit: 0, n: 0, firstCommit: 0},
	} {
		q := &raft.AppendEntriesRequest{PrevLogEntry: c.prev, PrevLogTerm: 1, Entries: testEntries(2, c.prev+1, c.to), LeaderCommitIndex: c.commit}
		skipHeld(q, snapshots)
		if q.PrevLogEntry != c.newPrev || uint64(len(q.Entries)) != c.n || q.LeaderCommitIndex != c.firstCommit {
			t.Errorf("%s: after %d, %d entries, committed %d", name, q.PrevLogEntry, len(q.Entries), q.LeaderCommitIndex)
		}
		if (q.PrevLogTerm == 0) != (q.PrevLogEntry == 0) && c.prev != 0 {
			t.Errorf("%s: after an entry of term %d", name, q.PrevLogTerm)
		}
		if c.n > 0 && q.Entries[0].Index != max(26, c.newPrev+1) {
			t.Errorf("%s: begins with entry %d", name, q.Entries[0].Index)
		}
	}
}
