package replicationtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"tongban/replication"
)

// replace ends a node for good, and puts an empty machine of the same name in its place:
// the others remove it, it starts with nothing, and they add it again. That goes on beside
// the storm.
func (w *World) replace(name replication.NodeID, r *rand.Rand) error {
	w.mu.Lock()
	busy := w.replacing || w.lives[name] == nil
	w.replacing = w.replacing || !busy
	w.mu.Unlock()
	if busy {
		return nil
	}
	w.note("%s is destroyed", name)
	if err := w.Kill(name, true, r); err != nil {
		return err
	}
	w.repairs.Go(func() {
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.replacing = false
		}()
		if err := w.putBack(name); err != nil {
			w.accuse("replace %s: %w", name, err)
		}
	})
	return nil
}

func (w *World) putBack(name replication.NodeID) error {
	remove := func(ctx context.Context, db *replication.DB) error { return db.RemoveNode(ctx, name) }
	if err := w.onLeaders(remove); err != nil {
		return fmt.Errorf("remove it: %w", err)
	}
	w.mu.Lock()
	w.dirs[name] = w.folder(name)
	w.replaced[name] = true
	w.mu.Unlock()
	w.o.Wipe(name)
	w.note("%s starts with an empty disk", name)
	if err := w.Start(name); err != nil {
		return err
	}
	add := func(ctx context.Context, db *replication.DB) error { return db.AddNode(ctx, name) }
	if err := w.onLeaders(add); err != nil {
		return fmt.Errorf("add it: %w", err)
	}
	w.note("%s is a voter again", name)
	return nil
}

// onLeaders does something on the leader of every database, and tries until the storm
// must be long over.
func (w *World) onLeaders(do func(context.Context, *replication.DB) error) error {
	end := time.Now().Add(w.o.For + recovery*w.o.Heartbeat)
	for _, id := range w.ids {
		for done := false; !done; {
			last := errors.New("nobody leads")
			for _, name := range w.names {
				l := w.life(name)
				if l == nil {
					continue
				}
				db := l.db(id)
				if db == nil || !db.IsLeader() {
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
				last = do(ctx, db)
				cancel()
				done = done || last == nil
			}
			if time.Now().After(end) && !done {
				return fmt.Errorf("%s: it takes too long: %w; %s", id, last, w.condition(id))
			}
			time.Sleep(w.o.Heartbeat / 4)
		}
	}
	return nil
}
