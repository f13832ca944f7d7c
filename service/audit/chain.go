package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
	"time"
	"unicode"

	"tongban/replication"
	"tongban/service"
)

// algorithm is the name that stands before each hash, so that another one can follow
// in the same chain.
const algorithm = "sha256:"

// genesis is the prev of the first row.
const genesis = algorithm + "0000000000000000000000000000000000000000000000000000000000000000"

// Row is one entry of the audit.
type Row struct {
	Seq     int64     `json:"seq"`
	At      time.Time `json:"at"`
	What    string    `json:"what"`
	Subject string    `json:"subject"`
	Account string    `json:"account"`
	Kind    string    `json:"kind"`
	Refused string    `json:"refused"`
	Detail  string    `json:"detail"` // JSON object with sorted keys.
	Prev    string    `json:"prev"`
	Hash    string    `json:"hash"`
}

// Head is the newest row of a chain at some time: noted outside the database, it proves
// later that nothing up to it was rewritten.
type Head struct {
	Seq  int64  `json:"seq"`
	Hash string `json:"hash"`
}

// sum returns the row's hash: the algorithm's name and SHA-256 over the format's name
// and every column but hash, each preceded by its length, so that no two rows have one
// encoding.
func (r Row) sum() string {
	h := sha256.New()
	part(h, "tongban audit 1")
	part(h, strconv.FormatInt(r.Seq, 10))
	part(h, strconv.FormatInt(r.At.UnixMicro(), 10))
	for _, s := range []string{r.What, r.Subject, r.Account, r.Kind, r.Refused, r.Detail, r.Prev} {
		part(h, s)
	}
	return algorithm + hex.EncodeToString(h.Sum(nil))
}

func part(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

// maxText is the longest what, subject, account, kind and reason in bytes, and maxDetail
// the longest detail: a path that an attacker made up must not fill the disk.
const (
	maxText   = 256
	maxDetail = 4 << 10
)

// ErrDetailTooLong is returned by Append when an event's detail exceeds 4 KiB: the
// service records too much.
var ErrDetailTooLong = errors.New("audit: the detail of an event is longer than 4 KiB")

// Append appends an event to the audit of the transaction's database; it is the
// service.RecordFunc of the program. Texts longer than 256 bytes are cut. Cost: two
// reads and two statements in the transaction, about 15 µs.
func Append(tx *service.Tx, e service.Event) error {
	head, err := ReadHead(tx)
	if err != nil {
		return err
	}
	row := Row{Seq: head.Seq + 1, At: tx.Now(), What: cut(e.What), Subject: cut(e.Subject), Account: cut(e.Who.Account),
		Kind: e.Who.Kind.String(), Refused: cut(e.Refused), Detail: "{}", Prev: head.Hash}
	if len(e.Detail) > 0 {
		detail, err := json.Marshal(e.Detail) // Sorts the keys.
		if err != nil {
			return fmt.Errorf("encode the detail of %s: %w", e.What, err)
		}
		if len(detail) > maxDetail {
			return fmt.Errorf("%w (%s)", ErrDetailTooLong, e.What)
		}
		row.Detail = string(detail)
	}
	row.Hash = row.sum()
	if err := tx.Exec(`INSERT INTO audit_event (seq, at, what, subject, account, kind, refused, detail, prev, hash)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, row.Seq, row.At, row.What, row.Subject, row.Account, row.Kind,
		row.Refused, row.Detail, row.Prev, row.Hash); err != nil {
		return fmt.Errorf("append %s to the audit: %w", e.What, err)
	}
	return tx.Exec(`INSERT INTO service_meta (key, value) VALUES ('audit.head', ?)
		ON CONFLICT (key) DO UPDATE SET value = excluded.value`, strconv.FormatInt(row.Seq, 10)+" "+row.Hash)
}

// cut shortens s to maxText bytes at the start of a character. What would move a terminal's
// cursor or turn the text around, as a path that somebody made up may, is shown as U+FFFD.
func cut(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// ReadHead returns the head that the database states; of an empty audit, Seq is 0.
func ReadHead(q service.Querier) (Head, error) {
	var s string
	err := q.QueryRow(`SELECT value FROM service_meta WHERE key = 'audit.head'`).Scan(&s)
	if errors.Is(err, replication.ErrNoRows) {
		return Head{Hash: genesis}, nil
	}
	if err != nil {
		return Head{}, fmt.Errorf("read the audit's head: %w", err)
	}
	number, hash, _ := strings.Cut(s, " ")
	seq, err := strconv.ParseInt(number, 10, 64)
	if err != nil || seq < 1 {
		return Head{}, fmt.Errorf("read the audit's head: %q is no head", s)
	}
	return Head{Seq: seq, Hash: hash}, nil
}
