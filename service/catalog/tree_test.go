package catalog_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/servicetest"
)

// at makes the world another division.
func (w *world) at(ref string) *world {
	d, err := division.ParseRef(ref)
	if err != nil {
		w.tb.Fatal(err)
	}
	name := division.FullName(d)
	w.Site = service.Site{Code: string(d.Code), Level: d.Level.String(), Name: name, Full: name}
	return w
}

func (w *world) ref() division.Ref {
	ref, err := division.ParseRef(w.Site.Level + "/" + w.Site.Code)
	if err != nil {
		w.tb.Fatal(err)
	}
	return ref
}

// knows enters a division into the directory, as told by the child via.
func (w *world) knows(ref, parent, via, web string) {
	w.tb.Helper()
	e := federation.Entry{Name: "目录中的" + ref, Web: web}
	for text, into := range map[string]*division.Ref{ref: &e.Ref, parent: &e.Parent} {
		var err error
		if *into, err = division.ParseRef(text); err != nil {
			w.tb.Fatal(err)
		}
	}
	row, err := json.Marshal(e)
	if err != nil {
		w.tb.Fatal(err)
	}
	w.Update(w.Division, func(tx *service.Tx) error {
		return tx.Exec(`INSERT OR REPLACE INTO federation_directory (ref, parent, name, web, epoch, row, via) VALUES (?, ?, ?, ?, 'e', ?, ?)`,
			ref, parent, e.Name, web, string(row), via)
	})
}

// rows returns what the division has published into a stream, oldest first.
func (w *world) rows(stream service.Stream, feed string) (list []service.FeedRow) {
	w.tb.Helper()
	w.View(w.Division, func(v *service.View) error {
		list = nil
		rows, err := v.Query(`SELECT feed, key, version, format, payload FROM service_feed WHERE stream = ? AND feed = ? ORDER BY version`, string(stream), feed)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r service.FeedRow
			if err := rows.Scan(&r.Feed, &r.Key, &r.Version, &r.Format, &r.Payload); err != nil {
				return err
			}
			list = append(list, r)
		}
		return rows.Err()
	})
	return list
}

// up folds what the child has published into the division above, all of it each time.
func (w *world) up(child *world) { w.tb.Helper(); w.carry(child, service.Up, "catalog.offers") }

// down folds what the parent has published.
func (w *world) down(parent *world) { w.tb.Helper(); w.carry(parent, service.Down, "catalog.basic") }

func (w *world) carry(from *world, stream service.Stream, feed string) {
	w.tb.Helper()
	rows := from.rows(stream, feed)
	for len(rows) > 0 {
		n := min(len(rows), 100)
		w.Update(w.Division, func(tx *service.Tx) error { return foldOf(feed)(tx, from.ref(), rows[:n]) })
		rows = rows[n:]
	}
}

// foldOf is the fold of a feed of the tree.
func foldOf(feed string) func(*service.Tx, division.Ref, []service.FeedRow) error {
	for _, f := range catalog.Definition().Feeds {
		if f.Name == feed && f.FoldUp != nil {
			return f.FoldUp
		}
		if f.Name == feed && f.FoldDown != nil {
			return f.FoldDown
		}
	}
	panic("there is no feed " + feed)
}

func (w *world) searchPage(query string) (page catalog.SearchPage) {
	w.tb.Helper()
	r, err := w.Call("GET /search?"+query, servicetest.Citizen(), nil)
	if err != nil {
		w.tb.Fatalf("search %s: %v", query, err)
	}
	servicetest.Decode(w.tb, r, &page)
	return page
}

const district = "county/511602"

// threeLevels are a district with the demonstration's items, its city and its province,
// which know of it.
func threeLevels(t *testing.T) (county, city, province *world) {
	county, city, province = newWorld(t), newWorld(t).at("city/511600"), newWorld(t).at("province/510000")
	county.take(demoRows(t, "", false))
	county.fold(tenant)
	city.up(county)
	province.up(city)
	return county, city, province
}

