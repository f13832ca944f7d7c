package replication

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// TestARequestThatBeginsBeforeTheLogIsCut: the log begins with entry 25, which the snapshot
// has, too.
func TestARequestThatBeginsBeforeTheLogIsCut(t *testing.T) {
	g := openTestLogs(t, vfs.NewMem()).group("t/main")
	if err := g.StoreLogs(testEntries(2, 25, 26)); err != nil {
		t.Fatal(err)
	}
	snapshots := &snapshotStore{pointer: &pointer{Index: 25, Term: 2}}
	for name, c := range map[string]struct {
		prev, to, commit        uint64
		newPrev, n, firstCommit uint64
	}{
		"across the beginning": {prev: 20, to: 30, commit: 28, newPrev: 25, n: 5, firstCommit: 28},
		"all before it":        {prev: 20, to: 23, commit: 28, newPrev: 25, n: 0, firstCommit: 25},
		"empty, before it":     {prev: 20, to: 20, commit: 28, newPrev: 25, n: 0, firstCommit: 25},
		"from the first ever":  {prev: 0, to: 26, commit: 26, newPrev: 25, n: 1, firstCommit: 26},
		"right after it":       {prev: 25, to: 27, commit: 28, newPrev: 25, n: 2, firstCommit: 28},
		"a heartbeat":          {prev: 0, to: 0, commit: 0, newPrev: 0, n: 0, firstCommit: 0},
	} {
		q := &raft.AppendEntriesRequest{PrevLogEntry: c.prev, PrevLogTerm: 1, Entries: testEntries(2, c.prev+1, c.to), LeaderCommitIndex: c.commit}
		skipHeld(q, g, snapshots)
		if q.PrevLogEntry != c.newPrev || uint64(len(q.Entries)) != c.n || q.LeaderCommitIndex != c.firstCommit {
			t.Errorf("%s: after %d, %d entries, committed %d", name, q.PrevLogEntry, len(q.Entries), q.LeaderCommitIndex)
		}
		if moved := q.PrevLogEntry != c.prev; moved && q.PrevLogTerm != 2 || !moved && q.PrevLogTerm != 1 {
			t.Errorf("%s: after an entry of term %d", name, q.PrevLogTerm)
		}
		if c.n > 0 && q.Entries[0].Index != q.PrevLogEntry+1 {
			t.Errorf("%s: entry %d after %d", name, q.Entries[0].Index, q.PrevLogEntry)
		}
	}
}
