package appliance

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/node"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/replication"
	"tongban/service"
	"tongban/service/audit"
	"tongban/service/identity"
	"tongban/tenancy"
)

const (
	// partialFolder is where a restore builds, below the folder that is restored into.
	partialFolder = ".restore.partial"
	// dataFolder is config's default for the key data.
	dataFolder = "data"
	// restoreBeat is the heartbeat of a group of one while it is restored.
	restoreBeat = 50 * time.Millisecond
	// restoreAtOnce bounds the databases that are renewed at the same time.
	restoreAtOnce = 8
	// leadWait bounds the wait for a group of one to elect itself, on a slow disk.
	leadWait = time.Minute
	// leadPause is how often that is looked for.
	leadPause = 5 * time.Millisecond
)

// RestoreOptions say what is restored where.
type RestoreOptions struct {
	File       string
	Passphrase string
	Dir        string             // Absent, or empty.
	Node       replication.NodeID // Empty: the next name that the division never had.
	Expect     string             // Code of the division that it must be; empty: any.
	node.Addresses
	// Confirm is shown what the backup holds, before anything is written; on false nothing
	// is. Nil: yes.
	Confirm  func(Contents) bool
	Progress func(done, total int64)
	Now      func() time.Time // time.Now.
	Log      *slog.Logger     // Discards: the steps are reported by their errors.
}

// RestoreResult is what a restore made.
type RestoreResult struct {
	Config   config.Config      `json:"-"`
	File     string             `json:"config"`
	Node     replication.NodeID `json:"node"`
	Contents Contents           `json:"backup"`
	Epochs   map[string]string  `json:"epochs"` // New, by database.
}

// ErrDeclined is returned when Confirm said no.
var ErrDeclined = errors.New("nothing was restored")

// Restore makes a folder the first node of the division that a backup holds. Everything is
// built in a folder below Dir that takes its place when it is whole; after an error Dir is
// as it was. Further boxes join the node as boxes do.
func Restore(ctx context.Context, o RestoreOptions) (out RestoreResult, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return out, exit.Usagef("find the folder %s: %w", o.Dir, err)
	}
	if err := emptyFolder(o.Dir); err != nil {
		return out, err
	}
	in, err := openBackup(o.File, o.Passphrase)
	if err != nil {
		return out, err
	}
	defer in.Close()
	m, foundation, err := in.head()
	if err != nil {
		return out, err
	}
	info, err := in.file.Stat()
	if err != nil {
		return out, err
	}
	out.Contents = Contents{File: o.File, Bytes: info.Size(), Age: Age(m.At, o.Now()), Rows: m.Rows(), Manifest: m, Faults: []string{}}
	if o.Expect != "" && o.Expect != m.Division.Code {
		return out, exit.Errorf(exit.Failed, "the backup is of %s %s (%s), not of %s; nothing was restored",
			m.Division.Level, m.Division.Code, m.Division.Full, o.Expect)
	}
	if o.Confirm != nil && !o.Confirm(out.Contents) {
		return out, ErrDeclined
	}
	err = inFolder(o.Dir, func(partial string) error {
		return out.build(ctx, in, m, foundation, partial, o)
	})
	out.Config.File = filepath.Join(o.Dir, config.FileName)
	out.File = out.Config.File
	return out, err
}

// emptyFolder refuses a folder with anything in it but what a restore left that was killed.
func emptyFolder(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return exit.Usagef("use the folder %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.Name() != partialFolder {
			return exit.Usagef("the folder %s is not empty (it has %s); a restore never writes over anything: choose another with --dir, or move that one away", dir, e.Name())
		}
	}
	return nil
}

