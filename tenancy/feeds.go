package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
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
	// foldAgain is how soon a tenant whose rows could not be folded is tried again.
	foldAgain = time.Second
)

// foldFeeds is hop 0: it carries each tenant's feed rows into the division database. Rows
// and cursor move in one transaction, so that a row is folded once whatever fails.
// Cost while idle: one integer comparison a tenant every foldEvery.
func (t *Tenancy) foldFeeds(ctx context.Context, division *service.DB) {
	done := map[string]replication.Index{} // Applied index up to which a tenant is folded.
	again := map[string]time.Time{}        // When to try one that failed.
	for {
		for _, tenant := range t.Tenants() {
			_, db, ok := t.Database(tenant.Slug)
			if !ok {
				continue
			}
			at := db.Applied()
			if done[tenant.Slug] == at || time.Now().Before(again[tenant.Slug]) {
				continue
			}
			err := t.foldTenant(ctx, division, tenant, db)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				t.o.Log.Error("fold a tenant's feeds", "tenant", tenant.Slug, "err", err)
				again[tenant.Slug] = time.Now().Add(foldAgain)
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
	from, err := sourceOf(ctx, tenant, db)
	if err != nil || from.epoch == "" {
		return err
	}
	for {
		cursor, err := readCursor(ctx, division, from)
		if err != nil {
			return err
		}
		rows, err := readFeed(ctx, db, cursor)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return t.sweep(ctx, division, from, cursor)
		}
		known := rows[:t.known(rows)]
		if len(known) == 0 {
			return fmt.Errorf("row %d is of feed %s, format %d: a newer node's, and waits until the division database is led by one",
				rows[0].Version, rows[0].Feed, rows[0].Format)
		}
		if err := t.foldParts(ctx, division, from, cursor, known); err != nil {
			return err
		}
	}
}

// foldParts folds rows that follow a cursor, in halves when all of them at once take too
// long: how much a row costs is the services' affair, and the machine may be busy.
func (t *Tenancy) foldParts(ctx context.Context, division *service.DB, from source, cursor int64, rows []service.FeedRow) error {
	err := t.fold(ctx, division, from, cursor, rows)
	if len(rows) < 2 || !errors.Is(err, replication.ErrTooSlow) && !errors.Is(err, replication.ErrTooMuch) {
		return err
	}
	half := len(rows) / 2
	if err := t.foldParts(ctx, division, from, cursor, rows[:half]); err != nil {
		return err
	}
	return t.foldParts(ctx, division, from, rows[half-1].Version, rows[half:])
}

// known is how many of the rows, from the first, this program can fold. The others wait:
// boxes are upgraded one after another, and a cursor that has passed a row never returns.
func (t *Tenancy) known(rows []service.FeedRow) int {
	for i, r := range rows {
		feed, ok := t.feed(r.Feed)
		if !ok || r.Format > max(1, feed.Format) && len(r.Payload) > 0 {
			return i
		}
	}
	return len(rows)
}

func (t *Tenancy) feed(name string) (service.Feed, bool) {
	for _, d := range t.defs {
		for _, f := range d.Feeds {
			if f.Name == name {
				return f, true
			}
		}
	}
	return service.Feed{}, false
}

// source is a tenant's database since its last restore: what a cursor counts.
type source struct {
	tenant service.Tenant
	epoch  string // Empty while the database has no schema.
}

func (s source) String() string { return s.tenant.Slug + "@" + s.epoch }

func sourceOf(ctx context.Context, tenant service.Tenant, db *service.DB) (source, error) {
	from := source{tenant: tenant}
	err := db.View(ctx, replication.Local, func(v *service.View) error {
		has, err := hasTable(v, "service_meta")
		if err == nil && has {
			from.epoch, err = service.Epoch(v)
		}
		return err
	})
	return from, err
}

func readCursor(ctx context.Context, division *service.DB, from source) (cursor int64, err error) {
	err = division.View(ctx, replication.Local, func(v *service.View) error {
		cursor, err = cursorOf(v, from)
		return err
	})
	return cursor, err
}

// ReadFolded returns up to which version of a tenant's feeds the division database has them;
// epoch is that of the tenant's database.
func ReadFolded(division service.Querier, slug, epoch string) (int64, error) {
	return cursorOf(division, source{service.Tenant{Slug: slug}, epoch})
}

func cursorOf(q service.Querier, from source) (cursor int64, err error) {
	err = q.QueryRow(`SELECT version FROM service_cursor WHERE source = ?`, from.String()).Scan(&cursor)
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
func (t *Tenancy) fold(ctx context.Context, division *service.DB, from source, cursor int64, rows []service.FeedRow) error {
	return division.Update(ctx, func(tx *service.Tx) error {
		at, err := cursorOf(tx, from)
		if err != nil || at != cursor {
			return err
		}
		if err := t.foldRows(tx, from, rows); err != nil {
			return err
		}
		return tx.Exec(`INSERT OR REPLACE INTO service_cursor (source, version) VALUES (?, ?)`,
			from.String(), rows[len(rows)-1].Version)
	})
}

// foldRows has the services fold rows, and notes which keys the division holds now.
func (t *Tenancy) foldRows(tx *service.Tx, from source, rows []service.FeedRow) error {
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
			if err := callFold(tx, f, from.tenant, mine); err != nil {
				return fmt.Errorf("fold feed %s: %w", f.Name, err)
			}
		}
	}
	return noteKeys(tx, from, rows)
}

