package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// An entry is what one raft log entry holds: the statements of a batch of updates.
//
//	version   1 byte
//	proposal  16 bytes, never used twice
//	base      uvarint: index of the last command applied where it was evaluated
//	time      varint: Unix microseconds
//	engine    uvarint: the version of SQLite and of our rules (engineVersion)
//	texts     uvarint count, each: uvarint length, SQL
//	units     uvarint count (a unit is one update), each: uvarint count of
//	          statements, each:
//	            text     uvarint: position in texts
//	            failure  uvarint: primary result code that it must end with, 0: success
//	            rowid    varint: last_insert_rowid after it
//	            changes  varint
//	            args     uvarint count, each: tag byte and value
const entryVersion = 2

// proposalID names one proposal of one process.
type proposalID [16]byte

type entry struct {
	id   proposalID
	base uint64
	time int64
	// What it was evaluated with.
	engine uint64
	texts  []string
	units  int
	body   []byte
}

// recorded is one statement and what it must do on every replica.
type recorded struct {
	sql            string
	failure        int
	rowid, changes int64
	args           []any
}

const (
	tagNull = iota
	tagInt
	tagFloat
	tagText
	tagBlob
)

// recorder builds the body of an entry, unit by unit.
type recorder struct {
	index map[string]int
	texts []string
	size  int // Bytes of texts and body.
	units int
	body  []byte

	// Of the unit that is being recorded.
	unit       []byte
	statements int
	textMark   int
	textBytes  int // Of the texts that no earlier unit has.
}

func (r *recorder) begin() {
	r.unit, r.statements, r.textMark, r.textBytes = r.unit[:0], 0, len(r.texts), 0
}

// drop forgets the unit that is being recorded.
func (r *recorder) drop() {
	for _, t := range r.texts[r.textMark:] {
		delete(r.index, t)
		r.size -= len(t)
	}
	r.texts = r.texts[:r.textMark]
	r.unit, r.statements = r.unit[:0], 0
}

// keep adds the unit to the entry, if it changed anything.
func (r *recorder) keep() {
	if r.statements == 0 {
		return
	}
	before := len(r.body)
	r.body = binary.AppendUvarint(r.body, uint64(r.statements))
	r.body = append(r.body, r.unit...)
	r.size += len(r.body) - before
	r.units++
	r.unit, r.statements = r.unit[:0], 0
}

// mark is a place in the unit that is being recorded, before its next statement.
type mark struct{ unit, statements, texts int }

func (r *recorder) mark() mark { return mark{len(r.unit), r.statements, len(r.texts)} }

// back forgets what the unit has recorded since m.
func (r *recorder) back(m mark) {
	for _, t := range r.texts[m.texts:] {
		delete(r.index, t)
		r.size -= len(t)
		r.textBytes -= len(t)
	}
	r.texts, r.unit, r.statements = r.texts[:m.texts], r.unit[:m.unit], m.statements
}

// unitSize is what the unit that is being recorded adds to the entry.
func (r *recorder) unitSize() int { return len(r.unit) + r.textBytes }

func (r *recorder) add(s recorded) {
	n, ok := r.index[s.sql]
	if !ok {
		if r.index == nil {
			r.index = map[string]int{}
		}
		n = len(r.texts)
		r.index[s.sql] = n
		r.texts = append(r.texts, s.sql)
		r.size += len(s.sql)
		r.textBytes += len(s.sql)
	}
	b := binary.AppendUvarint(r.unit, uint64(n))
	b = binary.AppendUvarint(b, uint64(s.failure))
	b = binary.AppendVarint(b, s.rowid)
	b = binary.AppendVarint(b, s.changes)
	b = binary.AppendUvarint(b, uint64(len(s.args)))
	for _, a := range s.args {
		b = appendValue(b, a)
	}
	r.unit = b
	r.statements++
}

func appendValue(b []byte, a any) []byte {
	switch v := a.(type) {
	case int64:
		return binary.AppendVarint(append(b, tagInt), v)
	case float64:
		return binary.LittleEndian.AppendUint64(append(b, tagFloat), math.Float64bits(v))
	case string:
		return append(binary.AppendUvarint(append(b, tagText), uint64(len(v))), v...)
	case []byte:
		return append(binary.AppendUvarint(append(b, tagBlob), uint64(len(v))), v...)
	}
	return append(b, tagNull)
}

func (r *recorder) entry(id proposalID, base uint64, time int64) entry {
	return entry{id: id, base: base, time: time, engine: engineVersion(), texts: r.texts, units: r.units, body: r.body}
}

func (e entry) encode() []byte {
	size := 64 + len(e.body)
	for _, t := range e.texts {
		size += len(t) + binary.MaxVarintLen32
	}
	b := append(make([]byte, 0, size), entryVersion)
	b = append(b, e.id[:]...)
	b = binary.AppendUvarint(b, e.base)
	b = binary.AppendVarint(b, e.time)
	b = binary.AppendUvarint(b, e.engine)
	b = binary.AppendUvarint(b, uint64(len(e.texts)))
	for _, t := range e.texts {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
	}
	b = binary.AppendUvarint(b, uint64(e.units))
	return append(b, e.body...)
}

var errEntry = errors.New("replication: the log entry is damaged")

// decodeEntry reads all but the statements (see each).
func decodeEntry(data []byte) (entry, error) {
	if len(data) < 1+len(proposalID{}) {
		return entry{}, errEntry
	}
	if data[0] != entryVersion {
		return entry{}, fmt.Errorf("replication: the log entry has format %d, this program knows %d: the two are of different versions", data[0], entryVersion)
	}
	var e entry
	r := reader{b: data[1+copy(e.id[:], data[1:]):]}
	e.base = r.uvarint()
	e.time = r.varint()
	e.engine = r.uvarint()
	e.texts = make([]string, r.count())
	for i := range e.texts {
		e.texts[i] = string(r.bytes(r.count()))
	}
	e.units = r.count()
	e.body = r.b
	if r.bad {
		return entry{}, errEntry
	}
	return e, nil
}

// each calls unit before the statements of each update and statement for each of them.
// The arguments are valid until statement returns.
func (e entry) each(unit func(first bool) error, statement func(recorded) error) error {
	r := reader{b: e.body}
	var args []any
	for n := range e.units {
		if err := unit(n == 0); err != nil {
			return err
		}
		for range r.count() {
			text := r.uvarint()
			s := recorded{failure: int(r.uvarint()), rowid: r.varint(), changes: r.varint()}
			args = args[:0]
			for range r.count() {
				args = append(args, r.value())
			}
			if r.bad || text >= uint64(len(e.texts)) {
				return errEntry
			}
			s.sql, s.args = e.texts[text], args
			if err := statement(s); err != nil {
				return err
			}
		}
	}
	if r.bad || len(r.b) != 0 {
		return errEntry
	}
	return nil
}

// reader reads the parts of an entry; after the first that is damaged, all are zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

// count reads a number of things that follow, each at least one byte long: more than the
// bytes that are left is damage, found before memory is taken for it.
func (r *reader) count() int {
	v := r.uvarint()
	if v > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(v)
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) value() any {
	tag := r.bytes(1)
	if tag == nil {
		return nil
	}
	switch tag[0] {
	case tagNull:
		return nil
	case tagInt:
		return r.varint()
	case tagFloat:
		if b := r.bytes(8); b != nil {
			return math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
		return nil
	case tagText:
		return string(r.bytes(r.count()))
	case tagBlob:
		if b := r.bytes(r.count()); !r.bad {
			return b
		}
	}
	r.bad = true
	return nil
}