// inFolder calls build with a new folder below dir, and moves what it made into dir. The
// configuration comes last, because only a folder that has one is a node.
func inFolder(dir string, build func(partial string) error) (err error) {
	created := false
	if err := os.Mkdir(dir, 0o700); err == nil {
		created = true
	} else if !errors.Is(err, fs.ErrExist) {
		return exit.Usagef("make the folder %s: %w", dir, err)
	}
	partial := filepath.Join(dir, partialFolder)
	defer func() {
		if err == nil {
			return
		}
		_ = os.RemoveAll(partial)
		if created {
			_ = os.Remove(dir)
		}
	}()
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("clear what an earlier restore left: %w", err)
	}
	if err := os.Mkdir(partial, 0o700); err != nil {
		return exit.Usagef("write into the folder %s: %w", dir, err)
	}
	if err := build(partial); err != nil {
		return err
	}
	if err := giveTo(partial, dir); err != nil {
		return err
	}
	for _, name := range []string{dataFolder, config.FileName} {
		if err := os.Rename(filepath.Join(partial, name), filepath.Join(dir, name)); err != nil {
			_ = os.RemoveAll(filepath.Join(dir, dataFolder))
			return fmt.Errorf("put the restored folder in place: %w", err)
		}
	}
	if err := os.Remove(partial); err != nil {
		return err
	}
	return syncFolder(dir)
}

// giveTo makes the owner of dir the owner of all below partial, when root restores for the
// user of the service.
func giveTo(partial, dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 || owner.Uid == 0 {
		return nil
	}
	return filepath.WalkDir(partial, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	})
}

