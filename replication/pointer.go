package replication

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

const (
	pointerName   = "snapshot.json"
	pointerFormat = 1
)

// pointer is what snapshot.json holds: from which index the log goes on, with which
// configuration. All commands up to there are in the replica's file, durably.
type pointer struct {
	Format int    `json:"format"` // pointerFormat.
	ID     string `json:"id"`
	Index  uint64 `json:"index"`
	Term   uint64 `json:"term"`
	// Applied is the last command up to Index. The entries between are of the kinds that
	// never reach the file: changes of members, barriers, the first of a term.
	Applied            uint64             `json:"applied"`
	Configuration      raft.Configuration `json:"configuration"`
	ConfigurationIndex uint64             `json:"configuration_index"`
	// Received is the size of the received file that becomes the replica's (see
	// finishInstall); 0: the file is this replica's own.
	Received int64 `json:"received,omitempty"`
}

func (p *pointer) name() { p.ID = fmt.Sprintf("%d-%d", p.Term, p.Index) }

func (p *pointer) meta(size int64) *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: raft.SnapshotVersionMax, ID: p.ID, Index: p.Index, Term: p.Term,
		Configuration: p.Configuration, ConfigurationIndex: p.ConfigurationIndex, Size: size,
	}
}

// errPointer: the pointer does not match its checksum, which follows it in the file.
var errPointer = errors.New("the snapshot pointer is damaged")

// setPointerAside renames a pointer that is damaged, and says whether it was.
func setPointerAside(dir string) (bool, error) {
	_, err := readPointer(dir)
	if !errors.Is(err, errPointer) {
		return false, err
	}
	path := filepath.Join(dir, pointerName)
	// In this order: a crash in between must not make a replica of nothing.
	if err := writeMark(dir, rebuildMark{Reason: err.Error(), Log: true}); err != nil {
		return false, err
	}
	return true, errors.Join(os.Rename(path, path+damagedSuffix), syncDir(dir))
}

// readPointer returns nil if there is none.
func readPointer(dir string) (*pointer, error) {
	path := filepath.Join(dir, pointerName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the snapshot pointer: %w", err)
	}
	n := max(0, len(b)-len("\n00000000\n"))
	if string(b[n:]) != fmt.Sprintf("\n%08x\n", crc32.Checksum(b[:n], castagnoli)) {
		return nil, fmt.Errorf("read the snapshot pointer %s: %w", path, errPointer)
	}
	d := json.NewDecoder(bytes.NewReader(b[:n]))
	d.DisallowUnknownFields()
	p := &pointer{}
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("read the snapshot pointer %s: %w: %w", path, errPointer, err)
	}
	if p.Format != pointerFormat {
		return nil, fmt.Errorf("read the snapshot pointer %s: format %d is not known to this version, which knows %d", path, p.Format, pointerFormat)
	}
	if p.Index == 0 || p.Term == 0 || p.ID == "" || p.Applied > p.Index {
		return nil, fmt.Errorf("read the snapshot pointer %s: %w: index, term, applied index or id is missing or wrong", path, errPointer)
	}
	return p, nil
}

// writePointer replaces the pointer, durably.
func writePointer(dir string, p *pointer) error {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(dir, pointerName)
	if err := writeDurably(path+partSuffix, fmt.Appendf(b, "\n%08x\n", crc32.Checksum(b, castagnoli))); err != nil {
		return err
	}
	if err := os.Rename(path+partSuffix, path); err != nil {
		return err
	}
	return syncDir(dir)
}

func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, synced(f), f.Close())
}