func TestItemsOfADistrictAreFoundAtEveryLevelAboveAndOpenThere(t *testing.T) {
	county, city, province := threeLevels(t)
	own := county.searchPage("q=社保")
	if own.Total == 0 || own.Hits[0].There != nil || own.Hits[0].Division != "" || own.Divisions != nil {
		t.Fatalf("in the district itself: %d found, the first %+v", own.Total, own.Hits[0])
	}
	for _, w := range []*world{city, province} {
		for _, typed := range []string{"社保", "医", "户口簿", "shebao", "失业保险金申领", ""} {
			above, below := w.searchPage("q="+typed), county.searchPage("q="+typed)
			if above.Total != below.Total || above.Total == 0 {
				t.Errorf("%s finds %d for %q, the district %d", w.ref(), above.Total, typed, below.Total)
				continue
			}
			for i, h := range above.Hits {
				if h.Name != below.Hits[i].Name || h.Department != "区民政局" || h.Promise != below.Hits[i].Promise || h.Division != district {
					t.Errorf("%s has as %d for %q: %+v, the district %+v", w.ref(), i, typed, h, below.Hits[i])
				}
			}
		}
		h := w.searchPage("q=社保").Hits[0]
		if h.There == nil || h.There.Name != "四川省广安市广安区" || h.There.Reference != district+"/"+tenant+"/"+h.Code || h.There.Web != "" {
			t.Errorf("%s before the directory is there: %+v", w.ref(), h.There)
		}
	}
	province.knows("city/511600", "province/510000", "city/511600", "https://guangan.example")
	province.knows(district, "city/511600", "city/511600", "https://district.example/")
	h := province.searchPage("q=社保").Hits[0]
	if want := "https://district.example" + itemURL(h.Code); h.There.Web != want {
		t.Errorf("it opens at %q, want %q", h.There.Web, want)
	}
	province.knows(district, "city/511600", "city/511600", "javascript:alert(1)//")
	if h := province.searchPage("q=社保").Hits[0]; h.There.Web != "" {
		t.Errorf("a portal's address that is none is offered: %q", h.There.Web)
	}
	if code := h.Code; province.searchPage("q=" + code).Hits[0].Code != code {
		t.Errorf("the code %s does not find its item", code)
	}
}

func TestASearchIsNarrowedToADivisionWithAllBelowIt(t *testing.T) {
	county, _, province := threeLevels(t)
	xichong := newWorld(t).at("county/511325")
	xichong.take(demoRows(t, "", false)[:30])
	xichong.fold(tenant)
	nanchong := newWorld(t).at("city/511300")
	nanchong.up(xichong)
	province.up(nanchong)
	province.knows("city/511600", "province/510000", "city/511600", "")
	province.knows(district, "city/511600", "city/511600", "")
	province.knows("city/511300", "province/510000", "city/511300", "")
	province.knows("county/511325", "city/511300", "city/511300", "")
	all, first := county.searchPage("").Total, province.searchPage("")
	for query, want := range map[string]int{"": all + 30, "division=city/511300": 30, "division=county/511325": 30, "division=511325": 30,
		"division=city/511600": all, "division=own": 0, "division=province/330000": 0, "division=x": 0,
		"division=county/511325&department=" + tenant: 30, "division=county/511325&department=nobody": 0, "department=" + tenant: 0} {
		if page := province.searchPage(query); page.Total != want {
			t.Errorf("%q keeps %d, want %d", query, page.Total, want)
		}
	}
	if got := fmt.Sprint(first.Divisions); got != fmt.Sprintf("[{city/511300 四川省南充市 30} {city/511600 四川省广安市 %d}]", all) {
		t.Errorf("the choices are %s", got)
	}
	if got := fmt.Sprint(province.searchPage("division=city/511300").Divisions); got != "[{city/511300 四川省南充市 30} {county/511325 四川省南充市西充县 30}]" {
		t.Errorf("below a city the choices are %s", got)
	}
	// One name of two divisions is one text, and both are on the page, in the order of their codes.
	name := demoRows(t, "", false)[0].Name
	var at []string
	for _, h := range province.searchPage("q=" + name).Hits {
		if h.Name == name {
			at = append(at, h.Division)
		}
	}
	if fmt.Sprint(at) != "[county/511325 county/511602]" {
		t.Errorf("%s is found at %v", name, at)
	}
	if n := province.Count(province.Division, `SELECT count(*) FROM catalog_text WHERE name = ?`, name); n != 1 {
		t.Errorf("%s is cut %d times", name, n)
	}
	seen := map[string]bool{}
	for page := 1; page <= (all+30)/catalog.PerPage+1; page++ {
		for _, h := range province.searchPage(fmt.Sprintf("page=%d", page)).Hits {
			seen[h.Division+h.Code] = true
		}
	}
	if len(seen) != all+30 {
		t.Errorf("the pages show %d of %d items", len(seen), all+30)
	}
}

