package replication

import (
	"errors"
	"sync"

	"github.com/hashicorp/raft"
)

// group is one run of a replica's raft group. A replica whose log was damaged ends it, and
// starts another one when the log is whole again.
type group struct {
	raft      *raft.Raft
	progress  *progress
	snapshots *snapshotStore
	life      lifeline // Of what waits for raft's answers.
	halt      sync.Once
	halted    chan struct{} // Closed when all of raft's goroutines have ended.
}

// shutdown ends the group and waits for it. The transport goes first: raft waits for its
// own calls, of which one that sends a file takes minutes.
func (g *group) shutdown() error {
	var err error
	g.halt.Do(func() {
		if term, ok := ledTerm(g.raft); ok && g.progress.db != nil {
			g.progress.db.release(term, ended, 0)
		}
		err = errors.Join(g.progress.Close(), g.raft.Shutdown().Error())
		g.life.cut(true)
		close(g.halted)
	})
	<-g.halted
	return err
}

// raft is the group's raft; only a Solo has none.
func (db *DB) raft() *raft.Raft { return db.group.Load().raft }

func (db *DB) progress() *progress { return db.group.Load().progress }
