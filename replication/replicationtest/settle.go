package replicationtest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tongban/replication"
)

// Run lets the clients work through a storm and a calm, and returns what every database
// holds in the end. An error is what is wrong already; History.Check finds the rest.
func (w *World) Run() (traces []Trace, err error) {
	for _, id := range w.ids {
		if _, err := w.eventually(id, func(ctx context.Context, db *replication.DB) error {
			var list []replication.Statement
			for _, sql := range worldSchema {
				list = append(list, replication.Statement{SQL: sql})
			}
			_, _, err := db.Exec(ctx, list...)
			return err
		}); err != nil {
			return nil, err
		}
	}
	w.startClients()
	if err := w.storm(); err != nil {
		return nil, err
	}
	time.Sleep(10 * w.o.Heartbeat) // A calm, in which clients go on.
	w.end()
	w.repairs.Wait()
	for _, id := range w.ids {
		t, err := w.settle(id)
		if err != nil {
			return nil, errors.Join(err, w.accusations())
		}
		traces = append(traces, t...)
	}
	return traces, w.accusations()
}

func (w *World) accusations() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.wrong...)
}

// recovery is how many heartbeats a division without faults may need until it serves.
const recovery = 30

// eventually does something on whoever leads id, and fails if nobody does for too long.
func (w *World) eventually(id replication.DatabaseID, do func(context.Context, *replication.DB) error) (*replication.DB, error) {
	var last error
	for end := time.Now().Add(recovery * w.o.Heartbeat); time.Now().Before(end); time.Sleep(w.o.Heartbeat / 20) {
		for _, name := range w.names {
			l := w.life(name)
			if l == nil || l.db(id) == nil {
				last = fmt.Errorf("%s does not run", name)
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			err := do(ctx, l.db(id))
			cancel()
			if err == nil {
				return l.db(id), nil
			}
			if last == nil || !errors.Is(err, replication.ErrNotLeader) {
				last = fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil, fmt.Errorf("%s does not come back after all faults have ended: %w; %s", id, last, w.condition(id))
}

// condition is every node's view of a database.
func (w *World) condition(id replication.DatabaseID) (text string) {
	for _, name := range w.names {
		if l := w.life(name); l != nil && l.db(id) != nil {
			text += fmt.Sprintf("%s: %+v; ", name, l.db(id).Status())
		}
	}
	return text
}

// settle waits until every replica has everything, compares them, and reads once more all
// that clients have changed.
func (w *World) settle(id replication.DatabaseID) (traces []Trace, err error) {
	leader, err := w.eventually(id, func(ctx context.Context, db *replication.DB) error {
		_, _, err := db.Exec(ctx, replication.Statement{SQL: `INSERT OR REPLACE INTO value(key, value) VALUES ('calm', '')`})
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), recovery*w.o.Heartbeat)
	defer cancel()
	goal := leader.Applied()
	var want [32]byte
	for i, name := range w.names {
		l := w.life(name)
		if l == nil {
			return nil, fmt.Errorf("%s does not run although everything is whole; %s", name, w.condition(id))
		}
		db := l.db(id)
		if err := db.WaitApplied(ctx, goal); err != nil {
			return nil, fmt.Errorf("%s: %w; %s", name, err, w.condition(id))
		}
		sum, at, err := db.Checksum(ctx)
		if err != nil {
			return nil, fmt.Errorf("checksum of %s on %s: %w", id, name, err)
		}
		if i == 0 {
			want = sum
		} else if sum != want {
			w.accuse("%s: %s differs from %s at index %d", id, name, w.names[0], at)
		}
		for _, o := range w.objects() {
			if o.db != id {
				continue
			}
			op := Op{Client: w.o.Clients, Node: name, Kind: o.kind, Key: o.key, Level: "in the end", Looked: true}
			w.History.Call(&op)
			if err := db.View(ctx, replication.Local, func(v *replication.View) (err error) {
				op.Seen, err = o.read(v)
				op.Index = v.Applied()
				return err
			}); err != nil {
				return nil, err
			}
			w.History.Return(&op)
		}
	}
	err = leader.View(ctx, replication.Local, func(v *replication.View) error {
		rows, err := v.Query(`SELECT id, seen FROM trace`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var t Trace
			if err := rows.Scan(&t.ID, &t.Seen); err != nil {
				return err
			}
			traces = append(traces, t)
		}
		return rows.Err()
	})
	return traces, err
}
