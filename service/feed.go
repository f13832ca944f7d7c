package service

import (
	"fmt"

	"tongban/division"
)

// Stream is a direction in which rows leave a database.
type Stream string

// Streams. Each counts its own versions.
const (
	Home Stream = "home" // From a tenant's database to its division's.
	Up   Stream = "up"   // From a division to its parent.
	Down Stream = "down" // From a division to all its children.
)

// Feed is keyed state that leaves a database: rows that a transaction published are
// folded, in order and exactly once, into the next database on their way. Each hop is a
// feed of its own: what is to travel on, the fold publishes again.
//
// The key of a row that goes up begins with the reference of the division that it speaks
// of, up to the first "|"; a division may leave its own name out ("|rest"). A parent whose
// program does not know the row yet tells it on by that alone: only from that division's
// side of the tree, and with the name filled in.
type Feed struct {
	Name string // "<service>.<noun>", such as "catalog.items".
	// Format is the newest payload format that the folds understand; 0 is taken as 1. A row
	// of a newer one is stored and relayed as it is, and folded after an upgrade; one of a
	// tenant waits there, and all behind it, until a newer node leads the division.
	Format int

	// Fold takes the rows of a tenant, FoldUp those of a child division, FoldDown those of
	// the parent. Each runs in an Update of the division database, in the transaction that
	// moves the cursor; rows are in order of Version, and the newest of a key wins. The
	// same row may come again: after a restore, or when a neighbour starts anew. A row of a
	// neighbour on which a fold of that row alone fails, or panics, is parked with the reason,
	// and the feed goes on; one of a tenant, which this program has made itself, stops that
	// tenant's feed, and is logged. nil: rows of that direction are relayed and not folded.
	Fold     func(tx *Tx, from Tenant, rows []FeedRow) error
	FoldUp   func(tx *Tx, from division.Ref, rows []FeedRow) error
	FoldDown func(tx *Tx, from division.Ref, rows []FeedRow) error
}

// FeedRow is one version of one key of a feed.
type FeedRow struct {
	Feed    string
	Key     string
	Version int64  // Grows by one with each change of the stream.
	Format  int    // Version of the payload's format.
	Payload []byte // Empty: the key is gone.
}

// Limits of a row, bytes: a batch of a few must fit into one message of 1 MiB.
const (
	MaxFeedKey     = 512
	MaxFeedPayload = 256 << 10
)

// Publish sets the key of a feed to the payload (nil: removes it), for the division
// database. Only the newest version of a key is kept.
func (tx *Tx) Publish(feed, key string, format int, payload []byte) error {
	return tx.PublishTo(Home, feed, key, format, payload)
}

// PublishTo is Publish into a stream. Up and Down are streams of the division database;
// what is published into Up of a division without a parent waits for one.
func (tx *Tx) PublishTo(s Stream, feed, key string, format int, payload []byte) error {
	if len(key) > MaxFeedKey || len(payload) > MaxFeedPayload {
		return fmt.Errorf("publish %s %.40q: a key of %d and a payload of %d bytes are over the limits of %d and %d",
			feed, key, len(key), len(payload), MaxFeedKey, MaxFeedPayload)
	}
	name := "feed:" + string(s)
	if err := tx.Exec(`INSERT INTO service_sequence (name, last) VALUES (?, 1)
		ON CONFLICT (name) DO UPDATE SET last = last + 1`, name); err != nil {
		return fmt.Errorf("publish %s %s: %w", feed, key, err)
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO service_feed (stream, feed, key, version, format, payload, at)
		VALUES (?, ?, ?, (SELECT last FROM service_sequence WHERE name = ?), ?, ?, ?)`,
		string(s), feed, key, name, format, payload, tx.Now()); err != nil {
		return fmt.Errorf("publish %s %s: %w", feed, key, err)
	}
	return nil
}
