package databases

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// form says how results are written.
type form struct {
	associative bool
	blobArray   bool
	timings     bool
}

// appendText writes a JSON string, as encoding/json does without its care for HTML.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			b = append(b, s[start:i]...)
			b = append(b, `\ufffd`...)
			i++
			start = i
			continue
		}
		b = append(b, s[start:i]...)
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			const digits = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
		start = i
	}
	return append(append(b, s[start:]...), '"')
}

// appendFloat writes a number as encoding/json does; JSON has none for the infinite.
func appendFloat(b []byte, f float64) []byte {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return append(b, "null"...)
	}
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(b, f, format, -1, 64)
	if n := len(b); format == 'e' && n >= 4 && b[n-4] == 'e' && b[n-3] == '-' && b[n-2] == '0' {
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}

// kind is how the values of a column are written, by its declared type.
type kind int

const (
	plain kind = iota
	boolean
	moment  // date, datetime, timestamp: a number is Unix seconds, or milliseconds if it is large.
	textual // A blob in it is text.
)

// kindOf is the kind of a declared type, in lower case.
func kindOf(declared string) kind {
	switch declared {
	case "boolean":
		return boolean
	case "date", "datetime", "timestamp":
		return moment
	case "text", "json":
		return textual
	}
	for _, prefix := range []string{"varchar", "varying character", "nchar", "native character", "nvarchar", "clob"} {
		if strings.HasPrefix(declared, prefix) {
			return textual
		}
	}
	return plain
}

// typeOf is the type that an expression shows by the value of its first row.
func typeOf(v any) string {
	switch v.(type) {
	case int64:
		return "integer"
	case float64:
		return "real"
	case string:
		return "text"
	case []byte:
		return "blob"
	}
	return ""
}

// maxSeconds: a larger number in a column of times is milliseconds.
const maxSeconds = 1_000_000_000_000

// timeForms are the texts that a column of times is read from.
var timeForms = [...]string{"2006-01-02 15:04:05.999999999-07:00", "2006-01-02T15:04:05.999999999-07:00",
	"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05", "2006-01-02T15:04:05",
	"2006-01-02 15:04", "2006-01-02T15:04", "2006-01-02"}

func appendMoment(b []byte, v any) []byte {
	var t time.Time
	switch v := v.(type) {
	case int64:
		t = time.Unix(v, 0)
		if v > maxSeconds || v < -maxSeconds {
			t = time.UnixMilli(v)
		}
	case string:
		var err error
		for _, layout := range timeForms {
			if t, err = time.Parse(layout, strings.TrimSuffix(v, "Z")); err == nil {
				break
			}
		}
		if err != nil {
			return appendText(b, v)
		}
	}
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

func (f form) appendBlob(b, blob []byte) []byte {
	if !f.blobArray {
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, blob)
		return append(b, '"')
	}
	b = append(b, '[')
	for i, c := range blob {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(c), 10)
	}
	return append(b, ']')
}

// appendValue writes one value of a column.
func (f form) appendValue(b []byte, v any, k kind) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case int64:
		switch k {
		case boolean:
			return strconv.AppendBool(b, v > 0)
		case moment:
			return appendMoment(b, v)
		}
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case string:
		if k == moment {
			return appendMoment(b, v)
		}
		return appendText(b, v)
	case []byte:
		if k == textual {
			return appendText(b, string(v))
		}
		return f.appendBlob(b, v)
	}
	return append(b, "null"...)
}

// rowsWriter writes the rows of one query as they come.
type rowsWriter struct {
	form
	columns []string
	types   []string
	kinds   []kind
	n       int // Rows so far.
}

// begin notes the columns; declared are their declared types.
func (w *rowsWriter) begin(f form, columns, declared []string) {
	w.form, w.columns, w.n = f, columns, 0
	w.types, w.kinds = w.types[:0], w.kinds[:0]
	for _, t := range declared {
		t = strings.ToLower(t)
		w.types, w.kinds = append(w.types, t), append(w.kinds, kindOf(t))
	}
}

// row writes one row. The first one shows the types of expressions, which stand before it.
func (w *rowsWriter) row(b []byte, values []any) []byte {
	if w.n == 0 {
		for i, t := range w.types {
			if t == "" {
				w.types[i] = typeOf(values[i])
			}
		}
		b = w.head(b)
		if !w.associative {
			b = append(b, `,"values":[`...)
		}
	} else {
		b = append(b, ',')
	}
	w.n++
	if !w.associative {
		b = append(b, '[')
		for i, v := range values {
			if i > 0 {
				b = append(b, ',')
			}
			b = w.appendValue(b, v, w.kinds[i])
		}
		return append(b, ']')
	}
	b = append(b, '{')
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendText(b, w.columns[i]), ':')
		b = w.appendValue(b, v, w.kinds[i])
	}
	return append(b, '}')
}

// head writes what stands before the rows.
func (w *rowsWriter) head(b []byte) []byte {
	if w.associative {
		b = append(b, `{"types":{`...)
		for i, t := range w.types {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, w.columns[i]), ':')
			b = appendText(b, t)
		}
		return append(b, `},"rows":[`...)
	}
	b = appendTexts(append(b, `{"columns":`...), w.columns)
	return appendTexts(append(b, `,"types":`...), w.types)
}

// end writes what stands after them.
func (w *rowsWriter) end(b []byte, took time.Duration) []byte {
	if w.n == 0 {
		b = w.head(b)
	}
	if w.n > 0 || w.associative {
		b = append(b, ']')
	}
	return append(w.appendTook(b, took), '}')
}

func (f form) appendTook(b []byte, took time.Duration) []byte {
	if !f.timings {
		return b
	}
	return appendFloat(append(b, `,"time":`...), took.Seconds())
}

func appendTexts(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, s)
	}
	return append(b, ']')
}

func appendError(b []byte, text string) []byte {
	return append(appendText(append(b, `{"error":`...), text), '}')
}

// appendResult writes what a statement changed; what is 0 is left out, as rqlite does.
func (f form) appendResult(b []byte, rowid, changes int64, took time.Duration) []byte {
	b = append(b, '{')
	if rowid != 0 {
		b = strconv.AppendInt(append(b, `"last_insert_id":`...), rowid, 10)
	}
	if changes != 0 {
		if rowid != 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(b, `"rows_affected":`...), changes, 10)
	}
	if f.timings {
		if rowid == 0 && changes == 0 {
			b = appendFloat(append(b, `"time":`...), took.Seconds())
		} else {
			b = f.appendTook(b, took)
		}
	}
	if f.associative {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(b, `"rows":null`...)
	}
	return append(b, '}')
}
