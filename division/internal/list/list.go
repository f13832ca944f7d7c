// Package list is the file format of the embedded division list: the code lists of three
// editions in one gzip stream, about 0.25 MB for 45,000 divisions.
//
// The stream holds lines of UTF-8 text in four sections, each led by its count:
//
//	tongban divisions 1
//	areas N       N lines "code level name2002|name2016|name2023"
//	codes M       M lines, the difference of each township code to the one before
//	names M       M lines, the name of each township
//
// In an area an empty name says that the edition does not list the code, and "=" that the
// name is the one of the edition before. Areas are sorted by code and level, townships by
// code. Codes and names of townships are apart because that compresses better, and
// because the names then are one searchable text.
package list

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Editions is the number of code lists a file holds, oldest first: GB/T 2260 of 2002-12,
// GB/T 2260 of 2016-07, National Bureau of Statistics of 2023.
const Editions = 3

const (
	header = "tongban divisions 1"
	// codeDigits is the length of a township's code.
	codeDigits = 9
	// maxBytes bounds the decompressed text: four times today's 0.8 MB.
	maxBytes = 4 << 20
)

// Area is one code of county level or above.
type Area struct {
	Code  string           // 6 digits.
	Level int              // 2 province, 3 city, 4 county.
	Names [Editions]string // By edition; empty where the edition does not list it.
}

// Townships are all townships, sorted by code, held in two strings so that a lookup
// allocates nothing.
type Townships struct {
	codes string   // 9 digits each, without separators.
	names string   // Each name ends with a newline.
	start []uint32 // Offset of each name; one more than there are names.
}

// List is the content of one file.
type List struct {
	Areas     []Area
	Townships Townships
}

// MakeTownships holds the given pairs; names[i] belongs to codes[i].
func MakeTownships(codes, names []string) Townships {
	t := Townships{codes: strings.Join(codes, ""), names: strings.Join(names, "\n")}
	if len(names) > 0 {
		t.names += "\n"
	}
	t.start = starts(t.names, len(names))
	return t
}

// Len is the number of townships.
func (t Townships) Len() int { return len(t.codes) / codeDigits }

// Code is the code of township i.
func (t Townships) Code(i int) string { return t.codes[i*codeDigits : (i+1)*codeDigits] }

// Name is the name of township i.
func (t Townships) Name(i int) string { return t.names[t.start[i] : t.start[i+1]-1] }

// Search is the index of the first township whose code is not below prefix.
func (t Townships) Search(prefix string) int {
	i, j := 0, t.Len()
	for i < j {
		if mid := (i + j) / 2; t.Code(mid) < prefix {
			i = mid + 1
		} else {
			j = mid
		}
	}
	return i
}

// Containing calls yield with the index of each township whose name contains text. Text
// is one line and not empty.
func (t Townships) Containing(text string, yield func(i int)) {
	for pos := 0; pos < len(t.names); {
		at := strings.Index(t.names[pos:], text)
		if at < 0 {
			return
		}
		i, found := slices.BinarySearch(t.start, uint32(pos+at))
		if !found {
			i--
		}
		yield(i)
		pos = int(t.start[i+1])
	}
}

// Encode writes l. It refuses what Decode could not give back.
func Encode(w io.Writer, l List) error {
	if err := check(l); err != nil {
		return err
	}
	zip, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(zip)
	fmt.Fprintf(out, "%s\nareas %d\n", header, len(l.Areas))
	for _, a := range l.Areas {
		names := a.Names
		for e := Editions - 1; e > 0; e-- {
			if names[e] != "" && names[e] == names[e-1] {
				names[e] = "="
			}
		}
		fmt.Fprintf(out, "%s %d %s\n", a.Code, a.Level, strings.Join(names[:], "|"))
	}
	fmt.Fprintf(out, "codes %d\n", l.Townships.Len())
	before := uint64(0)
	for i := range l.Townships.Len() {
		code, err := strconv.ParseUint(l.Townships.Code(i), 10, 64)
		if err != nil {
			return fmt.Errorf("township code: %w", err)
		}
		fmt.Fprintf(out, "%d\n", code-before)
		before = code
	}
	fmt.Fprintf(out, "names %d\n%s", l.Townships.Len(), l.Townships.names)
	if err := out.Flush(); err != nil {
		return err
	}
	return zip.Close()
}

