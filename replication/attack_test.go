package replication_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

const (
	attackTime    = 8 * time.Second
	attackWriters = 6
	// attackHeartbeat is short: leaderships that are lost by accident belong to it.
	attackHeartbeat = 150 * time.Millisecond
)

// attackSeed is TONGBAN_SEED, or one that the clock gives.
func attackSeed(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("TONGBAN_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("TONGBAN_SEED=%d makes these choices again", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// ledger counts what the writers were told.
type ledger struct {
	acknowledged, unknown, refused atomic.Int64
	mu                             sync.Mutex
	keys                           []string // Acknowledged.
}

// increment reads the counter and writes the next value as a literal: an entry executed on
// another state than it was evaluated on loses an increment, while all replicas agree. If
// key is not empty it also notes the key beside the count, and appends it to a list, with
// the key that was the last one until then: a closure executed twice, or between two that
// do not know of it, breaks that chain.
func increment(key string) func(tx *replication.Tx) error {
	return func(tx *replication.Tx) error {
		var n int
		if err := tx.QueryRow(`SELECT n FROM counter`).Scan(&n); err != nil {
			return err
		}
		if err := tx.Exec(fmt.Sprintf(`UPDATE counter SET n = %d`, n+1)); err != nil || key == "" {
			return err
		}
		var last string
		if err := tx.QueryRow(`SELECT key FROM list ORDER BY rowid DESC LIMIT 1`).Scan(&last); err != nil && !errors.Is(err, replication.ErrNoRows) {
			return err
		}
		if err := tx.Exec(`INSERT INTO list(key, before) VALUES (?, ?)`, key, last); err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO done(key, n, at) VALUES (?, ?, ?)`, key, n+1, tx.Now())
	}
}

var counterSchema = []string{
	`CREATE TABLE counter(n INTEGER NOT NULL)`, `INSERT INTO counter VALUES (0)`,
	`CREATE TABLE done(key TEXT PRIMARY KEY, n INTEGER, at INTEGER)`,
	`CREATE TABLE list(key TEXT, before TEXT)`, // Nothing unique here.
}

func (l *ledger) write(c *replicationtest.Nodes, writer int, stop <-chan struct{}) {
	for i := 0; ; i++ {
		for _, name := range c.Names() {
			select {
			case <-stop:
				return
			default:
			}
			db := c.DB(name)
			if db == nil || !db.IsLeader() {
				continue
			}
			key := fmt.Sprintf("%d/%d/%s", writer, i, name)
			short, cancel := context.WithTimeout(ctx, time.Second)
			_, err := db.Update(short, increment(key))
			cancel()
			l.note(key, err)
		}
	}
}

func (l *ledger) note(key string, err error) {
	switch {
	case err == nil:
		l.acknowledged.Add(1)
		l.mu.Lock()
		if key != "" {
			l.keys = append(l.keys, key)
		}
		l.mu.Unlock()
	case errors.Is(err, replication.ErrUnknownOutcome):
		l.unknown.Add(1)
	default:
		l.refused.Add(1)
	}
}

// check compares the ledger with every replica.
func (l *ledger) check(c *replicationtest.Nodes) error {
	_, err := c.Compare()
	errs := []error{err}
	acknowledged, unknown := int(l.acknowledged.Load()), int(l.unknown.Load())
	for name, db := range c.DBs() {
		errs = append(errs, db.View(ctx, replication.Local, func(v *replication.View) error {
			var n, rows, distinct int
			if err := v.QueryRow(`SELECT n FROM counter`).Scan(&n); err != nil {
				return err
			}
			if err := v.QueryRow(`SELECT count(*), count(DISTINCT n) FROM done`).Scan(&rows, &distinct); err != nil {
				return err
			}
			if n < acknowledged || n > acknowledged+unknown || len(l.keys) > 0 && (n != rows || n != distinct) {
				return fmt.Errorf("%s: the counter is %d after %d acknowledged and %d unknown increments, with %d rows of %d values",
					name, n, acknowledged, unknown, rows, distinct)
			}
			if err := l.checkList(v); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			for _, key := range l.keys {
				if err := v.QueryRow(`SELECT n FROM done WHERE key = ?`, key).Scan(&n); err != nil {
					return fmt.Errorf("%s: acknowledged %s: %w", name, key, err)
				}
			}
			return nil
		}))
	}
	return errors.Join(errs...)
}

// checkList reads the list: each key is there once, those that were acknowledged all are,
// each knows the one before it, and those of one writer, who waited for each answer, come
// in the order in which he wrote them.
func (l *ledger) checkList(v *replication.View) error {
	rows, err := v.Query(`SELECT key, before FROM list ORDER BY rowid`)
	if err != nil {
		return err
	}
	defer rows.Close()
	seen, last, rounds := map[string]bool{}, "", map[string]int{}
	for rows.Next() {
		var key, before string
		if err := rows.Scan(&key, &before); err != nil {
			return err
		}
		if seen[key] || before != last {
			return fmt.Errorf("the list has %s after %s, which was appended after %s (twice: %v)", key, last, before, seen[key])
		}
		seen[key], last = true, key
		if parts := strings.Split(key, "/"); len(parts) == 3 { // Of write.
			round, _ := strconv.Atoi(parts[1])
			if round < rounds[parts[0]] {
				return fmt.Errorf("the list has %s after round %d of its writer", key, rounds[parts[0]])
			}
			rounds[parts[0]] = round
		}
	}
	for _, key := range l.keys {
		if !seen[key] {
			return fmt.Errorf("the list has lost %s", key)
		}
	}
	return rows.Err()
}

// TestAttack moves the leadership, cuts nodes off, and crashes them, with their WALs cut
// short, while counters are incremented and the logs are cut all the time.
func TestAttack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("not run: it is 8 s of load; go test without -short")
	}
	r := attackSeed(t)
	c := replicationtest.Cluster(t, 3, func(o *replication.Options) {
		o.HeartbeatTimeout = attackHeartbeat
		o.IdleAfter = 20 * time.Millisecond
		replication.Compact(o, 1+r.Uint64N(30), 8+r.Uint64N(30))
	})
	exec(t, c.DB(c.Leader()), counterSchema...)
	l := &ledger{}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for w := range attackWriters {
		writers.Go(func() { l.write(c, w, stop) })
	}
	end := time.Now().Add(attackTime)
	blows := map[string]int{}
	for time.Now().Before(end) {
		for _, kind := range r.Perm(4) { // Each kind, also on a machine that is busy.
			blows[blow(t, r, c, l, kind)]++
		}
	}
	close(stop)
	writers.Wait()
	c.Heal()
	t.Logf("%v: %d acknowledged, %d unknown, %d refused", blows, l.acknowledged.Load(), l.unknown.Load(), l.refused.Load())
	if err := l.check(c); err != nil {
		t.Fatal(err)
	}
	if l.acknowledged.Load() < 100 {
		t.Errorf("this was no attack")
	}
	for name, db := range c.DBs() {
		if first, last := replication.LogBounds(t, db); first < 10 {
			t.Errorf("the log of %s, %d to %d, was never cut", name, first, last)
		}
	}
}

// blow does one thing to the cluster, and waits until writes go on.
func blow(t *testing.T, r *rand.Rand, c *replicationtest.Nodes, l *ledger, which int) string {
	victim := c.Names()[r.IntN(3)]
	if r.IntN(2) == 0 {
		victim = c.Leader()
	}
	kind := "crash"
	switch which {
	case 0:
		kind = "transfer"
		short, cancel := context.WithTimeout(ctx, time.Second)
		_ = c.DB(c.Leader()).TransferLeadership(short) // It may lose it in the meantime.
		cancel()
	case 1:
		kind = "isolate"
		c.Isolate(victim)
		l.awaitMore(t, r.IntN(20))
		c.Heal()
	case 2:
		kind = "cut one line"
		others := slices.DeleteFunc(slices.Clone(c.Names()), func(n replication.NodeID) bool { return n == victim })
		c.Cut(victim, others[r.IntN(2)])
		l.awaitMore(t, r.IntN(20))
		c.Heal()
	default:
		lose := replication.PowerCut(t, c.DB(victim))
		c.Crash(victim)
		lose(r)
		l.awaitMore(t, r.IntN(20))
		c.Start(victim)
	}
	l.awaitMore(t, 1+r.IntN(50))
	return kind
}

func (l *ledger) awaitMore(t *testing.T, n int) {
	goal := l.acknowledged.Load() + int64(n)
	replicationtest.Await(t, fmt.Sprintf("%d more increments are acknowledged", n), func() bool { return l.acknowledged.Load() >= goal })
}