func TestAnOfferThatComesAgainChangesNothingAndOneThatIsGoneIsGoneEverywhere(t *testing.T) {
	county, city, province := threeLevels(t)
	count := func(w *world) string {
		return fmt.Sprint(w.Count(w.Division, `SELECT count(*) FROM catalog_offer`), w.Count(w.Division, `SELECT count(*) FROM catalog_text`),
			w.Count(w.Division, `SELECT count(*) FROM catalog_text_search`), w.Count(w.Division, `SELECT count(*) FROM catalog_code_search`))
	}
	before := count(province)
	city.up(county)
	province.up(city)
	if after := count(province); after != before {
		t.Errorf("offers, texts and their indexes were %s, are %s", before, after)
	}
	h := county.searchPage("q=失业保险金申领").Hits[0]
	_, db := county.Tenant(tenant)
	county.Update(db, func(tx *service.Tx) error { return tx.Publish("catalog.items", h.Code, 1, nil) })
	county.fold(tenant)
	city.up(county)
	province.up(city)
	for _, w := range []*world{county, city, province} {
		for _, other := range w.searchPage("q=失业保险金申领").Hits {
			if other.Code == h.Code {
				t.Errorf("%s still finds it", w.ref())
			}
		}
		if n := w.searchPage("q=" + h.Code).Total; n != 0 {
			t.Errorf("%s still finds its code %d times", w.ref(), n)
		}
	}
	if a, b := count(county), count(province); a != b {
		t.Errorf("the district keeps %s, the province %s", a, b)
	}
	province.up(city) // A removal that comes again.
	if a, b := count(county), count(province); a != b {
		t.Errorf("the district keeps %s, the province %s", a, b)
	}
}

// The indexes are written at the end of a fold: what comes and goes within one must not
// stay in them.
func TestAnOfferThatIsNamedTwiceInOneFoldIsFoundByItsLastName(t *testing.T) {
	w := newWorld(t).at("city/511600")
	row := func(version int64, code, name string) service.FeedRow {
		r := service.FeedRow{Feed: "catalog.offers", Key: "|" + tenant + "|" + code, Version: version, Format: 1}
		if name != "" {
			r.Payload = []byte(`{"name":"` + name + `","type":1,"department":"区民政局"}`)
		}
		return r
	}
	w.Update(w.Division, func(tx *service.Tx) error {
		return foldOf("catalog.offers")(tx, division.Ref{Level: division.County, Code: "511602"}, []service.FeedRow{
			row(1, "A1", "飞艇停放许可"), row(2, "A2", "飞艇停放许可"), row(3, "A1", "热气球升空备案"),
			row(4, "A2", ""), row(5, "A3", "滑翔伞登记"), row(6, "A3", "")})
	})
	for query, want := range map[string]int{"飞艇": 0, "热气球": 1, "滑翔": 0} {
		if n := w.searchPage("q=" + query).Total; n != want {
			t.Errorf("%q finds %d, want %d", query, n, want)
		}
	}
	for table, want := range map[string]int{"catalog_offer": 1, "catalog_text": 1, "catalog_text_search": 1, "catalog_code_search": 1} {
		if n := w.Count(w.Division, `SELECT count(*) FROM `+table); n != want {
			t.Errorf("%s has %d rows, want %d", table, n, want)
		}
	}
}

