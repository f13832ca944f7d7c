package replicationtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"tongban/replication"
)

// worldSchema: trace holds a row for each change, with what the change saw. Nothing is
// unique but what must be, so that a change that is applied twice shows.
var worldSchema = []string{
	`CREATE TABLE IF NOT EXISTS trace(id TEXT NOT NULL, seen TEXT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS value(key TEXT PRIMARY KEY, value TEXT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS word(key TEXT NOT NULL, word TEXT NOT NULL)`,
}

// slowOneIn so many closures thinks between reading and writing, perhaps for too long.
const slowOneIn = 20

// patience is how long a client waits for an answer.
const patience = 3 * time.Second

// object is one thing that clients change: its key names database, kind and number.
type object struct {
	db   replication.DatabaseID
	kind string
	key  string
}

// objectsPerKind of each kind a database: few, so that clients meet; each has some dozens
// of operations.
const objectsPerKind = 2

func (w *World) objects() (out []object) {
	for _, id := range w.ids {
		for _, kind := range []string{Register, Counter, List, Set} {
			for i := range objectsPerKind {
				out = append(out, object{id, kind, fmt.Sprintf("%s %s %d", id, kind, i)})
			}
		}
	}
	return out
}

// read is the object as a text.
func (o object) read(q replication.Querier) (string, error) {
	sql, words := `SELECT value FROM value WHERE key = ?`, []string{}
	if o.kind == List || o.kind == Set {
		sql = `SELECT word FROM word WHERE key = ? ORDER BY rowid`
	}
	rows, err := q.Query(sql, o.key)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var word string
		if err := rows.Scan(&word); err != nil {
			return "", err
		}
		words = append(words, word)
	}
	if o.kind == Set {
		slices.Sort(words)
	}
	return strings.Join(words, " "), rows.Err()
}

// client is one client of a world; it does one thing at a time.
type client struct {
	w       *World
	number  int
	rng     *rand.Rand
	objects []object
	guess   map[replication.DatabaseID]replication.NodeID // Who leads.
	tokens  map[replication.DatabaseID]replication.Index  // What it has seen.
}

func (w *World) startClients() {
	objects := w.objects()
	for i := range w.o.Clients {
		c := &client{
			w: w, number: i, rng: w.rand(uint64(100 + i)), objects: objects,
			guess: map[replication.DatabaseID]replication.NodeID{}, tokens: map[replication.DatabaseID]replication.Index{},
		}
		w.clients.Go(c.run)
	}
}

func (c *client) run() {
	for {
		select {
		case <-c.w.ending:
			return
		case <-time.After(time.Duration(c.rng.Int64N(int64(c.w.o.Pause)))):
		}
		c.once()
	}
}

// once does one operation on one node.
func (c *client) once() {
	o := c.objects[c.rng.IntN(len(c.objects))]
	name := c.guess[o.db]
	if name == "" || c.rng.IntN(8) == 0 {
		name = c.w.names[c.rng.IntN(len(c.w.names))]
	}
	l := c.w.life(name)
	if l == nil {
		delete(c.guess, o.db)
		return
	}
	db := l.db(o.db)
	if db == nil {
		delete(c.guess, o.db)
		return
	}
	op := &Op{Client: c.number, Node: name, Kind: o.kind, Key: o.key}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var err error
	if reads := c.rng.IntN(2) == 0; reads {
		err = c.look(ctx, l, db, o, op)
	} else {
		err = c.change(ctx, l, db, o, op)
	}
	if errors.Is(err, replication.ErrNotLeader) {
		delete(c.guess, o.db)
		if n, ok := db.Leader(); ok {
			c.guess[o.db] = n
		}
	} else if err == nil && op.Level != "Local" {
		c.guess[o.db] = name
	}
}

// finish notes the result. What a node said after its death, nobody heard.
func (c *client) finish(l *life, op *Op, err error) {
	switch {
	case l.dead.Load(), errors.Is(err, replication.ErrUnknownOutcome):
		op.Result = Unknown
	case err != nil:
		op.Result = Refused
	}
	if err != nil {
		op.Message = err.Error()
	}
	c.w.History.Return(op)
}

