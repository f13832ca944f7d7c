package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tongban/replication"
	"tongban/service"
)

// chunkRows is how many rows one transaction takes: about 80 KB of statements and 2 ms,
// against the 1 MiB and 100 ms that a closure may use on a busy machine.
const chunkRows = 50

// Result counts what an import did. Published, Quarantined, Updated and Unchanged add up
// to Rows.
type Result struct {
	Batch       int64        `json:"batch"`
	File        string       `json:"file"`
	Rows        int          `json:"rows"`
	Published   int          `json:"published"`   // New items.
	Quarantined int          `json:"quarantined"` // New rows in quarantine.
	Updated     int          `json:"updated"`     // Known rows that say something else now.
	Unchanged   int          `json:"unchanged"`   // Known rows.
	ByReason    map[Kind]int `json:"by_reason"`   // Rows of the file that are kept in quarantine, by reason; a row can have several.
	Notes       map[Kind]int `json:"notes"`       // Published rows of the file, by what is odd about them.
}

// Run takes the whole import into db, a chunk of rows in each transaction, and finishes
// with last, which gets the result in the transaction of the last chunk (nil: nothing).
// An import that was interrupted goes on where it was when it is run again.
func (im *Import) Run(ctx context.Context, db *service.DB, last func(tx *service.Tx, r Result) error) (Result, error) {
	for i := range im.Chunks() - 1 {
		if err := db.Update(ctx, func(tx *service.Tx) error {
			_, err := im.Take(tx, i)
			return err
		}); err != nil {
			return Result{}, fmt.Errorf("import rows from %d: %w", i*chunkRows, err)
		}
	}
	var out Result
	err := db.Update(ctx, func(tx *service.Tx) error {
		r, err := im.Take(tx, im.Chunks()-1)
		if err != nil {
			return err
		}
		out = r
		if last == nil {
			return nil
		}
		return last(tx, r)
	})
	return out, err
}

// Take takes one chunk (0 to Chunks-1, in order) into the transaction's database and
// returns the counts so far. A chunk that was taken before changes nothing.
func (im *Import) Take(tx *service.Tx, chunk int) (Result, error) {
	id, next, result, err := im.batch(tx)
	if err != nil {
		return Result{}, err
	}
	from, to := chunk*chunkRows, min((chunk+1)*chunkRows, len(im.rows))
	if next > from {
		return result, nil
	}
	if next < from {
		return Result{}, fmt.Errorf("import chunk %d of batch %d: the rows from %d come first", chunk, id, next)
	}
	for i := from; i < to; i++ {
		if err := im.rows[i].take(tx, id, &result); err != nil {
			return Result{}, fmt.Errorf("import line %d: %w", im.rows[i].row.Line, err)
		}
	}
	text, err := json.Marshal(result)
	if err != nil {
		return Result{}, err
	}
	if err := tx.Exec(`UPDATE catalog_batch SET next = ?, result = ? WHERE id = ?`, to, string(text), id); err != nil {
		return Result{}, err
	}
	return result, publishCounts(tx)
}

// batch reads or makes the import's row.
func (im *Import) batch(tx *service.Tx) (id int64, next int, result Result, err error) {
	var text string
	err = tx.QueryRow(`SELECT id, next, result FROM catalog_batch WHERE key = ?`, im.key).Scan(&id, &next, &text)
	if err == nil {
		err = json.Unmarshal([]byte(text), &result)
		return id, next, result, err
	}
	if !errors.Is(err, replication.ErrNoRows) {
		return 0, 0, result, err
	}
	if id, err = tx.Next("catalog_batch"); err != nil {
		return 0, 0, result, err
	}
	result = Result{Batch: id, File: im.file, ByReason: map[Kind]int{}, Notes: map[Kind]int{}}
	empty, err := json.Marshal(result)
	if err != nil {
		return 0, 0, result, err
	}
	err = tx.Exec(`INSERT INTO catalog_batch (id, key, file, sum, total, next, result, account, at) VALUES (?, ?, ?, ?, ?, 0, ?, ?, ?)`,
		id, im.key, im.file, im.sum, len(im.rows), string(empty), im.account, tx.Now())
	return id, 0, result, err
}

// take publishes the row or quarantines it, and counts what it did.
func (p *prepared) take(tx *service.Tx, batch int64, result *Result) error {
	result.Rows++
	if blocked(p.reasons) {
		for _, r := range p.reasons {
			if r.Kind.blocks() {
				result.ByReason[r.Kind]++
			}
		}
		return p.quarantine(tx, batch, result)
	}
	for _, r := range p.reasons {
		result.Notes[r.Kind]++
	}
	return p.publish(tx, result)
}

