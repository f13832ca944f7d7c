package cases

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"tongban/service/servicetest"
)

// One node, real databases, no HTTP: go test -bench Submit -benchtime 2s
func BenchmarkSubmit(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			w := newWorld(b)
			var left, failed atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := w.Do(servicetest.Call{Do: "POST " + applyURL(w.promised.Code), Body: application()}); err != nil {
							failed.Add(1)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cases/s")
			if n := failed.Load(); n > 0 {
				b.Errorf("%d applications failed", n)
			}
		})
	}
}
