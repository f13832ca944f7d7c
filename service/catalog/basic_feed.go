package catalog

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"tongban/division"
	"tongban/service"
)

// basicEntry is an item of the basic catalog on its way down.
type basicEntry struct {
	Name     string       `json:"name"`
	Type     int          `json:"type,omitempty"`
	MainItem string       `json:"main_item,omitempty"`
	Words    []string     `json:"words,omitempty"`
	English  string       `json:"english,omitempty"`
	Guide    Guide        `json:"guide,omitzero"`
	Version  int64        `json:"version"`
	Source   division.Ref `json:"source"`
}

func entryOf(b Basic) basicEntry {
	return basicEntry{b.Name, b.Type, b.MainItem, b.Words, b.English, b.Guide, b.Version, b.Source}
}

// same reports whether two entries say the same, whoever says it.
func (e basicEntry) same(other basicEntry) bool {
	return e.Name == other.Name && e.Type == other.Type && e.MainItem == other.MainItem && e.English == other.English &&
		slices.Equal(e.Words, other.Words) && reflect.DeepEqual(e.Guide, other.Guide)
}

// check tells whether what the parent says can be an item.
func (e *basicEntry) check(code string) error {
	switch n := len([]rune(e.Name)); {
	case len(code) > MaxCode || !codePattern.MatchString(code):
		return fmt.Errorf("%.80q is no code of the basic catalog", code)
	case n == 0 || n > MaxName || clean(e.Name) != e.Name:
		return fmt.Errorf("the name %.40q is empty, longer than %d characters or has signs that no name has", e.Name, MaxName)
	case e.Source.IsZero():
		return fmt.Errorf("%s does not say who maintains it", code)
	}
	return nil
}

// store writes the entry and tells the divisions below. Cost: about 60 µs.
func (e *basicEntry) store(tx *service.Tx, code, via string) error {
	guide, err := json.Marshal(e.Guide)
	if err != nil {
		return err
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO catalog_basic (code, name, type, main_item, words, english, guide, version, source, via, changed)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, code, e.Name, e.Type, e.MainItem, strings.Join(e.Words, " "), e.English,
		string(guide), e.Version, e.Source.String(), via, tx.Now()); err != nil {
		return err
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return tx.PublishTo(service.Down, feedBasic, code, feedFormat, payload)
}

// removeBasic removes a code that came from via, and tells the divisions below.
func removeBasic(tx *service.Tx, code, via string) error {
	r, err := tx.ExecResult(`DELETE FROM catalog_basic WHERE code = ? AND via = ?`, code, via)
	if err != nil || r.RowsAffected == 0 {
		return err // It is gone, or another's by now.
	}
	return tx.PublishTo(service.Down, feedBasic, code, feedFormat, nil)
}

// foldBasic takes what the parent says of the basic catalog, and hands it on.
func foldBasic(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	for _, row := range rows {
		if err := foldOneBasic(tx, from.String(), row); err != nil {
			return fmt.Errorf("fold the basic item %.80s: %w", row.Key, err)
		}
	}
	return nil
}

func foldOneBasic(tx *service.Tx, via string, row service.FeedRow) error {
	if len(row.Payload) == 0 {
		return removeBasic(tx, row.Key, via)
	}
	var e basicEntry
	if err := json.Unmarshal(row.Payload, &e); err != nil {
		return err
	}
	if err := e.check(row.Key); err != nil {
		return err
	}
	return e.store(tx, row.Key, via)
}