func TestAChildThatSpeaksNonsenseOrOfOthersIsRefusedRowByRow(t *testing.T) {
	w := newWorld(t).at("province/510000")
	w.knows("city/511600", "province/510000", "city/511600", "")
	w.knows("city/511300", "province/510000", "city/511300", "")
	w.knows("county/511325", "city/511300", "city/511300", "")
	w.knows("county/511681", "province/510000", "county/511681", "") // Hangs on the province itself, not on its city.
	good := `{"name":"结婚登记","type":7,"words":["领证"],"department":"区民政局"}`
	from := division.Ref{Level: division.City, Code: "511600"}
	fold := func(key, payload string) error {
		return w.Division.Update(t.Context(), func(tx *service.Tx) error {
			return foldOf("catalog.offers")(tx, from, []service.FeedRow{{Feed: "catalog.offers", Key: key, Format: 1, Payload: []byte(payload)}})
		})
	}
	for key, payload := range map[string]string{
		"": good, "x": good, "|civil-affairs": good, "||c": good, "|UPPER|c": good, "|civil-affairs|": good, "|civil-affairs|a b": good,
		"|civil-affairs|" + strings.Repeat("1", 500): good,
		"nonsense|civil-affairs|c":                   good,
		"county/330106|civil-affairs|c":              good, // Of another province.
		"county/511325|civil-affairs|c":              good, // Of another city, as the directory knows.
		"county/511681|civil-affairs|c":              good, // In its city's code, but not below it.
		"province/510000|civil-affairs|c":            good, // The division itself.
		"national/000000|civil-affairs|c":            good,
		"|civil-affairs|c1":                          `{`,
		"|civil-affairs|c2":                          `[]`,
		"|civil-affairs|c3":                          `{"name":""}`,
		"|civil-affairs|c4":                          `{"name":"` + strings.Repeat("长", 301) + `"}`,
		"|civil-affairs|c5":                          `{"name":"a\u202eb"}`,
		"|civil-affairs|c6":                          `{"name":"a","promise":-1}`,
		"|civil-affairs|c7":                          `{"name":"a","audience":9}`,
		"|civil-affairs|c8":                          `{"name":"a","words":["a b"]}`,
		"|civil-affairs|c9":                          `{"name":"a","former":[""]}`,
		"|civil-affairs|c10":                         `{"name":"a","department":"\u0000"}`,
	} {
		if err := fold(key, payload); err == nil {
			t.Errorf("%.60q with %.60q is taken", key, payload)
		}
	}
	if n := w.Count(w.Division, `SELECT (SELECT count(*) FROM catalog_offer) + (SELECT count(*) FROM service_feed)`); n != 0 {
		t.Errorf("%d rows were kept or told on", n)
	}
	for _, key := range []string{"|civil-affairs|c", "city/511600|civil-affairs|c", "county/511602|civil-affairs|c"} {
		if err := fold(key, good); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
	if found := w.search("领证"); found.Total != 2 || found.Hits[0].Division != "city/511600" || found.Hits[1].Division != district {
		t.Errorf("%d found: %+v", found.Total, found.Hits)
	}
	if err := fold("|civil-affairs|c", strings.Replace(good, "结婚登记", "补领结婚证", 1)); err != nil {
		t.Error(err)
	}
	if err := fold("county/511602|civil-affairs|c", strings.Replace(good, "领证", "补证", 1)); err != nil {
		t.Error(err)
	}
	if n := w.Count(w.Division, `SELECT (SELECT count(*) FROM catalog_text) * 10 + (SELECT count(*) FROM catalog_text_search)`); n != 22 {
		t.Errorf("%d texts and %d in their index for two offers whose texts have changed", n/10, n%10)
	}
	if rows := w.rows(service.Up, "catalog.offers"); len(rows) != 2 || rows[0].Key != "city/511600|civil-affairs|c" || !strings.Contains(string(rows[0].Payload), "补领") {
		t.Errorf("told on: %+v", rows)
	}
}

func TestADivisionThatMovedIsNotForgottenByTheRemovalsOfItsOldParent(t *testing.T) {
	w := newWorld(t).at("province/510000")
	w.knows(district, "city/511600", "city/511600", "")
	key, good := district+"|civil-affairs|c", []byte(`{"name":"结婚登记"}`)
	fold := func(from string, payload []byte) {
		ref, err := division.ParseRef(from)
		if err != nil {
			t.Fatal(err)
		}
		w.Update(w.Division, func(tx *service.Tx) error {
			return foldOf("catalog.offers")(tx, ref, []service.FeedRow{{Key: key, Format: 1, Payload: payload}})
		})
	}
	fold("city/511600", good)
	w.knows(district, "province/510000", district, "")
	fold(district, good)
	w.knows(district, "city/511600", "city/511600", "") // The directory may lag.
	fold("city/511600", nil)
	if n := w.search("结婚").Total; n != 1 {
		t.Errorf("%d found, want the one that the district itself told", n)
	}
	fold(district, nil)
	if n := w.search("结婚").Total; n != 0 {
		t.Errorf("%d found after its own removal", n)
	}
}

func TestASilentDivisionIsShownWithItsAge(t *testing.T) {
	county, city, _ := threeLevels(t)
	_ = county
	city.knows(district, "city/511600", district, "https://district.example")
	at := city.Clock.Now()
	city.Update(city.Division, func(tx *service.Tx) error {
		if err := tx.Exec(`INSERT INTO federation_child (ref, name, state, reason, ca, enrolled) VALUES (?, 'n', 'active', '', x'00', ?)`, district, at); err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO federation_received (neighbour, stream, epoch, version, token, before, scan, confirmed) VALUES (?, 'up', 'e', 1, '', '', 0, ?)`, district, at)
	})
	if there := city.searchPage("q=社保").Hits[0].There; there.Silent || !there.AsOf.Equal(at) {
		t.Errorf("just confirmed: %+v", there)
	}
	city.Clock.Advance(3 * 3600 * 1e9)
	if there := city.searchPage("q=社保").Hits[0].There; !there.Silent || !there.AsOf.Equal(at) {
		t.Errorf("three hours later: %+v", there)
	}
}
