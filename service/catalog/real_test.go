package catalog_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tongban/service/catalog"
)

// realPath is the file of a county that is no part of the project, beside the repository.
var realPath = filepath.Join("..", "..", "..", "shared", "data", "items_guangan_511602.csv")

// realFile reads the rows of the county.
func realFile(tb testing.TB) []catalog.Row {
	tb.Helper()
	f, err := os.Open(realPath)
	if err != nil {
		tb.Skipf("not run: the real file %s is not there", realPath)
	}
	defer f.Close()
	rows, err := catalog.ParseCSV(f)
	if err != nil {
		tb.Fatal(err)
	}
	return rows
}

func TestTheRealFileOfACountyGives981ItemsAnd154RowsInQuarantine(t *testing.T) {
	departments := catalog.Split(realFile(t), nil)
	if len(departments) != 34 {
		t.Errorf("%d departments, want 34", len(departments))
	}
	published, quarantined, byName, byMain := 0, 0, 0, 0
	codes, reasons, slugs := map[string]bool{}, map[catalog.Kind]int{}, map[string]bool{}
	for _, d := range departments {
		if slugs[d.Slug] || !slugPattern.MatchString(d.Slug) {
			t.Errorf("slug %q of %s is taken or malformed", d.Slug, d.Name)
		}
		slugs[d.Slug] = true
		for _, c := range d.Codes {
			codes[c] = true
		}
		for _, j := range catalog.Judge(d.Rows, "511602") {
			switch {
			case j.Blocked:
				quarantined++
			default:
				published++
			}
			for _, r := range j.Reasons {
				reasons[r.Kind]++
			}
			switch j.Match {
			case catalog.ByName:
				byName++
			case catalog.ByMainItem:
				byMain++
			}
		}
	}
	if published != 981 || quarantined != 154 {
		t.Errorf("%d published and %d in quarantine, want 981 and 154", published, quarantined)
	}
	if len(codes) != 40 {
		t.Errorf("%d distinct verified codes, want 40", len(codes))
	}
	want := map[catalog.Kind]int{catalog.BodyLength17: 91, catalog.BodyLength9: 31, catalog.BodyLength10: 12,
		catalog.BodyLength13: 8, catalog.BodyLength7: 1, catalog.BodyEmpty: 4, catalog.BodyLowerCase: 1}
	for k, n := range want {
		if reasons[k] != n {
			t.Errorf("%d rows with the reason %s, want %d", reasons[k], k, n)
		}
	}
	t.Logf("inherited by name %d, by main item %d; reasons %v", byName, byMain, reasons)
}

func TestTheRealFileIsImportedAndItsLargestGroupRepaired(t *testing.T) {
	w := newWorld(t)
	rows := realFile(t)
	var total catalog.Result
	for _, d := range catalog.Split(rows, nil) {
		im := catalog.Prepare(d.Rows, catalog.PrepareOptions{Division: "511602", Department: d.Name, Key: d.Slug})
		result, err := im.Run(t.Context(), w.db(), nil)
		if err != nil {
			t.Fatal(err)
		}
		total.Published += result.Published
		total.Quarantined += result.Quarantined
	}
	if total.Published != 981 || total.Quarantined != 154 {
		t.Fatalf("%d published and %d in quarantine, want 981 and 154", total.Published, total.Quarantined)
	}
	var page catalog.QuarantinePage
	w.ok("GET /t/"+tenant+"/items/quarantine", nil, &page)
	g := page.Groups[0]
	if g.Rows != 63 || g.Suggestion == nil || g.Suggestion.Why != catalog.WhyOneOff {
		t.Fatalf("the largest group is %+v", g)
	}
	var repair catalog.Repair
	w.ok("POST /t/"+tenant+"/items/repairs", map[string]any{"select": map[string]any{"kinds": g.Kinds, "body": g.Body}, "code": g.Suggestion.Code}, &repair)
	w.ok(fmt.Sprintf("POST /t/%s/repairs/%d/release", tenant, repair.ID), nil, &repair)
	if n := w.Count(w.db(), `SELECT count(*) FROM catalog_item`); repair.Released != 63 || n != 981+63 {
		t.Errorf("released %d, %d items", repair.Released, n)
	}
	w.fold(tenant)
	for _, typed := range []string{"社保", "户口", "医", "shebao", "营业执照", "退休"} {
		if found := w.search(typed); found.Total == 0 || found.Partial {
			t.Errorf("%q finds %d items", typed, found.Total)
		}
	}
}
