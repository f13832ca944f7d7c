package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// Limits of what a division below may tell of an item.
const (
	maxFormer = 50  // Codes that it had.
	maxWords  = 100 // Everyday words.
)

// slugPattern is what a tenant's slug may be.
var slugPattern = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

// place says where an item is offered. It is the key of the feed "catalog.offers":
// "<division>|<tenant>|<code>". A division leaves its own name out; its parent, which
// knows whom it listens to, fills it in.
type place struct {
	division string // Reference, such as "county/511602"; empty: this division.
	tenant   string
	code     string
}

func (p place) key() string { return p.division + "|" + p.tenant + "|" + p.code }

// parsePlace reads a key that the child told, and checks that the child may speak of it.
func parsePlace(q service.Querier, from division.Ref, key string, gone bool) (place, error) {
	parts := strings.SplitN(key, "|", 3)
	if len(parts) != 3 || !slugPattern.MatchString(parts[1]) || len(parts[2]) > MaxCode || !codePattern.MatchString(parts[2]) {
		return place{}, fmt.Errorf("%.80q is no key of an offer", key)
	}
	p := place{parts[0], parts[1], parts[2]}
	if p.division == "" {
		p.division = from.String()
	}
	ref, err := division.ParseRef(p.division)
	if err != nil {
		return p, err
	}
	p.division = ref.String()
	if gone {
		return p, nil // Only what this child has told is removed, also of a division that has left it.
	}
	ok, err := isBelow(q, from, ref)
	if err == nil && !ok {
		err = fmt.Errorf("%s speaks of %s, which is not below it", from, ref)
	}
	return p, err
}

// An offer is an item as search at its division and above knows it.
type offer struct {
	place
	via        string // The child that told; empty: it is this division's own.
	Department string `json:"department,omitempty"` // The tenant's name.
	entry
}

// check tells whether what a division below says can be an item.
func (o *offer) check() error {
	n := len([]rune(o.Name))
	switch {
	case n == 0 || n > MaxName || clean(o.Name) != o.Name:
		return fmt.Errorf("the name %.40q is empty, longer than %d characters or has signs that no name has", o.Name, MaxName)
	case len([]rune(o.MainItem)) > MaxName || len([]rune(o.Department)) > MaxName || clean(o.MainItem) != o.MainItem || clean(o.Department) != o.Department:
		return fmt.Errorf("the main item or department of %.40q is too long or has signs that no name has", o.Name)
	case len(o.Former) > maxFormer || len(o.Words) > maxWords:
		return fmt.Errorf("%.40q has %d former codes and %d words; at most %d and %d are kept", o.Name, len(o.Former), len(o.Words), maxFormer, maxWords)
	case o.Promise < 0 || o.Type < 0 || o.Audience < 0 || o.Audience > 3 || o.Visits != nil && *o.Visits < 0:
		return fmt.Errorf("%.40q has a number that cannot be", o.Name)
	}
	for _, w := range slices.Concat(o.Former, o.Words) {
		if w == "" || len(w) > MaxCode || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' }) {
			return fmt.Errorf("%.40q has a former code or word %.40q", o.Name, w)
		}
	}
	return nil
}

