package statistics

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tongban/division"
	"tongban/service"
)

// kind says what a code is.
type kind string

const (
	byItem  kind = "item"  // An item code of a department.
	byBasic kind = "basic" // A code of the basic catalog: the same service everywhere.
	byOwn   kind = "own"   // An item code from which no basic code can be read.
)

// row is one absolute value of a day and code, read from a feed.
type row struct {
	division  division.Ref
	day, code string
	kind      kind
	source    string // Slug of the tenant, or reference of the child that sent it.
	measures  map[service.Measure]int64
}

// sent is the payload of a row that goes up. Its key is upKey.
type sent struct {
	Kind     kind                      `json:"kind"`
	Measures map[service.Measure]int64 `json:"measures"`
}

// upKey is the key of a row that goes up: "county/511602|2026-03-02|<code>".
func upKey(d division.Ref, day, code string) string {
	return d.String() + "|" + service.CountKey(day, code)
}

const (
	maxMeasures = 32             // Of a row, and of all rows of a division.
	maxCodes    = 50_000         // Of a division: ten times what the largest county offers.
	maxValue    = int64(1) << 30 // Of a measure: more than a day has cases; milliards of them can be added up in 63 bits.
	firstDay    = "2000-01-01"   // Nothing was counted before.
	daysAhead   = 2              // A sender's clock may be ahead of this one's.
)

var measurePattern = regexp.MustCompile(`^[a-z][a-z_]{0,39}$`)

// errMalformed: a row that no honest sender makes.
var errMalformed = errors.New("malformed row of statistics")

// readHome reads a row of a tenant; without measures it says that the key is gone.
func readHome(r service.FeedRow, tenant string, self division.Ref) (row, error) {
	out := row{division: self, kind: byItem, source: tenant}
	if err := out.readKey(r.Key); err != nil || len(r.Payload) == 0 {
		return out, err
	}
	if err := decode(r.Payload, &out.measures); err != nil {
		return out, fmt.Errorf("%w: %.80q: %v", errMalformed, r.Key, err)
	}
	return out, out.check(r.Key)
}

// readUp reads a row of a child; without measures it says that the key is gone.
func readUp(r service.FeedRow, from division.Ref) (row, error) {
	ref, rest, _ := strings.Cut(r.Key, "|")
	out := row{source: from.String()}
	if err := out.division.UnmarshalText([]byte(ref)); err != nil || out.division.IsZero() {
		return out, fmt.Errorf("%w: the key %.80q names no division", errMalformed, r.Key)
	}
	if err := out.readKey(rest); err != nil || len(r.Payload) == 0 {
		return out, err
	}
	var in sent
	if err := decode(r.Payload, &in); err != nil {
		return out, fmt.Errorf("%w: %.80q: %v", errMalformed, r.Key, err)
	}
	out.kind, out.measures = in.Kind, in.Measures
	if in.Kind != byItem && in.Kind != byBasic && in.Kind != byOwn {
		return out, fmt.Errorf("%w: %.80q: a code of an unknown kind %.20q", errMalformed, r.Key, in.Kind)
	}
	return out, out.check(r.Key)
}

func (r *row) readKey(key string) error {
	day, code, found := strings.Cut(key, "|")
	if _, err := time.Parse(time.DateOnly, day); err != nil || !found || code == "" || len(code) > service.MaxSubject ||
		!utf8.ValidString(code) || strings.ContainsFunc(code, unicode.IsControl) {
		return fmt.Errorf("%w: the key %.80q has no day and code", errMalformed, key)
	}
	r.day, r.code = day, code
	return nil
}

func (r *row) check(key string) error {
	if len(r.measures) == 0 || len(r.measures) > maxMeasures {
		return fmt.Errorf("%w: %.80q: %d measures", errMalformed, key, len(r.measures))
	}
	for m, n := range r.measures {
		if !measurePattern.MatchString(string(m)) || n < 0 || n > maxValue {
			return fmt.Errorf("%w: %.80q: the measure %.40q is %d", errMalformed, key, m, n)
		}
	}
	return nil
}

// checkDay refuses a day on which nothing can have been counted.
func (r *row) checkDay(now time.Time) error {
	if last := service.CountDay(now.AddDate(0, 0, daysAhead)); r.day < firstDay || r.day > last {
		return fmt.Errorf("%w: a day %s, before %s or after %s", errMalformed, r.day, firstDay, last)
	}
	return nil
}

// decode reads one JSON value and nothing after it. Fields of newer programs are ignored:
// what old ones must not fold comes with a newer format.
func decode(payload []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(payload))
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the JSON value")
	}
	return nil
}
