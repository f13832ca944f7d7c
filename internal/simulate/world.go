package simulate

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// Place is a division of the tree and where it hangs; a zero parent is the anchor.
type Place struct{ Ref, Parent division.Ref }

// Options say what a world consists of.
type Options struct {
	Dir      string  // Required: an empty folder, for the databases.
	Seed     uint64  // Of all that chance decides.
	Tree     []Place // Required; a parent stands before its children.
	Template string  // Required: see Prepare.
	Desk     string  // See PrepareDesk; empty: the divisions have no department.
	// Definitions are the services of every division beside the federation.
	Definitions []service.Definition
	Chance      Chance        // Of each message.
	Beat        time.Duration // federation.Options.Beat.
	Mutant      federation.Mutant
	Log         *slog.Logger // Discards.
}

// World is a tree of divisions.
type World struct {
	Wire      *Wire
	Divisions map[division.Ref]*Division
	Tree      []Place

	o     Options
	mu    sync.Mutex
	rng   *rand.Rand
	files int
}

// Division is one division of a world.
type Division struct {
	Ref, Parent division.Ref
	DB          *service.DB
	Desk        *service.DB // Of its department.
	Full        atomic.Bool // Its disk has no room for rows of neighbours.

	w    *World
	dir  string
	solo *replication.Solo
	desk *replication.Solo // nil: there is no department.
	life chan struct{}     // Holds one while the division is restarted or restored.
	mu   sync.Mutex
	fed  *federation.Federation // nil: it is down.
	stop func()
}

const databaseID = replication.DatabaseID("_division/main")

// Prepare makes the file of a division database with the tables of all services, which
// every division of a world begins as. It is called outside of the bubble.
func Prepare(ctx context.Context, dir string, defs []service.Definition) (file string, err error) {
	solo, err := replication.OpenSolo(dir, databaseID, founded)
	if err != nil {
		return "", err
	}
	db := service.NewDB(solo.DB, ignore)
	all := append([]service.Definition{federation.New(federation.Options{}).Definition()}, defs...)
	if err := service.Migrate(ctx, db, service.DivisionScope, all); err != nil {
		return "", errors.Join(err, solo.Close())
	}
	file = filepath.Join(dir, "template.db")
	_, err = solo.Backup(ctx, file)
	return file, errors.Join(err, solo.Close())
}

func ignore(*service.Tx, service.Event) error { return nil }

