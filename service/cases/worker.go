package cases

import (
	"context"
	"fmt"
	"slices"
	"time"

	"tongban/division/calendar"
	"tongban/replication"
	"tongban/service"
)

const (
	// workEvery is how late an acceptance by silence is written down at most. Nothing
	// depends on it: after the deadline nobody can refuse any more.
	workEvery = time.Minute
	// batch is how many cases one transaction of the worker changes.
	batch = 20
)

// program is the worker as an actor.
var program = by{service.Principal{Kind: service.System, Account: "worker:cases", Name: "tongban"}, Program}

// work accepts what the department was silent about, and counts the deadlines again when
// this program knows the calendar of more years than the one that wrote them.
func work(ctx context.Context, env service.Env) error {
	cal := calendar.Default()
	silence := Act{Action: Silence, by: program}
	accept := func(tx *service.Tx, c Case) error {
		m, err := allowed(c, silence, cal, tx.Now())
		if err != nil {
			return nil // Somebody was quicker.
		}
		return c.move(tx, cal, m, silence, "")
	}
	if err := eachBatch(ctx, env.DB, accept, `state IN ('submitted', 'received', 'resubmitted') AND due < ?`, env.Now()); err != nil {
		return fmt.Errorf("accept by silence: %w", err)
	}
	if err := recount(ctx, env.DB, cal); err != nil {
		return fmt.Errorf("count deadlines again: %w", err)
	}
	return nil
}

// recount brings the deadlines up to the calendar: the notice for a year decides the
// provisional ones and may move days at the end of the year before.
func recount(ctx context.Context, db *service.DB, cal calendar.Calendar) error {
	var known int
	err := db.View(ctx, replication.Local, func(v *service.View) error {
		return v.QueryRow(`SELECT count(*) FROM cases_calendar WHERE until = ?`, cal.Until()).Scan(&known)
	})
	if err != nil || known > 0 {
		return err
	}
	again := func(tx *service.Tx, c Case) error {
		due, provisional := c.due(cal, tx.Now())
		return tx.Exec(`UPDATE cases_case SET due = ?1, provisional = ?2 WHERE id = ?3 AND (due IS NOT ?1 OR provisional IS NOT ?2)`,
			due, provisional, c.ID)
	}
	if err := eachBatch(ctx, db, again, `due IS NOT NULL`); err != nil {
		return err
	}
	return db.Update(ctx, func(tx *service.Tx) error {
		return tx.Exec(`INSERT OR REPLACE INTO cases_calendar (id, until) VALUES (1, ?)`, cal.Until())
	})
}

// eachBatch calls fn with every case that the condition holds for, in transactions of a
// few.
func eachBatch(ctx context.Context, db *service.DB, fn func(tx *service.Tx, c Case) error, cond string, args ...any) error {
	after := int64(0)
	for {
		ids, err := someIDs(ctx, db, after, cond, args)
		if err != nil || len(ids) == 0 {
			return err
		}
		err = db.Update(ctx, func(tx *service.Tx) error {
			for _, id := range ids {
				c, err := readWhere(tx, `id = ?`, id)
				if err != nil {
					return err
				}
				if err := fn(tx, c); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		after = ids[len(ids)-1]
	}
}

func someIDs(ctx context.Context, db *service.DB, after int64, cond string, args []any) (ids []int64, err error) {
	sql := fmt.Sprintf(`SELECT id FROM cases_case WHERE %s AND id > ? ORDER BY id LIMIT %d`, cond, batch)
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		ids, err = collect(v, func(rows *replication.Rows) (id int64, err error) { return id, rows.Scan(&id) },
			sql, append(slices.Clone(args), after)...)
		return err
	})
	return ids, err
}
