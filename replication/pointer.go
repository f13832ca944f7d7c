package replication

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
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

// readPointer returns nil if there is none.
func readPointer(dir string) (*pointer, error) {
	path := filepath.Join(dir, pointerName)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read the snapshot pointer: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	p := &pointer{}
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("read the snapshot pointer %s: %w; rebuild this replica from the others", path, err)
	}
	if p.Format != pointerFormat {
		return nil, fmt.Errorf("read the snapshot pointer %s: format %d is not known to this version, which knows %d", path, p.Format, pointerFormat)
	}
	if p.Index == 0 || p.Term == 0 || p.ID == "" || p.Applied > p.Index {
		return nil, fmt.Errorf("read the snapshot pointer %s: index, term, applied index or id is missing or wrong; rebuild this replica from the others", path)
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
	if err := writeDurably(path+partSuffix, append(b, '\n')); err != nil {
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
	return errors.Join(err, f.Sync(), f.Close())
}
