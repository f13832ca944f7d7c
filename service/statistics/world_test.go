package statistics

import (
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
	"tongban/service/servicetest"
)

// The branch of every test, and one beside it.
var (
	nation   = division.Nation
	sichuan  = division.Ref{Level: division.Province, Code: "510000"}
	guangan  = division.Ref{Level: division.City, Code: "511600"}
	district = division.Ref{Level: division.County, Code: "511602"}
	qianfeng = division.Ref{Level: division.County, Code: "511603"}
	zhejiang = division.Ref{Level: division.Province, Code: "330000"}
)

var names = map[division.Ref]string{nation: "中华人民共和国", sichuan: "四川省", guangan: "广安市", district: "广安区",
	qianfeng: "前锋区", zhejiang: "浙江省"}

var parents = map[division.Ref]division.Ref{sichuan: nation, guangan: sichuan, district: guangan, qianfeng: guangan, zhejiang: nation}

// world is a division with its statistics, in a tree that the test says.
type world struct {
	*servicetest.World
	tb     testing.TB
	self   division.Ref
	def    service.Definition
	fresh  map[division.Ref]federation.Freshness
	itemOf map[string]string // Names of the catalog.
	cursor map[string]int64
	below  func(q service.Querier, child, ref division.Ref) (bool, error)
}

func newWorld(tb testing.TB, self division.Ref) *world {
	w := &world{tb: tb, self: self, fresh: map[division.Ref]federation.Freshness{}, itemOf: map[string]string{}, cursor: map[string]int64{}}
	w.below = func(_ service.Querier, child, ref division.Ref) (bool, error) {
		for d := ref; !d.IsZero(); d = parents[d] {
			if d == child {
				return true, nil
			}
		}
		return false, nil
	}
	w.def = Definition(Options{
		Site: service.Site{Code: string(self.Code), Level: self.Level.String(), Name: names[self]},
		BasicCode: func(code string) (string, bool) {
			if len(code) == 31 {
				return code[19:], true
			}
			return "", false
		},
		Names: func(_ service.Querier, codes []string) (map[string]string, error) {
			found := map[string]string{}
			for _, c := range codes {
				if name, ok := w.itemOf[c]; ok {
					found[c] = name
				}
			}
			return found, nil
		},
		tree: tree{
			places: func(service.Querier) ([]federation.Place, error) {
				var list []federation.Place
				for _, d := range []division.Ref{nation, sichuan, zhejiang, guangan, district, qianfeng} {
					list = append(list, federation.Place{Ref: d, Parent: parents[d], Name: names[d], Web: "https://" + string(d.Code) + ".example"})
				}
				return list, nil
			},
			below: func(q service.Querier, child, ref division.Ref) (bool, error) { return w.below(q, child, ref) },
			freshness: func(service.Querier, division.Ref, time.Time) (map[division.Ref]federation.Freshness, error) {
				return w.fresh, nil
			},
		},
	})
	w.World = servicetest.New(tb, w.def)
	return w
}

// count counts in a tenant's database.
func (w *world) count(slug string, m service.Measure, item string, n int64) {
	w.tb.Helper()
	_, db := w.Tenant(slug)
	w.Update(db, func(tx *service.Tx) error { return tx.Count(m, item, n) })
}

// home folds what a tenant has published since, as tenancy does.
func (w *world) home(slug string) {
	w.tb.Helper()
	t, db := w.Tenant(slug)
	rows := w.published(db, service.Home, slug)
	w.Update(w.Division, func(tx *service.Tx) error { return w.def.Feeds[0].Fold(tx, t, rows) })
}

// published returns what db has published in the stream since the last time that the same
// reader asked.
func (w *world) published(db *service.DB, stream service.Stream, reader string) []service.FeedRow {
	w.tb.Helper()
	var list []service.FeedRow
	w.View(db, func(v *service.View) error {
		return each(v, func(rows *replication.Rows) error {
			var r service.FeedRow
			err := rows.Scan(&r.Feed, &r.Key, &r.Version, &r.Format, &r.Payload)
			list = append(list, r)
			w.cursor[reader] = r.Version
			return err
		}, `SELECT feed, key, version, format, payload FROM service_feed WHERE stream = ? AND version > ? ORDER BY version`,
			string(stream), w.cursor[reader])
	})
	return list
}

// up carries what is new from this division to the one above, as federation does.
func (w *world) up(above *world) {
	w.tb.Helper()
	above.take(w.self, w.published(w.Division, service.Up, "up")...)
}

// take folds rows of a child.
func (w *world) take(from division.Ref, rows ...service.FeedRow) {
	w.tb.Helper()
	if err := w.try(from, rows...); err != nil {
		w.tb.Fatal(err)
	}
}

func (w *world) try(from division.Ref, rows ...service.FeedRow) error {
	return w.Division.Update(w.tb.Context(), func(tx *service.Tx) error { return w.def.Feeds[0].FoldUp(tx, from, rows) })
}

// feedRow is a row that a child sends; no payload removes the key.
func feedRow(key, payload string) service.FeedRow {
	return service.FeedRow{Feed: service.CountFeed, Key: key, Format: 1, Payload: []byte(payload)}
}

// get asks for a page.
func (w *world) get(query string) Page {
	w.tb.Helper()
	r, err := w.Call("GET /statistics"+query, servicetest.Citizen(), nil)
	if err != nil {
		w.tb.Fatalf("GET /statistics%s: %v", query, err)
	}
	var p Page
	servicetest.Decode(w.tb, r, &p)
	return p
}

// refused asks for a page and wants the refusal.
func (w *world) refused(reason, do string) {
	w.tb.Helper()
	if _, err := w.Call(do, servicetest.Citizen(), nil); servicetest.Reason(err) != reason {
		w.tb.Errorf("%s: refused with %q (%v), want %q", do, servicetest.Reason(err), err, reason)
	}
}

// figures says applications/decisions.
func figures(applied, decided int64) Figures { return Figures{applied, decided} }

// national is an item code of 31 characters with the basic code.
func national(body byte, basic string) string {
	return strings.Repeat(string(body), 18) + "3" + basic
}
