package databases

import (
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"tongban/replication"
)

// What is wrong with a body; rqlite's words.
var (
	errNoStatements    = errors.New("no statements")
	errInvalidJSON     = errors.New("invalid JSON body")
	errInvalidRequest  = errors.New("invalid request")
	errUnsupportedType = errors.New("unsupported type")
	errManyStatements  = errors.New("too many statements in one request")
)

// maxStatements bounds the statements of one request.
const maxStatements = 10_000

// decoder reads the body of a request: an array of statements, each a text or an array of
// the text and its arguments. An argument is a value, or an object of named ones; an array of
// numbers is a blob, and so is the text x'…'.
type decoder struct {
	b  []byte
	at int
}

// decode reads all statements. Nothing of b is kept.
func decode(b []byte) ([]replication.Statement, error) {
	d := decoder{b: b}
	if d.space() != '[' {
		if d.at == len(b) {
			return nil, errInvalidJSON
		}
		return nil, errInvalidRequest
	}
	d.at++
	var list []replication.Statement
	for first := true; ; first = false {
		c := d.space()
		if c == ']' {
			d.at++
			break
		}
		if !first {
			if c != ',' {
				return nil, errInvalidJSON
			}
			d.at++
			c = d.space()
		}
		if len(list) == maxStatements {
			return nil, errManyStatements
		}
		s, err := d.statement(c)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if d.space(); d.at != len(b) {
		return nil, errInvalidJSON
	}
	if len(list) == 0 {
		return nil, errNoStatements
	}
	return list, nil
}

// space skips white space and returns the next character, 0 at the end.
func (d *decoder) space() byte {
	for d.at < len(d.b) {
		switch c := d.b[d.at]; c {
		case ' ', '\t', '\n', '\r':
			d.at++
		default:
			return c
		}
	}
	return 0
}

func (d *decoder) statement(c byte) (s replication.Statement, err error) {
	switch c {
	case '"':
		s.SQL, err = d.text()
		return s, err
	case '[':
		d.at++
	case 0:
		return s, errInvalidJSON
	default:
		return s, errInvalidRequest
	}
	if c := d.space(); c != '"' {
		if c == 0 {
			return s, errInvalidJSON
		}
		return s, errInvalidRequest
	}
	if s.SQL, err = d.text(); err != nil {
		return s, err
	}
	for {
		switch d.space() {
		case ']':
			d.at++
			return s, nil
		case ',':
			d.at++
		default:
			return s, errInvalidJSON
		}
		if d.space() == '{' {
			if s.Args, err = d.named(s.Args); err != nil {
				return s, err
			}
			continue
		}
		v, err := d.value()
		if err != nil {
			return s, err
		}
		s.Args = append(s.Args, v)
	}
}

// named reads an object of arguments.
func (d *decoder) named(args []any) ([]any, error) {
	d.at++
	for first := true; ; first = false {
		c := d.space()
		if c == '}' {
			d.at++
			return args, nil
		}
		if !first {
			if c != ',' {
				return nil, errInvalidJSON
			}
			d.at++
			c = d.space()
		}
		if c != '"' {
			return nil, errInvalidJSON
		}
		name, err := d.text()
		if err != nil {
			return nil, err
		}
		if d.space() != ':' {
			return nil, errInvalidJSON
		}
		d.at++
		v, err := d.value()
		if err != nil {
			return nil, err
		}
		args = append(args, replication.Named{Name: name, Value: v})
	}
}

// value reads one argument.
func (d *decoder) value() (any, error) {
	switch c := d.space(); c {
	case '"':
		text, err := d.text()
		if err != nil {
			return nil, err
		}
		if blob, ok := parseHex(text); ok {
			return blob, nil
		}
		return text, nil
	case '[':
		return d.blob()
	case '{':
		return nil, errUnsupportedType
	case 't':
		return true, d.word("true")
	case 'f':
		return false, d.word("false")
	case 'n':
		return nil, d.word("null")
	default:
		return d.number()
	}
}

func (d *decoder) word(w string) error {
	if len(d.b)-d.at < len(w) || string(d.b[d.at:d.at+len(w)]) != w {
		return errInvalidJSON
	}
	d.at += len(w)
	return nil
}

// number reads an integer of 64 bits as one, any other number as a float.
func (d *decoder) number() (any, error) {
	start := d.at
	for d.at < len(d.b) {
		c := d.b[d.at]
		if (c < '0' || c > '9') && c != '-' && c != '+' && c != '.' && c != 'e' && c != 'E' {
			break
		}
		d.at++
	}
	text := d.b[start:d.at]
	if !isNumber(text) {
		return nil, errInvalidJSON
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return n, nil
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, errInvalidJSON
	}
	return f, nil
}

// isNumber is the grammar of RFC 8259, section 6.
func isNumber(b []byte) bool {
	digits := func() bool {
		n := 0
		for n < len(b) && b[n] >= '0' && b[n] <= '9' {
			n++
		}
		b = b[n:]
		return n > 0
	}
	if len(b) > 0 && b[0] == '-' {
		b = b[1:]
	}
	if len(b) > 0 && b[0] == '0' {
		b = b[1:]
	} else if !digits() {
		return false
	}
	if len(b) > 0 && b[0] == '.' {
		b = b[1:]
		if !digits() {
			return false
		}
	}
	if len(b) > 0 && (b[0] == 'e' || b[0] == 'E') {
		b = b[1:]
		if len(b) > 0 && (b[0] == '+' || b[0] == '-') {
			b = b[1:]
		}
		if !digits() {
			return false
		}
	}
	return len(b) == 0
}

// blob reads an array of the numbers 0 to 255.
func (d *decoder) blob() (any, error) {
	d.at++
	out := []byte{}
	for first := true; ; first = false {
		c := d.space()
		if c == ']' {
			d.at++
			return out, nil
		}
		if !first {
			if c != ',' {
				return nil, errInvalidJSON
			}
			d.at++
			c = d.space()
		}
		if c < '0' || c > '9' {
			return nil, errUnsupportedType
		}
		v, err := d.number()
		if err != nil {
			return nil, err
		}
		n, ok := v.(int64)
		if !ok || n > 255 {
			return nil, errUnsupportedType
		}
		out = append(out, byte(n))
	}
}

// parseHex reads x'…', SQLite's literal of a blob.
func parseHex(s string) ([]byte, bool) {
	if len(s) < 3 || s[0] != 'x' && s[0] != 'X' || s[1] != '\'' || s[len(s)-1] != '\'' {
		return nil, false
	}
	b, err := hex.DecodeString(s[2 : len(s)-1])
	return b, err == nil
}

// text reads a string.
func (d *decoder) text() (string, error) {
	d.at++
	start := d.at
	ascii := true
	for d.at < len(d.b) {
		switch c := d.b[d.at]; {
		case c == '"':
			s := d.b[start:d.at]
			d.at++
			if !ascii && !utf8.Valid(s) {
				return "", errInvalidJSON
			}
			return string(s), nil
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return "", errInvalidJSON
		case c >= utf8.RuneSelf:
			ascii = false
		}
		d.at++
	}
	return "", errInvalidJSON
}

// escaped reads the rest of a string that has an escape.
func (d *decoder) escaped(start int) (string, error) {
	out := append(make([]byte, 0, 2*(d.at-start)+32), d.b[start:d.at]...)
	for d.at < len(d.b) {
		c := d.b[d.at]
		d.at++
		switch {
		case c == '"':
			if !utf8.Valid(out) {
				return "", errInvalidJSON
			}
			return string(out), nil
		case c < ' ':
			return "", errInvalidJSON
		case c != '\\':
			out = append(out, c)
			continue
		}
		if d.at == len(d.b) {
			break
		}
		c = d.b[d.at]
		d.at++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := d.unicode()
			if !ok {
				return "", errInvalidJSON
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", errInvalidJSON
		}
	}
	return "", errInvalidJSON
}

// unicode reads what follows \u; a lone surrogate becomes U+FFFD, as in encoding/json.
func (d *decoder) unicode() (rune, bool) {
	r, ok := d.hex4(d.at)
	if !ok {
		return 0, false
	}
	d.at += 4
	if !utf16.IsSurrogate(r) {
		return r, true
	}
	if d.at+6 <= len(d.b) && d.b[d.at] == '\\' && d.b[d.at+1] == 'u' {
		if low, ok := d.hex4(d.at + 2); ok {
			if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
				d.at += 6
				return both, true
			}
		}
	}
	return utf8.RuneError, true
}

func (d *decoder) hex4(at int) (rune, bool) {
	if at+4 > len(d.b) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(d.b[at:at+4]), 16, 32)
	return rune(n), err == nil
}
