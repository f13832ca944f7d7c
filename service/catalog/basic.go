package catalog

import (
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
	"tongban/service/catalog/demo"
)

// Basic is an item of the basic catalog 基本目录: what exists, as a division above has set
// it. Departments' items are its implementations.
type Basic struct {
	Code     string       `json:"code"` // The 12 characters of the national scheme, or a province's own form.
	Name     string       `json:"name"`
	Type     int          `json:"type"` // Code of the task type; 0: not said.
	MainItem string       `json:"main_item,omitempty"`
	Words    []string     `json:"words,omitempty"`   // Everyday words.
	English  string       `json:"english,omitempty"` // Name in English.
	Guide    Guide        `json:"guide,omitzero"`    // Fields that it fixes.
	Version  int64        `json:"version"`           // Grows with each change of this item.
	Source   division.Ref `json:"source"`            // The division that maintains it.
	Changed  time.Time    `json:"changed"`           // When this division learnt of the newest version.
}

const basicColumns = `code, name, type, main_item, words, english, guide, version, source, changed`

func scanBasic(row scanner) (Basic, error) {
	var b Basic
	var words, guide, source string
	err := row.Scan(&b.Code, &b.Name, &b.Type, &b.MainItem, &words, &b.English, &guide, &b.Version, &source, &b.Changed)
	if err != nil {
		return b, err
	}
	b.Words = strings.Fields(words)
	if b.Source, err = division.ParseRef(source); err != nil {
		return b, err
	}
	return b, json.Unmarshal([]byte(guide), &b.Guide)
}

// ReadBasic returns those of the codes that are in the basic catalog, by code. q reads
// the division database. Cost: about 15 µs a code.
func ReadBasic(q service.Querier, codes ...string) (map[string]Basic, error) {
	out := map[string]Basic{}
	for chunk := range slices.Chunk(codes, 500) {
		args := make([]any, len(chunk))
		for i, c := range chunk {
			args[i] = c
		}
		if err := each(q, func(rows *replication.Rows) error {
			b, err := scanBasic(rows)
			out[b.Code] = b
			return err
		}, `SELECT `+basicColumns+` FROM catalog_basic WHERE code IN (`+strings.Repeat(`?, `, len(args)-1)+`?)`, args...); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// ErrNoBasic is returned for a code that the basic catalog does not have.
var ErrNoBasic = service.Refuse(service.NotFound, "catalog.no_basic")

func readOneBasic(q service.Querier, code string) (Basic, error) {
	b, err := scanBasic(q.QueryRow(`SELECT `+basicColumns+` FROM catalog_basic WHERE code = ?`, code))
	if errors.Is(err, replication.ErrNoRows) {
		return b, ErrNoBasic
	}
	return b, err
}

// BasicRowsOf makes rows of a basic catalog out of rows of items: one for each basic code,
// with the name, main item and type of the first item that has it. Items without a basic
// code make none.
func BasicRowsOf(items []Row) []BasicRow {
	var out []BasicRow
	seen := map[string]bool{}
	for _, r := range items {
		code := r.Basic
		if code == "" {
			code, _ = BasicCode(r.Code)
		}
		if code == "" || r.Name == "" || seen[code] {
			continue
		}
		seen[code] = true
		b := BasicRow{Line: r.Line, Code: code, Name: r.Name, MainItem: r.MainItem, Type: r.Type}
		if b.MainItem == unclassified {
			b.MainItem = ""
		}
		out = append(out, b)
	}
	return out
}

// DemoBasic returns the demonstration catalog as rows of a basic catalog.
func DemoBasic() []BasicRow {
	var out []BasicRow
	for i, item := range demo.Items() {
		out = append(out, BasicRow{Line: i + 2, Code: item.BasicCode, Name: item.Name, MainItem: item.MainItem,
			Type: strconv.Itoa(int(item.TaskType)), Words: strings.Join(item.Keywords, " "), English: item.NameEN,
			Basis: strings.Join(item.LegalBasis, "；"), Conditions: item.Conditions, Statutory: strconv.Itoa(item.StatutoryDays)})
	}
	return out
}
