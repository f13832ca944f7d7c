package statistics

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"tongban/federation"
	"tongban/service"
	"tongban/service/servicetest"
)

var update = flag.Bool("update", false, "write testdata anew")

// city returns a city with figures of its own, a child that cannot be heard and a child
// that never reported.
func cityWithASilentChild(t testing.TB) *world {
	w := newWorld(t, guangan)
	w.itemOf[marriage] = "结婚登记"
	w.count(civil, Applications, national('C', marriage), 2)
	w.count(civil, Decisions, national('C', marriage), 1)
	w.home(civil)
	w.take(district, feedRow("county/511602|2026-03-01|"+national('A', marriage), `{"kind":"item","measures":{"applications":40,"decisions":30}}`),
		feedRow("county/511602|2026-02-27|=LOCAL", `{"kind":"item","measures":{"applications":3}}`))
	w.fresh[district] = federation.Freshness{AsOf: w.Clock.Now().Add(-25 * time.Minute), Silent: true, Known: true}
	return w
}

// TestJSON compares what GET /statistics answers with a file: programs read it by these
// names.
func TestJSON(t *testing.T) {
	w := cityWithASilentChild(t)
	r, err := w.Call("GET /statistics", servicetest.Citizen(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(r.Data, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	const file = "testdata/city.json"
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the answer is not that of %s (-update writes it anew):\n%s", file, got)
	}
}

func TestAges(t *testing.T) {
	now := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	at := func(ago time.Duration, silent bool) federation.Freshness {
		return federation.Freshness{AsOf: now.Add(-ago), Silent: silent, Known: true}
	}
	sendAll := func(w *world) {
		w.take(sichuan, feedRow("province/510000|2026-03-02|X", `{"kind":"own","measures":{"applications":1}}`),
			feedRow("city/511600|2026-03-02|X", `{"kind":"own","measures":{"applications":2}}`),
			feedRow("county/511602|2026-03-02|X", `{"kind":"own","measures":{"applications":4}}`))
	}
	type fresh = map[string]federation.Freshness
	for _, c := range []struct {
		name        string
		fresh       fresh
		age         int64 // Of the nation's page, seconds.
		silent      bool
		unreported  int
		child       string // Of Sichuan: applied, age, silent, known.
		atProvince  string // What the nation says of Guang'an.
		provinceAge int64
	}{
		{"all is heard", fresh{"510000": at(5*time.Second, false), "511600": at(5*time.Second, false), "511602": at(5*time.Second, false), "511603": at(5*time.Second, false)},
			5, false, 1, "7 5 false true", "6 5 false true", 5},
		{"the line to the province is cut", fresh{"510000": at(time.Hour, true), "511600": at(time.Hour, true), "511602": at(time.Hour, true), "511603": at(time.Hour, true)},
			3600, true, 1, "7 3600 true true", "6 3600 true true", 3600},
		{"a line far below is cut", fresh{"510000": at(5*time.Second, false), "511600": at(5*time.Second, false), "511602": at(48*time.Hour, true), "511603": at(5*time.Second, false)},
			48 * 3600, true, 1, "7 172800 true true", "6 172800 true true", 48 * 3600},
		{"nobody below the province has reported", fresh{"510000": at(5*time.Second, false)},
			5, false, 4, "7 5 false true", "- - false false", 5},
		{"nobody has reported", nil, 0, false, 5, "- - false false", "", 0},
		{"a clock below is ahead", fresh{"510000": at(-time.Hour, false), "511600": at(-time.Hour, false), "511602": at(-time.Hour, false), "511603": at(-time.Hour, false)},
			0, false, 1, "7 0 false true", "6 0 false true", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, nation)
			sendAll(w)
			for code, f := range c.fresh {
				for ref := range names {
					if string(ref.Code) == code {
						w.fresh[ref] = f
					}
				}
			}
			p := w.get("")
			if p.Age != c.age || p.Silent != c.silent || p.Unreported != c.unreported {
				t.Errorf("the page is %d s old, silent %v, lacks %d; want %d, %v, %d", p.Age, p.Silent, p.Unreported, c.age, c.silent, c.unreported)
			}
			if len(p.Children) != 2 || p.Children[1].Known || p.Children[1].Applied != nil {
				t.Fatalf("the children are %+v; Zhejiang has never reported and has no figure", p.Children)
			}
			if got := inWords(p.Children[0]); got != c.child {
				t.Errorf("Sichuan is %s, want %s", got, c.child)
			}
			province := w.get("?division=510000")
			if c.atProvince == "" {
				if province.Known {
					t.Error("a province that has never reported looks as if it had")
				}
				return
			}
			if got := inWords(province.Children[0]); got != c.atProvince || province.Age != c.provinceAge {
				t.Errorf("at Sichuan, %d s old, Guang'an is %s; want %d, %s", province.Age, got, c.provinceAge, c.atProvince)
			}
		})
	}
}

