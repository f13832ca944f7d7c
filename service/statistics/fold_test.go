package statistics

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
	"tongban/service/servicetest"
)

const (
	civil  = servicetest.CivilAffairs
	police = servicetest.PublicSecurity

	marriage = "000111222333" // Codes of the basic catalog.
	birth    = "000111222444"
)

// levels are four divisions, one below the other.
type levels struct{ county, city, province, top *world }

func newLevels(t *testing.T) levels {
	return levels{newWorld(t, district), newWorld(t, guangan), newWorld(t, sichuan), newWorld(t, nation)}
}

// carry folds what is new, from the departments to the nation.
func (l levels) carry() {
	for _, w := range []*world{l.county, l.city} {
		w.home(civil)
		w.home(police)
	}
	l.county.up(l.city)
	l.city.up(l.province)
	l.province.up(l.top)
}

func TestAllLevelsCountTheSame(t *testing.T) {
	l := newLevels(t)
	county, city, province, top := l.county, l.city, l.province, l.top
	county.count(civil, Applications, national('A', marriage), 3)
	county.count(civil, Decisions, national('A', marriage), 1)
	county.count(police, Applications, national('B', marriage), 4)
	county.count(police, Applications, "LOCAL-7", 5)
	city.count(civil, Applications, national('C', birth), 7)
	l.carry()
	for _, c := range []struct {
		w    *world
		want Figures
	}{{county, figures(12, 1)}, {city, figures(19, 1)}, {province, figures(19, 1)}, {top, figures(19, 1)}} {
		if p := c.w.get(""); p.Figures != c.want {
			t.Errorf("%s has %v, want %v", c.w.self, p.Figures, c.want)
		}
	}

	t.Run("a county sends its items, a city the basic codes", func(t *testing.T) {
		day := "2026-03-02"
		if got, want := keys(county), fmt.Sprintf("[county/511602|%[1]s|%[2]s county/511602|%[1]s|%[3]s county/511602|%[1]s|LOCAL-7]",
			day, national('A', marriage), national('B', marriage)); got != want {
			t.Errorf("the county sent %s, want %s", got, want)
		}
		want := fmt.Sprintf("[city/511600|%[1]s|%[2]s county/511602|%[1]s|%[3]s county/511602|%[1]s|LOCAL-7]", day, birth, marriage)
		if got := keys(city); got != want {
			t.Errorf("the city sent %s, want %s", got, want)
		}
		if got := keys(province); got != want {
			t.Errorf("the province sent %s, want %s", got, want)
		}
		if got := keys(top); got != "[]" {
			t.Errorf("the nation sends %s up, and nobody is there", got)
		}
	})
	t.Run("above the county the two departments' items are one", func(t *testing.T) {
		items := top.get("").Items
		want := []Item{{Code: marriage, Figures: figures(7, 1)}, {Code: birth, Figures: figures(7, 0)},
			{Code: "LOCAL-7", Owner: district.String(), Figures: figures(5, 0)}} // No basic code: told apart by its division.
		if !slices.Equal(items, want) {
			t.Errorf("the nation's items are %+v", items)
		}
		if items := county.get("").Items; len(items) != 3 || items[0].Code != "LOCAL-7" || items[0].Owner != "" {
			t.Errorf("the county's items are %+v", items)
		}
	})
	t.Run("what is counted again goes up as an absolute value", func(t *testing.T) {
		county.count(civil, Decisions, national('A', marriage), 2)
		county.Clock.Advance(24 * time.Hour)
		county.count(civil, Applications, national('A', marriage), 10)
		l.carry()
		if p := top.get(""); p.Figures != figures(29, 3) {
			t.Errorf("the nation has %v, want 29 and 3", p.Figures)
		}
	})
	t.Run("what is sent again changes nothing", func(t *testing.T) {
		for _, w := range []*world{county, city, province} {
			w.cursor = map[string]int64{}
		}
		before := top.published(top.Division, service.Up, "x")
		l.carry()
		if p := top.get(""); p.Figures != figures(29, 3) || len(before) > 0 {
			t.Errorf("the nation has %v, want 29 and 3", p.Figures)
		}
		for _, w := range []*world{county, city, province, top} {
			consistent(t, w)
		}
	})
}

// keys are the keys that a division has in its stream upward.
func keys(w *world) string {
	list := []string{}
	w.View(w.Division, func(v *service.View) error {
		return each(v, func(rows *replication.Rows) error {
			var key string
			err := rows.Scan(&key)
			list = append(list, key)
			return err
		}, `SELECT key FROM service_feed WHERE stream = 'up' AND payload IS NOT NULL ORDER BY key`)
	})
	return fmt.Sprint(list)
}

