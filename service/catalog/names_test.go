package catalog_test

import (
	"maps"
	"testing"

	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/servicetest"
)

// TestNamesOfCodes asks for the names of items of this division and of the basic catalog.
func TestNamesOfCodes(t *testing.T) {
	w := newWorld(t)
	rows := demoRows(t, "", false)[:3]
	w.take(rows)
	w.fold(tenant)
	if _, err := w.Call("POST /basic/imports", servicetest.DivisionAdmin(), map[string]any{"file": "basic.csv",
		"rows": []catalog.BasicRow{{Line: 1, Code: "000111222333", Name: "结婚登记"}}}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{rows[0].Code: rows[0].Name, rows[2].Code: rows[2].Name, "000111222333": "结婚登记"}
	w.View(w.Division, func(v *service.View) error {
		got, err := catalog.ReadNames(v, []string{rows[0].Code, "", "无", rows[2].Code, "000111222333", `"]`})
		if !maps.Equal(got, want) {
			t.Errorf("the names are %v, want %v", got, want)
		}
		return err
	})
	w.View(w.Division, func(v *service.View) error {
		got, err := catalog.ReadNames(v, nil)
		if len(got) > 0 {
			t.Errorf("no codes have the names %v", got)
		}
		return err
	})
}

func TestBasicCodeOfAnItemCode(t *testing.T) {
	for code, want := range map[string]string{
		"11511602MB1234567X3000111222333":                       "000111222333", // Of the public example's form.
		"DEMO01200002-511602000000-000-11999999DEM000014Q-1-00": "DEMO01200002",
		"511602-7": "",
		"":         "",
	} {
		if got, ok := catalog.BasicCode(code); got != want || ok != (want != "") {
			t.Errorf("the basic code of %q is %q, %v, want %q", code, got, ok, want)
		}
	}
}
