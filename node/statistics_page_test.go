package node_test

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/portal/portaltest"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/statistics"
	"tongban/tenancy"
)

// statisticsSite is a city with figures of its own and three counties: one is heard, one is
// silent, one has never reported.
func statisticsSite(t *testing.T) *httptest.Server {
	city := service.Site{Code: "511600", Level: "city", Name: "广安市", Full: "四川省广安市"}
	w, tree := mountedAt(t, city, slog.New(slog.DiscardHandler))
	now := time.Now()
	enter := func(tx *service.Tx, ref, name string, confirmed any) {
		must(t, tx.Exec(`INSERT INTO federation_directory (ref, parent, name, web, epoch, row, via) VALUES (?, 'city/511600', ?, ?, '1', '{}', ?)`,
			ref, name, "https://"+ref+".example", ref))
		must(t, tx.Exec(`INSERT INTO federation_child (ref, name, state, reason, ca, enrolled) VALUES (?, ?, 'active', '', x'00', ?)`, ref, name, now))
		if confirmed != nil {
			must(t, tx.Exec(`INSERT INTO federation_received (neighbour, stream, epoch, version, token, before, scan, confirmed)
				VALUES (?, 'up', '1', 1, '', '', 0, ?)`, ref, confirmed))
		}
	}
	must(t, tree.Division().Update(t.Context(), func(tx *service.Tx) error {
		enter(tx, "county/511602", "广安区", now.Add(-20*time.Second))
		enter(tx, "county/511603", "前锋区", now.Add(-3*time.Hour))
		enter(tx, "county/511621", "岳池县", nil)
		return nil
	}))
	foldCounties(t, tree, city, now)
	server := httptest.NewServer(w.Public())
	t.Cleanup(server.Close) // After the parallel looks.
	return server
}

// foldCounties folds the figures of two counties, for thirty days and two dozen items.
func foldCounties(t *testing.T, tree *tenancy.Tenancy, city service.Site, now time.Time) {
	t.Helper()
	feed := statistics.Definition(statistics.Options{Site: city, BasicCode: catalog.BasicCode, Names: catalog.ReadNames}).Feeds[0]
	for n, county := range []division.Ref{{Level: division.County, Code: "511602"}, {Level: division.County, Code: "511603"}} {
		var rows []service.FeedRow
		for day := range 30 {
			for item := range 24 {
				rows = append(rows, service.FeedRow{Feed: feed.Name, Format: 1,
					Key: fmt.Sprintf("%s|%s|%s", county, service.CountDay(now.AddDate(0, 0, -day)), itemCode(item)),
					Payload: fmt.Appendf(nil, `{"kind":"item","measures":{"applications":%d,"decisions":%d}}`,
						1+(day*day+item*3)%(9+day/3-3*n), (day*day+item)%(6+day/5-n))})
			}
		}
		must(t, tree.Division().Update(t.Context(), func(tx *service.Tx) error { return feed.FoldUp(tx, county, rows) }))
	}
}

// itemCode is a code of 31 characters; one of eight is a county's own.
func itemCode(n int) string {
	if n%8 == 7 {
		return fmt.Sprintf("GA-2026-%d", n)
	}
	return fmt.Sprintf("11511602MB1234567X4%012d", n)
}

// TestStatisticsInBrowser looks at the page as people do: wide and on a phone, light, dark
// and in large text, in both languages, with the picture and without scripts.
func TestStatisticsInBrowser(t *testing.T) {
	portaltest.Require(t)
	server := statisticsSite(t)
	for _, look := range []struct {
		name, query string
		scripts     bool
		options     []portaltest.Option
	}{
		{"desktop-light-zh", "lang=zh-CN", true, nil},
		{"desktop-dark-en", "lang=en&theme=dark", true, nil},
		{"desktop-large-zh", "lang=zh-CN&text=large", false, []portaltest.Option{portaltest.JSOff()}},
		{"phone-light-en", "lang=en", true, []portaltest.Option{portaltest.Phone()}},
		{"phone-large-zh", "lang=zh-CN&text=large", true, []portaltest.Option{portaltest.Phone()}},
	} {
		t.Run(look.name, func(t *testing.T) {
			t.Parallel()
			page := portaltest.Browser(t, look.options...)
			for _, at := range []struct{ name, query string }{
				{"city", ""}, {"silent-county", "division=511603"}, {"new-county", "division=511621"},
			} {
				name := "statistics-" + at.name + "-" + look.name
				page.Open(server.URL + "/statistics?" + at.query + "&" + look.query)
				page.Screenshot(name)
				page.MustBeClean(name)
				if wide := page.SticksOut(); wide != "" {
					t.Errorf("%s: the page is wider than its window: %s", name, wide)
				}
				if want := map[string]int{"city": 2, "silent-county": 1}[at.name]; look.scripts {
					if got := portaltest.Value[int](page, drawn); got != want {
						t.Errorf("%s: %d pictures are drawn, want %d", name, got, want)
					}
				} else if got := portaltest.Value[int](page, `[...document.querySelectorAll("[data-chart]")].filter(e => e.getClientRects().length).length`); got != 0 {
					t.Errorf("%s: %d empty frames stand where scripts would draw", name, got)
				}
			}
			page.Open(server.URL + "/statistics?" + look.query)
			rows := portaltest.Value[[]string](page, `[...document.querySelectorAll("tr")].filter(r => r.querySelector("a[href*=division]"))
				.map(r => [r.querySelector("a"), ...r.querySelectorAll("td")].map(c => c.innerText.trim()).join(" "))`)
			if want := []string{"广安区 5,139 2,677", "前锋区 4,045 2,329", "岳池县 — —"}; !slices.Equal(rows, want) {
				t.Errorf("%s: the table of the divisions says %q, want %q", look.name, rows, want)
			}
			if status := page.Click(`a[href*="county%2F511603"]`); status != 200 || !strings.Contains(page.Text("h1"), "前锋区") {
				t.Errorf("%s: the county's link leads to %d %s", look.name, status, page.Text("h1"))
			}
		})
	}
}

// drawn counts the canvases that hold more than one colour.
const drawn = `[...document.querySelectorAll("[data-chart] canvas")].filter(c => {
	const d = new Uint32Array(c.getContext("2d").getImageData(0, 0, c.width, c.height).data.buffer);
	return d.some(v => v !== d[0]);
}).length`