func inWords(c Child) string {
	if c.Applied == nil || c.Age == nil {
		return fmt.Sprintf("- - %v %v", c.Silent, c.Known)
	}
	return fmt.Sprintf("%d %d %v %v", *c.Applied, *c.Age, c.Silent, c.Known)
}

func TestAgeInWords(t *testing.T) {
	for seconds, want := range map[int64]string{0: "now 0", 4: "now 0", 5: "seconds 5", 59: "seconds 59", 60: "minutes 1", 119 * 60: "minutes 119", 120 * 60: "hours 2",
		47 * 3600: "hours 47", 48 * 3600: "days 2", 400 * 86400: "days 400"} {
		if a := agoOf(time.Time{}, seconds); fmt.Sprint(a.Unit, " ", a.N) != want {
			t.Errorf("%d s are %s %d, want %s", seconds, a.Unit, a.N, want)
		}
	}
}

func TestPage(t *testing.T) {
	w := cityWithASilentChild(t)
	t.Run("by name, by code, by nothing", func(t *testing.T) {
		for q, want := range map[string]string{"结婚": marriage, marriage: marriage, "local": "=LOCAL", "=": "=LOCAL", "离婚": "", "": marriage + " =LOCAL"} {
			var codes []string
			p := w.get("?q=" + url.QueryEscape(q))
			for _, it := range p.Items {
				codes = append(codes, it.Code)
			}
			if got := strings.Join(codes, " "); got != want || p.ItemsTotal != len(codes) {
				t.Errorf("%q finds %q of %d, want %q", q, got, p.ItemsTotal, want)
			}
		}
	})
	t.Run("one below, by reference and by code", func(t *testing.T) {
		for _, asked := range []string{"county/511602", "511602"} {
			p := w.get("?division=" + asked)
			if p.Figures != figures(43, 30) || p.Own != p.Figures || p.Web == "" || p.Age != 25*60 || !p.Silent {
				t.Errorf("%s has %+v", asked, p)
			}
			if len(p.Items) != 2 || p.Items[0].Code != marriage || p.Items[0].Figures != figures(40, 30) {
				t.Errorf("the items of %s are %+v", asked, p.Items)
			}
			if d := p.Days[pageDays-2]; d.Day != "2026-03-01" || d.Figures != figures(40, 30) {
				t.Errorf("the day before today is %+v", d)
			}
		}
	})
	t.Run("no other division can be looked at", func(t *testing.T) {
		for _, asked := range []string{"510000", "province/510000", "000000", "330000", "999999", "x", "county/511600", "%00"} {
			w.refused("not_found", "GET /statistics?division="+asked)
		}
		w.refused("not_found", "GET /statistics/export.csv?table=days&division=510000")
	})
	t.Run("nonsense is no page number", func(t *testing.T) {
		for _, page := range []string{"0", "-1", "99999999999999999999", "x", "7"} {
			if p := w.get("?page=" + page); p.PageNumber != 1 || len(p.Items) != 2 {
				t.Errorf("page=%s shows page %d with %d items", page, p.PageNumber, len(p.Items))
			}
		}
	})
	t.Run("pages of items", func(t *testing.T) {
		var rows []service.FeedRow
		for i := range 45 {
			rows = append(rows, feedRow(fmt.Sprintf("county/511602|2026-03-02|%s", national('A', fmt.Sprintf("%012d", i))),
				`{"kind":"item","measures":{"applications":1}}`))
		}
		w.take(district, rows...)
		p := w.get("?page=3")
		if p.ItemsTotal != 47 || len(p.Items) != 7 || p.PageNumber != 3 {
			t.Errorf("page 3 has %d of %d items", len(p.Items), p.ItemsTotal)
		}
	})
	t.Run("nothing at all", func(t *testing.T) {
		p := newWorld(t, district).get("")
		if len(p.Days)+len(p.Items)+len(p.Children) != 0 || p.Figures != figures(0, 0) || !p.Known || p.Age != 0 {
			t.Errorf("an empty division has %+v", p)
		}
	})
}

