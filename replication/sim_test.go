package replication_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

var (
	simSeeds = flag.Int("seeds", 200, "so many seeds of the simulation")
	simFirst = flag.Uint64("seed", 1, "the first of them")
)

// disks are the machines of a world's nodes: log stores in memory, and pauses.
type disks struct {
	mu      sync.Mutex
	now     map[replication.NodeID]*vfs.MemFS
	spoiled map[replication.NodeID]*atomic.Bool // See forgetful.
	rng     *rand.Rand
	longest time.Duration
}

// pauseOneIn so many batches waits between its evaluation and its way into the log, as on
// a machine that has too much to do: meanwhile leaderships come and go.
const pauseOneIn = 25

func (d *disks) pause() {
	d.mu.Lock()
	var wait time.Duration
	if d.rng.IntN(pauseOneIn) == 0 {
		wait = time.Duration(d.rng.Int64N(int64(d.longest)))
	}
	d.mu.Unlock()
	<-time.After(wait)
}

func (d *disks) of(name replication.NodeID) *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.now[name] == nil {
		d.now[name] = vfs.NewCrashableMem()
	}
	return d.now[name]
}

// fresh makes the disk of a node's next life a sound one.
func (d *disks) fresh(name replication.NodeID) *atomic.Bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.spoiled == nil {
		d.spoiled = map[replication.NodeID]*atomic.Bool{}
	}
	d.spoiled[name] = new(atomic.Bool)
	return d.spoiled[name]
}

// crash leaves of a log store what is synced, and so much in a hundred of the rest, for
// the engine's next life in another folder.
func (d *disks) crash(name replication.NodeID, from, to string, survives int, r *rand.Rand) error {
	next := d.of(name).CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: survives, RNG: r})
	d.mu.Lock()
	d.now[name] = next
	d.mu.Unlock()
	if err := next.MkdirAll(to, 0o700); err != nil {
		return err
	}
	if err := next.Rename(filepath.Join(from, "log"), filepath.Join(to, "log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for dir := to; ; dir = filepath.Dir(dir) { // It has always been there.
		f, err := next.OpenDir(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil || dir == filepath.Dir(dir) {
			return err
		}
	}
}

// simulate runs one seed and returns what is wrong.
func simulate(t *testing.T, o replicationtest.WorldOptions) (log []string, wrong error) {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "replication")
	if err != nil {
		dir, err = os.MkdirTemp("", "replication")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	o.Dir = dir
	d := &disks{now: map[replication.NodeID]*vfs.MemFS{}, rng: rand.New(rand.NewPCG(o.Seed, 3)), longest: 4 * time.Second}
	more := o.Prepare
	o.Prepare = func(name replication.NodeID, opts *replication.Options) {
		replication.LogIn(opts, forgetful{d.of(name), d.fresh(name)})
		if o.Seed%2 == 0 {
			replication.Compact(opts, 15, 3)
		}
		replication.BeforePropose(opts, d.pause)
		if more != nil {
			more(name, opts)
		}
	}
	o.Crash = func(e *replication.Engine, dir string, power bool, r *rand.Rand) error {
		survives := 100
		if power {
			survives = r.IntN(3) * 50
		}
		return replication.Crash(e, dir, power, r, func() error {
			return d.crash(replication.Name(e), replication.Dir(e), dir, survives, r)
		})
	}
	o.Fill = func(e *replication.Engine) (restore func()) {
		if ids := e.Databases(); len(ids) > 0 {
			if db, ok := e.DB(ids[0]); ok {
				return replication.FillDisk(db)
			}
		}
		return func() {}
	}
	o.Spoil = func(name replication.NodeID) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.spoiled[name].Store(true)
	}
	o.Wipe = func(name replication.NodeID) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.now[name] = nil
	}
	var history *replicationtest.History
	var traces []replicationtest.Trace
	synctest.Test(t, func(t *testing.T) {
		w, err := replicationtest.NewWorld(o)
		if err == nil {
			traces, err = w.Run()
		}
		history, log = w.History, w.Log()
		wrong = errors.Join(err, w.Close())
	})
	if traces != nil {
		wrong = errors.Join(wrong, history.Check(traces))
	}
	return log, wrong
}

// TestSimulation runs a division of three nodes through storms: whatever happens, nothing
// that was acknowledged is lost, nothing is doubled, every read is explained by one order,
// and all replicas are equal in the end.
func TestSimulation(t *testing.T) {
	for i := range uint64(*simSeeds) {
		seed := *simFirst + i
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			log, wrong := simulate(t, replicationtest.WorldOptions{Seed: seed})
			if wrong != nil {
				for _, line := range log {
					t.Log(line)
				}
				t.Errorf("seed %d: %v", seed, wrong)
			}
		})
	}
}
