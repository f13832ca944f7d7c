package enrol

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

const (
	// MaxRows bounds a list of divisions: a province has 183 counties, and one
	// transaction enters them all.
	MaxRows = 200
	// maxList bounds the file, bytes.
	maxList = 1 << 20
)

// Row is a line of a list of divisions: a code, a name, or both.
type Row struct {
	Line  int    `json:"line"` // Of the file, the first is 1.
	Code  string `json:"code,omitempty"`
	Name  string `json:"name,omitempty"`  // Its own (广安区), or with names above it (广安市广安区).
	Level string `json:"level,omitempty"` // Where code or name are two divisions.
}

// String is the row as messages name it.
func (r Row) String() string { return strings.TrimSpace(r.Code + " " + r.Name) }

// heads are the names of the columns that ReadRows knows.
func heads() map[string]func(*Row) *string {
	code := func(r *Row) *string { return &r.Code }
	name := func(r *Row) *string { return &r.Name }
	level := func(r *Row) *string { return &r.Level }
	return map[string]func(*Row) *string{
		"code": code, "代码": code, "行政区划代码": code, "区划代码": code,
		"name": name, "名称": name, "行政区划": name, "单位名称": name,
		"level": level, "级别": level, "层级": level,
	}
}

// ReadRows reads a CSV file of divisions: with a header that names the columns code, name
// and level (or 代码, 名称, 级别) in any order, others are ignored; without one, the first
// column is a code or a name. Blank lines and lines that begin with # are left out. Its
// errors are one sentence for the operator.
func ReadRows(r io.Reader) ([]Row, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxList+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxList:
		return nil, fmt.Errorf("the file has more than %d bytes; a list of divisions has one short line for each", maxList)
	case !utf8.Valid(text):
		return nil, errors.New("the file is not in UTF-8; save it as \"CSV UTF-8\"")
	}
	lines := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(text, []byte("\ufeff"))))
	lines.FieldsPerRecord, lines.Comment, lines.LazyQuotes = -1, '#', true
	var rows []Row
	var columns []func(*Row) *string
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the list: %w", err)
		}
		if columns == nil {
			var header bool
			if columns, header = readHeads(fields); header {
				continue
			}
		}
		row, ok := readRow(fields, columns)
		row.Line, _ = lines.FieldPos(0)
		if ok {
			rows = append(rows, row)
		}
		if len(rows) > MaxRows {
			return nil, fmt.Errorf("the file lists more than %d divisions; divide it into several", MaxRows)
		}
	}
	if len(rows) == 0 {
		return nil, errors.New("the file lists no division; write a code such as 511602, or a name, on each line")
	}
	return rows, nil
}

// readHeads tells which field of a row each column is; nil: none.
func readHeads(fields []string) (columns []func(*Row) *string, header bool) {
	known := heads()
	for _, f := range fields {
		to := known[strings.ToLower(strings.TrimSpace(f))]
		columns = append(columns, to)
		header = header || to != nil
	}
	return columns, header
}

// readRow reads a row; false: it is blank.
func readRow(fields []string, columns []func(*Row) *string) (row Row, ok bool) {
	fields = slices.Clone(fields)
	for i := range fields {
		fields[i] = strings.Join(strings.Fields(fields[i]), "")
		ok = ok || fields[i] != ""
	}
	if !slices.ContainsFunc(columns, func(to func(*Row) *string) bool { return to != nil }) {
		columns = []func(*Row) *string{func(r *Row) *string {
			if strings.Trim(fields[0], "0123456789") == "" {
				return &r.Code
			}
			return &r.Name
		}}
	}
	for i, f := range fields[:min(len(fields), len(columns))] {
		if to := columns[i]; to != nil {
			*to(&row) = f
		}
	}
	return row, ok
}
