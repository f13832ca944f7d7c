package replication

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

const (
	// seedTerm is the term in which a seeded group begins.
	seedTerm = 1
	// seedGap lies between the newest entry in the file and where the log of the seeded
	// group begins. The old group may have gone on after the backup: clients hold index
	// tokens of entries that are lost, and would wait for them for ever. The gap is more
	// than any group writes between two backups.
	seedGap = 1 << 32
)

// Seed makes a restored replica: it places a copy of the SQLite file fromFile below
// dataDir as the base of a new raft group of database id, with node as its only voter.
// An engine that opens the database then leads it, and can add other nodes.
//
// It refuses when dataDir is in use by an engine or holds that database already. What a
// crash leaves behind is no database, and Seed can be called again.
func Seed(dataDir string, node NodeID, id DatabaseID, fromFile string) error {
	if err := seed(dataDir, node, id, fromFile); err != nil {
		return fmt.Errorf("seed database %s: %w", id, err)
	}
	return nil
}

func seed(dataDir string, node NodeID, id DatabaseID, fromFile string) (err error) {
	if !databaseID.MatchString(string(id)) {
		return fmt.Errorf("%q is no database id: <tenant>/<database>, both of [a-z0-9_-]{1,40}", id)
	}
	if node == "" {
		return errors.New("no node is named")
	}
	lock, err := lockDir(dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	l, err := openOrSalvage(dataDir, slog.Default(), openLogs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()

	final := filepath.Join(dataDir, "db", filepath.FromSlash(string(id)))
	if err := unused(final, l.group(id)); err != nil {
		return err
	}
	tenant := filepath.Dir(final)
	// No database's name begins with a dot.
	making := filepath.Join(tenant, ".seed-"+filepath.Base(final))
	if err := os.RemoveAll(making); err != nil {
		return err
	}
	if err := os.MkdirAll(making, 0o700); err != nil {
		return err
	}
	if err := fillSeed(making, node, fromFile); err != nil {
		return errors.Join(err, os.RemoveAll(making))
	}
	if err := l.group(id).SetUint64([]byte("CurrentTerm"), seedTerm); err != nil {
		return err
	}
	if err := os.Rename(making, final); err != nil { // The decision.
		return err
	}
	return errors.Join(syncDir(tenant), syncDir(filepath.Dir(tenant)))
}

// unused refuses a place where there is a database, or was one of whose log something
// is left.
func unused(dir string, log *groupLog) error {
	if _, err := os.Lstat(dir); err == nil {
		return errors.New("there is a database of this name already")
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	last, err := log.LastIndex()
	if err != nil {
		return err
	}
	term, err := log.GetUint64([]byte("CurrentTerm"))
	if err != nil {
		return err
	}
	if last > 0 || term > seedTerm {
		return fmt.Errorf("the raft log holds entries of a database of this name (up to %d, term %d); seed into an empty data folder", last, term)
	}
	return nil
}

// fillSeed makes the folder of the new database.
func fillSeed(dir string, node NodeID, fromFile string) error {
	path := filepath.Join(dir, "state.db")
	if err := copySQLite(path, fromFile); err != nil {
		return err
	}
	index, err := resetState(path, seedGap, seedTerm)
	if err != nil {
		return fmt.Errorf("reset the applied index: %w", err)
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range names { // With a -wal, should one be left.
		if err := syncFile(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return writePointer(dir, &pointer{
		Format: pointerFormat, ID: fmt.Sprintf("%d-%d", seedTerm, index), Index: index, Term: seedTerm,
		Configuration: raft.Configuration{Servers: []raft.Server{
			{Suffrage: raft.Voter, ID: raft.ServerID(node), Address: raft.ServerAddress(node)},
		}},
		ConfigurationIndex: index,
	})
}

const sqliteMagic = "SQLite format 3\x00"

// copySQLite copies a closed SQLite file.
func copySQLite(to, from string) error {
	if info, err := os.Stat(from + "-wal"); err == nil && info.Size() > 0 {
		return fmt.Errorf("%s is in use or was not closed: its -wal holds changes; make a backup of it and seed from that", from)
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	head := make([]byte, len(sqliteMagic))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != sqliteMagic {
		return fmt.Errorf("%s is no SQLite file", from)
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.MultiReader(bytes.NewReader(head), in))
	return errors.Join(err, out.Close())
}