// New starts a world: every division enrolled, nothing told yet.
func New(ctx context.Context, o Options) (*World, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &World{o: o, Tree: o.Tree, rng: rand.New(rand.NewPCG(o.Seed, 1)), Divisions: map[division.Ref]*Division{}}
	w.Wire = newWire(w, o.Chance)
	for _, p := range o.Tree {
		d := &Division{Ref: p.Ref, Parent: p.Parent, w: w, life: make(chan struct{}, 1)}
		w.Divisions[p.Ref] = d
		if err := d.open(o.Template); err != nil {
			return nil, errors.Join(err, w.Close())
		}
		if err := d.found(ctx, o.Tree); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	for _, p := range o.Tree {
		w.Divisions[p.Ref].Start()
	}
	return w, nil
}

// Close ends all divisions and waits for the messages on their way.
func (w *World) Close() error {
	var errs []error
	for _, d := range w.Divisions {
		d.Stop()
	}
	w.Wire.close()
	for _, d := range w.Divisions {
		if d.solo != nil {
			errs = append(errs, d.solo.Close(), d.closeDesk())
		}
	}
	return errors.Join(errs...)
}

// Rand draws from the world's chance.
func (w *World) Rand(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *World) name(prefix string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files++
	return filepath.Join(w.o.Dir, fmt.Sprintf("%s%d", prefix, w.files))
}

// open opens the division's database from a copy of file, in a folder of its own.
func (d *Division) open(file string) error {
	d.dir = d.w.name("d")
	path := filepath.Join(d.dir, "db", filepath.FromSlash(string(databaseID)), "state.db")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := copyFile(path, file); err != nil {
		return err
	}
	solo, err := replication.OpenSolo(d.dir, databaseID, nil)
	if err != nil {
		return err
	}
	d.solo, d.DB = solo, service.NewDB(solo.DB, ignore)
	return d.openDesk(file)
}

// found enters who is the parent and who the children are.
func (d *Division) found(ctx context.Context, tree []Place) error {
	return d.DB.Update(ctx, func(tx *service.Tx) error {
		if err := service.Renew(tx, filepath.Base(d.w.name("epoch"))); err != nil {
			return err
		}
		if !d.Parent.IsZero() {
			if err := federation.SetParent(tx, federation.Parent{Ref: d.Parent}); err != nil {
				return err
			}
		}
		for _, p := range tree {
			if p.Parent == d.Ref {
				if err := federation.EnterChild(tx, federation.Child{Ref: p.Ref, CA: []byte{1}}); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// Start runs the division's federation, as a new leader would.
func (d *Division) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	fed := d.federation(d.Ref)
	var wg sync.WaitGroup
	env := service.Env{DB: d.DB, Now: time.Now, Log: d.w.o.Log}
	for _, one := range fed.Definition().Workers {
		if one.Scope == service.DivisionScope {
			wg.Go(func() { work(ctx, one, env) })
		} else if d.desk != nil {
			wg.Go(func() { work(ctx, one, service.Env{DB: d.Desk, Tenant: d.tenants()[0], Now: time.Now, Log: d.w.o.Log}) })
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fed = fed
	d.stop = func() { cancel(); wg.Wait() }
}

// work runs a worker as tenancy does.
func work(ctx context.Context, w service.Worker, env service.Env) {
	for ctx.Err() == nil {
		if err := w.Do(ctx, env); err != nil && ctx.Err() == nil {
			env.Log.Error("run a worker", "worker", w.Name, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.Every):
		}
	}
}

func (d *Division) federation(self division.Ref) *federation.Federation {
	services := d.w.o.Definitions
	return federation.New(federation.Options{
		Self: self, Site: service.Site{Code: string(self.Code), Level: self.Level.String(), Name: self.String()},
		Division:    func() *service.DB { return d.DB },
		Tenants:     d.tenants,
		Database:    d.database,
		Definitions: func() []service.Definition { return services },
		Wire:        end{d.w.Wire, self}, Letters: letters{self},
		Web:  func() string { return "https://" + string(self.Code) + ".example" },
		Room: func() bool { return !d.Full.Load() },
		Lead: d.serve, Log: d.w.o.Log, Beat: d.w.o.Beat, Mutant: d.w.o.Mutant,
	})
}

func (d *Division) serve(ctx context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
	d.mu.Lock()
	fed := d.fed
	d.mu.Unlock()
	if fed == nil {
		return nil, federation.ErrUnreachable
	}
	return fed.Serve(ctx, id, kind, from, body)
}

// receive takes a message off the wire.
func (d *Division) receive(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error) {
	d.mu.Lock()
	fed := d.fed
	d.mu.Unlock()
	if fed == nil {
		return nil, federation.ErrUnreachable
	}
	return fed.Receive(ctx, from, kind, body)
}

// Stop ends the division's federation; its database stays.
func (d *Division) Stop() {
	d.mu.Lock()
	stop := d.stop
	d.fed, d.stop = nil, nil
	d.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Restart is a change of the leader: what was in memory is gone.
func (d *Division) Restart() {
	d.life <- struct{}{}
	defer func() { <-d.life }()
	d.Stop()
	d.Start()
}

// Upgrade restarts every division with other services, as a newer program would.
func (w *World) Upgrade(defs []service.Definition) {
	w.o.Definitions = defs
	for _, p := range w.Tree {
		w.Divisions[p.Ref].Restart()
	}
}

// Backup copies the division's database as it is now.
func (d *Division) Backup(ctx context.Context) (file string, err error) {
	file = d.w.name("backup")
	if _, err = d.DB.Backup(ctx, file); err == nil && d.desk != nil {
		_, err = d.Desk.Backup(ctx, file+".desk")
	}
	return file, err
}

// Restore puts a backup in the place of the database, as `tongban restore` does: it gets a
// new epoch.
func (d *Division) Restore(ctx context.Context, file string) error {
	d.life <- struct{}{}
	defer func() { <-d.life }()
	d.Stop()
	if err := errors.Join(d.solo.Close(), d.closeDesk()); err != nil {
		return err
	}
	if err := d.open(file); err != nil {
		return err
	}
	epoch := filepath.Base(d.w.name("epoch"))
	if err := d.DB.Update(ctx, func(tx *service.Tx) error { return service.Renew(tx, epoch) }); err != nil {
		return err
	}
	if err := d.rehang(ctx); err != nil {
		return err
	}
	d.Start()
	return nil
}

// Clone starts a second division with the identity and the present data of d, as a copied
// machine would. It is reached by nobody; it sends. The caller closes it.
func (d *Division) Clone(ctx context.Context) (*Division, error) {
	file, err := d.Backup(ctx)
	if err != nil {
		return nil, err
	}
	twin := &Division{Ref: d.Ref, Parent: d.Parent, w: d.w, life: make(chan struct{}, 1)}
	if err := twin.open(file); err != nil {
		return nil, err
	}
	twin.Start()
	return twin, nil
}

// Depose leaves a clone what a former leader is that does not know it yet: it reads what it
// had, sends, and can commit nothing.
func (d *Division) Depose() { d.solo.Depose() }

// Close ends a clone.
func (d *Division) Close() error {
	d.Stop()
	return errors.Join(d.solo.Close(), d.closeDesk())
}

func copyFile(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// letters signs with a secret that all divisions of a world share: what is simulated is
// the wire, not an attack on signatures.
type letters struct{ self division.Ref }

func sign(e federation.Entry) []byte {
	e.Signature = nil
	sum := sha256.Sum256(fmt.Appendf(nil, "simulated %+v", e))
	return sum[:]
}

func (l letters) Sign(e federation.Entry) (federation.Entry, error) {
	e.Recipients, e.Algorithm = []string{"simulated " + l.self.String()}, "simulated"
	e.Signature = sign(e)
	return e, nil
}

func (l letters) Check(e federation.Entry) error {
	if string(e.Signature) != string(sign(e)) {
		return errors.New("simulate: a bad signature")
	}
	return nil
}

func signRevocation(r federation.Revocation) []byte {
	r.Signature = nil
	sum := sha256.Sum256(fmt.Appendf(nil, "simulated %+v", r))
	return sum[:]
}

func (l letters) SignRevocation(r federation.Revocation) (federation.Revocation, error) {
	r.At, r.AsOf = r.At.UTC().Round(0), r.AsOf.UTC().Round(0) // As they come over the wire.
	r.Algorithm = "simulated"
	r.Signature = signRevocation(r)
	return r, nil
}

func (l letters) CheckRevocation(r federation.Revocation) error {
	if string(r.Signature) != string(signRevocation(r)) {
		return errors.New("simulate: a bad signature of a revocation")
	}
	return nil
}

func (l letters) Seal(to federation.Entry, plain []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%s\n%s\n%s", to.Ref, l.self, plain), nil
}

func (l letters) Open(sealed []byte) (division.Ref, []byte, error) {
	parts := bytes.SplitN(sealed, []byte{'\n'}, 3)
	if len(parts) != 3 || string(parts[0]) != l.self.String() {
		return division.Ref{}, nil, errors.New("simulate: sealed for another")
	}
	from, err := division.ParseRef(string(parts[1]))
	return from, parts[2], err
}
