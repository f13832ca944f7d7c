package torture

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tongban/internal/torture/verdict"
)

const (
	// perRegister bounds the operations of one register: judging more takes long.
	perRegister = 400
	// watchEvery is how often a watcher reads.
	watchEvery = 20 * time.Millisecond
	// perList bounds the appends to one list: whoever reads it reads all of it.
	perList = 60
	// money is in each account at first.
	money    = 100
	accounts = 4 // In each table.
)

// schema are the clients' tables. Only a request's id is unique: what is applied twice must
// be seen, not refused.
var schema = []statement{
	sql(`CREATE TABLE request(id TEXT PRIMARY KEY, ok INTEGER NOT NULL) WITHOUT ROWID`),
	sql(`CREATE TABLE register(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID`),
	sql(`CREATE TABLE entry(value TEXT NOT NULL)`),
	sql(`CREATE INDEX entry_value ON entry(value)`),
	sql(`CREATE TABLE savings(id TEXT PRIMARY KEY, balance INTEGER NOT NULL) WITHOUT ROWID`),
	sql(`CREATE TABLE checking(id TEXT PRIMARY KEY, balance INTEGER NOT NULL) WITHOUT ROWID`),
	sql(`CREATE TABLE transfer(id TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL, amount INTEGER NOT NULL, paid INTEGER NOT NULL)`),
	sql(`CREATE TABLE list(key TEXT NOT NULL, value INTEGER NOT NULL)`),
	sql(`CREATE INDEX list_key ON list(key)`),
	sql(`CREATE TABLE seen(id TEXT NOT NULL, key TEXT NOT NULL, value TEXT)`),
	sql(`CREATE INDEX seen_id ON seen(id)`),
	sql(`CREATE TABLE session(client INTEGER PRIMARY KEY, n INTEGER NOT NULL)`),
}

// histories are what the clients did.
type histories struct {
	registers recorder[verdict.RegisterOp]
	watched   recorder[verdict.RegisterOp] // Of the watchers: too many at once for a full judgement.
	inserts   recorder[verdict.Insert]
	requests  recorder[verdict.Insert] // The ids of all writes that have one.
	transfers recorder[verdict.Transfer]
	balances  recorder[verdict.Balance]
	txns      recorder[verdict.Txn]
	visits    recorder[verdict.Visit]
}

// seed makes the tables and the accounts.
func (c *client) seed() error {
	statements := slices.Clone(schema)
	for account := range c.initial() {
		statements = append(statements, sql(`INSERT INTO `+tableOf(account)+` VALUES (?, ?)`, account, money))
	}
	if _, err := c.try(c.doors[0], statements); err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	return nil
}

// mark enters a request that always succeeds.
func mark(id string) statement { return sql(`INSERT INTO request VALUES (?, 1)`, id) }

// keys hands out names of things that may be used so many times each.
type keys struct {
	mu    sync.Mutex
	kind  string
	bound int
	n     int
	used  []int
}

func newKeys(kind string, atOnce, bound int) *keys {
	return &keys{kind: kind, bound: bound, used: make([]int, atOnce), n: atOnce}
}

// use is the key that has a place now; the place gets a new one when this is used up.
func (k *keys) use(place int) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used[place]++
	return fmt.Sprintf("%s%d-%d", k.kind, place, k.used[place]/k.bound)
}

// now is the key that has a place, without using it up.
func (k *keys) now(place int) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fmt.Sprintf("%s%d-%d", k.kind, place, k.used[place]/k.bound)
}

// registers reads, writes and swaps.
func (c *client) registers(ctx context.Context, k *keys) {
	known := map[string]int64{}
	for c.think(ctx) {
		op := verdict.RegisterOp{Key: k.use(c.random.IntN(len(k.used)))}
		switch c.random.IntN(4) {
		case 0, 1:
			var r reply
			var ok bool
			op.Verb = verdict.Read
			if op.Span, r, ok = c.read(c.fresh(), sql(`SELECT value FROM register WHERE key = ?`, op.Key)); !ok {
				continue
			}
			n, err := r.one()
			if err != nil {
				c.surprise("a register: %v", err)
			}
			op.Value, known[op.Key] = n, n
		case 2:
			id := c.request()
			op.Verb, op.To = verdict.Write, c.number()
			op.Span, _ = c.once(id, mark(id), sql(`INSERT INTO register VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`, op.Key, op.To))
			c.histories.requests.add(verdict.Insert{Span: op.Span, Value: id, Keyed: true})
		default:
			id := c.request()
			op.Verb, op.From, op.To = verdict.Swap, known[op.Key], c.number()
			if op.From == 0 { // A register that was never written has no row to swap.
				continue
			}
			var ok int64
			op.Span, ok = c.once(id, sql(`INSERT INTO request SELECT ?, EXISTS (SELECT 1 FROM register WHERE key = ? AND value = ?)`, id, op.Key, op.From),
				sql(`UPDATE register SET value = ? WHERE key = ? AND value = ?`, op.To, op.Key, op.From))
			op.Swapped = ok == 1
			c.histories.requests.add(verdict.Insert{Span: op.Span, Value: id, Keyed: true})
		}
		c.histories.registers.add(op)
	}
}

