package service

import (
	"context"

	"tongban/replication"
)

// Querier reads: a *Tx inside an Update, a *View inside a View.
type Querier = replication.Querier

// Event is what the audit records.
type Event struct {
	What    string            // "<service>.<verb>", such as "case.accepted".
	Subject string            // What it was done to: a number or id.
	Who     Principal         //
	Refused string            // Reason of the refusal; empty: it was done.
	Detail  map[string]string // No personal data beyond what the subject names.
}

// RecordFunc appends an event to the audit of the transaction's database.
type RecordFunc func(tx *Tx, e Event) error

// DB is one replicated database as services see it.
type DB struct {
	*replication.DB
	record RecordFunc
}

// NewDB returns rep as services see it; record is audit.Append.
func NewDB(rep *replication.DB, record RecordFunc) *DB { return &DB{DB: rep, record: record} }

// Update runs fn in one replicated transaction on the leader. fn may run more than once
// and must have no effect outside tx; a closure sees one database. Errors: fn's own, and
// replication's (ErrNotLeader, ErrUnknownOutcome, …). Cost: one raft round, shared with
// all that wait.
func (db *DB) Update(ctx context.Context, fn func(tx *Tx) error) error {
	_, err := db.update(ctx, fn)
	return err
}

func (db *DB) update(ctx context.Context, fn func(tx *Tx) error) (replication.Index, error) {
	return db.DB.Update(ctx, func(rtx *replication.Tx) error {
		return fn(&Tx{Tx: rtx, record: db.record})
	})
}

// Tx is a transaction of an Update.
type Tx struct {
	*replication.Tx
	record RecordFunc
}

// Record appends an event to the audit of this database, in this transaction.
func (tx *Tx) Record(e Event) error { return tx.record(tx, e) }

// Next returns the next number of a named sequence of this database, from 1.
func (tx *Tx) Next(name string) (int64, error) {
	if err := tx.Exec(`INSERT INTO service_sequence (name, last) VALUES (?, 1)
		ON CONFLICT (name) DO UPDATE SET last = last + 1`, name); err != nil {
		return 0, err
	}
	var n int64
	err := tx.QueryRow(`SELECT last FROM service_sequence WHERE name = ?`, name).Scan(&n)
	return n, err
}

// View is a read-only look at a replica.
type View = replication.View
