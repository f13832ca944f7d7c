package catalog_test

import (
	"bytes"
	"fmt"
	"net/url"
	"testing"

	"tongban/federation"
	"tongban/replication"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
	"tongban/service/servicetest"
)

const tenant = servicetest.CivilAffairs

// world is a division whose two departments have no items yet.
type world struct {
	*servicetest.World
	tb     testing.TB
	cursor map[string]int64
}

func newWorld(tb testing.TB) *world {
	tree := federation.New(federation.Options{}).Definition() // Its tables: who the parent is, and the directory.
	return &world{servicetest.New(tb, catalog.Definition(), tree), tb, map[string]int64{}}
}

// fold carries a tenant's feed rows into the division, as tenancy does.
func (w *world) fold(slug string) {
	w.tb.Helper()
	t, db := w.Tenant(slug)
	for {
		var rows []service.FeedRow
		w.View(db, func(v *service.View) error {
			found, err := v.Query(`SELECT feed, key, version, format, payload FROM service_feed WHERE stream = 'home' AND version > ? ORDER BY version LIMIT 50`, w.cursor[slug])
			if err != nil {
				return err
			}
			defer found.Close()
			for found.Next() {
				var r service.FeedRow
				if err := found.Scan(&r.Feed, &r.Key, &r.Version, &r.Format, &r.Payload); err != nil {
					return err
				}
				rows = append(rows, r)
			}
			return found.Err()
		})
		if len(rows) == 0 {
			return
		}
		w.cursor[slug] = rows[len(rows)-1].Version
		for _, f := range catalog.Definition().Feeds {
			var mine []service.FeedRow
			for _, r := range rows {
				if r.Feed == f.Name && f.Fold != nil {
					mine = append(mine, r)
				}
			}
			if len(mine) > 0 {
				w.Update(w.Division, func(tx *service.Tx) error { return f.Fold(tx, t, mine) })
			}
		}
	}
}

// demoRows are the rows of one department of the demonstration, or of all ("").
func demoRows(tb testing.TB, department string, dirty bool) []catalog.Row {
	tb.Helper()
	rows, err := catalog.ParseCSV(bytes.NewReader(demo.CSV(dirty)))
	if err != nil {
		tb.Fatal(err)
	}
	var out []catalog.Row
	for _, r := range rows {
		if department == "" || r.Department == department {
			r.Department = "区民政局"
			out = append(out, r)
		}
	}
	if len(out) == 0 {
		tb.Fatalf("the demonstration has no department %q", department)
	}
	return out
}

// take imports rows into the tenant through the route.
func (w *world) take(rows []catalog.Row) catalog.Result {
	w.tb.Helper()
	var result catalog.Result
	w.ok("POST /t/"+tenant+"/items/import", map[string]any{"file": "demo.csv", "rows": rows}, &result)
	return result
}

// ok calls a route as the tenant's admin, wants no refusal and decodes the data.
func (w *world) ok(do string, body, into any) service.Response {
	w.tb.Helper()
	r, err := w.Call(do, servicetest.TenantAdmin(tenant), body)
	if err != nil {
		w.tb.Fatalf("%s: %v", do, err)
	}
	if into != nil {
		servicetest.Decode(w.tb, r, into)
	}
	return r
}

// refused calls a route as the tenant's admin and wants the refusal.
func (w *world) refused(reason, do string, body any) {
	w.tb.Helper()
	if _, err := w.Call(do, servicetest.TenantAdmin(tenant), body); servicetest.Reason(err) != reason {
		w.tb.Fatalf("%s: refused with %q (%v), want %q", do, servicetest.Reason(err), err, reason)
	}
}

func (w *world) search(text string) catalog.Found {
	w.tb.Helper()
	var found catalog.Found
	w.View(w.Division, func(v *service.View) error {
		var err error
		found, err = catalog.Search(v, text, catalog.Filter{}, 1)
		return err
	})
	return found
}

func (w *world) db() *service.DB { _, db := w.Tenant(tenant); return db }

func (w *world) item(code string) (it catalog.Item, err error) {
	viewErr := w.db().View(w.tb.Context(), replication.Local, func(v *service.View) error {
		it, err = catalog.ReadItem(v, code)
		return nil
	})
	if viewErr != nil {
		w.tb.Fatal(viewErr)
	}
	return it, err
}

func itemURL(code string) string { return "/t/" + tenant + "/items/" + url.PathEscape(code) }

func first(hits []catalog.Hit, n int) string {
	out := ""
	for i, h := range hits {
		if i == n {
			break
		}
		out += fmt.Sprintf("%s | ", h.Name)
	}
	return out
}