// unanswered bounds the readings of a watcher that wait for their answers at once.
const unanswered = 64

// watch reads registers at every node in turn and does not wait for an answer before it
// asks the next: a node that was stopped, and believes that it leads, finds many questions
// that came after others had written.
func (c *client) watch(ctx context.Context, k *keys) {
	var group errgroup.Group
	group.SetLimit(unanswered)
	defer func() { _ = group.Wait() }() // No reading returns an error.
	for i := 0; wait(ctx, watchEvery); i++ {
		key, level, span, d := k.now(c.random.IntN(len(k.used))), c.fresh(), c.begin(), c.doors[i%len(c.doors)]
		group.TryGo(func() error {
			short, cancel := context.WithTimeout(c.hard, 2*attemptPatience) // As long as a process is stopped.
			defer cancel()
			r, err := d.query(short, level, 0, sql(`SELECT value FROM register WHERE key = ?`, key))
			if err != nil {
				c.failed.Add(1)
				return nil
			}
			op := verdict.RegisterOp{Key: key, Verb: verdict.Read, Span: span}
			op.Value, _ = r.one()
			if c.end(&op.Span, d, verdict.Done); op.Outcome == verdict.Done {
				c.histories.watched.add(op)
			}
			return nil
		})
	}
}

// inserts makes unique rows, half of them with a request id, and looks for some.
func (c *client) inserts(ctx context.Context) {
	for c.think(ctx) {
		op := verdict.Insert{Value: fmt.Sprintf("v%d", c.number()), Keyed: c.random.IntN(2) == 0}
		row := sql(`INSERT INTO entry VALUES (?)`, op.Value)
		if op.Keyed {
			id := c.request()
			op.Span, _ = c.once(id, mark(id), row)
			c.histories.requests.add(verdict.Insert{Span: op.Span, Value: id, Keyed: true})
		} else {
			op.Span, _ = c.plain(row)
		}
		c.histories.inserts.add(op)
		if op.Outcome != verdict.Done || c.random.IntN(4) > 0 {
			continue
		}
		level := c.fresh()
		if span, r, ok := c.read(level, sql(`SELECT count(*) FROM entry WHERE value = ?`, op.Value)); ok {
			if n, err := r.one(); err != nil || n != 1 {
				c.wrong("stale: %s was acknowledged (%s), and a reading at level %s found it %d times (%s)", op.Value, op.Span, level, n, span)
			}
		}
	}
}

// tableOf is where an account is.
func tableOf(account string) string {
	if account[0] == 's' {
		return "savings"
	}
	return "checking"
}

// sum is all money, and all is what two tables hold together.
const sum = `SELECT (SELECT sum(balance) FROM savings) + (SELECT sum(balance) FROM checking)`

// bank moves money between the tables and counts it, at every level.
func (c *client) bank(ctx context.Context) {
	for c.think(ctx) {
		if c.random.IntN(2) == 0 {
			level := append([]string{"none"}, fresh[:]...)[c.random.IntN(len(fresh)+1)]
			if span, r, ok := c.read(level, sql(sum)); ok {
				n, _ := r.one()
				c.histories.balances.add(verdict.Balance{Span: span, Level: level, Sum: n})
			}
			continue
		}
		id, from, to := c.request(), fmt.Sprintf("s%d", c.random.IntN(accounts)), fmt.Sprintf("c%d", c.random.IntN(accounts))
		if c.random.IntN(2) == 0 {
			from, to = to, from
		}
		op := verdict.Transfer{ID: id, From: from, To: to, Amount: 1 + c.random.Int64N(money/2)}
		const paid = `(SELECT ok FROM request WHERE id = ?)`
		var ok int64
		op.Span, ok = c.once(id, sql(`INSERT INTO request SELECT ?, balance >= ? FROM `+tableOf(from)+` WHERE id = ?`, id, op.Amount, from),
			sql(`UPDATE `+tableOf(from)+` SET balance = balance - ? WHERE id = ? AND `+paid, op.Amount, from, id),
			sql(`UPDATE `+tableOf(to)+` SET balance = balance + ? WHERE id = ? AND `+paid, op.Amount, to, id),
			sql(`INSERT INTO transfer SELECT ?, ?, ?, ?, `+paid, id, from, to, op.Amount, id))
		op.Paid = ok == 1
		c.histories.transfers.add(op)
		c.histories.requests.add(verdict.Insert{Span: op.Span, Value: id, Keyed: true})
	}
}

