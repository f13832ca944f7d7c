package replication

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// BenchmarkStoreLogs counts appends of one entry of 200 bytes, each with its fsync, by
// one writer per group.
func BenchmarkStoreLogs(b *testing.B) {
	for _, groups := range []int{1, 64} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			l, err := openLogs(b.TempDir(), quiet())
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = l.close() }()
			data := make([]byte, 200)
			var writers sync.WaitGroup
			b.ResetTimer()
			for i := range groups {
				g := l.group(DatabaseID(fmt.Sprintf("t%d/main", i)))
				writers.Go(func() {
					for index := uint64(1); index <= uint64(b.N/groups+1); index++ {
						e := testEntries(1, index, index)
						e[0].Data = data
						if err := g.StoreLogs(e); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			writers.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// BenchmarkTransport counts AppendEntries with one entry of 200 bytes and their answers,
// over loopback TCP, by one caller per group.
func BenchmarkTransport(b *testing.B) {
	for _, groups := range []int{1, 64} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			lan := newTestLAN(b)
			ta, tb := lan.transport("n1"), lan.transport("n2")
			data := make([]byte, 200)
			var callers sync.WaitGroup
			for i := range groups {
				answering(b, tb.group(DatabaseID(fmt.Sprintf("t%d/main", i))), grant)
			}
			b.ResetTimer()
			for i := range groups {
				g := ta.group(DatabaseID(fmt.Sprintf("t%d/main", i)))
				callers.Go(func() {
					for index := uint64(1); index <= uint64(b.N/groups+1); index++ {
						e := testEntries(1, index, index)
						e[0].Data, e[0].AppendedAt = data, time.Now()
						if _, _, err := appendTo(g, "n2", e); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			callers.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rpc/s")
		})
	}
}
