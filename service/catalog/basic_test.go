package catalog_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/servicetest"
)

// sets imports rows into the basic catalog.
func (w *world) sets(rows []catalog.BasicRow, replace bool) (out catalog.BasicResult) {
	w.tb.Helper()
	r, err := w.Call("POST /basic/imports", servicetest.Operator(), map[string]any{"file": "b.csv", "rows": rows, "replace": replace})
	if err != nil {
		w.tb.Fatalf("import the basic catalog: %v", err)
	}
	servicetest.Decode(w.tb, r, &out)
	return out
}

func (w *world) basic(codes ...string) (out map[string]catalog.Basic) {
	w.View(w.Division, func(v *service.View) (err error) {
		out, err = catalog.ReadBasic(v, codes...)
		return err
	})
	return out
}

func TestTheBasicCatalogGoesDownALevelAtATimeAndChangesTravel(t *testing.T) {
	nation, province, county := newWorld(t).at("national/000000"), newWorld(t).at("province/510000"), newWorld(t)
	all := catalog.DemoBasic()
	if r := nation.sets(all, false); r.New != len(all) || r.Rejected != 0 || r.Total != len(all) {
		t.Fatalf("of %d rows: %+v", len(all), r)
	}
	province.down(nation)
	county.down(province)
	one := all[7].Code
	got, want := county.basic(one)[one], nation.basic(one)[one]
	if got.Name != want.Name || got.Version != 1 || got.Source != division.Nation || got.English != want.English || fmt.Sprint(got.Words, got.Guide) != fmt.Sprint(want.Words, want.Guide) || got.Guide.Basis == nil {
		t.Errorf("the county has %+v, the nation %+v", got, want)
	}
	feed := len(nation.rows(service.Down, "catalog.basic"))
	version := nation.Count(nation.Division, `SELECT last FROM service_sequence WHERE name = 'feed:down'`)
	if r := nation.sets(all, false); r.Unchanged != len(all) || r.New+r.Changed+r.Removed != 0 {
		t.Errorf("the same file again: %+v", r)
	}
	if n := nation.Count(nation.Division, `SELECT last FROM service_sequence WHERE name = 'feed:down'`); n != version || feed != len(all) {
		t.Errorf("the same file again is told: version %d after %d, %d rows", n, version, feed)
	}
	fewer := all[:len(all)-3]
	fewer[7].Name += "（新）"
	if r := nation.sets(fewer, true); r.Changed != 1 || r.Removed != 3 || r.Total != len(all)-3 {
		t.Errorf("a whole file that lacks three: %+v", r)
	}
	province.down(nation)
	county.down(province)
	county.down(province) // All of it once more.
	if b := county.basic(one)[one]; b.Name != fewer[7].Name || b.Version != 2 {
		t.Errorf("the county has %+v", b)
	}
	if n := county.Count(county.Division, `SELECT count(*) FROM catalog_basic`); n != len(all)-3 {
		t.Errorf("the county has %d items, want %d", n, len(all)-3)
	}
	var page catalog.BasicPage
	r, err := county.Call("GET /basic?q="+url.QueryEscape(fewer[7].Name), servicetest.Citizen(), nil)
	if err != nil {
		t.Fatal(err)
	}
	servicetest.Decode(t, r, &page)
	if page.Total != 1 || page.Items[0].Code != one || len(page.Sources) != 1 || page.Sources[0].Division != division.Nation || page.Sources[0].Items != len(all)-3 || page.Sources[0].Changed.IsZero() {
		t.Errorf("the county's page: %+v", page)
	}
}