// store makes search find the offer as it is now. Cost: about 60 µs when an item of the
// same text is there, else about 200 µs.
func (o *offer) store(tx *service.Tx, x *indexing) error {
	id, former, oldText, err := o.find(tx)
	if err != nil {
		return err
	}
	text, err := textID(tx, x, &o.entry)
	if err != nil {
		return err
	}
	known := id != 0
	if !known {
		if id, err = tx.Next("catalog_offer"); err != nil {
			return err
		}
	}
	codes := strings.Join(o.Former, " ")
	if err := tx.Exec(`INSERT OR REPLACE INTO catalog_offer (id, division, via, tenant, department, code, former, text, type, audience,
		promise, instant, visits, inherited) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, o.division, o.via, o.tenant, o.Department, o.code, codes, text, o.Type, o.Audience,
		o.Promise, o.Instant, optional(o.Visits), o.Inherited); err != nil {
		return err
	}
	if !known || former != codes {
		if err := o.indexCodes(tx, x, id, known); err != nil {
			return err
		}
	}
	if known && oldText != text {
		return dropText(tx, x, oldText)
	}
	return nil
}

func (o *offer) find(q service.Querier) (id int64, former string, text int64, err error) {
	err = q.QueryRow(`SELECT id, former, text FROM catalog_offer WHERE division = ? AND tenant = ? AND code = ?`,
		o.division, o.tenant, o.code).Scan(&id, &former, &text)
	if errors.Is(err, replication.ErrNoRows) {
		err = nil
	}
	return id, former, text, err
}

func (o *offer) indexCodes(tx *service.Tx, x *indexing, id int64, known bool) error {
	if known && !drop(&x.codes, id) {
		if err := tx.Exec(`DELETE FROM catalog_code_search WHERE docid = ?`, id); err != nil {
			return err
		}
	}
	var set tokenSet
	for _, code := range append([]string{o.code}, o.Former...) {
		set.addText(code)
	}
	x.codes = append(x.codes, indexRow{id, []any{set.String()}})
	return nil
}

// remove makes search forget the offer, if it was told by the same child.
func (o *offer) remove(tx *service.Tx, x *indexing) (removed bool, err error) {
	id, _, text, err := o.find(tx)
	if err != nil || id == 0 {
		return false, err
	}
	r, err := tx.ExecResult(`DELETE FROM catalog_offer WHERE id = ? AND via = ?`, id, o.via)
	if err != nil || r.RowsAffected == 0 {
		return false, err // It is another child's by now: the division has moved.
	}
	if !drop(&x.codes, id) {
		if err := tx.Exec(`DELETE FROM catalog_code_search WHERE docid = ?`, id); err != nil {
			return false, err
		}
	}
	return true, dropText(tx, x, text)
}

// textID returns the id of the entry's text, which is cut for search when it is new: that
// costs about 50 µs, and is the same work at every level.
func textID(tx *service.Tx, x *indexing, e *entry) (int64, error) {
	words := strings.Join(e.Words, " ")
	var id int64
	err := tx.QueryRow(`SELECT id FROM catalog_text WHERE name = ? AND main_item = ? AND words = ?`, e.Name, e.MainItem, words).Scan(&id)
	if !errors.Is(err, replication.ErrNoRows) {
		return id, err
	}
	if id, err = tx.Next("catalog_text"); err != nil {
		return 0, err
	}
	c := cutText(e.Name, e.MainItem, e.Words)
	if err := tx.Exec(`INSERT INTO catalog_text (id, name, main_item, words, pinyin, initials, sounds, size) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		id, e.Name, e.MainItem, words, c.pinyin, c.initials, strings.Join(c.sounds, " "), len(e.Name)); err != nil {
		return 0, err
	}
	x.texts = append(x.texts, indexRow{id, []any{c.name, c.words, c.sound}})
	return id, nil
}

// dropText forgets a text that no offer has any more.
func dropText(tx *service.Tx, x *indexing, id int64) error {
	r, err := tx.ExecResult(`DELETE FROM catalog_text WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM catalog_offer WHERE text = ?1)`, id)
	if err != nil || r.RowsAffected == 0 || drop(&x.texts, id) {
		return err
	}
	return tx.Exec(`DELETE FROM catalog_text_search WHERE docid = ?`, id)
}

// cut is an item's text as it is searched.
type cut struct {
	name, words, sound string   // Tokens of the three columns of the index.
	pinyin, initials   string   // Of the whole name.
	sounds             []string // Pinyin and initials of the words.
}

// cutText cuts an item's text for search. Cost: about 50 µs.
func cutText(itemName, mainItem string, words []string) cut {
	var name, further, sound, spoken tokenSet
	for _, w := range wordsFor(mainItem) { // Found by them, but behind those that are named so.
		further.addText(w)
		sound.addPinyin(w)
	}
	name.addText(itemName)
	further.addText(mainItem)
	further.addText(inherit(itemName, mainItem).english)
	sound.addPinyin(itemName)
	for _, w := range words {
		further.addText(w)
		sound.addPinyin(w)
		full, initials := pinyinOf(w)
		spoken.add(full)
		spoken.add(initials)
	}
	c := cut{name: name.String(), words: further.String(), sound: sound.String(), sounds: spoken.list}
	c.pinyin, c.initials = pinyinOf(itemName)
	return c
}

// foldOffers keeps search at what a child and the divisions below it offer, and tells the
// divisions above. An offer of a division that is not below the child is an error.
// Cost: see store; and a row for the next hop.
func foldOffers(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	var x indexing
	for _, row := range rows {
		if err := foldOffer(tx, &x, from, row); err != nil {
			return fmt.Errorf("fold an offer that %s told: %w", from, err)
		}
	}
	return x.finish(tx)
}

func foldOffer(tx *service.Tx, x *indexing, from division.Ref, row service.FeedRow) error {
	where, err := parsePlace(tx, from, row.Key, len(row.Payload) == 0)
	if err != nil {
		return err
	}
	o := offer{place: where, via: from.String()}
	if len(row.Payload) == 0 {
		removed, err := o.remove(tx, x)
		if err != nil || !removed {
			return err
		}
		return tx.PublishTo(service.Up, feedOffers, o.key(), row.Format, nil)
	}
	if err := json.Unmarshal(row.Payload, &o); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	if err := o.store(tx, x); err != nil {
		return err
	}
	return tx.PublishTo(service.Up, feedOffers, o.key(), row.Format, row.Payload)
}
