package replication_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
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

// increment notes key beside the count, if it is not empty. It reads the counter and writes the next value as a literal: an entry executed on
// another state than it was evaluated on loses an increment, while all replicas agree.
func increment(key string) func(tx *replication.Tx) error {
	return func(tx *replication.Tx) error {
		var n int
		if err := tx.QueryRow(`SELECT n FROM counter`).Scan(&n); err != nil {
			return err
		}
		if err := tx.Exec(fmt.Sprintf(`UPDATE counter SET n = %d`, n+1)); err != nil || key == "" {
			return err
		}
		return tx.Exec(`INSERT INTO done(key, n, at) VALUES (?, ?, ?)`, key, n+1, tx.Now())
	}
}

var counterSchema = []string{
	`CREATE TABLE counter(n INTEGER NOT NULL)`, `INSERT INTO counter VALUES (0)`,
	`CREATE TABLE done(key TEXT PRIMARY KEY, n INTEGER, at INTEGER)`,
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

// TestAttack moves the leadership, cuts nodes off, and crashes them, with their WALs cut
// short, while counters are incremented.
func TestAttack(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("8 s of load: go test without -short")
	}
	r := attackSeed(t)
	c := replicationtest.Cluster(t, 3)
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
		blows[blow(t, r, c, l)]++
	}
	close(stop)
	writers.Wait()
	c.Heal()
	t.Logf("%v: %d acknowledged, %d unknown, %d refused", blows, l.acknowledged.Load(), l.unknown.Load(), l.refused.Load())
	if err := l.check(c); err != nil {
		t.Fatal(err)
	}
	if l.acknowledged.Load() < 100 || len(blows) < 4 {
		t.Errorf("this was no attack")
	}
}

// blow does one thing to the cluster, and waits until writes go on.
func blow(t *testing.T, r *rand.Rand, c *replicationtest.Nodes, l *ledger) string {
	victim := c.Names()[r.IntN(3)]
	if r.IntN(2) == 0 {
		victim = c.Leader()
	}
	kind := "crash"
	switch r.IntN(4) {
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
		other := c.Names()[r.IntN(3)]
		if other != victim {
			c.Cut(victim, other)
		}
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
