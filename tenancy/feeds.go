package tenancy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tongban/replication"
	"tongban/service"
)

const (
	// foldRows bounds one fold: a transaction must stay below the closure's time.
	foldRows = 100
	// foldBytes bounds the payloads of one fold below a raft entry's size.
	foldBytes = 256 << 10
	// foldEvery is how late the division sees a tenant's change.
	foldEvery = 100 * time.Millisecond
)

// foldFeeds is hop 0: it carries each tenant's feed rows into the division database. Rows
// and cursor move in one transaction, so that a row is folded once whatever fails.
// Cost while idle: one integer comparison a tenant every foldEvery.
func (t *Tenancy) foldFeeds(ctx context.Context, division *service.DB) {
	done := map[string]replication.Index{} // Applied index up to which a tenant is folded.
	for {
		for _, tenant := range t.Tenants() {
			_, db, ok := t.Database(tenant.Slug)
			if !ok {
				continue
			}
			at := db.Applied()
			if done[tenant.Slug] == at {
				continue
			}
			err := t.foldTenant(ctx, division, tenant, db)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				t.o.Log.Error("fold a tenant's feeds", "tenant", tenant.Slug, "err", err)
				continue
			}
			done[tenant.Slug] = at
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(foldEvery):
		}
	}
}

// foldTenant folds until nothing is left.
func (t *Tenancy) foldTenant(ctx context.Context, division *service.DB, tenant service.Tenant, db *service.DB) error {
	source, err := sourceOf(ctx, tenant, db)
	if err != nil || source == "" {
		return err
	}
	for {
		cursor, err := readCursor(ctx, division, source)
		if err != nil {
			return err
		}
		rows, err := readFeed(ctx, db, cursor)
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := t.fold(ctx, division, tenant, source, cursor, rows); err != nil {
			return err
		}
	}
}

// sourceOf names what the cursor counts: a tenant's database since its last restore. It
// is empty while the database has no schema.
func sourceOf(ctx context.Context, tenant service.Tenant, db *service.DB) (source string, err error) {
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		has, err := hasTable(v, "service_meta")
		if err != nil || !has {
			return err
		}
		epoch, err := service.Epoch(v)
		source = tenant.Slug + "@" + epoch
		return err
	})
	return source, err
}

func readCursor(ctx context.Context, division *service.DB, source string) (cursor int64, err error) {
	err = division.View(ctx, replication.Local, func(v *service.View) error {
		cursor, err = cursorOf(v, source)
		return err
	})
	return cursor, err
}

func cursorOf(q service.Querier, source string) (cursor int64, err error) {
	err = q.QueryRow(`SELECT version FROM service_cursor WHERE source = ?`, source).Scan(&cursor)
	if errors.Is(err, replication.ErrNoRows) {
		err = nil
	}
	return cursor, err
}

func readFeed(ctx context.Context, db *service.DB, after int64) (list []service.FeedRow, err error) {
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		rows, err := v.Query(`SELECT feed, key, version, format, payload FROM service_feed
			WHERE stream = 'home' AND version > ? ORDER BY version LIMIT ?`, after, foldRows)
		if err != nil {
			return err
		}
		defer rows.Close()
		size := 0
		for rows.Next() && size < foldBytes {
			var r service.FeedRow
			if err := rows.Scan(&r.Feed, &r.Key, &r.Version, &r.Format, &r.Payload); err != nil {
				return err
			}
			size += len(r.Payload)
			list = append(list, r)
		}
		return rows.Err()
	})
	return list, err
}

// fold moves rows and cursor in one transaction, unless another leader already did.
func (t *Tenancy) fold(ctx context.Context, division *service.DB, tenant service.Tenant,
	source string, cursor int64, rows []service.FeedRow) error {
	return division.Update(ctx, func(tx *service.Tx) error {
		at, err := cursorOf(tx, source)
		if err != nil || at != cursor {
			return err
		}
		for _, d := range t.defs {
			for _, f := range d.Feeds {
				var mine []service.FeedRow
				for _, r := range rows {
					if r.Feed == f.Name {
						mine = append(mine, r)
					}
				}
				if len(mine) == 0 || f.Fold == nil {
					continue
				}
				if err := f.Fold(tx, tenant, mine); err != nil {
					return fmt.Errorf("fold feed %s: %w", f.Name, err)
				}
			}
		}
		return tx.Exec(`INSERT OR REPLACE INTO service_cursor (source, version) VALUES (?, ?)`,
			source, rows[len(rows)-1].Version)
	})
}
