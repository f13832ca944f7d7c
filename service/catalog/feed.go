package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"tongban/replication"
	"tongban/service"
)

// Names of the feeds.
const (
	feedItems       = "catalog.items"       // Key: item code. Payload: entry.
	feedDepartments = "catalog.departments" // Key: "". Payload: Counts.
)

// feedFormat is the version of both payloads.
const feedFormat = 1

// An entry is what the division's search keeps of an item. The text is cut where the item
// is written, so that folding is only inserting.
type entry struct {
	Name      string   `json:"name"`
	MainItem  string   `json:"main_item,omitempty"`
	Type      int      `json:"type"`
	Audience  int      `json:"audience"` // 1 persons, 2 firms, 3 both, 0 not said.
	Promise   int      `json:"promise"`
	Instant   bool     `json:"instant"`
	Visits    *int     `json:"visits"`
	Inherited bool     `json:"inherited"` // The promise is demonstration data.
	Words     []string `json:"words"`     // Everyday words.
	Former    []string `json:"former,omitempty"`
	Pinyin    string   `json:"pinyin"`
	Initials  string   `json:"initials"`
	Sounds    []string `json:"sounds,omitempty"` // Pinyin and initials of the words.
	CutName   string   `json:"cut_name"`
	CutWords  string   `json:"cut_words"`
	CutPinyin string   `json:"cut_pinyin"`
}

// newEntry cuts an item's text for search. Cost: about 50 µs.
func newEntry(it Item, base basis) entry {
	e := entry{Name: it.Name, MainItem: it.MainItem, Type: it.Type, Former: it.Former}
	var words, name, further, sound, spoken tokenSet
	for _, w := range base.keywords {
		words.add(w)
	}
	for _, w := range wordsFor(it.Name) {
		words.add(w)
	}
	e.Words = words.list
	for _, w := range wordsFor(it.MainItem) { // Found by them, but behind those that are named so.
		further.addText(w)
		sound.addPinyin(w)
	}
	name.addText(it.Name)
	further.addText(it.MainItem)
	further.addText(base.english)
	sound.addPinyin(it.Name)
	for _, w := range e.Words {
		further.addText(w)
		sound.addPinyin(w)
		full, initials := pinyinOf(w)
		spoken.add(full)
		spoken.add(initials)
	}
	for _, code := range append([]string{it.Code}, it.Former...) {
		further.addText(code)
	}
	e.Pinyin, e.Initials = pinyinOf(it.Name)
	e.Sounds = spoken.list
	e.CutName, e.CutWords, e.CutPinyin = name.String(), further.String(), sound.String()
	return e
}

// publishEntry tells search about an item whose guide is filled in.
func publishEntry(tx *service.Tx, it Item, e entry) error {
	for _, a := range it.Guide.Audience {
		switch a {
		case "person":
			e.Audience |= 1
		case "firm":
			e.Audience |= 2
		}
	}
	e.Promise, e.Instant, e.Visits = it.Guide.Promise, it.Guide.Instant, it.Guide.Visits
	e.Inherited = it.Guide.From["promise"] == Inherited
	payload, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return tx.Publish(feedItems, it.Code, feedFormat, payload)
}

// Counts are a department's numbers.
type Counts struct {
	Published    int          `json:"published"`
	Quarantined  int          `json:"quarantined"` // Waiting, not repaired.
	Repaired     int          `json:"repaired"`    // Repaired and not released.
	Completeness Completeness `json:"completeness"`
}

// ReadCounts counts a department's items in its main database. Cost: one pass over them.
func ReadCounts(q service.Querier) (Counts, error) {
	var c Counts
	if err := q.QueryRow(`SELECT count(*), coalesce(sum(own), 0), coalesce(sum(inherited), 0), coalesce(sum(missing), 0)
		FROM catalog_item WHERE state = 'published'`).Scan(&c.Published, &c.Completeness.Own, &c.Completeness.Inherited,
		&c.Completeness.Missing); err != nil {
		return c, err
	}
	err := q.QueryRow(`SELECT coalesce(sum(state = 'quarantined'), 0), coalesce(sum(state = 'repaired'), 0) FROM catalog_quarantine`).
		Scan(&c.Quarantined, &c.Repaired)
	return c, err
}

// publishCounts tells the division a department's numbers.
func publishCounts(tx *service.Tx) error {
	c, err := ReadCounts(tx)
	if err != nil {
		return err
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return tx.Publish(feedDepartments, "", feedFormat, payload)
}

// foldItems keeps the division's search at what the departments publish.
func foldItems(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
	for _, row := range rows {
		if err := foldItem(tx, from, row); err != nil {
			return fmt.Errorf("fold item %s of %s: %w", row.Key, from.Slug, err)
		}
	}
	return nil
}

func foldItem(tx *service.Tx, from service.Tenant, row service.FeedRow) error {
	var id int64
	err := tx.QueryRow(`SELECT id FROM catalog_entry WHERE tenant = ? AND code = ?`, from.Slug, row.Key).Scan(&id)
	if err != nil && !errors.Is(err, replication.ErrNoRows) {
		return err
	}
	if id != 0 {
		if err := tx.Exec(`DELETE FROM catalog_search WHERE docid = ?`, id); err != nil {
			return err
		}
	}
	if len(row.Payload) == 0 {
		return tx.Exec(`DELETE FROM catalog_entry WHERE id = ?`, id)
	}
	var e entry
	if err := json.Unmarshal(row.Payload, &e); err != nil {
		return err
	}
	if id == 0 {
		if id, err = tx.Next("catalog_entry"); err != nil {
			return err
		}
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO catalog_entry (id, tenant, code, name, main_item, type, audience, promise, instant, visits,
		inherited, words, pinyin, initials, sounds, former) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, from.Slug, row.Key, e.Name, e.MainItem, e.Type, e.Audience, e.Promise, e.Instant, optional(e.Visits), e.Inherited,
		strings.Join(e.Words, " "), e.Pinyin, e.Initials,
		strings.Join(e.Sounds, " "), strings.Join(e.Former, " ")); err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO catalog_search (docid, name, words, pinyin) VALUES (?, ?, ?, ?)`,
		id, e.CutName, e.CutWords, e.CutPinyin)
}

// optional binds a number that may be absent.
func optional(n *int) any {
	if n == nil {
		return nil
	}
	return *n
}

// foldCounts keeps each department's newest numbers.
func foldCounts(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
	if len(rows) == 0 {
		return nil
	}
	var c Counts
	if err := json.Unmarshal(rows[len(rows)-1].Payload, &c); err != nil {
		return fmt.Errorf("fold the counts of %s: %w", from.Slug, err)
	}
	return tx.Exec(`INSERT OR REPLACE INTO catalog_department (tenant, name, published, quarantined, repaired, own, inherited, missing, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, from.Slug, from.Name, c.Published, c.Quarantined, c.Repaired,
		c.Completeness.Own, c.Completeness.Inherited, c.Completeness.Missing, tx.Now())
}
