package catalog_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/replication/replicationtest"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
)

// benchRows are the rows of the real file if it is there, else of the demonstration.
func benchRows(b *testing.B) []catalog.Row {
	b.Helper()
	text, err := os.ReadFile(realPath)
	if err != nil {
		b.Logf("on the demonstration: the real file %s is not there", realPath)
		text = demo.CSV(true)
	}
	rows, err := catalog.ParseCSV(bytes.NewReader(text))
	if err != nil {
		b.Fatal(err)
	}
	return rows
}

func BenchmarkParseCSV(b *testing.B) {
	text := demo.CSV(true)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := catalog.ParseCSV(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPrepare(b *testing.B) {
	rows := benchRows(b)
	for b.Loop() {
		catalog.Prepare(rows, catalog.PrepareOptions{Division: "511602"})
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(rows)), "µs/row")
}

// BenchmarkImport takes a whole file into the databases of its departments, which are
// there, on one node.
func BenchmarkImport(b *testing.B) {
	rows := benchRows(b)
	departments := catalog.Split(rows, nil)
	for b.Loop() {
		b.StopTimer()
		dbs, stop := openDepartments(b, departments)
		b.StartTimer()
		for i, d := range departments {
			im := catalog.Prepare(d.Rows, catalog.PrepareOptions{Division: "511602", Department: d.Name, Key: "k"})
			if _, err := im.Run(b.Context(), dbs[i], nil); err != nil {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		stop()
		b.StartTimer()
	}
	b.ReportMetric(float64(len(rows)), "rows")
	b.ReportMetric(float64(len(departments)), "departments")
}

func openDepartments(b *testing.B, departments []catalog.Department) (dbs []*service.DB, stop func()) {
	b.Helper()
	engine, err := replication.Open(replication.Options{Dir: b.TempDir(), Node: "n1", HeartbeatTimeout: 50 * time.Millisecond,
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defs := []service.Definition{catalog.Definition()}
	unrecorded := func(*service.Tx, service.Event) error { return nil }
	for _, d := range departments {
		rep, err := engine.OpenDB(replication.DatabaseID(d.Slug+"/main"), replication.DBOptions{Voters: []replication.NodeID{"n1"}})
		if err != nil {
			b.Fatal(err)
		}
		replicationtest.Await(b, d.Name+" has a leader", rep.IsLeader)
		db := service.NewDB(rep, unrecorded)
		if err := service.Migrate(context.Background(), db, service.TenantScope, defs); err != nil {
			b.Fatal(err)
		}
		dbs = append(dbs, db)
	}
	return dbs, func() {
		if err := engine.Close(); err != nil {
			b.Error(err)
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	w := newWorld(b)
	rows := benchRows(b)
	for i := range rows {
		rows[i].Department = "区民政局"
	}
	w.take(rows)
	w.fold(tenant)
	for _, typed := range []string{"社保", "医", "身份证丢了怎么办", "shebao", "sb", ""} {
		b.Run(fmt.Sprintf("%q", typed), func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				w.search(typed)
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// aboveBench is a province that knows of n items of departments far below: 1,050 to a
// county, of so many different names that shared of them are every county's.
func aboveBench(b *testing.B, n int, shared bool) *world {
	w := newWorld(b).at("province/510000")
	fold := foldOf("catalog.offers")
	names := demoRows(b, "", false)
	start := time.Now()
	for from := 0; from < n; from += 50 {
		var rows []service.FeedRow
		for i := from; i < from+50; i++ {
			county, item := i/1050, i%1050
			name := names[item%len(names)].Name + []string{"", "（新办）", "（变更）"}[item/len(names)%3]
			if !shared {
				name += fmt.Sprintf("第%d号", i)
			}
			rows = append(rows, service.FeedRow{Feed: "catalog.offers", Format: 1,
				Key: fmt.Sprintf("county/51%02d%02d|tenant-%d|511A%08d-51%02d%02d000000-000-115113010087781839-1-00", county/18+1, county%18+1, item%30, item, county/18+1, county%18+1),
				Payload: fmt.Appendf(nil, `{"name":%q,"main_item":%q,"type":20,"audience":%d,"promise":5,"words":["社保","领证"],"department":"县民政局"}`,
					name, names[item%len(names)].MainItem, item%4)})
		}
		// Each county hangs on the province itself here: who tells is who offers.
		for _, mine := range byCounty(rows) {
			ref, _, _ := strings.Cut(mine[0].Key, "|")
			from, err := division.ParseRef(ref)
			if err != nil {
				b.Fatal(err)
			}
			w.Update(w.Division, func(tx *service.Tx) error { return fold(tx, from, mine) })
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/float64(n), "fold-µs/row")
	return w
}

func byCounty(rows []service.FeedRow) (out [][]service.FeedRow) {
	last := ""
	for _, r := range rows {
		ref, _, _ := strings.Cut(r.Key, "|")
		if ref != last {
			out, last = append(out, nil), ref
		}
		out[len(out)-1] = append(out[len(out)-1], r)
	}
	return out
}

// BenchmarkSearchOfAProvince is a page of results among 40,000 items of 38 counties: with
// names in common, as one basic catalog makes them, and without one.
func BenchmarkSearchOfAProvince(b *testing.B) {
	for _, shared := range []bool{true, false} {
		b.Run(fmt.Sprintf("common-names-%v", shared), func(b *testing.B) {
			w := aboveBench(b, 40_000, shared)
			for _, query := range []string{"q=社保", "q=医", "q=登记", "q=身份证丢了怎么办", "q=shebao", "q=511A00000123", "",
				"page=1500", "q=登记&division=county/510101", "q=登记&audience=firm&page=20", "division=county/510101"} {
				b.Run(query, func(b *testing.B) {
					for b.Loop() {
						w.searchPage(query)
					}
				})
			}
		})
	}
}

// BenchmarkFoldBasic takes a basic catalog of 1,135 items from the parent.
func BenchmarkFoldBasic(b *testing.B) {
	nation := newWorld(b).at("national/000000")
	rows := catalog.DemoBasic()
	for i := len(rows); i < 1135; i++ {
		r := rows[i%len(rows)]
		r.Code = fmt.Sprintf("X%d", i)
		rows = append(rows, r)
	}
	nation.sets(rows, false)
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b)
		b.StartTimer()
		w.down(nation)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*len(rows)), "µs/row")
}
