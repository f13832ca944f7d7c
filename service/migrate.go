package service

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tongban/replication"
)

type migration struct {
	version int
	name    string
	script  string
}

// base is the schema that every database starts with: what the contract itself needs.
var base = []string{
	`CREATE TABLE IF NOT EXISTS service_migration (
		service TEXT NOT NULL, version INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (service, version)) WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS service_request (
		scope BLOB PRIMARY KEY, body BLOB NOT NULL, at INTEGER NOT NULL, response BLOB NOT NULL) WITHOUT ROWID`,
	`CREATE INDEX IF NOT EXISTS service_request_at ON service_request (at)`,
	`CREATE TABLE IF NOT EXISTS service_sequence (name TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS service_feed (
		stream TEXT NOT NULL, feed TEXT NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, format INTEGER NOT NULL,
		payload BLOB, at INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (stream, feed, key), UNIQUE (stream, version))`,
	`CREATE TABLE IF NOT EXISTS service_cursor (source TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID`,
	// What was sent keeps the epoch in which it was: a restored outbox sends under the old
	// names what the receiver may have already. again counts how often it was offered anew
	// after a refusal; an inbox has the count of what it refused.
	`CREATE TABLE IF NOT EXISTS service_outbox (
		seq INTEGER PRIMARY KEY, epoch TEXT NOT NULL, division TEXT NOT NULL, tenant TEXT NOT NULL, kind TEXT NOT NULL,
		format INTEGER NOT NULL, payload BLOB NOT NULL, sent INTEGER NOT NULL, state TEXT NOT NULL,
		reason TEXT NOT NULL DEFAULT '', at_division TEXT NOT NULL DEFAULT '', tried INTEGER, settled INTEGER,
		receiver TEXT NOT NULL DEFAULT '', reply BLOB, again INTEGER NOT NULL DEFAULT 0)`,
	`CREATE INDEX IF NOT EXISTS service_outbox_state ON service_outbox (state, seq)`,
	`CREATE INDEX IF NOT EXISTS service_outbox_receiver ON service_outbox (division, receiver)`,
	`CREATE TABLE IF NOT EXISTS service_inbox (
		origin TEXT NOT NULL, epoch TEXT NOT NULL, seq INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL,
		reason TEXT NOT NULL, reply BLOB, at INTEGER NOT NULL, again INTEGER NOT NULL DEFAULT 0,
		PRIMARY KEY (origin, epoch, seq)) WITHOUT ROWID`,
	// Absolute values: a day's row is folded by whoever gets it as often as it comes.
	`CREATE TABLE IF NOT EXISTS service_count (
		day TEXT NOT NULL, subject TEXT NOT NULL, measure TEXT NOT NULL, value INTEGER NOT NULL,
		PRIMARY KEY (day, subject, measure)) WITHOUT ROWID`,
	`CREATE TABLE IF NOT EXISTS service_meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID`,
}

func migrationsOf(d Definition, scope Scope) ([]migration, error) {
	if d.Migrations == nil {
		return nil, nil
	}
	dir := scope.String()
	names, err := fs.Glob(d.Migrations, dir+"/*.sql")
	if err != nil {
		return nil, err
	}
	var list []migration
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(name, dir+"/"), "_")
		v, err := strconv.Atoi(number)
		if err != nil || v < 1 {
			return nil, fmt.Errorf("migration %s: the name starts with no number", name)
		}
		script, err := fs.ReadFile(d.Migrations, name)
		if err != nil {
			return nil, err
		}
		list = append(list, migration{version: v, name: name, script: string(script)})
	}
	slices.SortFunc(list, func(a, b migration) int { return cmp.Compare(a.version, b.version) })
	for i := 1; i < len(list); i++ {
		if list[i].version == list[i-1].version { // One of them would never be applied.
			return nil, fmt.Errorf("migrations %s and %s have the same number", list[i-1].name, list[i].name)
		}
	}
	return list, nil
}

// VersionKey is the key of a service's schema of one scope in Versions:
// "<service>/tenant" or "<service>/division".
func VersionKey(service string, scope Scope) string { return service + "/" + scope.String() }

// Versions returns the newest migration of each service in each scope, by VersionKey:
// what a node tells its peers, so that a leader migrates only when a majority knows how.
func Versions(defs []Definition) (map[string]int, error) {
	out := map[string]int{}
	for _, d := range defs {
		for _, scope := range []Scope{TenantScope, DivisionScope} {
			list, err := migrationsOf(d, scope)
			if err != nil {
				return nil, err
			}
			if n := len(list); n > 0 {
				out[VersionKey(d.Name, scope)] = list[n-1].version
			}
		}
	}
	return out, nil
}

