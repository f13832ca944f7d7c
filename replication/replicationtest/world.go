package replicationtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tongban/replication"
)

// WorldOptions say what a world consists of.
type WorldOptions struct {
	Dir       string        // Required: an empty folder, for the SQLite files.
	Seed      uint64        // Of all that chance decides.
	Nodes     int           // 3.
	Databases int           // 2.
	Clients   int           // 6.
	For       time.Duration // 1 min of storm.
	Heartbeat time.Duration // 1 s: Options.HeartbeatTimeout.
	Pause     time.Duration // 400 ms: the longest time that a client thinks.
	Log       *slog.Logger  // Discards.
	// Prepare changes the options of an engine before each of its lives.
	Prepare func(replication.NodeID, *replication.Options)
	// Crash takes what a crash leaves of a node at this moment, in a new folder; the engine
	// goes on a little while, unheard. power: what is not synced may be lost.
	Crash func(e *replication.Engine, dir string, power bool, r *rand.Rand) error
	// Fill makes a node's disk full, until restore; nil: no disk gets full.
	Fill func(e *replication.Engine) (restore func())
	// Wipe gives a node a new disk for its log.
	Wipe func(replication.NodeID)
	// Spoil makes the next fsyncs of a node's log fail, for good; nil: none does.
	Spoil func(replication.NodeID)
}

// World is a division in virtual time: engines with real logs and files, an unkind network,
// clients, and what happens to them. It lives inside a bubble of testing/synctest.
type World struct {
	Lines   *Lines
	History *History

	o       WorldOptions
	names   []replication.NodeID
	ids     []replication.DatabaseID
	voters  []replication.NodeID
	clients sync.WaitGroup
	ending  chan struct{}
	dying   sync.WaitGroup // Engines that were killed.
	repairs sync.WaitGroup // What must be over before the end.
	ticket  atomic.Int64

	mu     sync.Mutex
	lives  map[replication.NodeID]*life
	dirs   map[replication.NodeID]string
	births int
	// A node that was replaced founds no group; one is replaced at a time.
	replaced  map[replication.NodeID]bool
	replacing bool
	log       []string
	wrong     []error
	terms     map[string]replication.NodeID // Database and term: who led.
}

// life is a node from one start to the next stop.
type life struct {
	name   replication.NodeID
	engine *replication.Engine
	dead   atomic.Bool // Before anything of it is taken away.
	ended  chan struct{}
	spoilt atomic.Bool // Its log cannot be synced.
	mu     sync.Mutex
	dbs    map[replication.DatabaseID]*replication.DB
}

func (l *life) db(id replication.DatabaseID) *replication.DB {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dbs[id]
}

func (o *WorldOptions) defaults() {
	pick := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Databases == 0 {
		o.Databases = 2
	}
	if o.Clients == 0 {
		o.Clients = 6
	}
	pick(&o.For, time.Minute)
	pick(&o.Heartbeat, time.Second)
	pick(&o.Pause, 400*time.Millisecond)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// NewWorld starts the nodes. Close it, also after an error.
func NewWorld(o WorldOptions) (*World, error) {
	o.defaults()
	w := &World{
		o: o, Lines: NewLines(o.Seed), History: &History{}, ending: make(chan struct{}),
		lives: map[replication.NodeID]*life{}, dirs: map[replication.NodeID]string{}, terms: map[string]replication.NodeID{},
		replaced: map[replication.NodeID]bool{},
	}
	for i := range o.Databases {
		w.ids = append(w.ids, replication.DatabaseID(fmt.Sprintf("t%d/main", i+1)))
	}
	for i := range o.Nodes {
		w.names = append(w.names, replication.NodeID(fmt.Sprintf("n%d", i+1)))
	}
	w.voters = slices.Clone(w.names)
	for _, name := range w.names {
		w.dirs[name] = w.folder(name)
		if err := w.Start(name); err != nil {
			return w, err
		}
	}
	return w, nil
}

// folder names the folder of a node's next life.
func (w *World) folder(name replication.NodeID) string {
	w.births++
	return filepath.Join(w.o.Dir, fmt.Sprintf("%s.%d", name, w.births))
}

// rand makes a source of chance of its own for part n.
func (w *World) rand(n uint64) *rand.Rand { return rand.New(rand.NewPCG(w.o.Seed, n)) }

func (w *World) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// Log is what happened.
func (w *World) Log() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.log)
}

func (w *World) accuse(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wrong = append(w.wrong, fmt.Errorf(format, args...))
}

