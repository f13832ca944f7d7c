//go:build mutants

package replication

import (
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Suite is the kind of test that must notice a mutant.
type Suite string

// Suites.
const (
	// InSimulation: TestSimulation's storms, within so many seeds.
	InSimulation Suite = "simulation"
	// InStory: a story that puts one batch at one moment (TestForcedInterleavings, and others
	// like it): what chance hardly ever reaches.
	InStory Suite = "forced story"
	// InPowerCut: a real file system that loses what was not synced.
	InPowerCut Suite = "power cut"
)

// Mutant is one safeguard and the suite that notices when it is missing.
type Mutant struct {
	Name  string // Value of TONGBAN_MUTANT.
	Suite Suite
	What  string // What the mutant does.
}

// Mutants are all there are. A program built with the tag "mutants" is the one that the
// environment variable TONGBAN_MUTANT names, unless a test chooses.
var Mutants = []Mutant{
	{baseCheck.name(), InStory, "executes an entry on another state than it was evaluated on"},
	{proposeFirst.name(), InSimulation, "commits a batch in its own file before it is proposed"},
	{ownEntryOnly.name(), InSimulation, "commits the transaction that waits, whichever entry comes"},
	{commitFirst.name(), InSimulation, "answers an update before its entry is committed"},
	{appliedWithEntry.name(), InSimulation, "writes the applied index in a transaction of its own, after the entry's"},
	{leadershipOfReads.name(), InSimulation, "serves Leader and Linearizable reads without asking anybody"},
	{promiseKept.name(), InStory, "votes for another while its promise to a leader still holds"},
	{answerOfNow.name(), InStory, "takes an answer to a heartbeat that was sent before a read for the majority's answer to it"},
	{synchronousNormal.name(), InPowerCut, "lets SQLite sync nothing (synchronous=OFF)"},
	{noSecondFsync.name(), InStory, "syncs the log once more after a failed fsync, and takes a success for one"},
	{checkpointFirst.name(), InStory, "cuts the log before a checkpoint has made durable what it held"},
}

func (s safeguard) name() string { return strings.TrimPrefix(string(s), "mutant:") }

// mutants is which safeguard an engine lacks; empty: the one that the environment names.
type mutants struct{ without safeguard }

func (m mutants) lacks(s safeguard) bool {
	if m.without != "" {
		return m.without == s
	}
	return os.Getenv("TONGBAN_MUTANT") == s.name()
}

// disk is the disk of the log store.
func (m mutants) disk(fs vfs.FS) vfs.FS {
	if !m.lacks(noSecondFsync) {
		return fs
	}
	return retryFS{fs}
}

// retryFS syncs a second time when the first has failed: by then the kernel may have
// dropped the pages and forgotten the error.
type retryFS struct{ vfs.FS }

func (r retryFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return retryFile{f}, nil
}

// Create is vfs.FS's.
func (r retryFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return r.wrap(r.FS.Create(name, c))
}

// ReuseForWrite is vfs.FS's.
func (r retryFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return r.wrap(r.FS.ReuseForWrite(old, name, c))
}

type retryFile struct{ vfs.File }

// Sync is vfs.File's.
func (f retryFile) Sync() error { return twice(f.File.Sync) }

// SyncData is vfs.File's.
func (f retryFile) SyncData() error { return twice(f.File.SyncData) }

func twice(sync func() error) error {
	if sync() == nil {
		return nil
	}
	return sync()
}
