package replication

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
)

// The log store of a node holds the logs of all its groups, and its files are Pebble's. A
// value that is damaged is one group's trouble (see rebuild). Damage to a file of Pebble's
// makes unreadable what nobody can list; the store is made anew then, at the next start:
// what can be read of it is copied, and the groups whose logs were lost get a mark that
// makes them rebuild. Beside the store lie
//
//	log.new        a store in the making
//	log.damaged    the store that was replaced, for whoever wants to look; one is kept
//	log-damaged    a file that says that the store must be made anew
//	log/SEAL       sizes and checksums of the files that Pebble reads to their end, as of a
//	               stop in good order: it takes damage to the last record for a write that
//	               was cut short

// errStore marks damage to a file of the log store.
var errStore = errors.New("the raft log store is damaged")

// errEnd marks damage to a file of records, whose end Pebble may take for one that was never
// written: of no group is it known then that its entries and its vote are the last ones.
var errEnd = errors.New("the newest records may be missing")

const (
	freshStore   = "log.new"
	damagedStore = "log.damaged"
	storeMark    = "log-damaged"
	sealName     = "SEAL"
)

// damaged is err, marked with errStore if it tells of damage to a file; then the engine ends
// and the next start makes the store anew.
func (l *logs) damaged(err error) error {
	if !pebble.IsCorruptionError(err) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.EIO) {
		return err
	}
	err = fmt.Errorf("%w: %w", errStore, err)
	mark := filepath.Join(filepath.Dir(l.dir), storeMark)
	if _, serr := os.Stat(mark); serr != nil {
		if werr := writeDurably(mark, []byte(err.Error()+"\n")); werr != nil {
			l.log.Error("write down that the raft log store is damaged", "err", werr)
		}
	}
	return l.fail(err)
}

// sealed is one line of SEAL.
type sealed struct {
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
}

// sealFiles are the names of a store's files that carry no checksum to their very end.
func sealFiles(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	var names []string
	for _, e := range list {
		n := e.Name()
		if hasRecords(n) || strings.HasPrefix(n, "OPTIONS") || strings.HasPrefix(n, "marker.") {
			names = append(names, n)
		}
	}
	return names, err
}

// hasRecords says whether Pebble reads a file record by record until one is not whole.
func hasRecords(name string) bool {
	return strings.HasSuffix(name, ".log") || strings.HasPrefix(name, "MANIFEST")
}

func seals(dir string) (map[string]sealed, error) {
	names, err := sealFiles(dir)
	out := map[string]sealed{}
	for _, n := range names {
		b, rerr := os.ReadFile(filepath.Join(dir, n))
		out[n] = sealed{int64(len(b)), crc32.Checksum(b, castagnoli)}
		err = errors.Join(err, rerr)
	}
	return out, err
}

// sealStore writes SEAL into a closed store.
func sealStore(dir string) error {
	s, err := seals(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil // Somebody has removed the store; there is nothing to seal.
	} else if err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, sealName)
	sum := fmt.Sprintf("%08x\n", crc32.Checksum(b, castagnoli))
	return errors.Join(writeDurably(path+partSuffix, append([]byte(sum), b...)), os.Rename(path+partSuffix, path), syncDir(dir))
}

