package replication_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// forgetful is a disk like Linux's: once armed, the next fsync of each file fails, and
// what was to be written is dropped; later fsyncs of that file succeed, and write nothing
// (Rebello and others, "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
type forgetful struct {
	vfs.FS
	armed *atomic.Bool
}

func (f forgetful) wrap(file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &forgetfulFile{File: file, armed: f.armed}, nil
}

// Create is vfs.FS's.
func (f forgetful) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.Create(name, c))
}

// ReuseForWrite is vfs.FS's.
func (f forgetful) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.wrap(f.FS.ReuseForWrite(old, name, c))
}

type forgetfulFile struct {
	vfs.File
	armed *atomic.Bool
	lost  atomic.Bool
}

func (f *forgetfulFile) sync(really func() error) error {
	switch {
	case f.lost.Load():
		return nil
	case f.armed.Load():
		f.lost.Store(true)
		return syscall.EIO
	}
	return really()
}

// Sync is vfs.File's.
func (f *forgetfulFile) Sync() error { return f.sync(f.File.Sync) }

// SyncData is vfs.File's.
func (f *forgetfulFile) SyncData() error { return f.sync(f.File.SyncData) }

// failedFsync is a story: one node, an fsync that fails, a power cut.
func failedFsync(t *testing.T, prepare func(*replication.Options)) (update, wrong error) {
	const name = "n1"
	var armed atomic.Bool
	d := &disks{now: map[replication.NodeID]*vfs.MemFS{}}
	open := func(dir string, fs vfs.FS) (*replication.Engine, *replication.DB, error) {
		o := replicationtest.Options(t, name)
		o.Dir = dir
		replication.LogIn(&o, fs)
		prepare(&o)
		e, err := replication.Open(o)
		if err != nil {
			return nil, nil, err
		}
		t.Cleanup(func() { _ = e.Close() }) // It may have failed.
		db, err := e.OpenDB(replicationtest.ID, replication.DBOptions{Voters: []replication.NodeID{name}})
		if err == nil {
			replicationtest.Await(t, "the node leads", db.IsLeader)
		}
		return e, db, err
	}
	dir := t.TempDir()
	before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
	e, db, err := open(before, forgetful{d.of(name), &armed})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, db, counterSchema...)
	armed.Store(true)
	_, update = db.Update(ctx, increment("a"))
	armed.Store(false)
	r := rand.New(rand.NewPCG(1, 1))
	if err := replication.Crash(e, after, true, r, func() error { return d.crash(name, before, after, 0, r) }); err != nil {
		t.Fatal(err)
	}
	_, db, err = open(after, d.of(name))
	if err != nil {
		return update, err
	}
	if n := count(t, db, "done"); n == 0 && update == nil {
		return update, errors.New("an acknowledged update is lost")
	} else if n > 1 {
		return update, fmt.Errorf("%d rows", n)
	}
	return update, nil
}
