package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) *Conn {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c := NewConn(strings.TrimPrefix(s.URL, "http://"))
	t.Cleanup(c.Close)
	return c
}

func TestAnswersAreReadWhateverTheirFraming(t *testing.T) {
	long := strings.Repeat("0123456789", 100_000)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		body, _ := io.ReadAll(r.Body)
		switch r.URL.Path {
		case "/echo":
			fmt.Fprintf(w, "%s %s %s %s %s", r.Method, r.URL.RawQuery, user, password, body)
		case "/chunks":
			for i := range 3 {
				fmt.Fprint(w, i, long)
				w.(http.Flusher).Flush()
			}
		case "/refused":
			w.Header().Set("Connection", "close")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	for _, want := range []struct {
		q      Request
		status int
		body   string
	}{
		{Request{"POST", "/echo?level=weak", Basic("a/b", "secret"), []byte("[1]")}, 200, "POST level=weak a/b secret [1]"},
		{Request{"GET", "/echo", "", nil}, 200, "GET    "},
		{Request{"GET", "/chunks", "", nil}, 200, "0" + long + "1" + long + "2" + long},
		{Request{"GET", "/refused", "", nil}, 503, ""},
		{Request{"POST", "/echo?after", "", []byte("x")}, 200, "POST after   x"},
	} {
		status, body, err := c.Do(t.Context(), want.q)
		if err != nil || status != want.status || string(body) != want.body {
			t.Errorf("%s %s: %d, %d bytes, %v", want.q.Method, want.q.Target, status, len(body), err)
		}
	}
}

func TestAServerThatGoesIsAnErrorAndIsDialledAgain(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/gone" {
			panic(http.ErrAbortHandler)
		}
	})
	if _, _, err := c.Do(t.Context(), Request{Method: "GET", Target: "/gone"}); err == nil {
		t.Error("an answer that never came")
	}
	if status, _, err := c.Do(t.Context(), Request{Method: "GET", Target: "/"}); err != nil || status != 200 {
		t.Errorf("the next one: %d, %v", status, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.Do(ctx, Request{Method: "GET", Target: "/"}); !errors.Is(err, context.Canceled) {
		t.Errorf("after the end: %v", err)
	}
}

func TestALoadCountsWhatEndedInItsTime(t *testing.T) {
	const each = 2 * time.Millisecond
	f, err := Drive(t.Context(), Load{Clients: 3, Warm: 20 * time.Millisecond, For: 100 * time.Millisecond,
		New: func(int) (func(context.Context) error, func(), error) {
			return func(context.Context) error { <-time.After(each); return nil }, func() {}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if f.Count < 3 || f.Count > 3*50 || f.All <= f.Count || f.P50 < each || f.P99 < f.P50 || f.Longest < f.P99 || f.PerSecond > float64(f.Count)*10 || f.PerSecond < float64(f.Count)*2 {
		t.Errorf("%+v", f)
	}
	f, err = Drive(t.Context(), Load{Clients: 1, For: time.Hour, Beside: func(context.Context) error { <-time.After(10 * each); return nil },
		New: func(int) (func(context.Context) error, func(), error) {
			return func(context.Context) error { <-time.After(each); return nil }, func() {}, nil
		}})
	if err != nil || f.Count < 1 || f.Count > 10 || f.PerSecond > 500 {
		t.Errorf("beside something else: %+v, %v", f, err)
	}
	broken := errors.New("broken")
	_, err = Drive(t.Context(), Load{Clients: 2, For: time.Hour, New: func(client int) (func(context.Context) error, func(), error) {
		return func(ctx context.Context) error {
			if client == 0 {
				return broken
			}
			<-ctx.Done()
			return ctx.Err()
		}, func() {}, nil
	}})
	if !errors.Is(err, broken) {
		t.Errorf("a load that broke: %v", err)
	}
}

func TestPercentilesAreOfTheNearestRank(t *testing.T) {
	var times []time.Duration
	for i := 1; i <= 100; i++ {
		times = append(times, time.Duration(i))
	}
	for _, c := range []struct {
		sorted []time.Duration
		share  float64
		want   time.Duration
	}{
		{times, 0.50, 50}, {times, 0.99, 99}, {times, 1, 100}, {times[:1], 0.99, 1}, {times[:2], 0.5, 1}, {times[:3], 0.5, 2}, {nil, 0.5, 0},
	} {
		if got := Percentile(c.sorted, c.share); got != c.want {
			t.Errorf("percentile %.2f of %d times is %v, want %v", c.share, len(c.sorted), got, c.want)
		}
	}
}
