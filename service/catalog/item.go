package catalog

import (
	"encoding/json"
	"errors"
	"time"

	"tongban/replication"
	"tongban/service"
)

// Published is the state of an item that people can find and apply for: the only one so
// far. An item that is taken back to quarantine is gone.
const Published = "published"

// Item is a service item of a department with its guide as shown.
type Item struct {
	Code       string    `json:"code"` // Its item code now.
	Name       string    `json:"name"`
	MainItem   string    `json:"main_item,omitempty"`
	BasicCode  string    `json:"basic_code,omitempty"`
	BodyCode   string    `json:"body_code"` // Unified social credit code of the implementing body.
	Area       string    `json:"area,omitempty"`
	Type       int       `json:"type"` // Code of the national item model; 0: unknown. Message "catalog.type.<type>".
	Department string    `json:"department"`
	State      string    `json:"state"`
	Former     []string  `json:"former,omitempty"` // Codes before repairs.
	Notes      []Reason  `json:"notes,omitempty"`  // What was odd about its row.
	Guide      Effective `json:"guide"`            // Limits in working days; 0: not known.
	Match      Match     `json:"match,omitempty"`  // How the inherited fields were found.
	MatchName  string    `json:"match_name,omitempty"`
	Version    int       `json:"version"` // Of the department's own fields; 0: none.
	Changed    time.Time `json:"changed"`
	Repair     int64     `json:"repair,omitempty"` // The repair that released it.
}

// ErrNoItem is returned for a code that no item has or had.
var ErrNoItem = service.Refuse(service.NotFound, "catalog.no_item")

// itemColumns are what scanItem reads.
const itemColumns = `code, name, main_item, basic_code, body_code, area, type, department, state, notes, changed, coalesce(repair, 0)`

type scanner interface{ Scan(dest ...any) error }

func scanItem(row scanner) (Item, error) {
	var it Item
	var notes string
	err := row.Scan(&it.Code, &it.Name, &it.MainItem, &it.BasicCode, &it.BodyCode, &it.Area, &it.Type,
		&it.Department, &it.State, &notes, &it.Changed, &it.Repair)
	if err == nil {
		err = json.Unmarshal([]byte(notes), &it.Notes)
	}
	return it, err
}

// ReadItem returns the published item that has the code, or had it before a repair, with
// its guide: the department's own fields, over those inherited from the demonstration
// catalog by name. It returns ErrNoItem when there is none.
func ReadItem(q service.Querier, code string) (Item, error) {
	it, err := scanItem(q.QueryRow(`SELECT `+itemColumns+` FROM catalog_item WHERE state = 'published' AND
		(code = ?1 OR code = (SELECT item FROM catalog_former WHERE code = ?1))`, code))
	if errors.Is(err, replication.ErrNoRows) {
		return it, ErrNoItem
	}
	if err != nil {
		return it, err
	}
	own, version, err := readGuide(q, it.Code)
	if err != nil {
		return it, err
	}
	it.Version = version
	it.fill(own, inherit(it.Name, it.MainItem))
	it.Former, err = formerCodes(q, it.Code)
	return it, err
}

func (it *Item) fill(own Guide, base basis) {
	it.Guide = merge(own, base.guide)
	it.Match, it.MatchName = base.match, base.source
}

// readGuide returns the newest guide fields that the department filled, and their version.
func readGuide(q service.Querier, code string) (Guide, int, error) {
	var g Guide
	var text string
	var version int
	err := q.QueryRow(`SELECT guide, version FROM catalog_guide WHERE item = ? ORDER BY version DESC LIMIT 1`, code).
		Scan(&text, &version)
	if errors.Is(err, replication.ErrNoRows) {
		return g, 0, nil
	}
	if err != nil {
		return g, 0, err
	}
	return g, version, json.Unmarshal([]byte(text), &g)
}

func formerCodes(q service.Querier, code string) ([]string, error) {
	return texts(q, `SELECT code FROM catalog_former WHERE item = ? ORDER BY code`, code)
}

// texts returns the one text column of a query.
func texts(q service.Querier, sql string, args ...any) ([]string, error) {
	var out []string
	err := each(q, func(rows *replication.Rows) error {
		var s string
		err := rows.Scan(&s)
		out = append(out, s)
		return err
	}, sql, args...)
	return out, err
}

// each calls fn for every row of a query.
func each(q service.Querier, fn func(rows *replication.Rows) error, sql string, args ...any) error {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// Refer records that something outside the catalog, such as a case, refers to the item:
// it can then no longer be taken back to quarantine. Call it in the transaction that
// makes the reference. It returns ErrNoItem when there is no published item of the code.
func Refer(tx *service.Tx, code string) error {
	r, err := tx.ExecResult(`UPDATE catalog_item SET referred = coalesce(referred, ?) WHERE code = ? AND state = 'published'`,
		tx.Now(), code)
	if err == nil && r.RowsAffected == 0 {
		return ErrNoItem
	}
	return err
}
