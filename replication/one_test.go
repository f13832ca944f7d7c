package replication_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

func TestUpdateThenView(t *testing.T) {
	t.Parallel()
	start := time.Now()
	db := replicationtest.One(t)
	t.Logf("ready after %v", time.Since(start))
	ctx := context.Background()
	now := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.FixedZone("CST", 8*3600))
	index, err := db.Update(ctx, func(tx *replication.Tx) error {
		if err := tx.Exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, at DATETIME, ok BOOLEAN, b BLOB, s TEXT, r REAL)`); err != nil {
			return err
		}
		res, err := tx.ExecResult(`INSERT INTO t(at, ok, b, s, r) VALUES (?, ?, ?, ?, ?)`, now, true, []byte{1, 0, 2}, "办", 1.5)
		if err == nil && (res.LastInsertID != 1 || res.RowsAffected != 1) {
			t.Errorf("result %+v", res)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, level := range []replication.Level{replication.Local, replication.Leader, replication.Linearizable} {
		err = db.View(ctx, level, func(v *replication.View) error {
			var at time.Time
			var ok bool
			var b []byte
			var s string
			var r float64
			if err := v.QueryRow(`SELECT at, ok, b, s, r FROM t WHERE id = ?`, 1).Scan(&at, &ok, &b, &s, &r); err != nil {
				return err
			}
			if !at.Equal(now) || at.Location() != time.UTC || !ok || string(b) != "\x01\x00\x02" || s != "办" || r != 1.5 {
				t.Errorf("level %d: read %v %v %v %v %v", level, at, ok, b, s, r)
			}
			if v.Applied() < index {
				t.Errorf("level %d: the view is at %d, the update at %d", level, v.Applied(), index)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("level %d: %v", level, err)
		}
	}
	err = db.View(ctx, replication.Local, func(v *replication.View) error {
		return v.QueryRow(`SELECT 1 WHERE 0`).Scan(new(int))
	})
	if !errors.Is(err, replication.ErrNoRows) {
		t.Errorf("a query without a row: %v", err)
	}
}

func TestAClosedDatabaseSaysSo(t *testing.T) {
	t.Parallel()
	o := replicationtest.Options(t, "n1")
	e, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replication.Open(o); err == nil {
		t.Error("two engines share a folder")
	}
	for _, id := range []replication.DatabaseID{"", "x", "a/b/c", "../x", "A/b", "a/" + replication.DatabaseID(strings.Repeat("b", 41))} {
		if _, err := e.OpenDB(id, replication.DBOptions{}); err == nil {
			t.Errorf("%q was opened", id)
		}
	}
	founders := replication.DBOptions{Voters: []replication.NodeID{"n1"}}
	db, err := e.OpenDB("b/two", founders)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.OpenDB("b/two", founders); err == nil {
		t.Error("a database was opened twice")
	}
	if _, err := e.OpenDB("a/one", founders); err != nil {
		t.Fatal(err)
	}
	if got := e.Databases(); len(got) != 2 || got[0] != "a/one" {
		t.Errorf("databases %v", got)
	}
	if err := e.CloseDB("b/two"); err != nil {
		t.Fatal(err)
	}
	if _, ok := e.DB("b/two"); ok {
		t.Error("a closed database is listed")
	}
	if _, err := db.Update(ctx, func(*replication.Tx) error { return nil }); !errors.Is(err, replication.ErrClosed) {
		t.Errorf("update: %v", err)
	}
	if err := db.View(ctx, replication.Local, func(*replication.View) error { return nil }); !errors.Is(err, replication.ErrClosed) {
		t.Errorf("view: %v", err)
	}
	if err := db.WaitApplied(ctx, 99); !errors.Is(err, replication.ErrClosed) {
		t.Errorf("wait: %v", err)
	}
	if s := db.Status(); s.Err == "" || s.Role != "stopped" {
		t.Errorf("status %+v", s)
	}
	if db, err = e.OpenDB("b/two", founders); err != nil {
		t.Fatal(err)
	}
	replicationtest.Await(t, "it leads again", db.IsLeader)
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if _, err := e.OpenDB("c/three", founders); !errors.Is(err, replication.ErrClosed) {
		t.Errorf("open after the close: %v", err)
	}
}

func TestEntriesThatAreDamagedAreRefused(t *testing.T) {
	t.Parallel()
	good := replication.SampleEntry()
	if err := replication.ReadEntry(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if err := replication.ReadEntry(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were taken for an entry", n, len(good))
		}
	}
	if err := replication.ReadEntry(append([]byte{9}, good[1:]...)); err == nil || !strings.Contains(err.Error(), "format 9") {
		t.Errorf("a later format: %v", err)
	}
	if err := replication.ReadEntry(append(good, 0)); err == nil {
		t.Error("a longer one was taken")
	}
}

func FuzzEntry(f *testing.F) {
	f.Add(replication.SampleEntry())
	f.Fuzz(func(t *testing.T, b []byte) { _ = replication.ReadEntry(b) }) // It must not panic or hang.
}
