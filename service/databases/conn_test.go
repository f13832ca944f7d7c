package databases

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
	"tongban/service"
	"tongban/tenancy"
)

// world is a node of a division with one database, d/a, without its other parts.
type world struct {
	division *service.DB
	app      *replication.DB
	asked    atomic.Int64 // Requests that have found their database.
}

func (w *world) Division() *service.DB { return w.division }
func (w *world) Serving() bool         { return true }
func (w *world) Application(id replication.DatabaseID) (*replication.DB, bool) {
	w.asked.Add(1)
	return w.app, id == "d/a"
}
func (w *world) Forward(context.Context, replication.NodeID, *http.Request) (*http.Response, error) {
	return nil, net.ErrClosed
}
func (w *world) Up(replication.NodeID) bool { return false }
func (w *world) Addresses(context.Context) map[replication.NodeID]string {
	return map[replication.NodeID]string{}
}
func (w *world) Unreached(error) bool { return true }

// serve starts a listener with the database d/a, and returns its address and the header of a
// key.
func serve(t *testing.T) (n *Listener, address, authorization string) {
	t.Helper()
	db := replicationtest.One(t)
	division := service.NewDB(db, func(*service.Tx, service.Event) error { return nil })
	w := &world{division: division, app: replicationtest.One(t)}
	defs := []service.Definition{tenancy.New(tenancy.Options{}).Definition(), Definition(nil)}
	if err := service.Migrate(t.Context(), division, service.DivisionScope, defs); err != nil {
		t.Fatal(err)
	}
	secret := NewSecret()
	if err := division.Update(t.Context(), func(tx *service.Tx) error {
		if err := tenancy.AddNode(tx, tenancy.Node{ID: "n1", Address: "127.0.0.1:1"}); err != nil {
			return err
		}
		if _, err := tenancy.CreateTenant(tx, "d", "D", nil); err != nil {
			return err
		}
		if _, err := tenancy.CreateDatabases(tx, "d", "a"); err != nil {
			return err
		}
		_, err := CreateKey(tx, "d/a", "", false, secret)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	s := NewServer(Options{Databases: w, Neighbours: w, Self: "n1", Log: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n = s.Listen(l, slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug))
	done := make(chan error, 1)
	go func() { done <- n.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		s.Close()
	})
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth("d.a", secret)
	return n, l.Addr().String(), r.Header.Get("Authorization")
}

const selectOne = `["SELECT 1 AS a"]`

// said sends text, in pieces of so many bytes, and reads n answers: "<status> <body>".
func said(t *testing.T, address, text string, piece, n int) []string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		for len(text) > 0 {
			k := min(piece, len(text))
			if _, err := io.WriteString(c, text[:k]); err != nil {
				return
			}
			text = text[k:]
		}
	}()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var out []string
	in := bufio.NewReader(c)
	for range n {
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			return append(out, err.Error())
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return append(out, err.Error())
		}
		out = append(out, fmt.Sprint(r.StatusCode, " ", strings.TrimSpace(string(body))))
		if r.Close {
			out = append(out, "closed")
			break
		}
	}
	return out
}