func TestRowsOfChildren(t *testing.T) {
	good := `{"kind":"item","measures":{"applications":2}}`
	key := "county/511602|2026-03-02|X1"
	w := newWorld(t, guangan)
	for _, c := range []struct {
		name string
		from division.Ref
		row  service.FeedRow
		want error
	}{
		{"a child of itself", district, feedRow(key, good), nil},
		{"a measure that this program does not show", district, feedRow(key, `{"kind":"basic","measures":{"complaints":2}}`), nil},
		{"a field of a newer program", district, feedRow(key, `{"kind":"basic","measures":{"applications":2},"more":[1]}`), nil},
		{"a key that was never here is removed", district, feedRow(key, ""), nil},
		{"another child of the same parent", district, feedRow("county/511603|2026-03-02|X1", good), errForeign},
		{"the receiver itself", district, feedRow("city/511600|2026-03-02|X1", good), errForeign},
		{"a division above", district, feedRow("province/510000|2026-03-02|X1", good), errForeign},
		{"a division that nobody knows", district, feedRow("county/119999|2026-03-02|X1", good), errForeign},
		{"no division", district, feedRow("|2026-03-02|X1", good), errMalformed},
		{"a code for a division", district, feedRow("511602|2026-03-02|X1", good), errMalformed},
		{"no day", district, feedRow("county/511602|2026-02-30|X1", good), errMalformed},
		{"no code", district, feedRow("county/511602|2026-03-02|", good), errMalformed},
		{"a key without parts", district, feedRow("x", good), errMalformed},
		{"a code that never ends", district, feedRow("county/511602|2026-03-02|"+strings.Repeat("x", 201), good), errMalformed},
		{"no JSON", district, feedRow(key, "{"), errMalformed},
		{"JSON of something else", district, feedRow(key, `[1]`), errMalformed},
		{"two values", district, feedRow(key, good+good), errMalformed},
		{"null", district, feedRow(key, `null`), errMalformed},
		{"no measures", district, feedRow(key, `{"kind":"item","measures":{}}`), errMalformed},
		{"an unknown kind of code", district, feedRow(key, `{"kind":"x","measures":{"applications":2}}`), errMalformed},
		{"less than nothing", district, feedRow(key, `{"kind":"item","measures":{"applications":-1}}`), errMalformed},
		{"a part of a case", district, feedRow(key, `{"kind":"item","measures":{"applications":1.5}}`), errMalformed},
		{"more than can be added up", district, feedRow(key, `{"kind":"item","measures":{"applications":1073741825}}`), errMalformed},
		{"a day in the far future", district, feedRow("county/511602|9999-12-31|X1", good), errMalformed},
		{"the week to come", district, feedRow("county/511602|"+service.CountDay(w.Clock.Now().AddDate(0, 0, 7))+"|X1", good), errMalformed},
		{"tomorrow, by a clock that is ahead", district, feedRow("county/511602|"+service.CountDay(w.Clock.Now().AddDate(0, 0, 1))+"|X1", good), nil},
		{"a day before there were any", district, feedRow("county/511602|1999-12-31|X1", good), errMalformed},
		{"a code of two lines", district, feedRow("county/511602|2026-03-02|X\n1", good), errMalformed},
		{"a code that is no text", district, feedRow("county/511602|2026-03-02|X\xff", good), errMalformed},
		{"a number beyond all numbers", district, feedRow(key, `{"kind":"item","measures":{"applications":1e400}}`), errMalformed},
		{"a measure that is no word", district, feedRow(key, `{"kind":"item","measures":{"<b>":1}}`), errMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.Count(w.Division, `SELECT count(*) FROM statistics_daily`)
			if err := w.try(c.from, c.row); !errors.Is(err, c.want) {
				t.Errorf("fold: %v, want %v", err, c.want)
			}
			if c.want != nil && w.Count(w.Division, `SELECT count(*) FROM statistics_daily`) != before {
				t.Error("a refused row has changed the figures")
			}
			consistent(t, w)
		})
	}
}

// Every page reads all measures and codes of a division: a child does not make them up
// without end.
func TestAChildMakesUpMeasuresWithoutEnd(t *testing.T) {
	w := newWorld(t, guangan)
	fold := func(n int) error {
		return w.try(district, feedRow(fmt.Sprintf("county/511602|2026-03-02|X%d", n), fmt.Sprintf(`{"kind":"item","measures":{"m_%s":1}}`, strings.Repeat("x", n))))
	}
	for n := range maxMeasures {
		if err := fold(n); err != nil {
			t.Fatalf("measure %d: %v", n, err)
		}
	}
	if err := fold(maxMeasures); !errors.Is(err, errMalformed) {
		t.Errorf("one more is folded: %v", err)
	}
	consistent(t, w)
}

