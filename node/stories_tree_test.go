package node_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tongban/division"
	"tongban/portal/portaltest"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/tenancy"
)

// TestStoryOfACityWithDistricts looks at the catalog's pages in a browser where divisions
// below offer items and a basic catalog is set: wide and on a phone, in both languages.
func TestStoryOfACityWithDistricts(t *testing.T) {
	if testing.Short() {
		t.Skip("not run: a browser story; run without -short")
	}
	portaltest.Require(t)
	city := service.Site{Code: "511600", Level: "city", Name: "广安市", Full: "四川省广安市"}
	w, tree := mountedAt(t, city, slog.New(slog.DiscardHandler))
	offersBelow(t, tree)
	public := w.Public()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "session", Value: "division-admin@"})
		public.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	rows := append(catalog.DemoBasic(), catalog.BasicRow{Line: 900, Code: "坏码", Name: "编码不对的事项"}, catalog.BasicRow{Line: 901, Code: "X1"})
	(&site{t: t, admin: w.Admin()}).post("/basic/imports", "", map[string]any{"file": "基本目录.csv", "rows": rows}, nil)
	for _, l := range []look{desktop(), phone(portaltest.JSOff()), phoneEnglish()} {
		t.Run(l.name, func(t *testing.T) { cityStory(t, server.URL, l, rows[0].Code) })
	}
}

func cityStory(t *testing.T, address string, l look, basic string) {
	v := &visitor{Page: portaltest.Browser(t, l.options...), t: t, look: l, story: "city"}
	at := func(path string, want int, name string, says ...string) {
		t.Helper()
		if got := v.Open(address + path); got != want {
			t.Fatalf("GET %s: %d, want %d: %s", path, got, want, v.Text("body"))
		}
		v.see(name)
		v.reads(says...)
	}
	reference := "county/511602/civil-affairs/511A00000000-511602000000-000-115113010087781839-1-00"
	at("/", 200, "home", "60")
	at("/search?q="+url.QueryEscape("登记"), 200, "found", "四川省广安市广安区", "四川省广安市岳池县",
		v.either("网址尚未收到", "not known yet"), v.either("失去联系", "Cannot be reached"))
	links := portaltest.Value[string](v.Page, `[...document.querySelectorAll(".tb-card__title a")].map(a => a.href).join(" ")`)
	if !strings.Contains(links, "https://district.example/t/civil-affairs/items/511A00000000") || strings.Contains(links, "511621000000") {
		t.Errorf("the results lead to %s", links)
	}
	if !portaltest.Value[bool](v.Page, `[...document.querySelectorAll(".tb-card details code")].some(c => c.textContent === "`+reference+`")`) {
		t.Errorf("no result has the reference %s", reference)
	}
	copies := portaltest.Value[int](v.Page, `[...document.querySelectorAll("[data-copy]")].filter(b => !b.hidden).length`)
	if withScripts := !strings.HasPrefix(l.name, "phone-zh"); withScripts != (copies > 0) {
		t.Errorf("%d buttons copy a reference", copies)
	}
	at("/search?division=county/511621&q="+url.QueryEscape("登记"), 200, "narrowed", "四川省广安市岳池县")
	at("/search?q="+url.QueryEscape("量子纠缠"), 200, "nothing")
	at("/basic", 200, "basic", "DEMO")
	at("/basic?q=zzz", 200, "basic-none")
	at("/basic/"+url.PathEscape(basic), 200, "basic-item", basic)
	at("/basic/nothing", 404, "basic-unknown")
	at("/basic/imports", 200, "basic-imports", "坏码")
	v.send("/basic/imports", 400)
	v.see("basic-import-nothing")
}

// offersBelow enters two districts, of which one has told its portal's address, and folds
// 30 items of each.
func offersBelow(t *testing.T, tree *tenancy.Tenancy) {
	t.Helper()
	var fold func(*service.Tx, division.Ref, []service.FeedRow) error
	for _, f := range catalog.Definition().Feeds {
		if f.FoldUp != nil {
			fold = f.FoldUp
		}
	}
	must(t, tree.Division().Update(t.Context(), func(tx *service.Tx) error {
		for code, web := range map[string]string{"511602": "https://district.example", "511621": ""} {
			ref := division.Ref{Level: division.County, Code: division.Code(code)}
			if err := tx.Exec(`INSERT INTO federation_directory (ref, parent, name, web, epoch, row, via) VALUES (?1, 'city/511600', ?2, ?3, 'e', ?4, ?1)`,
				ref.String(), code, web, fmt.Sprintf(`{"ref":%q,"parent":"city/511600","name":%q,"web":%q}`, ref, code, web)); err != nil {
				return err
			}
			var rows []service.FeedRow
			for i, b := range catalog.DemoBasic()[:30] {
				rows = append(rows, service.FeedRow{Format: 1, Key: fmt.Sprintf("|civil-affairs|511A%08d-%s000000-000-115113010087781839-1-00", i, code),
					Payload: fmt.Appendf(nil, `{"name":%q,"main_item":%q,"type":20,"audience":1,"promise":5,"department":"民政局"}`, b.Name, b.MainItem)})
			}
			if err := fold(tx, ref, rows); err != nil {
				return err
			}
		}
		return nil
	}))
}
