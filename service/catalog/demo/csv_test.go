package demo

import (
	"bytes"
	"encoding/csv"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func parseCSV(t *testing.T, text []byte) [][]string {
	t.Helper()
	records, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		t.Fatalf("the CSV does not parse: %v", err)
	}
	if !reflect.DeepEqual(records[0], Columns()) {
		t.Fatalf("header %q", records[0])
	}
	return records[1:]
}

func TestTheCSVHoldsEveryItemAndTheDirtyRowsOnlyOnRequest(t *testing.T) {
	clean, all := parseCSV(t, CSV(false)), parseCSV(t, CSV(true))
	if len(clean) != len(Items()) || len(all) != len(clean)+len(DirtyRows()) {
		t.Fatalf("%d clean rows for %d items, %d rows in all with %d dirty ones",
			len(clean), len(Items()), len(all), len(DirtyRows()))
	}
	for i, r := range all[len(clean):] {
		if !slices.Equal(r, DirtyRows()[i].Record()) {
			t.Errorf("dirty row %d is written as %q", i, r)
		}
	}
}

func TestEveryCleanRowCanBePublished(t *testing.T) {
	items := Items()
	for i, r := range Rows() {
		if !validCreditCode(r.OrgCode) || r.OrgCodeKind != "uscc" {
			t.Errorf("%s: code %q of kind %s", r.ItemName, r.OrgCode, r.OrgCodeKind)
		}
		want := items[i].BasicCode + "-511602000000-000-" + items[i].Department.BodyCode + "-1-00"
		if r.ItemCodeLocal != want {
			t.Errorf("%s: item code %q, want %q", r.ItemName, r.ItemCodeLocal, want)
		}
		if r.TaskTypeName == "" || r.Department != items[i].Department.Name || r.MainItem != items[i].MainItem {
			t.Errorf("row %+v", r)
		}
	}
}

func TestTheDirtyRowsAreOfTheSevenKinds(t *testing.T) {
	shapes := map[string]*regexp.Regexp{
		"org_code_17": regexp.MustCompile(`^[0-9A-Z]{17}$`),
		"org_code_9":  regexp.MustCompile(`^[0-9A-Z]{8}-?[0-9X]$`),
		"org_code_10": regexp.MustCompile(`^[0-9A-Z]{10}$`),
		"org_code_13": regexp.MustCompile(`^2{13}$`),
		"org_code_7":  regexp.MustCompile(`^[0-9A-Z]{7}$`),
		"pseudo18":    regexp.MustCompile(`^TE51[0-9]{14}$`),
		"unparsed":    regexp.MustCompile(`^$`),
	}
	rows := DirtyRows()
	if len(rows) < 40 {
		t.Errorf("%d dirty rows, want at least 40", len(rows))
	}
	count := map[string]int{}
	for _, r := range rows {
		count[r.OrgCodeKind]++
		if validCreditCode(r.OrgCode) {
			t.Errorf("%s: code %q is valid", r.ItemName, r.OrgCode)
		}
		shape := shapes[r.OrgCodeKind]
		if shape == nil || !shape.MatchString(r.OrgCode) {
			t.Errorf("%s: code %q is not of the kind %s", r.ItemName, r.OrgCode, r.OrgCodeKind)
		}
	}
	for kind := range shapes {
		if count[kind] == 0 {
			t.Errorf("no row of the kind %s", kind)
		}
	}
	if count["org_code_17"] < 10 {
		t.Errorf("%d rows with 17 characters: too few for a repair in bulk", count["org_code_17"])
	}
}

func TestOldCodesComeWithAndWithoutHyphen(t *testing.T) {
	with, without := 0, 0
	for _, r := range DirtyRows() {
		if r.OrgCodeKind != "org_code_9" {
			continue
		}
		if strings.Contains(r.OrgCode, "-") {
			with++
		} else {
			without++
		}
		if bare := strings.ReplaceAll(r.OrgCode, "-", ""); !validOrganisationCode(bare) {
			t.Errorf("%s: %q was never an organisation code", r.ItemName, r.OrgCode)
		}
	}
	if with == 0 || without == 0 {
		t.Errorf("%d codes with a hyphen, %d without: want both", with, without)
	}
}

func TestOneUnparsedCodeIsWrongForALowerCaseLetterOnly(t *testing.T) {
	found := 0
	for _, r := range DirtyRows() {
		parts := strings.Split(r.ItemCodeLocal, "-")
		if r.OrgCodeKind != "unparsed" || len(parts) != 6 {
			continue
		}
		if code := parts[3]; !validCreditCode(code) && validCreditCode(strings.ToUpper(code)) {
			found++
		}
	}
	if found != 1 {
		t.Errorf("%d rows with a lower-case letter, want 1", found)
	}
}

func TestDirtyRowsRepeatNoItem(t *testing.T) {
	seen := map[string]bool{}
	departments := map[string]bool{}
	for _, item := range Items() {
		seen[item.Name], seen[item.BasicCode] = true, true
		departments[item.Department.Name] = true
	}
	for _, r := range DirtyRows() {
		for _, key := range []string{r.ItemName, r.ItemCodeLocal, r.BaseCodeLocal} {
			if key != "" && seen[key] {
				t.Errorf("%q is used twice", key)
			}
			seen[key] = true
		}
		if !departments[r.Department] {
			t.Errorf("%s: unknown department %q", r.ItemName, r.Department)
		}
	}
}
