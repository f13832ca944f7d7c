package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/raft"
)

// Solo is a database without a raft group, for simulations and tests only: an update goes
// the whole way through the evaluator, the entry's codec and the FSM, and is committed on
// the spot. Nothing of it is durable against a crash of the machine (synchronous=OFF).
//
// It starts no goroutine that waits for real time, so that it runs inside a bubble of
// testing/synctest, and leads until Depose. Its file is that of a replica: Backup copies it, and
// OpenSolo opens a copy placed at db/<id>/state.db below another dir.
//
// internal/repo sees to it that nothing but tests and internal/simulate opens one.
type Solo struct{ *DB }

// soloClosure is how long one closure of a Solo may run: tests share busy machines.
const soloClosure = 2 * time.Second

// soloTerm is the term of every Solo.
const soloTerm = 1

// OpenSolo opens the database of id below dir, and makes it if there is none. now is its
// clock; nil is time.Now. Close it.
func OpenSolo(dir string, id DatabaseID, now func() time.Time) (*Solo, error) {
	opts, err := Options{Dir: dir, Node: "n1", Now: now, MaxClosure: soloClosure,
		Log: slog.New(slog.DiscardHandler)}.withDefaults()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(opts.Dir, "db", filepath.FromSlash(string(id)), "state.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	w, s, err := openStore(path)
	if err != nil {
		return nil, err
	}
	if _, err := w.exec("PRAGMA synchronous=OFF"); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", id, err), w.close())
	}
	e := &Engine{opts: opts, checkpoints: newCheckpointer(opts.Log), gone: make(chan struct{}), lost: make(chan error, 1)}
	db := &DB{
		id: id, engine: e, path: path, log: opts.Log, solo: true, w: w, state: s,
		opened: make(chan struct{}), stopping: make(chan struct{}), quorum: make(chan struct{}, 1), batches: make(chan struct{}, 1),
	}
	db.readers.open(path, db.noteOpen, db.touch)
	db.wal.restart, db.wal.turn = restartWAL, applyTime
	db.applied.set(s.applied)
	db.queue.max = opts.MaxQueue
	db.queue.start = func() {
		db.tasks.Add(1)
		go db.evaluate()
	}
	close(db.opened)
	db.tenure.n = soloTerm
	return &Solo{db}, nil
}

// Close ends the database and closes its file.
func (s *Solo) Close() error {
	err := s.stop()
	s.engine.checkpoints.close()
	return err
}

// Depose ends its leadership, as when another node was elected and this one was asleep: it
// still reads what it had, and nothing tells its workers. Updates and reads of the leader
// are refused with ErrNotLeader.
func (s *Solo) Depose() { s.tenure.end(func() {}) }

// apply has the entry of a batch committed: by raft, or at once where there is none.
func (db *DB) apply(b *batch, data []byte) error {
	if !db.solo {
		return answered(db.raft().Apply(data, enqueueTimeout), b.life).Error()
	}
	index := uint64(db.Applied()) + 1
	(&fsm{db}).Apply(&raft.Log{Type: raft.LogCommand, Index: index, Term: soloTerm, Data: data})
	return nil
}

// soloStatus is Status of a database without a group.
func (db *DB) soloStatus() Status {
	n := db.engine.opts.Node
	s := Status{Database: db.id, Leader: n, Role: "leader", Term: soloTerm,
		Applied: db.Applied(), LogLast: db.Applied(), Voters: []NodeID{n}}
	if err := db.failure(); err != nil {
		s.Role, s.Err = "stopped", err.Error()
	}
	return s
}
