package service

import "fmt"

// Feed is keyed state that leaves a tenant's database: rows that a transaction wrote
// with Tx.Publish are folded, in order and exactly once, into the division database.
type Feed struct {
	Name string // "<service>.<noun>", such as "catalog.items".
	// Fold runs in an Update of the division database, in the transaction that moves
	// the cursor. rows are in order of Version; the newest of a key wins.
	Fold func(tx *Tx, from Tenant, rows []FeedRow) error
}

// FeedRow is one version of one key of a feed.
type FeedRow struct {
	Feed    string
	Key     string
	Version int64  // Grows by one with each change of the database's feeds.
	Format  int    // Version of the payload's format.
	Payload []byte // Empty: the key is gone.
}

// Publish sets the key of a feed to the payload (nil: removes it). Only the newest
// version of a key is kept.
func (tx *Tx) Publish(feed, key string, format int, payload []byte) error {
	if err := tx.Exec(`INSERT INTO service_sequence (name, last) VALUES ('feed', 1)
		ON CONFLICT (name) DO UPDATE SET last = last + 1`); err != nil {
		return fmt.Errorf("publish %s %s: %w", feed, key, err)
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO service_feed (feed, key, version, format, payload)
		VALUES (?, ?, (SELECT last FROM service_sequence WHERE name = 'feed'), ?, ?)`,
		feed, key, format, payload); err != nil {
		return fmt.Errorf("publish %s %s: %w", feed, key, err)
	}
	return nil
}
