package leaf

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"runtime"
	"syscall"
	"testing"
	"time"

	"tongban/division"
)

func BenchmarkCall(b *testing.B) {
	cityCA, aCA, _ := tree(b)
	h := openHub(b, cityCA, "", echo)
	child := openChild(b, guangn, aCA, cityCA, echo, h.Addr().String())
	h.awaitLine(b, child)
	for _, size := range []int{100, 64 << 10, 512 << 10} {
		body := make([]byte, size)
		b.Run(fmt.Sprintf("up-%dB", size), func(b *testing.B) {
			b.SetBytes(int64(2 * size))
			for b.Loop() {
				if _, err := child.Call(context.Background(), city, "feed", body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("down-100B-parallel", func(b *testing.B) {
		b.SetParallelism(4)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				if _, err := h.Call(context.Background(), guangn, "feed", make([]byte, 100)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkIdleLine counts what crosses a line in a minute at the normal pace: pings, and
// the question of each side every 30 s how far its feed is, of about the size that the
// feeds ask and answer with.
func BenchmarkIdleLine(b *testing.B) {
	if testing.Short() {
		b.Skip("takes a minute")
	}
	cityCA, aCA, _ := tree(b)
	answer := func(context.Context, division.Ref, string, []byte) ([]byte, error) { return make([]byte, 80), nil }
	h, err := Open(Options{Self: city, Listen: "127.0.0.1:0", Server: cityCA.server(b, cityCA), Authorize: grantOf, Handle: answer, Log: quiet(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	r := newRelay(b, h.Addr().String)
	child, err := Open(Options{Self: guangn, Handle: answer, Log: quiet(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer child.Close()
	child.SetParent(&Parent{Ref: city, Addresses: []string{r.addr()}, TLS: aCA.client(b, cityCA)})
	await(b, "the line", func() bool { return h.Connected(guangn) && child.Connected(city) })
	b.ReportMetric(float64(r.bytes.Load()), "bytes/connect")
	before := r.bytes.Load()
	question := make([]byte, 150)
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for range 2 {
		<-tick.C
		at := r.bytes.Load()
		if _, err := child.Call(within(b, time.Second), city, "feed", question); err != nil {
			b.Fatal(err)
		}
		if _, err := h.Call(within(b, time.Second), guangn, "feed", question); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(r.bytes.Load()-at), "bytes/questions")
	}
	b.ReportMetric(float64(r.bytes.Load()-before)/60, "bytes/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIdleChildren is the cost of 300 lines on a parent, with the light far ends of
// the lines in the same process.
func BenchmarkIdleChildren(b *testing.B) {
	const children = 300
	cityCA, _, _ := tree(b)
	h, err := Open(Options{Self: city, Listen: "127.0.0.1:0", Server: cityCA.server(b, cityCA), Authorize: grantOf, Handle: echo, Log: quiet(b)})
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for i := range children {
		code := fmt.Sprintf("51%02d%02d", 1+i/90, 1+i%90)
		r := newRogue(b, &hub{Server: h, ca: cityCA}, cityCA, map[string]any{"name": "county-" + code + "_N"}, func(c *x509.Certificate) {
			c.URIs = []*url.URL{{Scheme: "tongban", Host: code + "." + cityCA.name, Path: "/county/n1"}}
		})
		r.send("LS+ dn.county-%s.rq.county-%s_N.*\r\n", code, code)
	}
	await(b, "all lines", func() bool {
		connected := map[division.Ref]bool{}
		h.down.look(connected)
		return len(connected) == children
	})
	b.ReportMetric(float64(time.Since(began).Milliseconds())/children, "ms/connect")
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric((inUse(after)-inUse(before))/children/1024, "KiB/child")
	const window = 5 * time.Second
	used := cpu(b)
	<-time.After(window)
	b.ReportMetric(100*float64(cpu(b)-used)/float64(window), "%core")
	b.ReportMetric(0, "ns/op")
}

func inUse(m runtime.MemStats) float64 { return float64(m.HeapInuse + m.StackInuse) }

// cpu is what the process has used so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