func TestRemovedRows(t *testing.T) {
	w := newWorld(t, guangan)
	a, b := "county/511602|2026-03-02|"+national('A', marriage), "county/511602|2026-03-02|"+national('B', marriage)
	w.take(district, feedRow(a, `{"kind":"item","measures":{"applications":2,"decisions":1}}`),
		feedRow(b, `{"kind":"item","measures":{"applications":3}}`))
	sentUp := func() string {
		rows := w.published(w.Division, service.Up, "up")
		if len(rows) != 1 || rows[0].Key != "county/511602|2026-03-02|"+marriage {
			t.Fatalf("the city sent %+v, want one row of the basic code", rows)
		}
		return string(rows[0].Payload)
	}
	if got := sentUp(); got != `{"kind":"basic","measures":{"applications":5,"decisions":1}}` {
		t.Errorf("both items are sent as %s", got)
	}
	w.take(district, feedRow(a, ""))
	if got := sentUp(); got != `{"kind":"basic","measures":{"applications":3}}` {
		t.Errorf("one item is sent as %s", got)
	}
	w.take(district, feedRow(b, ""))
	if got := sentUp(); got != "" {
		t.Errorf("what is gone is sent as %s", got)
	}
	if p := w.get(""); p.Figures != figures(0, 0) || len(p.Items) > 0 || len(p.Days) > 0 {
		t.Errorf("nothing is left, and the page says %+v", p)
	}
	consistent(t, w)
}

// TestOnlyTheSenderRemoves: a child takes back what it has sent, also of a division that has
// left its branch since, and nothing that another has sent.
func TestOnlyTheSenderRemoves(t *testing.T) {
	w := newWorld(t, sichuan)
	key := "county/511602|2026-03-02|" + marriage
	w.take(guangan, feedRow(key, `{"kind":"basic","measures":{"applications":2}}`))
	w.take(zhejiang, feedRow(key, ""))
	if p := w.get(""); p.Figures != figures(2, 0) {
		t.Errorf("after another's removal there are %v, want 2", p.Figures)
	}
	w.below = func(service.Querier, division.Ref, division.Ref) (bool, error) { return false, nil }
	if err := w.try(guangan, feedRow(key, `{"kind":"basic","measures":{"applications":3}}`)); !errors.Is(err, errForeign) {
		t.Errorf("a division that has left is still counted: %v", err)
	}
	w.take(guangan, feedRow(key, ""))
	if p := w.get(""); p.Figures != figures(0, 0) {
		t.Errorf("after the removal there are %v, want none", p.Figures)
	}
	consistent(t, w)
}

// TestSumsFollowTheRows folds random rows, again, changed and removed, in batches, and
// compares all sums with the rows after each.
func TestSumsFollowTheRows(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	city, province := newWorld(t, guangan), newWorld(t, sichuan)
	children := []division.Ref{district, qianfeng}
	for range 40 {
		child := children[r.IntN(2)]
		var rows []service.FeedRow
		for range 1 + r.IntN(30) {
			code := national("AB"[r.IntN(2)], []string{marriage, birth}[r.IntN(2)])
			if r.IntN(4) == 0 {
				code = "LOCAL"
			}
			row := feedRow(fmt.Sprintf("%s|2026-03-0%d|%s", child, 1+r.IntN(3), code),
				fmt.Sprintf(`{"kind":"item","measures":{"applications":%d,"decisions":%d}}`, r.IntN(5), r.IntN(3)))
			if r.IntN(5) == 0 {
				row.Payload = nil
			}
			rows = append(rows, row)
		}
		city.take(child, rows...)
		city.up(province)
	}
	consistent(t, city)
	consistent(t, province)
	if a, b := city.get("").Figures, province.get("").Figures; a != b || a == figures(0, 0) {
		t.Errorf("the city has %v, the province %v", a, b)
	}
}

