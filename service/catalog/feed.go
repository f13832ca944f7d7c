package catalog

import (
	"encoding/json"
	"fmt"

	"tongban/service"
)

// Names of the feeds.
const (
	feedItems       = "catalog.items"       // Home. Key: item code. Payload: entry.
	feedDepartments = "catalog.departments" // Home. Key: "". Payload: Counts.
	feedOffers      = "catalog.offers"      // Up. Key: offerKey. Payload: offer.
	feedBasic       = "catalog.basic"       // Down. Key: basic code. Payload: basicEntry.
)

// feedFormat is the version of all payloads.
const feedFormat = 1

// An entry is what search keeps of an item.
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
}

// newEntry collects what search keeps of an item, but for its guide. Cost: about 10 µs.
func newEntry(it Item, base basis) entry {
	e := entry{Name: it.Name, MainItem: it.MainItem, Type: it.Type, Former: it.Former}
	var words tokenSet
	for _, w := range base.keywords {
		words.add(w)
	}
	for _, w := range wordsFor(it.Name) {
		words.add(w)
	}
	e.Words = words.list
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

// foldItems keeps the division's search at what the departments publish, and tells the
// divisions above.
func foldItems(tx *service.Tx, from service.Tenant, rows []service.FeedRow) error {
	var x indexing
	for _, row := range rows {
		if err := foldItem(tx, &x, from, row); err != nil {
			return fmt.Errorf("fold item %s of %s: %w", row.Key, from.Slug, err)
		}
	}
	return x.finish(tx)
}

func foldItem(tx *service.Tx, x *indexing, from service.Tenant, row service.FeedRow) error {
	o := offer{place: place{tenant: from.Slug, code: row.Key}}
	if len(row.Payload) == 0 {
		if _, err := o.remove(tx, x); err != nil {
			return err
		}
		return tx.PublishTo(service.Up, feedOffers, o.key(), feedFormat, nil)
	}
	if err := json.Unmarshal(row.Payload, &o.entry); err != nil {
		return err
	}
	if err := o.store(tx, x); err != nil {
		return err
	}
	o.Department = from.Name // Only for others: here it is read from where it may change.
	payload, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return tx.PublishTo(service.Up, feedOffers, o.key(), feedFormat, payload)
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
	newest := rows[len(rows)-1]
	if len(newest.Payload) == 0 { // Its database was restored from before it had any.
		return tx.Exec(`DELETE FROM catalog_department WHERE tenant = ?`, from.Slug)
	}
	if err := json.Unmarshal(newest.Payload, &c); err != nil {
		return fmt.Errorf("fold the counts of %s: %w", from.Slug, err)
	}
	return tx.Exec(`INSERT OR REPLACE INTO catalog_department (tenant, name, published, quarantined, repaired, own, inherited, missing, at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, from.Slug, from.Name, c.Published, c.Quarantined, c.Repaired,
		c.Completeness.Own, c.Completeness.Inherited, c.Completeness.Missing, tx.Now())
}
