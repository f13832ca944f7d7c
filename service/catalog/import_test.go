package catalog_test

import (
	"reflect"
	"testing"

	"tongban/service/catalog"
)

func TestAnImportPublishesValidRowsAndQuarantinesTheOthersWithReasons(t *testing.T) {
	w := newWorld(t)
	rows := demoRows(t, "", true)
	dirty := 0
	for _, r := range rows {
		if !catalog.ValidBody(r.Body) {
			dirty++
		}
	}
	got := w.take(rows)
	if got.Rows != len(rows) || got.Published != len(rows)-dirty || got.Quarantined != dirty || dirty < 40 {
		t.Errorf("got %+v of %d rows with %d dirty ones", got, len(rows), dirty)
	}
	if n := w.Count(w.db(), `SELECT count(*) FROM catalog_item`) + w.Count(w.db(), `SELECT count(*) FROM catalog_quarantine`); n != len(rows) {
		t.Errorf("%d rows arrived, want %d: a row was dropped", n, len(rows))
	}
	again := w.take(rows)
	if again.Unchanged != len(rows) || again.Published+again.Quarantined+again.Updated != 0 {
		t.Errorf("the same file again did %+v, want %d unchanged", again, len(rows))
	}
	if !reflect.DeepEqual(again.ByReason, got.ByReason) {
		t.Errorf("reasons %v, then %v", got.ByReason, again.ByReason)
	}
	rows[0].Name += "（新）"
	if changed := w.take(rows); changed.Updated != 1 || changed.Unchanged != len(rows)-1 {
		t.Errorf("one changed row did %+v", changed)
	}
}