// TestDaysOfASilentChildAreNotZero looks five days after a child was heard last.
func TestDaysOfASilentChildAreNotZero(t *testing.T) {
	w := cityWithASilentChild(t)
	w.Clock.Advance(5 * 24 * time.Hour)
	child, city := w.get("?division=511602").Days, w.get("").Days
	if last := child[len(child)-1]; last.Day != "2026-03-02" || !last.Partial || child[len(child)-2].Partial {
		t.Errorf("the days of the silent child end with %+v", child[len(child)-2:])
	}
	if last := city[len(city)-1]; last.Day != "2026-03-07" || !last.Partial || w.get("").PartialFrom() != "2026-03-02" {
		t.Errorf("the days above it end with %+v", last)
	}
	w.fresh[district] = federation.Freshness{AsOf: w.Clock.Now(), Known: true}
	if p := w.get(""); p.PartialFrom() != "" || p.Days[pageDays-1].Day != "2026-03-07" {
		t.Errorf("figures are missing from %s on, of a child that is heard", p.PartialFrom())
	}
}

// TestADayBeginsInBeijing counts before and after midnight there, which is 16:00 UTC.
func TestADayBeginsInBeijing(t *testing.T) {
	w := newWorld(t, district)
	w.Clock.Set(time.Date(2026, 3, 2, 15, 59, 59, 0, time.UTC))
	w.count(civil, Applications, "X", 1)
	w.home(civil)
	if d := w.get("").Days; len(d) != 30 || d[29].Day != "2026-03-02" || d[29].Applied != 1 || d[0].Day != "2026-02-01" {
		t.Errorf("before midnight the days are %+v", d)
	}
	w.Clock.Advance(time.Second)
	w.count(civil, Applications, "X", 5)
	w.home(civil)
	if d := w.get("").Days; d[29].Day != "2026-03-03" || d[29].Applied != 5 || d[28].Applied != 1 {
		t.Errorf("after midnight the last days are %+v", d[28:])
	}
}

func TestCSV(t *testing.T) {
	w := cityWithASilentChild(t)
	for _, c := range []struct{ query, want string }{
		{"table=divisions", "division,name,applied,decided,as_of,silent,known\ncity/511600,广安市,2,1,,,own\n" +
			"county/511602,广安区,43,30,2026-03-02T08:35:00+08:00,true,true\ncounty/511603,前锋区,,,,false,false\n"},
		{"table=items", "code,owner,name,applied,decided\n000111222333,,结婚登记,42,31\n'=LOCAL,county/511602,,3,0\n"},
		{"table=items&division=511602&q=local", "code,owner,name,applied,decided\n'=LOCAL,county/511602,,3,0\n"},
	} {
		if got := w.csv(c.query); got != c.want {
			t.Errorf("%s is\n%swant\n%s", c.query, got, c.want)
		}
	}
	days := strings.Split(strings.TrimSpace(w.csv("table=days")), "\n")
	if len(days) != 1+csvDays || days[csvDays] != "2026-03-02,2,1,true" || days[csvDays-1] != "2026-03-01,40,30,false" {
		t.Errorf("the days are %d lines ending %v", len(days), days[max(0, len(days)-2):])
	}
	w.refused("statistics.no_table", "GET /statistics/export.csv?table=x")
	w.refused("statistics.no_table", "GET /statistics/export.csv")
}

// csv downloads a file and returns it without the byte order mark.
func (w *world) csv(query string) string {
	w.tb.Helper()
	r, err := w.Call("GET /statistics/export.csv?"+query, servicetest.Citizen(), nil)
	if err != nil {
		w.tb.Fatalf("%s: %v", query, err)
	}
	text, err := io.ReadAll(r.File.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	without, ok := strings.CutPrefix(string(text), "\uFEFF")
	if !ok {
		w.tb.Error("the file has no byte order mark")
	}
	return without
}