func TestConnectionsOfAllKindsAreServed(t *testing.T) {
	_, address, authorization := serve(t)
	const answer = `200 {"results":[{"columns":["a"],"types":["integer"],"values":[[1]]}]}`
	host := "Host: x\r\nAuthorization: " + authorization + "\r\n"
	good := fmt.Sprintf("POST /db/query HTTP/1.1\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", host, len(selectOne), selectOne)
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"one", good, []string{answer}},
		{"three at once", good + good + good, []string{answer, answer, answer}},
		{"a query in the address", "GET /db/query?q=SELECT%201%20AS%20a HTTP/1.1\r\n" + host + "\r\n", []string{answer}},
		{"the end asked for", strings.Replace(good, "Host", "Connection: close\r\nHost", 1), []string{answer, "closed"}},
		{"a body in chunks, then another", "POST /db/query HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(selectOne), selectOne) + good, []string{answer, answer}},
		{"HTTP/1.0", strings.Replace(good, "1.1", "1.0", 1), []string{answer, "closed"}},
		{"names in capitals", strings.Replace(strings.ToUpper(good[:strings.Index(good, "AUTH")+1])+good[strings.Index(good, "AUTH")+1:], "content-length", "CONTENT-LENGTH", 1), []string{answer}},
		{"an escaped path", strings.Replace(good, "/db/query", "/db/%71uery", 1), []string{answer}},
		{"a slash at the end", strings.Replace(good, "/db/query", "/db/query/", 1), []string{answer}},
		{"no key", strings.Replace(good, "Authorization", "X-Other", 1) + good, []string{"401 this needs a key: HTTP basic authentication with the user <department>.<database> and the key as password", answer}},
		{"another path", strings.Replace(good, "/db/query", "/", 1) + good, []string{"404 there is nothing here; the paths are /db/execute, /db/query, /db/request, /status, /nodes and /readyz", answer}},
		{"another method", "DELETE /db/query HTTP/1.1\r\n" + host + "\r\n", []string{"405 the method is not allowed here"}},
		{"no host", strings.Replace(good, "Host: x\r\n", "", 1), []string{"400 400 Bad Request: missing required Host header", "closed"}},
		{"two hosts", strings.Replace(good, "Host: x\r\n", "Host: x\r\nHost: y\r\n", 1), []string{"400 400 Bad Request", "closed"}},
		{"two lengths", strings.Replace(good, "Content-Length", "Content-Length: 0\r\nContent-Length", 1), []string{"400 400 Bad Request", "closed"}},
		{"length and chunks", strings.Replace(good, "Content-Length", "Transfer-Encoding: gzip\r\nContent-Length", 1), []string{"501 Unsupported transfer encoding", "closed"}},
		{"a length that is none", strings.Replace(good, "Content-Length: 17", "Content-Length: +17", 1), []string{"400 400 Bad Request", "closed"}},
		{"a folded header", strings.Replace(good, "Host: x", "Host: x\r\nX-A: 1\r\n b", 1), []string{answer}},
		{"no HTTP", "hello\r\n\r\n", []string{"400 400 Bad Request", "closed"}},
		{"a body that is too large", "POST /db/query HTTP/1.1\r\n" + host + "Content-Length: 9000000\r\n\r\n", []string{"413 the body is larger than 8 MiB; divide it", "closed"}},
		{"a refused body is not taken for a request", fmt.Sprintf("POST /nowhere HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", host, len(good), good) + good,
			[]string{"404 there is nothing here; the paths are /db/execute, /db/query, /db/request, /status, /nodes and /readyz", answer}},
	} {
		for _, piece := range []int{1 << 20, 7} {
			if piece == 7 && len(c.text) > 10_000 {
				continue
			}
			if got := said(t, address, c.text, piece, len(c.want)); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%s, in pieces of %d: %q, not %q", c.name, piece, got, c.want)
			}
		}
	}
}

func TestAHeadWithoutEndIsRefused(t *testing.T) {
	_, address, _ := serve(t)
	text := "POST /db/query HTTP/1.1\r\n" + strings.Repeat("X-A: "+strings.Repeat("b", 1000)+"\r\n", 200)
	// The refusal may be lost when the connection is closed before all was read.
	if got := said(t, address, text, 1<<20, 1); !strings.HasPrefix(got[0], "431") && !strings.Contains(got[0], "reset") {
		t.Errorf("%q", got)
	}
}

func TestAClientThatWaitsToSendItsBodyIsTold(t *testing.T) {
	_, address, authorization := serve(t)
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/db/query", bytes.NewReader(bytes.Repeat([]byte{' '}, 100_000)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", authorization)
	r.Header.Set("Expect", "100-continue")
	response, err := (&http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}).Do(r)
	if err != nil || response.StatusCode != http.StatusBadRequest {
		t.Fatal(response, err)
	}
	response.Body.Close()
}

func TestAShutdownLetsRequestsEndAndClosesTheIdle(t *testing.T) {
	n, address, authorization := serve(t)
	idle, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	half, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	if _, err := io.WriteString(half, "POST /db/que"); err != nil {
		t.Fatal(err)
	}
	slow := `["WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000000) SELECT count(*) FROM c"]`
	busy := make(chan []string, 1)
	go func() {
		busy <- said(t, address, fmt.Sprintf("POST /db/query HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", authorization, len(slow), slow), 1<<20, 1)
	}()
	replicationtest.Await(t, "the three connections are there", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.conns) == 3
	})
	replicationtest.Await(t, "the query has begun", func() bool { return n.server.o.Databases.(*world).asked.Load() == 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if got := <-busy; len(got) != 2 || !strings.Contains(got[0], "[[3000000]]") || got[1] != "closed" {
		t.Errorf("the busy one: %q", got)
	}
	for _, c := range []net.Conn{idle, half} {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("an idle connection: %v", err)
		}
	}
}
