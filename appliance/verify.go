package appliance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tongban/node/config"
	"tongban/node/exit"
	"tongban/replication"
	"tongban/tenancy"
)

// Verdict is what a verification found of one database.
type Verdict string

// Verdicts.
const (
	Agree       Verdict = "agree"        // Nothing contradicts anything.
	NotCompared Verdict = "not compared" // A replica is behind or missing: nothing is known to be wrong.
	Contradicts Verdict = "contradicts"  // A replica contradicts itself or another one.
)

// Replica is one copy of a database in one folder.
type Replica struct {
	Folder   string            `json:"folder"`
	Index    replication.Index `json:"index"`
	Checksum string            `json:"checksum"`
	Rows     int64             `json:"rows"`
	Audit    int64             `json:"audit_rows"`
	Cases    int               `json:"cases"`
	Faults   []string          `json:"faults"`

	inside inside
	path   string
}

// Verified is the result for one database.
type Verified struct {
	Database replication.DatabaseID `json:"database"`
	Verdict  Verdict                `json:"verdict"`
	Replicas []Replica              `json:"replicas"`
	Notes    []string               `json:"notes"` // Why it is not "agree".
}

// Verification is the result for all folders.
type Verification struct {
	Folders   []string   `json:"folders"`
	Databases []Verified `json:"databases"`
	Verdict   Verdict    `json:"verdict"` // The worst.
}

// ExitCode is 0 when all agree, 3 when something could not be compared, 1 when something
// contradicts.
func (v Verification) ExitCode() int {
	switch v.Verdict {
	case Agree:
		return exit.OK
	case NotCompared:
		return exit.Degraded
	}
	return exit.Failed
}

// Verify reads stopped folders (of a node, or its data folder) and says whether each
// replica is whole in itself, and whether replicas that have applied the same entries hold
// the same rows. A folder whose node runs is refused. tell is called before each database;
// nil: nobody is told. Cost: about four scans of every file.
func Verify(ctx context.Context, dirs []string, tell func(replication.DatabaseID)) (v Verification, err error) {
	if len(dirs) == 0 {
		return v, exit.Usagef("name at least one data folder")
	}
	folders := map[string]string{} // By what was typed.
	for _, dir := range dirs {
		data, err := dataFolderOf(dir)
		if err != nil {
			return v, err
		}
		if _, twice := folders[dir]; twice {
			return v, exit.Usagef("%s is named twice", dir)
		}
		unlock, err := lockStopped(data)
		if err != nil {
			return v, err
		}
		defer unlock()
		if err := syscall.Access(filepath.Join(data, "db"), accessWrite); err != nil {
			return v, exit.Errorf(exit.Denied, "%s cannot be written (%w): SQLite needs to make a file beside each that it reads; run this as the folder's owner, or copy the folder from a read-only disk", data, err)
		}
		folders[dir] = data
		v.Folders = append(v.Folders, dir)
	}
	ids, err := databasesIn(slices.Collect(maps.Values(folders)))
	if err != nil {
		return v, err
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return v, exit.Errorf(exit.Failed, "interrupted: %w", err)
		}
		if tell != nil {
			tell(id)
		}
		v.Databases = append(v.Databases, verifyOne(id, v.Folders, folders))
	}
	checkCursors(v.Databases)
	v.Verdict = Agree
	for _, d := range v.Databases {
		if v.Verdict == Agree || d.Verdict == Contradicts {
			v.Verdict = d.Verdict
		}
	}
	return v, nil
}

// accessWrite is W_OK of access(2).
const accessWrite = 2

// dataFolderOf finds the data folder that is meant.
func dataFolderOf(dir string) (string, error) {
	file := filepath.Join(dir, config.FileName)
	if _, err := os.Stat(file); err == nil {
		cfg, _, err := config.Read(file, nil)
		if err != nil {
			return "", err
		}
		return cfg.Data, nil
	}
	for _, data := range []string{dir, filepath.Join(dir, dataFolder)} {
		if info, err := os.Stat(filepath.Join(data, "db")); err == nil && info.IsDir() {
			return data, nil
		}
	}
	return "", exit.Errorf(exit.NotFound, "%s is no node's folder: it has neither %s nor db/", dir, config.FileName)
}

// lockStopped takes the lock that a running node holds, so that none starts meanwhile.
func lockStopped(data string) (unlock func(), err error) {
	f, err := os.Open(filepath.Join(data, "LOCK"))
	if errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil // Never started here: copied, say.
	}
	if err != nil {
		return nil, exit.Errorf(exit.Denied, "lock the data folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, exit.Errorf(exit.Failed, "the node of %s is running; stop it first (systemctl stop tongban), or ask it: tongban status", data)
	}
	return func() { _ = f.Close() }, nil
}

