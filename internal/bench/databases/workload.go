package databases

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"tongban/internal/bench/wire"
)

// workload is one load, and the goal for it against the peer.
type workload struct {
	key     string
	row     string
	clients int
	tenants int     // Databases of ours that it is spread over; the peer has one.
	goal    float64 // Ours over the peer's.
	unit    string
	per     int // Units a request.
	p99     bool
	reads   bool
	queued  bool // An answer does not say that it is done: the load ends when all rows are there.
	target  string
	body    func(b []byte, r *rand.Rand) []byte
}

const (
	accounts = 1000 // Rows that are read, and read and changed.
	batch    = 100  // Inserts a request.
)

// schema is what every database of a contest has, made anew.
var schema = []string{
	`DROP TABLE IF EXISTS tongban_bench_insert`,
	`DROP TABLE IF EXISTS tongban_bench_account`,
	`DROP TABLE IF EXISTS tongban_bench_entry`,
	`CREATE TABLE tongban_bench_insert(id INTEGER PRIMARY KEY, number INTEGER NOT NULL, text TEXT NOT NULL)`,
	`CREATE TABLE tongban_bench_account(id INTEGER PRIMARY KEY, owner TEXT NOT NULL, balance INTEGER NOT NULL)`,
	`CREATE TABLE tongban_bench_entry(id INTEGER PRIMARY KEY, account INTEGER NOT NULL, amount INTEGER NOT NULL, balance INTEGER NOT NULL)`,
	`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ` + strconv.Itoa(accounts) + `)
INSERT INTO tongban_bench_account(id, owner, balance) SELECT i, 'the owner of account ' || i, 1000 FROM n`,
}

// workloads are all loads, in the order of the table.
func workloads(s sizes) []workload {
	var list []workload
	for _, queued := range []bool{false, true} {
		for _, c := range []struct {
			clients int
			goal    float64
		}{{16, 3}, {64, 3}, {256, 2.5}} {
			w := workload{key: fmt.Sprintf("insert-%d", c.clients), row: fmt.Sprintf("single-row insert, %d clients", c.clients),
				clients: c.clients, goal: c.goal, unit: "requests/s", per: 1, p99: true, target: "/db/execute", body: insertBody}
			if queued {
				w.key, w.row = "queued"+w.key[len("insert"):], w.row+", both queued"
				w.queued, w.target = true, "/db/execute?queue"
			}
			list = append(list, w)
		}
	}
	list = append(list,
		workload{key: "closure-64", row: "read-modify-write, 64 clients", clients: 64, goal: 4, unit: "requests/s", per: 1, target: "/db/request?transaction", body: transferBody},
		workload{key: "batch-64", row: "batch of 100, 64 clients", clients: 64, goal: 3, unit: "rows/s", per: batch, target: "/db/execute?transaction", body: batchBody},
		workload{key: "linearizable-64", row: "linearizable read, 64 clients", clients: 64, goal: 1.5, unit: "requests/s", per: 1, reads: true, target: "/db/query?level=linearizable", body: readBody},
		workload{key: "leader-64", row: "leader read, 64 clients", clients: 64, goal: 2.5, unit: "requests/s", per: 1, reads: true, target: "/db/query?level=weak", body: readBody})
	for _, clients := range []int{64, 256} {
		list = append(list, workload{key: fmt.Sprintf("tenants-%d", clients), row: fmt.Sprintf("%d tenants, single-row insert, %d clients spread over them", s.tenants, clients),
			clients: clients, tenants: s.tenants, goal: 1.5, unit: "requests/s", per: 1, target: "/db/execute", body: insertBody})
	}
	return list
}

const insertSQL = `["INSERT INTO tongban_bench_insert(number, text) VALUES(?, ?)",`

func insertBody(b []byte, r *rand.Rand) []byte { return append(appendInsert(append(b, '['), r), ']') }

func appendInsert(b []byte, r *rand.Rand) []byte {
	b = strconv.AppendUint(append(b, insertSQL...), r.Uint64()>>12, 10)
	return append(b, `,"a value of some length"]`...)
}

func batchBody(b []byte, r *rand.Rand) []byte {
	b = append(b, '[')
	for i := range batch {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendInsert(b, r)
	}
	return append(b, ']')
}

func readBody(b []byte, r *rand.Rand) []byte {
	b = append(b, `[["SELECT id, owner, balance FROM tongban_bench_account WHERE id = ?",`...)
	return append(strconv.AppendInt(b, 1+r.Int64N(accounts), 10), `]]`...)
}

// transferBody reads an account, changes it, and notes the change: in one transaction that
// both sides can be asked for in one request.
func transferBody(b []byte, r *rand.Rand) []byte {
	id := 1 + r.Int64N(accounts)
	b = strconv.AppendInt(append(b, `[["SELECT balance FROM tongban_bench_account WHERE id = ?",`...), id, 10)
	b = strconv.AppendInt(append(b, `],["UPDATE tongban_bench_account SET balance = balance + ? WHERE id = ?",7,`...), id, 10)
	b = strconv.AppendInt(append(b, `],["INSERT INTO tongban_bench_entry(account, amount, balance) SELECT id, ?, balance FROM tongban_bench_account WHERE id = ?",7,`...), id, 10)
	return append(b, `]]`...)
}

// prepare makes the tables of a database.
func (d *database) prepare(ctx context.Context, conns connections) error {
	_, err := d.do(ctx, conns, "/db/execute?transaction", statements(schema...))
	return err
}

// client makes one client of a load on a side.
func (w workload) client(s *side, seed uint64) func(int) (func(context.Context) error, func(), error) {
	dbs := s.dbs[:min(max(1, w.tenants), len(s.dbs))]
	return func(client int) (func(context.Context) error, func(), error) {
		r := rand.New(rand.NewPCG(seed, uint64(client)))
		conns := connections{}
		var body []byte
		return func(ctx context.Context) error {
			d := dbs[0]
			if len(dbs) > 1 {
				d = dbs[r.IntN(len(dbs))]
			}
			body = w.body(body[:0], r)
			_, err := d.do(ctx, conns, w.target, body)
			return err
		}, conns.close, nil
	}
}

// drive runs the load, and profiles the node of ours that leads if that is wanted.
func (w workload) drive(ctx context.Context, b *bench, s *side) (wire.Figures, error) {
	l := wire.Load{Clients: w.clients, Warm: b.size.warm, For: b.o.For, New: w.client(s, rand.Uint64())}
	if n := s.leading(); n != nil && b.o.Profile != "" {
		l.Beside = func(ctx context.Context) error { return n.Profile(ctx, max(b.o.For, time.Second), b.o.Profile) }
	}
	return wire.Drive(ctx, l)
}
