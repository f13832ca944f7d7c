package catalog_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

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
