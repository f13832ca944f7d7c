package web_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// counted is a body that says how much of it was read.
type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

// from asks as an address does and returns the status.
func from(h http.Handler, method, path, remote, session string, body io.Reader) int {
	r := httptest.NewRequest(method, path, body)
	r.RemoteAddr = remote
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	if session != "" {
		r.AddCookie(&http.Cookie{Name: "session", Value: session})
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Code
}

func TestALongBodyIsNotReadForWhoMayNotSendIt(t *testing.T) {
	_, h := newWeb(t)
	for who, want := range map[string]int{"": 401, "auditor": 403, "stranger": 404, "no such session": 401} {
		body := &counted{Reader: strings.NewReader(strings.Repeat("x", 4<<20))}
		if got := from(h, "POST", "/t/tax/notes/import", "192.0.2.1:1", who, body); got != want || body.n > 0 {
			t.Errorf("%q got %d, want %d, and %d bytes were read", who, got, want, body.n)
		}
	}
	body := &counted{Reader: strings.NewReader(strings.Repeat("x", 4<<20))}
	from(h, "POST", "/t/tax/notes/import", "192.0.2.1:1", "officer", body)
	if body.n != 4<<20 {
		t.Errorf("of who may, %d bytes were read", body.n)
	}
}

// TestSlowBodiesOfOneAddressTakeABoundedShare holds bodies open, as somebody does who
// sends a byte a second, and asks for more.
func TestSlowBodiesOfOneAddressTakeABoundedShare(t *testing.T) {
	_, h := newWeb(t)
	const held = 32
	var senders []*io.PipeWriter
	done := make(chan int, held)
	chunk := strings.Repeat("x", 1<<20-1)
	for range held {
		r, w := io.Pipe()
		senders = append(senders, w)
		go func() { done <- from(h, "POST", "/slow", "203.0.113.9:1", "", r) }()
		if _, err := io.WriteString(w, chunk); err != nil { // Returns when the node has read it.
			t.Fatal(err)
		}
	}
	if got := from(h, "POST", "/slow", "203.0.113.9:2", "", strings.NewReader(chunk)); got != http.StatusServiceUnavailable {
		t.Errorf("one body more of the same address got %d", got)
	}
	if got := from(h, "POST", "/t/tax/notes", "198.51.100.7:1", "officer", strings.NewReader(`{}`)); got != http.StatusBadRequest {
		t.Errorf("another address got %d", got)
	}
	for _, w := range senders {
		_ = w.Close()
	}
	for range senders {
		<-done
	}
	if got := from(h, "POST", "/t/tax/notes", "203.0.113.9:2", "officer", strings.NewReader(`{}`)); got != http.StatusBadRequest {
		t.Errorf("when they have ended, the address got %d", got)
	}
}

func TestANetworkOfOneClientCountsAsOne(t *testing.T) {
	_, h := newWeb(t)
	refused := 0
	for i := range 130 { // Another address of the same /64 each time.
		if from(h, "POST", "/slow", fmt.Sprintf("[2001:db8:7:8:%x::1]:99", i), "", nil) == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 5 || refused > 10 {
		t.Errorf("%d of 130 requests from one IPv6 network were refused, want those over 120 a minute", refused)
	}
	if got := from(h, "POST", "/slow", "[2001:db8:7:9::1]:99", "", nil); got == http.StatusTooManyRequests {
		t.Error("another network is refused too")
	}
	if got := from(h, "POST", "/slow", "[::ffff:192.0.2.99]:99", "", nil); got == http.StatusTooManyRequests {
		t.Error("a mapped IPv4 address counts as IPv6")
	}
}

func TestASessionThatIsMadeUpBuysNoLargerShare(t *testing.T) {
	_, h := newWeb(t)
	flood := func(session string) (refused int) {
		for range 130 {
			if from(h, "POST", "/slow", "192.0.2.77:1", session, nil) == http.StatusTooManyRequests {
				refused++
			}
		}
		return refused
	}
	if n := flood("made up"); n < 5 {
		t.Errorf("%d of 130 requests with a made-up session were refused, want those over 120 a minute", n)
	}
	if n := flood("officer"); n != 0 {
		t.Errorf("%d of 130 requests of somebody signed in were refused", n)
	}
}

func TestAFloodOfReadsFromOneAddressIsBounded(t *testing.T) {
	_, h := newWeb(t)
	refused := 0
	for range 6100 {
		if from(h, "GET", "/healthz", "192.0.2.8:1", "", nil) == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused == 0 || refused > 100 {
		t.Errorf("%d of 6100 reads were refused, want those over 6000 a minute", refused)
	}
	if got := from(h, "GET", "/assets/x/nothing.css", "192.0.2.8:1", "", nil); got != http.StatusNotFound {
		t.Errorf("a file of the portal got %d", got)
	}
	if got := from(h, "GET", "/healthz", "127.0.0.1:1", "", nil); got != http.StatusOK {
		t.Errorf("this machine got %d", got)
	}
}

func TestADownloadIsKeptByNobody(t *testing.T) {
	_, h := newWeb(t)
	response := ask{method: "GET", path: "/file"}.send(h)
	if got := response.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control %q", got)
	}
}
