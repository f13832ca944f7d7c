package replication_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

func TestUpdateThenView(t *testing.T) {
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