// change changes the object, and leaves a trace.
func (c *client) change(ctx context.Context, l *life, db *replication.DB, o object, op *Op) error {
	n := c.w.ticket.Add(1)
	op.ID, op.Arg = fmt.Sprintf("op%d", n), fmt.Sprintf("%d", n)
	op.Looked = o.kind == Counter || o.kind == List
	think := time.Duration(0)
	if c.rng.IntN(slowOneIn) == 0 {
		think = time.Duration(c.rng.Int64N(int64(3 * c.w.o.Heartbeat / 2)))
	}
	c.w.History.Call(op)
	var index replication.Index
	var err error
	if op.Looked {
		index, err = db.Update(ctx, func(tx *replication.Tx) error {
			seen, err := o.read(tx)
			if err != nil {
				return err
			}
			op.Seen = seen
			time.Sleep(think)
			if err := tx.Exec(`INSERT INTO trace(id, seen) VALUES (?, ?)`, op.ID, seen); err != nil {
				return err
			}
			return tx.Exec(o.literal(op.after(seen)))
		})
	} else {
		_, index, err = db.Exec(ctx, replication.Statement{SQL: `INSERT INTO trace(id, seen) VALUES (?, '')`, Args: []any{op.ID}},
			replication.Statement{SQL: o.blind(), Args: []any{o.key, op.Arg}})
	}
	op.Index = index
	c.finish(l, op, err)
	if err == nil && op.Result == Done {
		c.tokens[o.db] = max(c.tokens[o.db], index)
	}
	return err
}

// literal is the statement that makes the object what it must be after a change: it says
// nothing of what was there, so that only the order of changes keeps it right.
func (o object) literal(after string) string {
	if o.kind == Counter {
		return fmt.Sprintf(`INSERT OR REPLACE INTO value(key, value) VALUES ('%s', '%s')`, o.key, after)
	}
	words := strings.Fields(after)
	return fmt.Sprintf(`INSERT INTO word(key, word) VALUES ('%s', '%s')`, o.key, words[len(words)-1])
}

// blind is the statement of an object that is not read before.
func (o object) blind() string {
	if o.kind == Register {
		return `INSERT OR REPLACE INTO value(key, value) VALUES (?, ?)`
	}
	return `INSERT INTO word(key, word) VALUES (?, ?)`
}

// errNo is what a closure says that has only looked.
var errNo = errors.New("no")

// look reads the object: at one of the three levels, or as a closure that writes nothing,
// or as one that takes back what it wrote.
func (c *client) look(ctx context.Context, l *life, db *replication.DB, o object, op *Op) error {
	op.Looked = true
	levels := []string{"Leader", "Leader", "Linearizable", "Local", "closure", "refused closure"}
	op.Level = levels[c.rng.IntN(len(levels))]
	view := func(level replication.Level) error {
		return db.View(ctx, level, func(v *replication.View) (err error) {
			op.Seen, err = o.read(v)
			op.Index = v.Applied()
			return err
		})
	}
	closure := func(answer error) error {
		_, err := db.Update(ctx, func(tx *replication.Tx) (err error) {
			if op.Seen, err = o.read(tx); err != nil {
				return err
			}
			if answer != nil {
				if err := tx.Exec(o.literal(op.after(op.Seen) + "x")); err != nil {
					return err
				}
			}
			return answer
		})
		if answer != nil && errors.Is(err, answer) && !errors.Is(err, replication.ErrNotLeader) {
			return nil
		}
		return err
	}
	c.w.History.Call(op)
	var err error
	switch op.Level {
	case "Leader":
		err = view(replication.Leader)
	case "Linearizable":
		err = view(replication.Linearizable)
	case "Local":
		op.Stale = true
		if c.rng.IntN(4) > 0 { // Read what it wrote, wherever.
			op.Token = c.tokens[o.db]
			ctx = replication.WithIndex(ctx, op.Token)
		}
		err = view(replication.Local)
	case "closure":
		err = closure(nil)
	default:
		err = closure(errNo)
	}
	c.finish(l, op, err)
	if op.Result == Done {
		c.tokens[o.db] = max(c.tokens[o.db], op.Index)
	}
	return err
}
