package catalog_test

import (
	"os"
	"path/filepath"
	"testing"

	"tongban/service/catalog"
)

// realFile is the county file that is no part of the project, beside the repository.
func realFile(tb testing.TB) []catalog.Row {
	tb.Helper()
	path := filepath.Join("..", "..", "..", "shared", "data", "items_guangan_511602.csv")
	f, err := os.Open(path)
	if err != nil {
		tb.Skipf("not run: the real file %s is not there", path)
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