// databasesIn lists the databases that any of the folders has; the division's first.
func databasesIn(folders []string) ([]replication.DatabaseID, error) {
	found := map[replication.DatabaseID]bool{}
	for _, data := range folders {
		files, err := filepath.Glob(filepath.Join(data, "db", "*", "*", "state.db"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			rel, err := filepath.Rel(filepath.Join(data, "db"), filepath.Dir(file))
			if err != nil {
				return nil, err
			}
			found[replication.DatabaseID(filepath.ToSlash(rel))] = true
		}
	}
	if len(found) == 0 {
		return nil, exit.Errorf(exit.NotFound, "there is no database in these folders; was the node ever started?")
	}
	return slices.SortedFunc(maps.Keys(found), func(a, b replication.DatabaseID) int {
		if (a == tenancy.DivisionDatabase) != (b == tenancy.DivisionDatabase) {
			if a == tenancy.DivisionDatabase {
				return -1
			}
			return 1
		}
		return cmp.Compare(a, b)
	}), nil
}

func verifyOne(id replication.DatabaseID, dirs []string, folders map[string]string) Verified {
	v := Verified{Database: id, Verdict: Agree, Replicas: []Replica{}, Notes: []string{}}
	for _, dir := range dirs {
		path := filepath.Join(folders[dir], "db", filepath.FromSlash(string(id)), "state.db")
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			v.note(NotCompared, "%s has no replica of it", dir)
			continue
		}
		r := Replica{Folder: dir, Faults: []string{}, path: path}
		in, err := inspect(id, path)
		if err != nil {
			r.Faults = append(r.Faults, err.Error())
		}
		r.Faults = append(r.Faults, in.Faults...)
		r.inside, r.Index, r.Checksum, r.Audit, r.Cases = in, in.Index, in.Checksum, in.Audit.Rows, in.Cases
		for _, n := range in.Rows {
			r.Rows += n
		}
		for _, f := range r.Faults {
			v.note(Contradicts, "%s: %s", dir, f)
		}
		v.Replicas = append(v.Replicas, r)
	}
	v.compare()
	return v
}

func (v *Verified) note(verdict Verdict, format string, args ...any) {
	v.Notes = append(v.Notes, fmt.Sprintf(format, args...))
	if v.Verdict == Agree || verdict == Contradicts {
		v.Verdict = verdict
	}
}

// compare holds the replicas against each other. A replica that has not applied the newest
// entry and holds other rows may be right: the entries that it lacks would tell. When it
// holds the same rows, they changed nothing (a leader's first entry, a change of members).
func (v *Verified) compare() {
	newest, sum := replication.Index(0), ""
	for _, r := range v.Replicas {
		if r.Checksum != "" && r.Index >= newest {
			newest, sum = r.Index, r.Checksum
		}
	}
	at := map[replication.Index][]Replica{}
	for _, r := range v.Replicas {
		if r.Checksum == "" {
			continue // It cannot be read, which is said.
		}
		at[r.Index] = append(at[r.Index], r)
		if r.Index < newest && r.Checksum != sum {
			v.note(NotCompared, "%s is behind by %d entries (index %d of %d) and is not compared with the newest; start the nodes, let it catch up, stop them and verify again",
				r.Folder, newest-r.Index, r.Index, newest)
		}
	}
	for index, same := range at {
		v.compareEqual(index, same)
	}
}

// compareEqual compares replicas at one index: of three, the odd one is named.
func (v *Verified) compareEqual(index replication.Index, list []Replica) {
	by := map[string][]Replica{}
	for _, r := range list {
		by[r.Checksum] = append(by[r.Checksum], r)
	}
	if len(by) < 2 {
		return
	}
	groups := slices.SortedFunc(maps.Values(by), func(a, b []Replica) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a[0].Folder, b[0].Folder))
	})
	for _, odd := range groups[1:] {
		for _, r := range odd {
			v.note(Contradicts, "%s and %s hold other rows at the same index %d: %s; rebuild the one that is wrong from the others",
				r.Folder, groups[0][0].Folder, index, differing(r.path, groups[0][0].path))
		}
	}
}

// checkCursors holds the division's cursors against the feeds. A cursor may be ahead of a
// replica that is behind, but not of every replica.
func checkCursors(list []Verified) {
	if len(list) == 0 || list[0].Database != tenancy.DivisionDatabase {
		return
	}
	cursors, nodes := map[string]int64{}, 0
	for _, r := range list[0].Replicas {
		nodes = max(nodes, r.inside.Nodes)
		for source, at := range r.inside.Cursors {
			cursors[source] = max(cursors[source], at)
		}
	}
	for i := range list[1:] {
		v := &list[1:][i]
		feed, source := int64(-1), ""
		for _, r := range v.Replicas {
			if r.inside.Epoch != "" {
				feed, source = max(feed, r.inside.Feed), r.inside.source(v.Database)
			}
		}
		at := cursors[source]
		switch {
		case source == "" || at <= feed:
		case v.Verdict == NotCompared || len(v.Replicas) < nodes:
			v.note(NotCompared, "the division has folded its feed up to %d, and the replicas here only have %d; verify the folders of all nodes together", at, feed)
		default:
			v.note(Contradicts, "the division has folded its feed up to %d, and no replica has more than %d", at, feed)
		}
	}
}

// Text is the result as a table for people.
func (v Verification) Text() string {
	var b strings.Builder
	for _, d := range v.Databases {
		fmt.Fprintf(&b, "%-12s %s\n", d.Verdict, d.Database)
		for _, r := range d.Replicas {
			fmt.Fprintf(&b, "             %-24s index %-8d rows %-8d audit %-7d cases %-6d %.12s\n", r.Folder, r.Index, r.Rows, r.Audit, r.Cases, cmp.Or(r.Checksum, "unreadable"))
		}
		for _, n := range d.Notes {
			fmt.Fprintf(&b, "             - %s\n", n)
		}
	}
	fmt.Fprintf(&b, "\n%d databases in %d folders: %s\n", len(v.Databases), len(v.Folders), v.Verdict)
	return b.String()
}