// breakSeal checks SEAL, if there is one, and removes it: from now on it says nothing.
// The error wraps errEnd if a file differs of which Pebble would take a damaged end for one
// that was never written.
func breakSeal(dir string) error {
	path := filepath.Join(dir, sealName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var want map[string]sealed
	head, text, _ := strings.Cut(string(b), "\n")
	whole := head == fmt.Sprintf("%08x", crc32.Checksum([]byte(text), castagnoli)) && json.Unmarshal([]byte(text), &want) == nil
	if whole { // A damaged seal accuses nobody.
		have, err := seals(dir)
		if err != nil {
			return err
		}
		var damage error
		for n, s := range want {
			if now, ok := have[n]; ok && now == s {
				continue
			}
			if damage = errors.Join(damage, fmt.Errorf("%w: %s has changed since the stop", errStore, n)); hasRecords(n) {
				damage = fmt.Errorf("%w: %w", errEnd, damage)
			}
		}
		if damage != nil {
			return damage
		}
	}
	return errors.Join(os.Remove(path), syncDir(dir))
}

// openOrSalvage opens the log store below dataDir, and makes it anew if it is damaged.
func openOrSalvage(dataDir string, log *slog.Logger, open func(dir string, log *slog.Logger) (*logs, error)) (*logs, error) {
	dir := filepath.Join(dataDir, "log")
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) { // A crash came between the last two steps.
		if err := os.Rename(filepath.Join(dataDir, freshStore), dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	_, err := os.Stat(filepath.Join(dataDir, storeMark))
	marked := err == nil
	damage := breakSeal(dir)
	var l *logs
	if !marked && damage == nil {
		if l, damage = openSafely(dir, log, open); damage == nil {
			return l, nil
		}
	}
	if damage != nil && !isDamage(damage) {
		return nil, damage
	}
	log.Error("the raft log store is damaged; it is made anew, and the databases whose log was lost are rebuilt from the other nodes", "err", damage)
	if err := salvage(dataDir, log, open, errors.Is(damage, errEnd)); err != nil {
		return nil, fmt.Errorf("make the raft log store anew: %w", err)
	}
	return open(dir, log)
}

// isDamage says whether an error of opening the store means that its files are damaged: not
// when the machine refused.
func isDamage(err error) bool {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno == syscall.EIO || errno == syscall.ENOENT || errno == syscall.EINVAL
	}
	return true
}

// openSafely turns Pebble's panics over damaged files into errors.
func openSafely(dir string, log *slog.Logger, open func(dir string, log *slog.Logger) (*logs, error)) (l *logs, err error) {
	defer func() {
		if p := recover(); p != nil {
			l, err = nil, fmt.Errorf("%w: %v", errStore, p)
		}
	}()
	return open(dir, log)
}

// salvage replaces the store by one with what can be read of it. cut: what can be read may
// lack its end, and nothing of it counts.
func salvage(dataDir string, log *slog.Logger, open func(dir string, log *slog.Logger) (*logs, error), cut bool) error {
	dir, fresh, old := filepath.Join(dataDir, "log"), filepath.Join(dataDir, freshStore), filepath.Join(dataDir, damagedStore)
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	ids, err := databasesIn(dataDir)
	if err != nil {
		return err
	}
	var from *logs
	if !cut {
		if from, err = openSafely(dir, log, open); err != nil {
			log.Error("nothing of the damaged raft log store can be read", "err", err)
			from = nil
		}
	}
	closeFrom := func() {
		if from != nil && !from.closed {
			_ = from.db.Close() // Damaged as it is.
			from.closed = true
		}
	}
	defer closeFrom()
	to, err := openLogs(fresh, log)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := salvageGroup(filepath.Join(dataDir, "db", filepath.FromSlash(string(id))), id, from, to); err != nil {
			return errors.Join(err, to.close())
		}
	}
	closeFrom()
	if err := to.close(); err != nil {
		return err
	}
	for _, step := range []func() error{
		func() error { return os.RemoveAll(old) },
		func() error { return os.Rename(dir, old) },
		func() error { return os.Rename(fresh, dir) }, // See openOrSalvage for a crash before this.
		func() error { return removeAll(filepath.Join(dataDir, storeMark)) },
		func() error { return syncDir(dataDir) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// salvageGroup copies what is whole of one group's log. If that is not all of it, the mark
// comes first.
func salvageGroup(dbDir string, id DatabaseID, from, to *logs) error {
	c := condition{entries: errStore, vote: errStore}
	base := position{}
	if p, err := readPointer(dbDir); err == nil && p != nil {
		base = position{LastTerm: p.Term, LastIndex: p.Index}
	}
	if from != nil {
		if seen, err := from.group(id).check(base); err == nil {
			c = seen
		}
	}
	if c.damaged() {
		if err := markLost(dbDir, c); err != nil {
			return err
		}
	}
	if from == nil {
		return nil
	}
	err := from.group(id).copyTo(to, c)
	if !errors.Is(err, errStore) {
		return err
	}
	// check has not met it, for it looks values up, and a newer one hides an older block.
	c.vote = errStore
	if err := markLost(dbDir, c); err != nil {
		return err
	}
	return to.group(id).clear()
}

// markLost writes down that a group's log was lost with the store. A mark that is there
// already says more: of a log that is half rebuilt nothing counts.
func markLost(dbDir string, c condition) error {
	m := rebuildMark{Reason: "the raft log store was damaged", Log: true, Last: c.last, Vote: c.vote != nil}
	if before, err := readMark(dbDir); err == nil && before != nil && before.Log {
		m = *before
	}
	return writeMark(dbDir, m)
}

// databasesIn lists the databases that have a folder below dataDir.
func databasesIn(dataDir string) ([]DatabaseID, error) {
	tenants, err := os.ReadDir(filepath.Join(dataDir, "db"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var out []DatabaseID
	for _, t := range tenants {
		names, err := os.ReadDir(filepath.Join(dataDir, "db", t.Name()))
		if err != nil {
			continue // A file; or it can be read no more, and OpenDB says so.
		}
		for _, n := range names {
			if id := DatabaseID(t.Name() + "/" + n.Name()); databaseID.MatchString(string(id)) {
				out = append(out, id)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