// ErrNewerData is returned when a database was written by a newer program.
var ErrNewerData = errors.New("service: the data was written by a newer tongban; install that version or restore a backup")

// Migrate brings a database to the newest schema of the definitions, on its leader. Each
// migration is one Update. It returns ErrNewerData when the database is ahead.
//
// A database that is up to date already is only read: leaders change in their dozens when
// a node dies, and people wait for their first write meanwhile.
func Migrate(ctx context.Context, db *DB, scope Scope, defs []Definition) error {
	current, err := isCurrent(ctx, db, scope, defs)
	if err != nil || current {
		return err
	}
	epoch := rand.Text()
	if err := db.Update(ctx, func(tx *Tx) error {
		for _, s := range base {
			if err := tx.Exec(s); err != nil {
				return err
			}
		}
		return tx.Exec(`INSERT OR IGNORE INTO service_meta (key, value) VALUES ('epoch', ?)`, epoch)
	}); err != nil {
		return fmt.Errorf("create the base schema of %s: %w", db.ID(), err)
	}
	for _, d := range defs {
		list, err := migrationsOf(d, scope)
		if err != nil {
			return err
		}
		for _, m := range list {
			if err := db.apply(ctx, d.Name, m); err != nil {
				return fmt.Errorf("migrate %s to %s %s: %w", db.ID(), d.Name, m.name, err)
			}
		}
		if err := checkNotNewer(ctx, db, d.Name, list); err != nil {
			return err
		}
	}
	return nil
}

var baseName = regexp.MustCompile(`IF NOT EXISTS (\w+)`)

// isCurrent reports whether every object of the base schema and every known migration is
// there. It returns ErrNewerData like Migrate.
func isCurrent(ctx context.Context, db *DB, scope Scope, defs []Definition) (current bool, err error) {
	err = db.View(ctx, replication.Local, func(v *View) error {
		for _, s := range base {
			var n int
			if err := v.QueryRow(`SELECT count(*) FROM sqlite_schema WHERE name = ?`, baseName.FindStringSubmatch(s)[1]).Scan(&n); err != nil || n == 0 {
				return err
			}
		}
		for _, d := range defs {
			list, err := migrationsOf(d, scope)
			if err != nil {
				return err
			}
			var have int
			if err := v.QueryRow(`SELECT count(*) FROM service_migration WHERE service = ?`, d.Name).Scan(&have); err != nil || have < len(list) {
				return err
			}
			if err := notNewer(v, d.Name, list); err != nil {
				return err
			}
		}
		current = true
		return nil
	})
	return current, err
}

func (db *DB) apply(ctx context.Context, service string, m migration) error {
	statements, err := replication.SplitSQL(m.script)
	if err != nil {
		return err
	}
	return db.Update(ctx, func(tx *Tx) error {
		var n int
		if err := tx.QueryRow(`SELECT count(*) FROM service_migration WHERE service = ? AND version = ?`,
			service, m.version).Scan(&n); err != nil || n > 0 {
			return err
		}
		for _, s := range statements {
			if err := tx.Exec(s); err != nil {
				return err
			}
		}
		return tx.Exec(`INSERT INTO service_migration (service, version, at) VALUES (?, ?, ?)`,
			service, m.version, tx.Now())
	})
}

func checkNotNewer(ctx context.Context, db *DB, service string, list []migration) error {
	return db.View(ctx, replication.Local, func(v *View) error { return notNewer(v, service, list) })
}

func notNewer(q Querier, service string, list []migration) error {
	newest := 0
	if len(list) > 0 {
		newest = list[len(list)-1].version
	}
	var have int
	if err := q.QueryRow(`SELECT coalesce(max(version), 0) FROM service_migration WHERE service = ?`,
		service).Scan(&have); err != nil {
		return err
	}
	if have > newest {
		return fmt.Errorf("%w (%s: schema %d, this program knows %d)", ErrNewerData, service, have, newest)
	}
	return nil
}

// Epoch names this database since it was founded or last restored from a backup: counters
// from before a restore may have been used by what the backup lacks, and a division that was
// founded anew counts from 1 again. A database that has no schema yet has epoch "".
func Epoch(q Querier) (string, error) {
	var epoch string
	err := q.QueryRow(`SELECT value FROM service_meta WHERE key = 'epoch'`).Scan(&epoch)
	if errors.Is(err, replication.ErrNoRows) {
		return "", nil
	}
	return epoch, err
}
