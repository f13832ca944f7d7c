package cases

import (
	"context"
	"fmt"
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

// work accepts what the department was silent about, and counts provisional deadlines
// again: a newer program may know the calendar of another year.
func work(ctx context.Context, env service.Env) error {
	cal := calendar.Default()
	accept := func(tx *service.Tx, c Case) error {
		m, err := allowed(c, Act{Action: Silence, by: program}, cal, tx.Now())
		if err != nil {
			return nil // Its deadline has moved, or somebody was quicker.
		}
		return c.move(tx, cal, m, Act{Action: Silence, by: program}, "")
	}
	if err := eachBatch(ctx, env.DB, accept, `state IN ('submitted', 'received', 'resubmitted') AND due < ?2`); err != nil {
		return fmt.Errorf("accept by silence: %w", err)
	}
	again := func(tx *service.Tx, c Case) error {
		due, provisional := c.due(cal, tx.Now())
		return tx.Exec(`UPDATE cases_case SET due = ?1, provisional = ?2 WHERE id = ?3 AND (due IS NOT ?1 OR provisional IS NOT ?2)`,
			due, provisional, c.ID)
	}
	if err := eachBatch(ctx, env.DB, again, `provisional = 1 AND ?2 = ?2`); err != nil {
		return fmt.Errorf("count provisional deadlines again: %w", err)
	}
	return nil
}

// eachBatch calls fn with every case that the condition holds for (?2 is the time), in
// transactions of a few.
func eachBatch(ctx context.Context, db *service.DB, fn func(tx *service.Tx, c Case) error, cond string) error {
	after := int64(0)
	for {
		ids, err := someIDs(ctx, db, cond, after)
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

func someIDs(ctx context.Context, db *service.DB, cond string, after int64) (ids []int64, err error) {
	err = db.View(ctx, replication.Local, func(v *service.View) error {
		ids, err = collect(v, func(rows *replication.Rows) (id int64, err error) { return id, rows.Scan(&id) },
			fmt.Sprintf(`SELECT id FROM cases_case WHERE id > ?1 AND %s ORDER BY id LIMIT %d`, cond, batch), after, v.Now())
		return err
	})
	return ids, err
}
