package catalog_test

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"tongban/division/uscc"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/servicetest"
)

func TestAnImportPublishesValidRowsAndQuarantinesTheOthersWithReasons(t *testing.T) {
	w := newWorld(t)
	rows := demoRows(t, "", true)
	dirty := 0
	for _, r := range rows {
		if !uscc.Valid(r.Body) {
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

func TestAnUploadedFileIsTakenOnceHoweverOftenTheFormIsSent(t *testing.T) {
	w := newWorld(t)
	text := head
	for i := range 120 {
		text += csvLine(fmt.Sprint("事项", i), fmt.Sprintf("511A%08d-511602000000-000-%s-1-00", i, goodBody), goodBody)
	}
	call := servicetest.Call{Do: "POST /t/" + tenant + "/items/import", As: servicetest.TenantAdmin(tenant), Body: url.Values{},
		Files: map[string]service.Upload{"file": {Name: "items.csv", Data: []byte(text)}}, Key: "once"}
	var results [2]catalog.Result
	for i := range results {
		r, err := w.Do(call)
		if err != nil {
			t.Fatal(err)
		}
		servicetest.Decode(t, r, &results[i])
	}
	if results[0].Published != 120 || !reflect.DeepEqual(results[0], results[1]) {
		t.Errorf("the two answers differ: %+v, %+v", results[0], results[1])
	}
	if n := w.Count(w.db(), `SELECT count(*) FROM catalog_batch`); n != 1 {
		t.Errorf("%d imports are noted", n)
	}
}

func TestAnInterruptedImportGoesOnWhereItWas(t *testing.T) {
	w := newWorld(t)
	rows := demoRows(t, "", true)
	prepare := func() catalog.Import {
		return catalog.Prepare(rows, catalog.PrepareOptions{Division: "511602", Department: "区民政局", Key: "again"})
	}
	im := prepare()
	if im.Chunks() < 3 {
		t.Fatalf("%d chunks are too few for this test", im.Chunks())
	}
	w.Update(w.db(), func(tx *service.Tx) error {
		_, err := im.Take(tx, 0)
		return err
	})
	if err := w.db().Update(t.Context(), func(tx *service.Tx) error {
		_, err := im.Take(tx, 2)
		return err
	}); err == nil {
		t.Error("a chunk that is not the next one was taken")
	}
	im = prepare()
	result, err := im.Run(t.Context(), w.db(), nil)
	if err != nil || result.Rows != len(rows) || result.Published+result.Quarantined != len(rows) {
		t.Errorf("resumed: %+v, %v; want %d rows", result, err, len(rows))
	}
}

func TestAnImportRefusesWhatIsNoFileOfThisDepartment(t *testing.T) {
	w := newWorld(t)
	path := "POST /t/" + tenant + "/items/import"
	of := func(departments ...string) map[string]any {
		var rows []catalog.Row
		for i, d := range departments {
			rows = append(rows, catalog.Row{Line: i + 2, Department: d, Name: "事项", Type: "1", Basic: "b", Body: goodBody,
				Code: fmt.Sprintf("511A%08d-511602000000-000-%s-1-00", i, goodBody)})
		}
		return map[string]any{"file": "f.csv", "rows": rows}
	}
	w.refused("catalog.no_rows", path, of())
	w.refused("catalog.no_file", path, url.Values{})
	w.refused("catalog.not_here", path, of("区一局", "区二局"))
	w.refused("invalid", path, map[string]any{"row": 1})
	w.refused("too_large", path, map[string]any{"file": strings.Repeat("x", 9<<20)})
	if _, err := w.Call(path, servicetest.Officer(tenant), of("区民政局")); servicetest.Reason(err) != "forbidden" {
		t.Errorf("an officer imports: %v", err)
	}
	var result catalog.Result
	w.ok(path, of("区民政局", "区二局"), &result)
	if result.Published != 1 || result.ByReason[catalog.Elsewhere] != 1 {
		t.Errorf("a row of another department: %+v", result)
	}
	w.ok(path, of("一个名称不同的局"), &result)
	if result.Unchanged+result.Updated+result.Published != 1 {
		t.Errorf("a file of one department under another name: %+v", result)
	}
}

func TestAnImportOfEmptyRowsDoesNotFillTheMemory(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := "POST /t/" + tenant + "/items/import"
	rows := func(n int) []byte { return []byte(`{"rows":[` + strings.Repeat("{},", n-1) + `{}]}`) }
	w.refused("catalog.too_many_rows", at, rows(catalog.MaxRows+1))
	w.refused("invalid", at, []byte(`{"rows":{}}`))
	w.refused("invalid", at, []byte(`{"rows":[{"nothing":1}]}`))
	w.refused("catalog.no_rows", at, []byte(`{"rows":null}`))
}
