package replication

import (
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftTimeout is what raft's timers are set to. They are a last resort: elections are begun
// by election.go, commits are told by hints.go, and what stands still is moved by stall.go.
const raftTimeout = 10 * time.Minute

const never = 100 * 365 * 24 * time.Hour // For raft's timers that must not fire.

// raftConfig is how every group runs: elections from outside, no snapshots of its own
// accord.
func (e *Engine) raftConfig(db *DB, notices chan<- bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(e.opts.Node)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = raftTimeout, raftTimeout, raftTimeout
	c.CommitTimeout = raftTimeout / 2
	c.MaxAppendEntries = 256
	c.SnapshotInterval, c.SnapshotThreshold = never, math.MaxUint64 // See compactor.
	c.TrailingLogs = e.opts.compaction.trailing
	c.NoSnapshotRestoreOnStart = true // The file is the state; see openDB.
	c.ShutdownOnRemove = false
	c.NotifyCh = notices
	c.NoLegacyTelemetry = true
	c.Logger = hclog.New(&hclog.LoggerOptions{
		Name: "raft", Level: hclog.Info, DisableTime: true, Output: raftLog{db.log},
	})
	return c
}

// raftLog writes raft's lines to a slog.Logger. What raft calls a warning is daily life.
type raftLog struct{ log *slog.Logger }

func (r raftLog) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	if rest, ok := strings.CutPrefix(text, "[ERROR] "); ok {
		r.log.Warn(rest)
	} else {
		r.log.Debug(text)
	}
	return len(line), nil
}
