package catalog

import (
	"slices"

	"tongban/service"
)

// indexing gathers what a fold changes in the full-text indexes, and does it at the fold's
// end. Between other writes FTS4 would empty its buffer into the index at each of them,
// and that was a third of what a fold costs (measured with tongban bench --only federation).
type indexing struct {
	texts, codes []indexRow
}

// indexRow is a row to insert.
type indexRow struct {
	id     int64
	values []any
}

// drop forgets a row that was to be inserted; false: there is none, it may be in the index.
func drop(rows *[]indexRow, id int64) bool {
	before := len(*rows)
	*rows = slices.DeleteFunc(*rows, func(r indexRow) bool { return r.id == id })
	return len(*rows) < before
}

// finish inserts what was gathered.
func (x *indexing) finish(tx *service.Tx) error {
	for _, r := range x.texts {
		if err := tx.Exec(`INSERT INTO catalog_text_search (docid, name, words, pinyin) VALUES (?, ?, ?, ?)`,
			append([]any{r.id}, r.values...)...); err != nil {
			return err
		}
	}
	for _, r := range x.codes {
		if err := tx.Exec(`INSERT INTO catalog_code_search (docid, codes) VALUES (?, ?)`,
			append([]any{r.id}, r.values...)...); err != nil {
			return err
		}
	}
	return nil
}