// Start starts a node that does not run.
func (w *World) Start(name replication.NodeID) error {
	w.mu.Lock()
	dir := w.dirs[name]
	w.mu.Unlock()
	o := replication.Options{
		Dir: dir, Node: name, Log: w.o.Log, HeartbeatTimeout: w.o.Heartbeat, Dial: w.Lines.Dialer(name),
		MaxClosure: w.o.Heartbeat,
	}
	if w.o.Prepare != nil {
		w.o.Prepare(name, &o)
	}
	e, err := replication.Open(o)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	l := &life{name: name, engine: e, ended: make(chan struct{}), dbs: map[replication.DatabaseID]*replication.DB{}}
	w.Lines.Attach(name, e)
	w.mu.Lock()
	w.lives[name] = l
	w.mu.Unlock()
	for _, id := range w.ids {
		err := w.openDB(l, id)
		if err != nil && w.life(name) == l { // Or the storm has ended it meanwhile.
			return err
		}
	}
	w.dying.Go(func() { w.watch(l) })
	return nil
}

// watch ends a node whose engine says that it can vouch for nothing any more, and starts
// it again, as its supervisor does.
func (w *World) watch(l *life) {
	select {
	case err := <-l.engine.Failed():
		w.note("%s has failed: %v", l.name, err)
		w.repairs.Go(func() {
			if !w.takeThis(l) { // Somebody has ended it already, and starts it again.
				return
			}
			if err := errors.Join(w.bury(l, true, w.rand(uint64(w.ticket.Add(1)))), w.Start(l.name)); err != nil {
				w.accuse("start %s after its disk has failed: %w", l.name, err)
			}
		})
	case <-l.ended:
	}
}

func (w *World) openDB(l *life, id replication.DatabaseID) error {
	o := replication.DBOptions{Voters: w.voters, OnLead: w.onLead(l)}
	w.mu.Lock()
	if w.replaced[l.name] {
		o.Voters = nil
	}
	w.mu.Unlock()
	db, err := l.engine.OpenDB(id, o)
	if err != nil {
		return fmt.Errorf("open %s on %s: %w", id, l.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dbs[id] = db
	return nil
}

// onLead notes who leads in which term: two leaders of one term would be two truths.
func (w *World) onLead(l *life) func(context.Context, *replication.DB) {
	return func(ctx context.Context, db *replication.DB) {
		term := db.Status().Term
		if ctx.Err() == nil && !l.dead.Load() {
			key := fmt.Sprintf("%s in term %d", db.ID(), term)
			w.mu.Lock()
			other, led := w.terms[key]
			w.terms[key] = l.name
			w.mu.Unlock()
			if led && other != l.name {
				w.accuse("%s and %s both led %s", other, l.name, key)
			}
		}
		<-ctx.Done()
	}
}

func (w *World) life(name replication.NodeID) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.lives[name]
}

// take removes the life of a node, if it has one.
func (w *World) take(name replication.NodeID) *life {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lives[name]
	if l != nil {
		close(l.ended)
	}
	delete(w.lives, name)
	return l
}

// takeThis is take, if this life is still the node's.
func (w *World) takeThis(l *life) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.lives[l.name] != l {
		return false
	}
	close(l.ended)
	delete(w.lives, l.name)
	return true
}

// Stop stops a node in good order.
func (w *World) Stop(name replication.NodeID) error {
	l := w.take(name)
	if l == nil {
		return nil
	}
	err := l.engine.Close()
	w.Lines.Detach(name, false)
	if err != nil && !l.spoilt.Load() {
		return fmt.Errorf("close %s: %w", name, err)
	}
	return nil
}

// Kill ends a node at once, by a signal or by a power cut. What it would have done
// afterwards counts as not done.
func (w *World) Kill(name replication.NodeID, power bool, r *rand.Rand) error {
	if l := w.take(name); l != nil {
		return w.bury(l, power, r)
	}
	return nil
}

// bury takes away what a crash leaves of a node, for its next life.
func (w *World) bury(l *life, power bool, r *rand.Rand) error {
	name := l.name
	l.dead.Store(true)
	w.Lines.Detach(name, power)
	w.mu.Lock()
	old, dir := w.dirs[name], w.folder(name)
	w.dirs[name] = dir
	w.mu.Unlock()
	if err := w.o.Crash(l.engine, dir, power, r); err != nil {
		return fmt.Errorf("crash %s: %w", name, err)
	}
	w.dying.Go(func() {
		_ = l.engine.Close() // It is none of the world's any more.
		_ = os.RemoveAll(old)
	})
	return nil
}

// Close ends everything that still runs.
func (w *World) Close() error {
	w.end()
	w.repairs.Wait()
	var errs []error
	for _, name := range w.names {
		w.Lines.Detach(name, false)
	}
	for _, name := range w.names {
		errs = append(errs, w.Stop(name))
	}
	w.dying.Wait()
	w.Lines.Wait()
	return errors.Join(errs...)
}

// end stops the clients.
func (w *World) end() {
	w.mu.Lock()
	select {
	case <-w.ending:
	default:
		close(w.ending)
	}
	w.mu.Unlock()
	w.clients.Wait()
}
