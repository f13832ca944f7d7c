package appliance

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"time"

	"tongban/node/exit"
	"tongban/replication"
	"tongban/service"
	"tongban/service/audit"
	"tongban/tenancy"
)

// Format is the version of a backup's format. A program reads its own and older ones.
const Format = 1

// Entries of a backup, in order: the manifest, the foundation, then one file a database.
const (
	entryManifest   = "manifest.json"
	entryFoundation = "foundation.json"
	entryDatabases  = "databases/"
)

// databaseID is what replication takes for an id: it becomes a path.
var databaseID = regexp.MustCompile(`^[a-z0-9_-]{1,40}/[a-z0-9_-]{1,40}$`)

// maxMeta bounds an entry that is not a database: 999 tenants of 100 tables have 5 MB.
const maxMeta = 32 << 20

// Manifest says what a backup holds. It is the first thing in it.
type Manifest struct {
	Format    int                `json:"format"`
	Division  service.Site       `json:"division"`
	At        time.Time          `json:"at"` // When the division database was copied.
	Node      replication.NodeID `json:"node"`
	Version   string             `json:"version"` // Of the program that made it.
	Databases []Database         `json:"databases"`
}

// Database is one database of a backup.
type Database struct {
	ID       replication.DatabaseID `json:"id"`
	Index    replication.Index      `json:"index"`
	Newest   time.Time              `json:"newest"` // Time of the newest change.
	Size     int64                  `json:"size"`   // Bytes.
	SHA256   string                 `json:"sha256"` // Of the file, hex.
	Checksum string                 `json:"checksum"`
	Rows     map[string]int64       `json:"rows"`    // By table.
	Audit    audit.Head             `json:"audit"`   // Newest row of the audit.
	Current  bool                   `json:"current"` // The leader confirmed that nothing newer was missing.
}

// entry is the database's name in the archive.
func (d Database) entry() string { return path.Join(entryDatabases, string(d.ID)+".db") }

// Size is the length of all databases in bytes.
func (m Manifest) Size() (n int64) {
	for _, d := range m.Databases {
		n += d.Size
	}
	return n
}

// Rows is the number of rows in all databases.
func (m Manifest) Rows() (n int64) {
	for _, d := range m.Databases {
		for _, rows := range d.Rows {
			n += rows
		}
	}
	return n
}

// Behind lists the databases that may lack changes, because no leader confirmed them.
func (m Manifest) Behind() []replication.DatabaseID {
	var list []replication.DatabaseID
	for _, d := range m.Databases {
		if !d.Current {
			list = append(list, d.ID)
		}
	}
	return list
}

// readManifest reads and checks a manifest. Only the format is looked at before the rest
// is understood.
func readManifest(r io.Reader) (Manifest, error) {
	var m Manifest
	text, err := io.ReadAll(io.LimitReader(r, maxMeta))
	if err != nil {
		return m, err
	}
	var head struct {
		Format  int    `json:"format"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil || head.Format < 1 {
		return m, exit.Errorf(exit.Failed, "the backup has no readable list of its content; it was not made by tongban")
	}
	if head.Format > Format {
		return m, exit.Errorf(exit.Failed, "the backup has format %d, made by tongban %s; this program reads formats up to %d: install tongban %s or newer",
			head.Format, head.Version, Format, head.Version)
	}
	if err := json.Unmarshal(text, &m); err != nil {
		return m, fmt.Errorf("read the backup's list of its content: %w", err)
	}
	if len(m.Databases) == 0 || m.Databases[0].ID != tenancy.DivisionDatabase {
		return m, exit.Errorf(exit.Failed, "the backup does not begin with the division's database; it was not made by tongban")
	}
	for _, d := range m.Databases {
		if !databaseID.MatchString(string(d.ID)) || d.Size < 0 {
			return m, exit.Errorf(exit.Failed, "the backup names a database %q, which cannot be; it was not made by tongban", d.ID)
		}
	}
	return m, nil
}

// Age says in words how old a time is, such as "3 days and 4 hours".
func Age(at, now time.Time) string {
	d := now.Sub(at)
	if d < 0 {
		return "from the future (is the clock right?)"
	}
	units := []struct {
		name   string
		length time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}}
	for i, u := range units {
		n := d / u.length
		if n == 0 && i < len(units)-1 {
			continue
		}
		text := plural(int64(n), u.name)
		if i+1 < len(units)-1 {
			if rest := (d % u.length) / units[i+1].length; rest > 0 {
				text += " and " + plural(int64(rest), units[i+1].name)
			}
		}
		return text
	}
	return ""
}

func plural(n int64, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}