func check(l List) error {
	order := func(a, b Area) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Level, b.Level))
	}
	for i, a := range l.Areas {
		if len(a.Code) != 6 || strings.Trim(a.Code, "0123456789") != "" || a.Level < 2 || a.Level > 4 {
			return fmt.Errorf("area %q of level %d is malformed", a.Code, a.Level)
		}
		if i > 0 && order(l.Areas[i-1], a) >= 0 {
			return fmt.Errorf("area %s of level %d is out of order or twice", a.Code, a.Level)
		}
		if strings.Join(a.Names[:], "") == "" || strings.ContainsAny(strings.Join(a.Names[:], ""), "|=\n ") {
			return fmt.Errorf("area %s has the names %q", a.Code, a.Names)
		}
	}
	t := l.Townships
	if len(t.codes)%codeDigits != 0 || strings.Count(t.names, "\n") != t.Len() {
		return fmt.Errorf("townships have %d digits and %d names", len(t.codes), strings.Count(t.names, "\n"))
	}
	for i := range t.Len() {
		if strings.Trim(t.Code(i), "0123456789") != "" || (i > 0 && t.Code(i-1) >= t.Code(i)) || t.Name(i) == "" {
			return fmt.Errorf("township %s %q is malformed, out of order or twice", t.Code(i), t.Name(i))
		}
	}
	return nil
}

// Decode reads what Encode wrote. The gzip checksum guards the content.
func Decode(data []byte) (List, error) {
	zip, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return List{}, fmt.Errorf("open division list: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(zip, maxBytes))
	if err != nil {
		return List{}, fmt.Errorf("read division list: %w", err)
	}
	d := decoder{rest: string(text)}
	if line := d.line(); line != header {
		return List{}, fmt.Errorf("division list begins with %q, not %q", line, header)
	}
	var l List
	l.Areas = d.areas()
	codes := d.count("codes")
	l.Townships.codes = d.codes(codes)
	names := d.count("names")
	if d.err == nil && (names != codes || strings.Count(d.rest, "\n") != names) {
		d.err = fmt.Errorf("%d codes and %d names of townships", codes, strings.Count(d.rest, "\n"))
	}
	if d.err != nil {
		return List{}, fmt.Errorf("read division list: %w", d.err)
	}
	l.Townships.names = strings.Clone(d.rest) // Lets go of the other sections.
	l.Townships.start = starts(l.Townships.names, names)
	return l, nil
}

// decoder walks over the lines of a file and keeps the first error.
type decoder struct {
	rest string
	err  error
}

func (d *decoder) line() string {
	line, rest, found := strings.Cut(d.rest, "\n")
	if !found && d.err == nil {
		d.err = io.ErrUnexpectedEOF
	}
	d.rest = rest
	return line
}

func (d *decoder) count(section string) int {
	line := d.line()
	number, found := strings.CutPrefix(line, section+" ")
	n, err := strconv.Atoi(number)
	if (!found || err != nil || n < 0 || n > len(d.rest)) && d.err == nil {
		d.err = fmt.Errorf("line %q is not the start of section %q", line, section)
	}
	if d.err != nil {
		return 0
	}
	return n
}

func (d *decoder) areas() []Area {
	areas := make([]Area, 0, d.count("areas"))
	for len(areas) < cap(areas) && d.err == nil {
		line := strings.Clone(d.line())
		head, tail, _ := strings.Cut(line, " ")
		level, names, _ := strings.Cut(tail, " ")
		parts := strings.Split(names, "|")
		if len(head) != 6 || len(level) != 1 || level < "2" || level > "4" || len(parts) != Editions {
			d.err = fmt.Errorf("area %q is malformed", line)
			return nil
		}
		a := Area{Code: head, Level: int(level[0] - '0')}
		for e, name := range parts {
			if name == "=" && e > 0 {
				name = a.Names[e-1]
			}
			a.Names[e] = name
		}
		areas = append(areas, a)
	}
	return areas
}

func (d *decoder) codes(n int) string {
	codes := make([]byte, 0, n*codeDigits)
	code := uint64(0)
	for range n {
		line := d.line()
		difference, err := strconv.ParseUint(line, 10, 32)
		code += difference
		if (err != nil || code < 1e8 || code >= 1e9) && d.err == nil {
			d.err = fmt.Errorf("township code difference %q", line)
		}
		if d.err != nil {
			return ""
		}
		codes = strconv.AppendUint(codes, code, 10)
	}
	return string(codes)
}

func starts(names string, n int) []uint32 {
	start := make([]uint32, 0, n+1)
	for pos := 0; ; {
		start = append(start, uint32(pos))
		at := strings.IndexByte(names[pos:], '\n')
		if at < 0 {
			return start
		}
		pos += at + 1
	}
}
