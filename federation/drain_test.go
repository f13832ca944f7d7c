package federation_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// straight is a wire without faults or delay between a city and its county.
type straight struct {
	self division.Ref
	feds map[division.Ref]*federation.Federation
	up   chan struct{} // Closed: the line is there.
}

func (w straight) Call(ctx context.Context, to division.Ref, kind string, body []byte) ([]byte, error) {
	return w.feds[to].Receive(ctx, w.self, kind, body)
}

func (w straight) Connected(division.Ref) bool {
	select {
	case <-w.up:
		return true
	default:
		return false
	}
}

func (w straight) Changed() <-chan struct{} {
	if w.Connected(w.self) {
		return nil
	}
	return w.up
}

// unsigned stands for signatures, which no drain waits for.
type unsigned struct{ federation.Letters }

func (unsigned) Sign(e federation.Entry) (federation.Entry, error) { return e, nil }
func (unsigned) Check(federation.Entry) error                      { return nil }

// counted is a service that stores what a child tells and tells it on, as statistics does.
func counted(done chan<- struct{}, want int) service.Definition {
	n := 0
	return service.Definition{Name: "counted", Feeds: []service.Feed{{Name: "counted.rows",
		FoldUp: func(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
			for _, r := range rows {
				if err := tx.Exec(`INSERT OR REPLACE INTO counted_row (key, payload) VALUES (?, ?)`, r.Key, r.Payload); err != nil {
					return err
				}
				if err := tx.PublishTo(service.Up, r.Feed, r.Key, r.Format, r.Payload); err != nil {
					return err
				}
			}
			if n += len(rows); n == want {
				close(done)
			}
			return nil
		}}}}
}

// drain measures how fast rows that have gathered during an outage reach the parent.
func drain(b *testing.B, open func() *replication.DB) {
	const rows = 20_000
	city, county := division.Ref{Level: division.City, Code: "511600"}, district
	for b.Loop() {
		b.StopTimer()
		done := make(chan struct{})
		defs := []service.Definition{counted(done, rows)}
		up := make(chan struct{})
		feds := map[division.Ref]*federation.Federation{}
		dbs := map[division.Ref]*service.DB{}
		for _, self := range []division.Ref{city, county} {
			db := service.NewDB(open(), func(*service.Tx, service.Event) error { return nil })
			dbs[self] = db
			feds[self] = federation.New(federation.Options{Self: self, Division: func() *service.DB { return db },
				Definitions: func() []service.Definition { return defs }, Wire: straight{self, feds, up}, Letters: unsigned{},
				Lead: func(ctx context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
					return feds[self].Serve(ctx, id, kind, from, body)
				}})
			gather(b, db, self, city, county, rows)
		}
		ctx, cancel := context.WithCancel(b.Context())
		var wg sync.WaitGroup
		for self, fed := range feds {
			for _, w := range fed.Definition().Workers {
				if w.Name == "feeds" {
					wg.Go(func() { _ = w.Do(ctx, service.Env{DB: dbs[self], Now: time.Now, Log: slog.New(slog.DiscardHandler)}) })
				}
			}
		}
		b.StartTimer()
		close(up)
		<-done
		b.StopTimer()
		cancel()
		wg.Wait()
		b.StartTimer()
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// gather makes a division's tables, enters its neighbour, and publishes the county's rows.
func gather(b *testing.B, db *service.DB, self, city, county division.Ref, rows int) {
	b.Helper()
	update := func(fn func(tx *service.Tx) error) {
		b.Helper()
		if err := db.Update(b.Context(), fn); err != nil {
			b.Fatal(err)
		}
	}
	if err := service.Migrate(b.Context(), db, service.DivisionScope,
		[]service.Definition{federation.New(federation.Options{}).Definition()}); err != nil {
		b.Fatal(err)
	}
	update(func(tx *service.Tx) error {
		if err := tx.Exec(`CREATE TABLE counted_row (key TEXT PRIMARY KEY, payload BLOB NOT NULL) WITHOUT ROWID`); err != nil {
			return err
		}
		if self == city {
			return federation.EnterChild(tx, federation.Child{Ref: county, CA: []byte{1}})
		}
		return federation.SetParent(tx, federation.Parent{Ref: city})
	})
	for n := 0; self == county && n < rows; n += 500 {
		update(func(tx *service.Tx) error {
			for i := n; i < n+500; i++ {
				if err := tx.PublishTo(service.Up, "counted.rows", fmt.Sprintf("%s|2026-03-02|item-%06d|applied", county, i), 1,
					fmt.Appendf(nil, `{"n":%d,"name":"an item of the catalog"}`, i)); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// BenchmarkDrain is the protocol and SQLite alone.
func BenchmarkDrain(b *testing.B) {
	drain(b, func() *replication.DB {
		solo, err := replication.OpenSolo(b.TempDir(), "_division/main", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = solo.Close() })
		return solo.DB
	})
}

// BenchmarkDrainDurable is with the raft log of one node each, which is fsynced.
func BenchmarkDrainDurable(b *testing.B) {
	drain(b, func() *replication.DB {
		engine, err := replication.Open(replication.Options{Dir: b.TempDir(), Node: "n1", Log: slog.New(slog.DiscardHandler),
			HeartbeatTimeout: 20 * time.Millisecond})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = engine.Close() })
		leads := make(chan struct{}, 1)
		db, err := engine.OpenDB("_division/main", replication.DBOptions{Voters: []replication.NodeID{"n1"},
			OnLead: func(ctx context.Context, _ *replication.DB) { leads <- struct{}{}; <-ctx.Done() }})
		if err != nil {
			b.Fatal(err)
		}
		<-leads
		return db
	})
}
