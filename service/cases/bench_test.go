package cases

import (
	"sync/atomic"
	"testing"

	"tongban/service/servicetest"
)

// One node, real databases, no HTTP: go test -bench Submit -benchtime 2s
func BenchmarkSubmit(b *testing.B) {
	for name, clients := range map[string]int{"1": 1, "16": 16, "64": 64} {
		b.Run("clients="+name, func(b *testing.B) {
			w := newWorld(b)
			b.SetParallelism(clients)
			var failed atomic.Int64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := w.Do(servicetest.Call{Do: "POST " + applyURL(w.promisedAt), Body: application()}); err != nil {
						failed.Add(1)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "cases/s")
			if n := failed.Load(); n > 0 {
				b.Errorf("%d applications failed", n)
			}
		})
	}
}