func (p *prepared) publish(tx *service.Tx, result *Result) error {
	it, e := itemOf(p.row, p.row.Code, p.row.Body), p.entry
	it.Notes = p.reasons
	var hash string
	err := tx.QueryRow(`SELECT hash FROM catalog_item WHERE code = ?`, p.row.Code).Scan(&hash)
	switch {
	case err == nil && hash == p.hash:
		result.Unchanged++
		return nil
	case err == nil:
		result.Updated++
		if it.Former, err = formerCodes(tx, it.Code); err != nil {
			return err
		}
		e = newEntry(it, p.base)
	case errors.Is(err, replication.ErrNoRows):
		result.Published++
		if err := tx.Exec(`UPDATE catalog_quarantine SET state = 'superseded', changed = ? WHERE key = ? AND state = 'quarantined'`,
			tx.Now(), p.key); err != nil {
			return err
		}
	default:
		return err
	}
	return writeItem(tx, it, p.hash, p.base, e)
}

func (p *prepared) quarantine(tx *service.Tx, batch int64, result *Result) error {
	reasons, err := json.Marshal(p.reasons)
	if err != nil {
		return err
	}
	var id, rev int64
	var hash, state, newBody string
	err = tx.QueryRow(`SELECT id, rev, hash, state, new_body FROM catalog_quarantine WHERE key = ?`, p.key).
		Scan(&id, &rev, &hash, &state, &newBody)
	if errors.Is(err, replication.ErrNoRows) {
		result.Quarantined++
		if id, err = tx.Next("catalog_quarantine"); err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO catalog_quarantine (id, key, batch, line, code, name, body_code, raw, reasons, kinds,
			hash, state, new_body, new_code, rev, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'quarantined', '', '', 1, ?)`,
			id, p.key, batch, p.row.Line, p.row.Code, p.row.Name, p.row.Body, p.raw, string(reasons), kindsOf(p.reasons), p.hash, tx.Now())
	}
	if err != nil {
		return err
	}
	if hash == p.hash && state != "superseded" {
		result.Unchanged++
		return nil
	}
	result.Updated++
	if state == "superseded" {
		state = "quarantined"
	}
	if err := tx.Exec(`UPDATE catalog_quarantine SET batch = ?, line = ?, code = ?, name = ?, body_code = ?, raw = ?, reasons = ?,
		kinds = ?, hash = ?, state = ?, rev = rev + 1, changed = ? WHERE id = ?`,
		batch, p.row.Line, p.row.Code, p.row.Name, p.row.Body, p.raw, string(reasons), kindsOf(p.reasons), p.hash, state, tx.Now(), id); err != nil {
		return err
	}
	if state != stateReleased {
		return nil
	}
	return p.changeReleased(tx, id, newBody)
}

// changeReleased carries what a later file says about a row that a repair had released
// over to its item.
func (p *prepared) changeReleased(tx *service.Tx, id int64, body string) error {
	var code string
	if err := tx.QueryRow(`SELECT new_code FROM catalog_quarantine WHERE id = ?`, id).Scan(&code); err != nil {
		return err
	}
	if len(beyondBody(p.reasons)) > 0 && blocked(beyondBody(p.reasons)) {
		return nil // The item stays as it was; the row shows why.
	}
	it := itemOf(p.row, code, body)
	it.Notes = beyondBody(p.reasons)
	former, err := formerCodes(tx, code)
	if err != nil {
		return err
	}
	it.Former = former
	return writeItem(tx, it, p.hash, p.base, newEntry(it, p.base))
}

// writeItem writes a published item and tells search. base is what it inherits, e its
// entry as newEntry made it.
func writeItem(tx *service.Tx, it Item, hash string, base basis, e entry) error {
	own, _, err := readGuide(tx, it.Code)
	if err != nil {
		return err
	}
	it.fill(own, base)
	notes := []byte("null")
	if it.Notes != nil {
		if notes, err = json.Marshal(it.Notes); err != nil {
			return err
		}
	}
	c := it.Guide.Completeness
	var repair any
	if it.Repair != 0 {
		repair = it.Repair
	}
	if err := tx.Exec(`INSERT INTO catalog_item (code, name, main_item, basic_code, area, body_code, type, department, state, notes,
		hash, own, inherited, missing, repair, created, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'published', ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (code) DO UPDATE SET name = excluded.name, main_item = excluded.main_item, basic_code = excluded.basic_code,
		area = excluded.area, body_code = excluded.body_code, type = excluded.type, department = excluded.department,
		notes = excluded.notes, hash = excluded.hash, own = excluded.own, inherited = excluded.inherited,
		missing = excluded.missing, changed = excluded.changed`,
		it.Code, it.Name, it.MainItem, it.BasicCode, it.Area, it.BodyCode, it.Type, it.Department, string(notes),
		hash, c.Own, c.Inherited, c.Missing, repair, tx.Now(), tx.Now()); err != nil {
		return err
	}
	return publishEntry(tx, it, e)
}
