package appliance

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
	"tongban/service/audit"
	"tongban/service/cases"
	"tongban/tenancy"
)

// maxFaults bounds what one check of a file reports; the first say what is wrong.
const maxFaults = 5

// inside is what a closed database file shows of itself.
type inside struct {
	Index    replication.Index
	Newest   time.Time
	Checksum string
	Rows     map[string]int64
	Audit    audit.Report
	Cases    int
	Epoch    string
	Feed     int64            // Newest version that its feeds had; 0: none.
	Cursors  map[string]int64 // Division database: by source, "<tenant>@<epoch>".
	Nodes    int              // Division database: active nodes.
	Faults   []string         // What contradicts itself; empty: nothing does.
}

// inspect reads a whole file: SQLite's structure and foreign keys, the audit's chain, the
// cases' events and receipts, the feeds, and the checksum over all rows. Of an application
// database it reads the structure and the rows: what its tables mean is its owner's business,
// whatever their names are. Its error says that the file cannot be read at all. Cost: about
// four scans of the file.
func inspect(id replication.DatabaseID, path string) (in inside, err error) {
	f, err := replication.OpenFile(path)
	if err != nil {
		return in, fmt.Errorf("it cannot be opened: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in = inside{Index: f.Applied(), Newest: f.Now()}
	if in.Faults, err = checkStructure(f, "integrity_check"); err != nil || len(in.Faults) > 0 {
		return in, err // What a broken structure holds says nothing.
	}
	if !tenancy.IsApplication(id) {
		if in.Faults, err = checkForeignKeys(f); err != nil || len(in.Faults) > 0 {
			return in, err
		}
	}
	sum, err := f.Checksum()
	if err != nil {
		return in, fmt.Errorf("it cannot be read to its end: %w", err)
	}
	in.Checksum = hex.EncodeToString(sum[:])
	if in.Rows, err = countRows(f); err != nil {
		return in, err
	}
	if tenancy.IsApplication(id) {
		in.Rows = together(in.Rows)
		return in, nil
	}
	if _, ok := in.Rows["service_meta"]; !ok {
		return in, nil // A database that was just founded has no schema yet.
	}
	if in.Epoch, err = service.Epoch(f); err != nil {
		return in, err
	}
	if err := in.checkFeeds(f); err != nil {
		return in, err
	}
	if _, ok := in.Rows["audit_event"]; ok {
		if in.Audit, err = audit.Verify(f); err != nil {
			return in, err
		}
		if !in.Audit.OK() {
			in.Faults = append(in.Faults, in.Audit.String())
		}
	}
	if _, ok := in.Rows["tenancy_node"]; ok {
		nodes, err := tenancy.ReadNodes(f)
		if err != nil {
			return in, fmt.Errorf("read its nodes: %w", err)
		}
		in.Nodes = len(nodes)
	}
	return in, in.checkCases(f)
}

// checkCases holds each case against its events and the receipt numbers.
func (in *inside) checkCases(q service.Querier) error {
	if _, ok := in.Rows["cases_case"]; !ok {
		return nil
	}
	r, err := cases.Verify(q)
	if err != nil {
		return fmt.Errorf("check its cases: %w", err)
	}
	in.Cases = r.Cases
	for i, f := range r.Faults {
		if i == maxFaults {
			break
		}
		of := "its cases"
		if f.Number != "" {
			of = "case " + f.Number
		}
		in.Faults = append(in.Faults, of+": "+f.What)
	}
	return nil
}

// checkStructure runs SQLite's own check ("integrity_check" or "quick_check").
func checkStructure(q service.Querier, check string) ([]string, error) {
	var faults []string
	rows, err := q.Query(`PRAGMA ` + check)
	if err != nil {
		return nil, fmt.Errorf("check its structure: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return nil, err
		}
		if line != "ok" && len(faults) < maxFaults {
			faults = append(faults, "SQLite finds it malformed: "+strings.ReplaceAll(line, "\n", "; "))
		}
	}
	if err := rows.Err(); err != nil {
		return append(faults, fmt.Sprintf("SQLite cannot read it: %v", err)), nil
	}
	return faults, nil
}

// together is the count of all rows under one name: the tables of an application database may
// be any number, and a backup's list is of bounded size.
func together(rows map[string]int64) map[string]int64 {
	all := int64(0)
	for _, n := range rows {
		all += n
	}
	return map[string]int64{"all tables": all}
}

func checkForeignKeys(q service.Querier) (faults []string, err error) {
	rows, err := q.Query(`SELECT "table", rowid, parent FROM pragma_foreign_key_check`)
	if err != nil {
		return nil, fmt.Errorf("check its foreign keys: %w", err)
	}
	defer rows.Close()
	for rows.Next() && len(faults) < maxFaults {
		var table, parent string
		var rowid *int64
		if err := rows.Scan(&table, &rowid, &parent); err != nil {
			return nil, err
		}
		row := "a row"
		if rowid != nil {
			row = fmt.Sprintf("row %d", *rowid)
		}
		faults = append(faults, fmt.Sprintf("%s of %s refers to a row of %s that is not there", row, table, parent))
	}
	return faults, rows.Err()
}

// tables lists the ordinary tables, by name; those of replication and SQLite are not among
// them, nor those behind a full-text index.
func tables(q service.Querier) ([]string, error) {
	rows, err := q.Query(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'
		AND name NOT LIKE 'sqlite\_%' ESCAPE '\' AND name NOT LIKE 'replication\_%' ESCAPE '\' ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list its tables: %w", err)
	}
	defer rows.Close()
	var names []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

func countRows(q service.Querier) (map[string]int64, error) {
	names, err := tables(q)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int64, len(names))
	for _, name := range names {
		var n int64
		if err := q.QueryRow(`SELECT count(*) FROM ` + quoteName(name)).Scan(&n); err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", name, err)
		}
		out[name] = n
	}
	return out, nil
}

func quoteName(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// checkFeeds reads how far the feeds are and, in the division database, how far they were
// folded.
func (in *inside) checkFeeds(q service.Querier) error {
	if err := q.QueryRow(`SELECT coalesce(max(last), 0) FROM service_sequence WHERE name = 'feed:home'`).Scan(&in.Feed); err != nil {
		return fmt.Errorf("read how far the feeds are: %w", err)
	}
	var newest int64
	if err := q.QueryRow(`SELECT coalesce(max(version), 0) FROM service_feed WHERE stream = 'home'`).Scan(&newest); err != nil {
		return fmt.Errorf("read the feeds: %w", err)
	}
	if newest > in.Feed {
		in.Faults = append(in.Faults, fmt.Sprintf("its feeds hold version %d, but only %d were given out", newest, in.Feed))
	}
	in.Cursors = map[string]int64{}
	rows, err := q.Query(`SELECT source, version FROM service_cursor`)
	if err != nil {
		return fmt.Errorf("read the cursors: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var source string
		var version int64
		if err := rows.Scan(&source, &version); err != nil {
			return err
		}
		in.Cursors[source] = version
	}
	return rows.Err()
}

// source is the name under which the division database keeps its cursor of the feeds of
// this file, a database of the tenant.
func (in *inside) source(id replication.DatabaseID) string {
	tenant, _, _ := strings.Cut(string(id), "/")
	return tenant + "@" + in.Epoch
}
