package catalog

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"tongban/service"
)

// Limits of an import.
const (
	MaxRow     = 64 << 10 // Bytes of one row: the longest real one has 500.
	MaxRows    = 200_000  // Rows of one file: five times a province's counties hold less.
	MaxName    = 300      // Characters of an item's name: the longest real one has 110.
	MaxCode    = 120      // Characters of an item code: the longest real one has 55.
	maxQuoted  = 20       // Lines that one quoted field may span before its quote is taken as a slip.
	rawPreview = 500      // Bytes kept of a line that could not be read.
)

// A Row is one line of the import format. Line is 1 for the header's line.
type Row struct {
	Line       int      `json:"line"`
	Department string   `json:"department"`
	MainItem   string   `json:"main_item,omitempty"`
	Name       string   `json:"name"`
	Code       string   `json:"code"`
	Basic      string   `json:"basic,omitempty"`
	Area       string   `json:"area,omitempty"`
	Body       string   `json:"body"`           // Unified social credit code of the implementing body, as it came.
	Type       string   `json:"type,omitempty"` // Code of the task type.
	Raw        string   `json:"raw,omitempty"`  // The beginning of a line that could not be read.
	Reasons    []Reason `json:"reasons,omitempty"`
}

// Refusals of a whole file.
var (
	ErrNoHeader    = service.Refuse(service.Unprocessable, "catalog.no_header")     // Params: missing.
	ErrEncoding    = service.Refuse(service.Unprocessable, "catalog.not_utf8_file") //
	ErrTooManyRows = service.Refuse(service.TooLarge, "catalog.too_many_rows")      // Params: max.
)

// column is a column of an import format: its names, the first as exports write it.
type column[T any] struct {
	names []string
	field func(r *T) *string
}

// columns are those of the items. The first four are mandatory.
var columns = []column[Row]{
	{[]string{"department", "部门", "部门名称", "实施主体"}, func(r *Row) *string { return &r.Department }},
	{[]string{"item_name", "事项名称"}, func(r *Row) *string { return &r.Name }},
	{[]string{"item_code_local", "实施编码", "事项编码"}, func(r *Row) *string { return &r.Code }},
	{[]string{"org_code", "统一社会信用代码", "实施主体编码"}, func(r *Row) *string { return &r.Body }},
	{[]string{"main_item", "主项", "主项名称"}, func(r *Row) *string { return &r.MainItem }},
	{[]string{"base_code_local", "基本编码"}, func(r *Row) *string { return &r.Basic }},
	{[]string{"area_code12", "区划代码"}, func(r *Row) *string { return &r.Area }},
	{[]string{"task_type", "事项类型"}, func(r *Row) *string { return &r.Type }},
}

const mandatoryColumns = 4

// ParseCSV reads a file in the import format: UTF-8, with or without a byte order mark,
// a header line, comma separated. Every line below the header that is not blank becomes a
// row; what is wrong with its form is in the row's reasons, and a slip in one line never
// costs another. It returns ErrNoHeader, ErrEncoding when no line with Chinese text is
// UTF-8, ErrTooManyRows, or the reader's error.
func ParseCSV(r io.Reader) ([]Row, error) {
	var rows []Row
	err := readCSV(r, columns, mandatoryColumns, MaxRows, func(rec record, fill func(row *Row)) {
		row := Row{Line: rec.line, Raw: rec.raw, Reasons: rec.reasons}
		fill(&row)
		if hasKind(rec.reasons, Quotes) {
			name, _, _ := strings.Cut(rec.raw, ",")
			row.Department = clean(strings.Trim(name, `" `))
		}
		rows = append(rows, row)
	})
	if err != nil {
		return nil, err
	}
	if allForeign(rows) {
		return nil, ErrEncoding
	}
	adopt(rows)
	markDuplicates(rows)
	return rows, nil
}

// readCSV calls row for every line below the header that is not blank, or several when a
// quoted field contains line ends; fill puts its fields where the columns say.
func readCSV[T any](r io.Reader, columns []column[T], mandatory, limit int, row func(rec record, fill func(row *T))) error {
	lines := lineReader{r: bufio.NewReaderSize(r, MaxRow)}
	first, err := lines.next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if bytes.HasPrefix(first.text, []byte{0xff, 0xfe}) || bytes.HasPrefix(first.text, []byte{0xfe, 0xff}) {
		return ErrEncoding
	}
	fields, err := readHeader(bytes.TrimPrefix(first.text, []byte("\ufeff")), columns, mandatory)
	if err != nil {
		return err
	}
	used := make([]bool, len(fields))
	for i, f := range fields {
		used[i] = f != nil
	}
	for n := 0; ; {
		rec, blank, err := readRecord(&lines, used)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if blank {
			continue
		}
		if n++; n > limit {
			return ErrTooManyRows.With("max", limit)
		}
		row(rec, func(row *T) {
			for i, value := range rec.fields {
				if i < len(used) && used[i] {
					*fields[i](row) = value
				}
			}
		})
	}
}

