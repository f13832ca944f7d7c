package replication_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// BenchmarkUpdate is the throughput of single-row updates: on one node and on three in
// this process, files on the disk of the temporary folder.
func BenchmarkUpdate(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		for _, writers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("nodes=%d/writers=%d", nodes, writers), func(b *testing.B) {
				c := replicationtest.Cluster(b, nodes, func(o *replication.Options) { o.HeartbeatTimeout = time.Second })
				db := c.DB(c.Leader())
				exec(b, db, `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT, at INTEGER)`)
				b.ResetTimer()
				spread(b, writers, func(i int64) error {
					_, err := db.Update(ctx, func(tx *replication.Tx) error {
						return tx.Exec(`INSERT INTO t(v, at) VALUES (?, ?)`, "a value of some length", tx.Now())
					})
					return err
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
			})
		}
	}
}

// BenchmarkExec is BenchmarkUpdate without closures.
func BenchmarkExec(b *testing.B) {
	db := replicationtest.One(b)
	exec(b, db, `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)`)
	b.ResetTimer()
	spread(b, 64, func(i int64) error {
		_, _, err := db.Exec(ctx, replication.Statement{SQL: `INSERT INTO t(v) VALUES (?)`, Args: []any{i}})
		return err
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// BenchmarkView is the throughput of one-row reads by the level.
func BenchmarkView(b *testing.B) {
	c := replicationtest.Cluster(b, 3, func(o *replication.Options) { o.HeartbeatTimeout = time.Second })
	db := c.DB(c.Leader())
	exec(b, db, `CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT)`, `INSERT INTO t(v) VALUES ('x')`)
	for name, level := range map[string]replication.Level{
		"local": replication.Local, "leader": replication.Leader, "linearizable": replication.Linearizable,
	} {
		b.Run(name, func(b *testing.B) {
			spread(b, 16, func(int64) error {
				return db.View(ctx, level, func(v *replication.View) error {
					return v.QueryRow(`SELECT v FROM t WHERE id = ?`, 1).Scan(new(string))
				})
			})
		})
	}
}

// spread does b.N operations on so many goroutines.
func spread(b *testing.B, goroutines int, op func(i int64) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := op(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
