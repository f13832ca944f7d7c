package replication

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"math"
	"strings"
)

// The checksum is SHA-256 over the schema and the logical rows of every table, in an
// order that does not depend on how they are stored:
//
//   - the schema: type, name, table and SQL of each object, by type and name;
//   - each ordinary table by rowid, with the rowid; WITHOUT ROWID tables by all columns;
//   - each virtual table by rowid, by its content; its shadow tables are left out, for
//     they legitimately differ between replicas; of a full-text table that keeps no
//     content, the documents and their sizes;
//   - sqlite_sequence; no other table of SQLite, none of this package.
//
// Integers, reals, texts, blobs and NULL are told apart.

// Checksum reads the whole replica at the returned index. It takes as long as reading the
// file does; writers are not stopped.
func (db *DB) Checksum(ctx context.Context) (sum [32]byte, at Index, err error) {
	if err := db.failure(); err != nil {
		return sum, 0, err
	}
	err = db.read(ctx, func(v *View) error {
		at = v.applied
		sum, err = checksum(v.c, v.usable)
		return err
	})
	return sum, at, err
}

type table struct {
	name         string
	virtual      bool
	withoutRowID bool
}

func checksum(c *conn, check func() error) (sum [32]byte, err error) {
	h := hasher{h: sha256.New(), c: c, check: check}
	tables, shadows, err := h.tables()
	if err != nil {
		return sum, err
	}
	if err := h.schema(shadows); err != nil {
		return sum, fmt.Errorf("checksum of the schema: %w", err)
	}
	for _, t := range tables {
		if err := h.table(t); err != nil {
			return sum, fmt.Errorf("checksum of table %s: %w", t.name, err)
		}
	}
	return [32]byte(h.h.Sum(nil)), nil
}

type hasher struct {
	h     hash.Hash
	c     *conn
	check func() error
	buf   []byte
}

// tables lists the tables that count, by name, and the names of the shadow tables.
func (h *hasher) tables() ([]table, map[string]bool, error) {
	rows, err := stream(h.c, `SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name`, nil, internal, h.check)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var out []table
	shadows := map[string]bool{}
	for rows.Next() {
		var t table
		var kind string
		if err := rows.Scan(&t.name, &kind, &t.withoutRowID); err != nil {
			return nil, nil, err
		}
		t.virtual = kind == "virtual"
		switch {
		case kind == "shadow":
			shadows[t.name] = true
		case kind == "view", strings.HasPrefix(t.name, "replication_"):
		case strings.HasPrefix(t.name, "sqlite_") && t.name != "sqlite_sequence":
		default:
			out = append(out, t)
		}
	}
	return out, shadows, rows.Err()
}

func (h *hasher) schema(shadows map[string]bool) error {
	rows, err := stream(h.c, `SELECT type, name, tbl_name, sql FROM sqlite_schema
		WHERE name NOT LIKE 'replication\_%' ESCAPE '\' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
		ORDER BY type, name`, nil, internal, h.check)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if table, _ := rows.row[2].(string); !shadows[table] {
			h.row(rows.row)
		}
	}
	return rows.Err()
}

func (h *hasher) table(t table) error {
	name := `"` + strings.ReplaceAll(t.name, `"`, `""`) + `"`
	h.row([]any{"table", t.name})
	if t.withoutRowID {
		return h.ordered(name)
	}
	alias, err := h.rowidName(t.name)
	if err != nil {
		return err
	}
	if alias == "" { // Its columns have taken all three names.
		return h.ordered(name)
	}
	if err := h.query(`SELECT ` + alias + `, * FROM ` + name + ` ORDER BY ` + alias); err != nil {
		if !t.virtual || !h.everywhere(err) {
			return err
		}
		// A full-text table without content cannot show it: the documents' sizes count.
		h.row([]any{"no content"})
		sizes := `"` + strings.ReplaceAll(t.name+"_docsize", `"`, `""`) + `"`
		if err := h.query(`SELECT docid, size FROM ` + sizes + ` ORDER BY docid`); !h.everywhere(err) {
			return err
		}
	}
	return nil
}

// everywhere says whether every replica meets the same at this point: no error, or one that
// the contents make. A full disk must not look like other contents.
func (h *hasher) everywhere(err error) bool {
	var sq *sqlError
	if err == nil {
		return true
	}
	return h.check() == nil && errors.As(err, &sq) && (sq.deterministic() || sq.code == codeCorruptVTab)
}

// rowidName is a name under which the table's rowid can be read.
func (h *hasher) rowidName(name string) (string, error) {
	rows, err := stream(h.c, `SELECT lower(name) FROM pragma_table_xinfo(?)`, []any{name}, internal, h.check)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	taken := map[string]bool{}
	for rows.Next() {
		column, _ := rows.row[0].(string)
		taken[column] = true
	}
	for _, alias := range []string{"rowid", "_rowid_", "oid"} {
		if !taken[alias] {
			return alias, rows.Err()
		}
	}
	return "", rows.Err()
}

// ordered takes the rows of a table by all columns.
func (h *hasher) ordered(quotedName string) error {
	columns, err := h.allColumns(quotedName)
	if err != nil {
		return err
	}
	return h.query(`SELECT * FROM ` + quotedName + ` ORDER BY ` + columns)
}

// allColumns is an ORDER BY list of every column, by position.
func (h *hasher) allColumns(quotedName string) (string, error) {
	rows, err := stream(h.c, `SELECT * FROM `+quotedName+` LIMIT 0`, nil, internal, h.check)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	for i := range rows.columns {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprint(&b, i+1)
	}
	return b.String(), nil
}

func (h *hasher) query(sql string) error {
	rows, err := stream(h.c, sql, nil, internal, h.check)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		h.row(rows.row)
	}
	return rows.Err()
}

func (h *hasher) row(values []any) {
	b := binary.AppendUvarint(h.buf[:0], uint64(len(values)))
	for _, v := range values {
		if f, ok := v.(float64); ok && math.IsNaN(f) {
			v = nil
		}
		b = appendValue(b, v)
	}
	h.buf = b
	h.h.Write(b)
}