// callFold runs a service's fold. A panic of it is an error: it would end this node, and
// then each that leads after it.
func callFold(tx *service.Tx, f service.Feed, from service.Tenant, rows []service.FeedRow) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f.Fold(tx, from, rows)
}

// noteKeys notes which keys the division holds. Two statements for all rows.
func noteKeys(tx *service.Tx, from source, rows []service.FeedRow) error {
	held, gone := [][2]string{}, [][2]string{}
	for _, r := range rows {
		key := [2]string{r.Feed, r.Key}
		if len(r.Payload) > 0 {
			held = append(held, key)
		} else {
			gone = append(gone, key)
		}
	}
	for _, one := range []struct {
		keys [][2]string
		sql  string
	}{
		{held, `INSERT INTO tenancy_folded (tenant, feed, key, epoch) SELECT ?1, value ->> 0, value ->> 1, ?2 FROM json_each(?3) WHERE true
			ON CONFLICT DO UPDATE SET epoch = excluded.epoch WHERE epoch <> excluded.epoch`},
		{gone, `DELETE FROM tenancy_folded WHERE tenant = ?1
			AND (feed, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))`},
	} {
		if len(one.keys) == 0 {
			continue
		}
		text, err := json.Marshal(one.keys)
		if err != nil {
			return err
		}
		if err := tx.Exec(one.sql, from.tenant.Slug, from.epoch, string(text)); err != nil {
			return fmt.Errorf("note the keys of %s: %w", from.tenant.Slug, err)
		}
	}
	return nil
}

// sweep ends the first pass over a tenant's database that has a new epoch: what the division
// holds and the database lacks is folded as gone. Databases of a division are backed up one
// after another, so that the division may hold what a restored tenant never had.
func (t *Tenancy) sweep(ctx context.Context, division *service.DB, from source, cursor int64) error {
	for {
		var rows []service.FeedRow
		var swept bool
		if err := division.View(ctx, replication.Local, func(v *service.View) (err error) {
			if err = v.QueryRow(`SELECT EXISTS (SELECT 1 FROM tenancy_swept WHERE tenant = ? AND epoch = ?)`,
				from.tenant.Slug, from.epoch).Scan(&swept); err != nil || swept {
				return err
			}
			rows, err = unseen(v, from, cursor)
			return err
		}); err != nil || swept {
			return err
		}
		if err := division.Update(ctx, func(tx *service.Tx) error {
			at, err := cursorOf(tx, from)
			if err != nil || at != cursor {
				return err
			}
			if len(rows) > 0 {
				return t.foldRows(tx, from, rows)
			}
			return tx.Exec(`INSERT OR REPLACE INTO tenancy_swept (tenant, epoch) VALUES (?, ?)`, from.tenant.Slug, from.epoch)
		}); err != nil {
			return fmt.Errorf("remove what %s lacks: %w", from.tenant.Slug, err)
		}
	}
}

// unseen returns some keys that no row of the source's epoch had, as rows that are gone.
func unseen(q service.Querier, from source, cursor int64) (list []service.FeedRow, err error) {
	rows, err := q.Query(`SELECT feed, key FROM tenancy_folded WHERE tenant = ? AND epoch <> ? ORDER BY feed, key LIMIT ?`,
		from.tenant.Slug, from.epoch, foldRows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := service.FeedRow{Version: cursor, Format: 1}
		if err := rows.Scan(&r.Feed, &r.Key); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
