package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// Layout of the log store.
//
//	key    'l' group 0x00 index(8, big endian)    an entry
//	       's' group 0x00 name                    a stable value: term, vote
//	value  crc32c(4, big endian) of key and rest | format(1) | rest
//
// A group is a DatabaseID, which holds no 0x00, so that entries sort by (group, index)
// and no group's range reaches into another's. The key is part of the checksum: a value
// that lands under a wrong key is found out too.
const (
	keyKindEntry  = 'l'
	keyKindStable = 's'
	keyEnd        = 0x00

	entryFormat  = 1
	stableFormat = 1

	// checkedHeader is the checksum and the format byte.
	checkedHeader = 5
)

// errCorrupt marks a value that does not match its checksum: it is reported, never
// served.
var errCorrupt = errors.New("the stored value is damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// groupKeys are the bounds of one group's part of the key space.
type groupKeys struct {
	entries    []byte // 'l' group 0x00
	entriesEnd []byte // 'l' group 0x01: first key after the entries.
	stable     []byte // 's' group 0x00
}

func newGroupKeys(id DatabaseID) groupKeys {
	prefix := func(kind, end byte) []byte {
		key := make([]byte, 0, len(id)+2)
		return append(append(append(key, kind), id...), end)
	}
	return groupKeys{
		entries:    prefix(keyKindEntry, keyEnd),
		entriesEnd: prefix(keyKindEntry, keyEnd+1),
		stable:     prefix(keyKindStable, keyEnd),
	}
}

func (k groupKeys) entry(index uint64) []byte {
	key := make([]byte, 0, len(k.entries)+8)
	return binary.BigEndian.AppendUint64(append(key, k.entries...), index)
}

func (k groupKeys) index(key []byte) (uint64, error) {
	if len(key) != len(k.entries)+8 {
		return 0, fmt.Errorf("key of %d bytes: %w", len(key), errCorrupt)
	}
	return binary.BigEndian.Uint64(key[len(k.entries):]), nil
}

func (k groupKeys) value(name []byte) []byte {
	key := make([]byte, 0, len(k.stable)+len(name))
	return append(append(key, k.stable...), name...)
}

// seal writes the checksum over key and value[4:] into value[:4].
func seal(key, value []byte) {
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[4:])
	binary.BigEndian.PutUint32(value, sum)
}

// unseal checks a value and returns what follows its format byte.
func unseal(key, value []byte, format byte) ([]byte, error) {
	if len(value) < checkedHeader {
		return nil, fmt.Errorf("%d bytes: %w", len(value), errCorrupt)
	}
	sum := crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[4:])
	if binary.BigEndian.Uint32(value) != sum {
		return nil, fmt.Errorf("checksum differs: %w", errCorrupt)
	}
	if value[4] != format {
		return nil, fmt.Errorf("format %d is not known to this version, which knows %d", value[4], format)
	}
	return value[checkedHeader:], nil
}

// entrySize bounds the encoded size of an entry from above.
func entrySize(e *raft.Log) int {
	return checkedHeader + 1 + 3*binary.MaxVarintLen64 + len(e.Extensions) + len(e.Data)
}

// appendEntryBody encodes what the log store and the transport both carry of an entry,
// all but its index: type(1) | term | appended at | length of extensions | extensions |
// data, the numbers as varints, the time in ns since 1970 or 0 for none.
func appendEntryBody(b []byte, e *raft.Log) []byte {
	b = append(b, byte(e.Type))
	b = binary.AppendUvarint(b, e.Term)
	var at int64
	if !e.AppendedAt.IsZero() {
		at = e.AppendedAt.UnixNano()
	}
	b = binary.AppendVarint(b, at)
	b = binary.AppendUvarint(b, uint64(len(e.Extensions)))
	b = append(b, e.Extensions...)
	return append(b, e.Data...)
}

// decodeEntryBody is the inverse of appendEntryBody. The entry's slices alias b.
func decodeEntryBody(b []byte, e *raft.Log) error {
	r := byteReader{b: b}
	kind := r.byte()
	e.Term = r.uvarint()
	at := r.varint()
	extensions := r.bytes(r.uvarint())
	if r.err != nil {
		return r.err
	}
	if kind > byte(raft.LogConfiguration) {
		return fmt.Errorf("entry of unknown type %d", kind)
	}
	e.Type = raft.LogType(kind)
	e.AppendedAt = time.Time{}
	if at != 0 {
		e.AppendedAt = time.Unix(0, at)
	}
	e.Extensions, e.Data = nil, nil
	if len(extensions) > 0 {
		e.Extensions = extensions
	}
	if len(r.b) > 0 {
		e.Data = r.b
	}
	return nil
}

// byteReader takes numbers and strings off a buffer; the first error sticks and later
// calls return zeros.
type byteReader struct {
	b   []byte
	err error
}

var errShort = errors.New("the text ends too early")

func (r *byteReader) byte() byte {
	if r.err != nil || len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *byteReader) bool() bool {
	v := r.byte()
	if v > 1 {
		r.fail(fmt.Errorf("%d is neither 0 nor 1", v))
	}
	return v == 1
}

func (r *byteReader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *byteReader) varint() int64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

// bytes takes n bytes, aliasing the buffer.
func (r *byteReader) bytes(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// end fails when something is left.
func (r *byteReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes too many", len(r.b))
	}
	return r.err
}

func (r *byteReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}
