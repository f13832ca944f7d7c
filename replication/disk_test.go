package replication_test

import (
	"errors"
	"testing"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

func TestAFullDiskRefusesChangesAndNothingElse(t *testing.T) {
	db := replicationtest.One(t)
	insert := func() error {
		_, err := db.Update(t.Context(), func(tx *replication.Tx) error {
			return tx.Exec(`CREATE TABLE IF NOT EXISTS t (a INTEGER PRIMARY KEY)`)
		})
		return err
	}
	if err := insert(); err != nil {
		t.Fatal(err)
	}
	at := db.Applied()
	restore := replication.FillDisk(db)
	if err := insert(); !errors.Is(err, replication.ErrDisk) {
		t.Errorf("a change on a full disk: %v, want ErrDisk", err)
	}
	if db.Applied() != at || !db.IsLeader() {
		t.Errorf("the refused change moved the database from %d to %d, leading %v", at, db.Applied(), db.IsLeader())
	}
	if err := db.View(t.Context(), replication.Linearizable, func(*replication.View) error { return nil }); err != nil {
		t.Errorf("a read on a full disk: %v", err)
	}
	restore()
	if err := insert(); err != nil {
		t.Errorf("a change after room was made: %v", err)
	}
}
