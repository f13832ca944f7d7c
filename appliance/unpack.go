package appliance

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"

	"tongban/node"
	"tongban/node/exit"
	"tongban/tenancy"
)

// head reads what comes before the databases.
func (o *opener) head() (m Manifest, f node.Foundation, err error) {
	if _, err := o.expect(entryManifest); err != nil {
		return m, f, err
	}
	if m, err = readManifest(o); err != nil {
		return m, f, o.explain(err)
	}
	if _, err := o.expect(entryFoundation); err != nil {
		return m, f, err
	}
	text, err := io.ReadAll(io.LimitReader(o, maxMeta))
	if err != nil {
		return m, f, o.explain(err)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return m, f, exit.Errorf(exit.Failed, "%s: what the division rests on cannot be read: %w", o.name, err)
	}
	return m, f, nil
}

// unpack writes the databases into dir under fileName, and reads the backup to its end.
func (o *opener) unpack(dir string, m Manifest, p *progress) error {
	for _, d := range m.Databases {
		if err := o.unpackOne(dir, d, p); err != nil {
			return err
		}
	}
	return o.finish()
}

func (o *opener) unpackOne(dir string, d Database, p *progress) (err error) {
	if _, err := o.expect(d.entry()); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(dir, fileName(d.ID)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("unpack %s: %w", d.ID, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	sum := sha256.New()
	// One byte more than is announced shows that there is more.
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(p.of(o), d.Size+1))
	if err != nil {
		return o.explain(err)
	}
	if n != d.Size || hex.EncodeToString(sum.Sum(nil)) != d.SHA256 {
		return exit.Errorf(exit.Failed, "%s: the database %s is not the one of the backup's list (%d bytes of %d, or another content)", o.name, d.ID, n, d.Size)
	}
	return nil
}

// checkUnpacked looks into every database and compares it with the manifest. What is
// wrong comes back as sentences.
func checkUnpacked(ctx context.Context, dir string, m Manifest) ([]string, error) {
	faults := []string{}
	say := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	var cursors map[string]int64
	for _, d := range m.Databases {
		if err := ctx.Err(); err != nil {
			return faults, exit.Errorf(exit.Failed, "interrupted: %w", err)
		}
		in, err := inspect(d.ID, filepath.Join(dir, fileName(d.ID)))
		if err != nil {
			say("%s: %v", d.ID, err)
			continue
		}
		for _, f := range in.Faults {
			say("%s: %s", d.ID, f)
		}
		switch {
		case len(in.Faults) > 0:
		case in.Checksum != d.Checksum || !maps.Equal(in.Rows, d.Rows):
			say("%s: its rows are not those of the backup's list", d.ID)
		case in.Index != d.Index:
			say("%s: it is at index %d, the backup's list says %d", d.ID, in.Index, d.Index)
		case in.Audit.Head.Hash != d.Audit.Hash:
			say("%s: its audit does not end as the backup's list says", d.ID)
		}
		if d.ID == tenancy.DivisionDatabase {
			cursors = in.Cursors
		} else if at := cursors[in.source(d.ID)]; at > in.Feed {
			say("%s: the division has folded its feed up to %d, but it only goes to %d", d.ID, at, in.Feed)
		}
	}
	return faults, nil
}

// needRoom refuses before a disk would be filled.
func needRoom(dir string, bytes uint64) error {
	free, err := freeBytes(dir)
	if err != nil {
		return err
	}
	if free < bytes {
		return exit.Errorf(exit.Failed, "%s of free space are needed in %s, and %s are free; make room, or choose another folder (for `tongban backup verify`: TMPDIR)",
			bytesText(int64(bytes)), dir, bytesText(int64(free)))
	}
	return nil
}