func TestAnImportOfTheBasicCatalogReportsEveryRowThatItDoesNotTake(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("长", 301)
	text := "base_code,item_name,task_type,anticipate_day,keywords\n" +
		"A1,结婚登记,7,30,领证\n" + "A1,离婚登记,7,,\n" + ",没有编码,7,,\n" + "A 2,编码有空格,7,,\n" + "A3,,7,,\n" + "A4," + long + ",7,,\n" +
		"A5,类型不对,99,,\n" + "A6,天数不对,7,abc,\n" + "A7,天数太多,7,1000,\n" + "A8,少一列,7\n" + "A9,\"引号不配\n" + "A10,\xff\xfe,7,,\n" + "\n" + "A11,词太长,7,," + long + "\n"
	rows, err := catalog.ParseBasicCSV(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	r := w.sets(rows, false)
	var got []string
	for _, b := range r.Bad {
		got = append(got, fmt.Sprint(b.Line, " ", b.Reasons[0].Kind))
	}
	want := "3 duplicate, 4 code_empty, 5 code_form, 6 name_empty, 7 name_long, 8 type_unknown, 9 no_number, 10 no_number, 11 columns, 12 quotes, 13 not_utf8, 15 text_long"
	if strings.Join(got, ", ") != want || r.New != 1 || r.Rows != 13 || r.Rejected != 12 {
		t.Errorf("%d rows, %d new, %d rejected:\n%s\nwant\n%s", r.Rows, r.New, r.Rejected, strings.Join(got, ", "), want)
	}
	if b := w.basic("A1")["A1"]; b.Name != "结婚登记" || b.Type != 7 || b.Guide.Statutory != 30 {
		t.Errorf("A1 is %+v", b)
	}
	for _, c := range []struct {
		name, want string
		body       any
	}{
		{"a file with bad rows is not the whole catalog", "catalog.basic_not_whole", map[string]any{"rows": rows, "replace": true}},
		{"nothing but bad rows", "catalog.basic_nothing_good", map[string]any{"rows": rows[2:]}},
		{"no rows", "catalog.no_rows", map[string]any{"rows": []catalog.BasicRow{}}},
		{"no file", "catalog.no_file", url.Values{}},
		{"too many rows", "catalog.too_many_rows", map[string]any{"rows": make([]catalog.BasicRow, catalog.MaxBasicRows+1)}},
	} {
		if _, err := w.Call("POST /basic/imports", servicetest.Operator(), c.body); servicetest.Reason(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	dry, err := w.Call("POST /basic/imports", servicetest.DivisionAdmin(), map[string]any{"rows": []catalog.BasicRow{{Code: "B1", Name: "新"}}, "replace": true, "dry_run": true})
	if err != nil {
		t.Fatal(err)
	}
	var result catalog.BasicResult
	servicetest.Decode(t, dry, &result)
	if !result.DryRun || result.New != 1 || result.Removed != 1 || len(w.basic("A1", "B1")) != 1 {
		t.Errorf("the trial run answers %+v and leaves %v", result, w.basic("A1", "B1"))
	}
	servicetest.Decode(t, must(w.Call("POST /basic/imports", servicetest.DivisionAdmin(), map[string]any{"rows": rows[2:], "dry_run": true})), &result)
	if result.Rejected != len(rows)-2 || len(result.Bad) != len(rows)-2 {
		t.Errorf("a trial run of nothing but bad rows answers %+v", result)
	}
	if got := servicetest.Text(t, must(w.Call("GET /basic/imports", servicetest.DivisionAdmin(), nil))); !strings.Contains(got, `"code":"A5"`) {
		t.Errorf("the list of imports forgets the rows that were not taken: %s", got)
	}
	if _, err := w.Call("GET /basic/A2", servicetest.Citizen(), nil); servicetest.Reason(err) != "catalog.no_basic" {
		t.Errorf("a code that is not there: %v", err)
	}
}

func must(r service.Response, err error) service.Response {
	if err != nil {
		panic(err)
	}
	return r
}

func TestADivisionWithAParentHasItsBasicCatalogFromThere(t *testing.T) {
	w := newWorld(t)
	w.Update(w.Division, func(tx *service.Tx) error {
		return federation.SetParent(tx, federation.Parent{Ref: division.Ref{Level: division.City, Code: "511600"}})
	})
	for _, dry := range []bool{true, false} {
		_, err := w.Call("POST /basic/imports", servicetest.Operator(), map[string]any{"rows": catalog.DemoBasic(), "dry_run": dry})
		if servicetest.Reason(err) != "catalog.basic_from_parent" {
			t.Errorf("dry %v: %v", dry, err)
		}
	}
	if n := w.Count(w.Division, `SELECT (SELECT count(*) FROM catalog_basic) + (SELECT count(*) FROM service_feed WHERE stream = 'down')`); n != 0 {
		t.Errorf("%d rows are there", n)
	}
}

func TestAParentThatSpeaksNonsenseIsRefusedRowByRow(t *testing.T) {
	w := newWorld(t)
	fold := func(key, payload string) error {
		return w.Division.Update(t.Context(), func(tx *service.Tx) error {
			return foldOf("catalog.basic")(tx, division.Ref{Level: division.City, Code: "511600"},
				[]service.FeedRow{{Feed: "catalog.basic", Key: key, Format: 1, Payload: []byte(payload)}})
		})
	}
	for key, payload := range map[string]string{"": `{"name":"a","source":"national/000000"}`, "a b": `{"name":"a","source":"national/000000"}`,
		"c1": `{`, "c2": `{"name":"","source":"national/000000"}`, "c3": `{"name":"a"}`, "c4": `{"name":"a","source":"x"}`,
		"c5": `{"name":"a\u202e","source":"national/000000"}`} {
		if fold(key, payload) == nil {
			t.Errorf("%q with %q is taken", key, payload)
		}
	}
	if n := w.Count(w.Division, `SELECT (SELECT count(*) FROM catalog_basic) + (SELECT count(*) FROM service_feed)`); n != 0 {
		t.Errorf("%d rows are there", n)
	}
	if err := fold("c6", `{"name":"结婚登记","source":"national/000000","version":3}`); err != nil {
		t.Error(err)
	}
	w.sets([]catalog.BasicRow{{Code: "own", Name: "自定事项"}}, false)
	if err := fold("own", ""); err != nil || len(w.basic("own")) != 1 {
		t.Errorf("a parent removes what it never set: %v", err)
	}
	if err := fold("unknown", ""); err != nil {
		t.Errorf("the removal of a code that is not here: %v", err)
	}
}

func TestAnItemShowsTheBasicItemThatItImplements(t *testing.T) {
	w := newWorld(t)
	rows := demoRows(t, "", false)
	w.take(rows)
	basic := catalog.BasicRowsOf(rows)
	if len(basic) != len(rows) || basic[0].Code == "" || basic[0].Name != rows[0].Name {
		t.Fatalf("%d basic rows of %d items, the first %+v", len(basic), len(rows), basic[0])
	}
	var page catalog.ItemPage
	w.ok("GET "+itemURL(rows[0].Code), nil, &page)
	if page.Basic != nil {
		t.Errorf("without a basic catalog: %+v", page.Basic)
	}
	basic[0].Name = "基本目录里的名称"
	w.sets(basic, false)
	w.ok("GET "+itemURL(rows[0].Code), nil, &page)
	if page.Basic == nil || page.Basic.Code != basic[0].Code || page.Basic.Name != "基本目录里的名称" || page.Name != rows[0].Name {
		t.Errorf("the page shows %+v", page.Basic)
	}
}

func TestBasicRowsOfItemsHaveEachCodeOnce(t *testing.T) {
	got := catalog.BasicRowsOf([]catalog.Row{
		{Line: 2, Code: "511A01-511602000000-000-115113010087781839-1-00", Name: "甲", MainItem: "未分类", Type: "7"},
		{Line: 3, Code: "x", Basic: "B2", Name: "乙", MainItem: "主项", Type: "20"},
		{Line: 4, Code: "x", Basic: "B2", Name: "丙"}, {Line: 5, Code: "nothing", Name: "丁"}, {Line: 6, Basic: "B3"},
	})
	if len(got) != 2 || got[0].Code != "511A01" || got[0].MainItem != "" || got[0].Type != "7" || got[1].Code != "B2" || got[1].Name != "乙" || got[1].MainItem != "主项" {
		t.Errorf("%+v", got)
	}
}