// build makes a node's folder in partial.
func (out *RestoreResult) build(ctx context.Context, in *opener, m Manifest, f node.Foundation, partial string, o RestoreOptions) error {
	stage := filepath.Join(partial, "stage")
	if err := os.Mkdir(stage, 0o700); err != nil {
		return err
	}
	if err := needRoom(partial, 2*uint64(m.Size())+spareDisk); err != nil { // The stage, and the databases.
		return err
	}
	if err := in.unpack(stage, m, newProgress(ctx, o.Progress, m.Size())); err != nil {
		return err
	}
	faults, err := checkUnpacked(ctx, stage, m)
	if err != nil {
		return err
	}
	if len(faults) > 0 {
		return exit.Errorf(exit.Failed, "the backup contradicts itself: %s; take another one", strings.Join(faults, "; "))
	}
	if err := readable(stage, m); err != nil {
		return err
	}
	if out.Node, err = chooseName(filepath.Join(stage, fileName(tenancy.DivisionDatabase)), o.Node); err != nil {
		return err
	}
	restored, err := node.Restore(node.RestoreOptions{Dir: partial, Foundation: f, Node: out.Node, Addresses: o.Addresses, Now: o.Now})
	if err != nil {
		return err
	}
	out.Config = restored.Config
	data := restored.Config.Data
	out.Config.Data = filepath.Join(o.Dir, dataFolder)
	for _, d := range m.Databases {
		name := filepath.Join(stage, fileName(d.ID))
		if err := replication.Seed(data, out.Node, d.ID, name); err != nil {
			return fmt.Errorf("put %s in place: %w", d.ID, err)
		}
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	return out.renew(ctx, data, restored, o)
}

// readable refuses data of a newer program.
func readable(stage string, m Manifest) error {
	known, err := service.Versions(node.Schemas())
	if err != nil {
		return err
	}
	for _, d := range m.Databases {
		scope := service.TenantScope
		if d.ID == tenancy.DivisionDatabase {
			scope = service.DivisionScope
		}
		if tenancy.IsApplication(d.ID) || d.Rows["service_migration"] == 0 {
			continue
		}
		if err := readableOne(filepath.Join(stage, fileName(d.ID)), scope, known, m.Version); err != nil {
			return err
		}
	}
	return nil
}

func readableOne(path string, scope service.Scope, known map[string]int, version string) error {
	f, err := replication.OpenFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rows, err := f.Query(`SELECT service, max(version) FROM service_migration GROUP BY service`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var have int
		if err := rows.Scan(&name, &have); err != nil {
			return err
		}
		if newest := known[service.VersionKey(name, scope)]; have > newest {
			return exit.Errorf(exit.Failed, "the backup was made by tongban %s, whose data this program does not know (%s: schema %d, here up to %d); install tongban %s or newer",
				version, name, have, newest, version)
		}
	}
	return rows.Err()
}

// chooseName takes a name that no box of the division ever had: the certificates of those
// boxes are still valid, and such a box may come back.
func chooseName(division string, asked replication.NodeID) (replication.NodeID, error) {
	f, err := replication.OpenFile(division)
	if err != nil {
		return "", err
	}
	defer f.Close()
	names, err := tenancy.ReadNames(f)
	if err != nil {
		return "", err
	}
	highest := 0
	for _, n := range names {
		if number, err := strconv.Atoi(strings.TrimPrefix(string(n), "n")); err == nil {
			highest = max(highest, number)
		}
	}
	free := replication.NodeID("n" + strconv.Itoa(highest+1))
	if asked == "" {
		return free, nil
	}
	for _, n := range names {
		if n == asked {
			return "", exit.Usagef("the division has had a node %s, and the certificate of that box may still be valid; leave --node out (%s is free)", asked, free)
		}
	}
	return asked, nil
}

// renew makes the seeded databases those of a division that begins anew: each gets a new
// epoch and an entry in its audit; the division gets this node as its only one and loses
// its sessions and tokens. These are ordinary updates of a group of one, and so they are
// in the log like any other.
func (out *RestoreResult) renew(ctx context.Context, data string, restored *node.Restored, o RestoreOptions) (err error) {
	engine, err := replication.Open(replication.Options{Dir: data, Node: out.Node, Log: o.Log, Now: o.Now, HeartbeatTimeout: restoreBeat})
	if err != nil {
		return fmt.Errorf("open the restored databases: %w", err)
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	out.Epochs = map[string]string{}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(restoreAtOnce)
	for _, d := range out.Contents.Manifest.Databases {
		if tenancy.IsApplication(d.ID) {
			continue // The program has no row in it.
		}
		epoch := rand.Text() // 130 bits.
		out.Epochs[string(d.ID)] = epoch
		group.Go(func() error {
			if err := out.renewOne(ctx, engine, d, epoch, restored); err != nil {
				return fmt.Errorf("renew %s: %w", d.ID, err)
			}
			return nil
		})
	}
	return group.Wait()
}

func (out *RestoreResult) renewOne(ctx context.Context, engine *replication.Engine, d Database, epoch string, restored *node.Restored) error {
	rep, err := engine.OpenDB(d.ID, replication.DBOptions{})
	if err != nil {
		return err
	}
	if err := awaitLead(ctx, rep); err != nil {
		return err
	}
	return service.NewDB(rep, audit.Append).Update(ctx, func(tx *service.Tx) error {
		if _, ok := d.Rows["service_meta"]; !ok {
			return nil // Founded just before the backup: it has no schema, and so no epoch.
		}
		if err := service.Renew(tx, epoch); err != nil {
			return err
		}
		if d.ID == tenancy.DivisionDatabase {
			if err := restored.Enter(tx); err != nil {
				return err
			}
			if err := identity.EndAllSessions(tx); err != nil {
				return err
			}
		}
		if _, ok := d.Rows["audit_event"]; !ok {
			return nil
		}
		return tx.Record(service.Event{What: "appliance.restored", Subject: string(d.ID),
			Who: service.Principal{Kind: service.Operator, Account: "operator", Name: "operator"},
			Detail: map[string]string{"epoch": epoch, "index": strconv.FormatUint(uint64(d.Index), 10),
				"backup": out.Contents.Manifest.At.Format(time.RFC3339), "node": string(out.Node)}})
	})
}

func awaitLead(ctx context.Context, db *replication.DB) error {
	ctx, cancel := context.WithTimeout(ctx, leadWait)
	defer cancel()
	tick := time.NewTicker(leadPause)
	defer tick.Stop()
	for !db.IsLeader() {
		if st := db.Status(); st.Err != "" {
			return errors.New(st.Err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until its only replica leads: %w", ctx.Err())
		}
	}
	return nil
}