// readHeader says which field each column is; nil: a column that is not read.
func readHeader[T any](line []byte, columns []column[T], mandatory int) ([]func(r *T) *string, error) {
	names, err := csv.NewReader(bytes.NewReader(line)).Read()
	if err != nil || !utf8.Valid(line) {
		names = nil
	}
	fields := make([]func(r *T) *string, len(names))
	var missing []string
	for i, column := range columns {
		at := -1
		for j, name := range names {
			if contains(column.names, strings.ToLower(strings.TrimSpace(name))) {
				at = j
				break
			}
		}
		if at >= 0 {
			fields[at] = column.field
		} else if i < mandatory {
			missing = append(missing, column.names[0])
		}
	}
	if missing != nil {
		return nil, ErrNoHeader.With("missing", strings.Join(missing, ", "))
	}
	return fields, nil
}

// record is a line as it was read.
type record struct {
	line    int
	fields  []string // Cleaned; nil: it could not be read.
	raw     string   // Its beginning, when something is wrong with it.
	reasons []Reason
}

func readRecord(lines *lineReader, used []bool) (rec record, blank bool, err error) {
	first, err := lines.next()
	if err != nil {
		return rec, false, err
	}
	rec.line = first.number
	text := first.text
	if first.tooLong {
		rec.raw = rawOf(text)
		rec.reasons = []Reason{because(Oversized, "max", MaxRow)}
		return rec, false, nil
	}
	if len(bytes.TrimSpace(text)) == 0 {
		return rec, true, nil
	}
	text = lines.joinQuoted(text)
	if !utf8.Valid(text) {
		rec.raw = rawOf(bytes.ToValidUTF8(text, []byte("\ufffd")))
		rec.reasons = []Reason{because(NotUTF8)}
		return rec, false, nil
	}
	c := csv.NewReader(bytes.NewReader(text))
	c.FieldsPerRecord = -1
	fields, err := c.Read()
	if err != nil {
		rec.reasons, rec.raw = []Reason{because(Quotes)}, rawOf(text)
		return rec, false, nil
	}
	if len(fields) != len(used) {
		rec.reasons = append(rec.reasons, because(Columns, "have", len(fields), "want", len(used)))
	}
	for i, value := range fields {
		fields[i] = clean(value)
		if i < len(used) && used[i] && fields[i] != strings.TrimSpace(value) && !hasKind(rec.reasons, Control) {
			rec.reasons = append(rec.reasons, because(Control))
		}
	}
	rec.fields = fields
	if rec.reasons != nil {
		rec.raw = rawOf(text)
	}
	return rec, false, nil
}

// clean drops what must not stand in a name or code: control characters and those that
// change the direction of the text.
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\ufeff' {
			return -1
		}
		return r
	}, s))
}

func rawOf(line []byte) string {
	if len(line) > rawPreview {
		line = line[:rawPreview]
	}
	return clean(string(bytes.ToValidUTF8(line, nil)))
}

// allForeign reports whether every row that is not plain ASCII failed to be UTF-8.
func allForeign(rows []Row) bool {
	foreign := 0
	for _, r := range rows {
		switch {
		case hasKind(r.Reasons, NotUTF8):
			foreign++
		case strings.ContainsFunc(r.Department+r.Name, func(c rune) bool { return c > unicode.MaxASCII }):
			return false
		}
	}
	return foreign > 0
}

// adopt gives a row whose department could not be read to the department of the row
// before it (exports are sorted by department), where it waits in quarantine.
func adopt(rows []Row) {
	last := ""
	for i := range rows {
		if rows[i].Department != "" {
			last = rows[i].Department
			break
		}
	}
	known := map[string]bool{}
	for _, r := range rows {
		if r.Reasons == nil {
			known[r.Department] = true
		}
	}
	for i := range rows {
		r := &rows[i]
		if r.Department == "" || r.Reasons != nil && !known[r.Department] && hasKind(r.Reasons, Quotes) {
			r.Department = last
			r.Reasons = append(r.Reasons, because(NoDepartment))
		}
		last = r.Department
	}
}

// markDuplicates names, on each row whose item code an earlier row has, that row's line.
func markDuplicates(rows []Row) {
	seen := make(map[string]int, len(rows))
	for i := range rows {
		r := &rows[i]
		if r.Code == "" {
			continue
		}
		if line, found := seen[r.Code]; !found {
			seen[r.Code] = r.Line
		} else if !hasKind(r.Reasons, Duplicate) {
			r.Reasons = append(r.Reasons, because(Duplicate, "line", line))
		}
	}
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}