// lists appends to lists and reads them. A transaction that does both keeps what it saw
// beside what it wrote, for the door runs no code between two statements.
func (c *client) lists(ctx context.Context, k *keys) {
	for c.think(ctx) {
		var op verdict.Txn
		a, b := k.use(c.random.IntN(len(k.used))), k.use(c.random.IntN(len(k.used)))
		if c.random.IntN(2) == 0 {
			span, r, ok := c.read(c.fresh(), sql(`SELECT key, value FROM list WHERE key IN (?, ?) ORDER BY rowid`, a, b))
			if !ok {
				continue
			}
			op.Span, op.Reads = span, listsOf(r, a, b)
			c.histories.txns.add(op)
			continue
		}
		id := c.request()
		var statements []statement
		sees := c.random.IntN(2) == 0
		if sees {
			statements = append(statements, sql(`INSERT INTO seen SELECT ?, ?, (SELECT group_concat(value) FROM (SELECT value FROM list WHERE key = ? ORDER BY rowid))`, id, b, b))
		}
		for range 1 + c.random.IntN(3) {
			one := verdict.ListAppend{Key: []string{a, b}[c.random.IntN(2)], Value: c.number()}
			op.Appends = append(op.Appends, one)
			statements = append(statements, sql(`INSERT INTO list VALUES (?, ?)`, one.Key, one.Value))
		}
		op.Span, _ = c.once(id, mark(id), statements...)
		if sees && op.Outcome == verdict.Done {
			if _, r, ok := c.read("weak", sql(`SELECT value FROM seen WHERE id = ?`, id)); ok && len(r.Results[0].Values) == 1 {
				text, _ := r.Results[0].Values[0][0].(string)
				op.Reads = []verdict.ListRead{{Key: b, Values: numbers(text)}}
			}
		}
		c.histories.txns.add(op)
		c.histories.requests.add(verdict.Insert{Span: op.Span, Value: id, Keyed: true})
	}
}

// numbers reads what group_concat wrote.
func numbers(text string) []int64 {
	var list []int64
	for part := range strings.SplitSeq(text, ",") {
		if n, err := strconv.ParseInt(part, 10, 64); err == nil {
			list = append(list, n)
		}
	}
	return list
}

// listsOf splits rows of key and value; a list without a row is empty.
func listsOf(r reply, wanted ...string) []verdict.ListRead {
	byKey := map[string][]int64{}
	for _, row := range r.Results[0].Values {
		key, _ := row[0].(string)
		n, _ := integer(row[1])
		byKey[key] = append(byKey[key], n)
	}
	var list []verdict.ListRead
	for _, key := range slices.Compact(wanted) {
		list = append(list, verdict.ListRead{Key: key, Values: byKey[key]})
	}
	return list
}

// session counts up and reads at any replica with the index of all that it has seen.
func (c *client) session(ctx context.Context) {
	var n int64
	var token uint64
	for c.think(ctx) {
		if c.random.IntN(3) == 0 {
			n++
			span, r := c.plain(sql(`INSERT INTO session VALUES (?, ?) ON CONFLICT (client) DO UPDATE SET n = excluded.n WHERE excluded.n > n`, c.id, n))
			c.histories.visits.add(verdict.Visit{Span: span, Wrote: true, N: n})
			token = max(token, r.Index)
			continue
		}
		span, d := c.begin(), c.any()
		short, cancel := context.WithTimeout(c.hard, attemptPatience)
		r, err := d.query(short, "none", token, sql(`SELECT n FROM session WHERE client = ?`, c.id))
		cancel()
		if err != nil {
			c.failed.Add(1)
			c.pause()
			continue
		}
		got, _ := r.one()
		c.end(&span, d, verdict.Done)
		c.histories.visits.add(verdict.Visit{Span: span, N: got})
		token = max(token, r.Index)
	}
}