// consistent compares the sums, and what is sent up, with the daily rows.
func consistent(t *testing.T, w *world) {
	t.Helper()
	w.View(w.Division, func(v *service.View) error {
		for what, sql := range map[string]string{
			"sums of days": `SELECT count(*) FROM (
				WITH one AS (SELECT d.day, d.division, m.key AS measure, m.value AS n FROM statistics_daily d, json_each(d.measures) m),
				want AS (SELECT day, division, measure, sum(n) AS n FROM one GROUP BY 1, 2, 3
					UNION ALL SELECT '', division, measure, sum(n) FROM one GROUP BY 2, 3
					UNION ALL SELECT day, '', measure, sum(n) FROM one GROUP BY 1, 3
					UNION ALL SELECT '', '', measure, sum(n) FROM one GROUP BY 3),
				got AS (SELECT day, division, measure, value AS n FROM statistics_total)
				SELECT * FROM (SELECT * FROM want WHERE n <> 0 EXCEPT SELECT * FROM got)
				UNION ALL SELECT * FROM (SELECT * FROM got WHERE n <> 0 EXCEPT SELECT * FROM want))`,
			"sums of items": `SELECT count(*) FROM (
				WITH one AS (SELECT d.division, d.basic, iif(d.kind = 'own', d.division, '') AS owner, m.key AS measure, m.value AS n
					FROM statistics_daily d, json_each(d.measures) m),
				want AS (SELECT division, basic, owner, measure, sum(n) AS n FROM one GROUP BY 1, 2, 3, 4
					UNION ALL SELECT '', basic, owner, measure, sum(n) FROM one GROUP BY 2, 3, 4),
				got AS (SELECT division, code, owner, measure, value AS n FROM statistics_item)
				SELECT * FROM (SELECT * FROM want WHERE n <> 0 EXCEPT SELECT * FROM got)
				UNION ALL SELECT * FROM (SELECT * FROM got WHERE n <> 0 EXCEPT SELECT * FROM want))`,
			"rows sent up": `SELECT count(*) FROM (
				WITH want AS (SELECT d.division || '|' || d.day || '|' || d.basic AS key, m.key AS measure, sum(m.value) AS n
					FROM statistics_daily d, json_each(d.measures) m GROUP BY 1, 2),
				got AS (SELECT f.key, m.key AS measure, m.value AS n FROM service_feed f,
					json_each(CAST(f.payload AS TEXT), '$.measures') m WHERE f.stream = 'up' AND f.payload IS NOT NULL)
				SELECT * FROM (SELECT * FROM want EXCEPT SELECT * FROM got)
				UNION ALL SELECT * FROM (SELECT * FROM got EXCEPT SELECT * FROM want))`,
		} {
			if what == "rows sent up" && w.self == nation {
				continue
			}
			n := 0
			if err := v.QueryRow(sql).Scan(&n); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			if n != 0 {
				t.Errorf("%s: %d %s are not those of the daily rows", w.self, n, what)
			}
		}
		return nil
	})
}

// BenchmarkFoldUp folds rows of a county at a city, and of a city at a province: 1,000 a
// transaction, each of a new item and day.
func BenchmarkFoldUp(b *testing.B) {
	for _, c := range []struct {
		name string
		self division.Ref
		kind string
	}{{"items at a city", guangan, "item"}, {"basic codes at a province", sichuan, "basic"}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b, c.self)
			from := map[division.Ref]division.Ref{guangan: district, sichuan: guangan}[c.self]
			const batchRows = 500
			n := 0
			for b.Loop() {
				rows := make([]service.FeedRow, batchRows)
				for i := range rows {
					code := fmt.Sprintf("%012d", n%1135)
					if c.kind == "item" {
						code = national('A', code)
					}
					day := time.Date(2026, 1, 1+n/1135, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
					rows[i] = feedRow(fmt.Sprintf("%s|%s|%s", district, day, code),
						fmt.Sprintf(`{"kind":%q,"measures":{"applications":%d,"decisions":%d}}`, c.kind, 1+n%7, n%3))
					n++
				}
				w.take(from, rows...)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// A district that hung on the province moves below its city, which tells two items under one
// basic code: what the district itself had told counts no more from the first row on.
func TestADistrictThatMovedCountsOnce(t *testing.T) {
	w := newWorld(t, sichuan)
	a, b := "county/511602|2026-03-02|"+national('A', marriage), "county/511602|2026-03-02|"+national('B', marriage)
	w.take(district, feedRow(a, `{"kind":"item","measures":{"applications":2}}`), feedRow(b, `{"kind":"item","measures":{"applications":3}}`))
	w.take(guangan, feedRow("county/511602|2026-03-02|"+marriage, `{"kind":"basic","measures":{"applications":5}}`))
	if p := w.get(""); p.Figures != figures(5, 0) {
		t.Errorf("told by both: %v, want 5", p.Figures)
	}
	w.take(district, feedRow(a, ""), feedRow(b, ""))
	if p := w.get(""); p.Figures != figures(5, 0) {
		t.Errorf("after the former side was given up: %v, want 5", p.Figures)
	}
	consistent(t, w)
}
