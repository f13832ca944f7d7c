package members_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"tongban/node/join"
	"tongban/node/members"
	"tongban/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheBookIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	b, err := members.OpenBook(file)
	if err != nil {
		t.Fatal(err)
	}
	var removed []replication.NodeID
	b.OnRemoval(func(n []replication.NodeID) { removed = append(removed, n...) })
	two := []join.Peer{{ID: "n2", Address: "b:1"}, {ID: "n1", Address: "a:1"}}
	if err := b.Set(two); err != nil {
		t.Fatal(err)
	}
	if err := b.SetGossip([]string{"y:2", "x:2"}); err != nil {
		t.Fatal(err)
	}
	again, err := members.OpenBook(file)
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := again.Lookup("n2"); !ok || p.Address != "b:1" || again.Believes("n3", "") || len(again.Gossip()) != 2 {
		t.Errorf("read %v and %v", again.Peers(), again.Gossip())
	}
	two[0].Certificates = "f0 f1"
	if err := b.Set(two); err != nil {
		t.Fatal(err)
	}
	for fingerprint, want := range map[string]bool{"f0": true, "f1": true, "f": false, "f0 f1": false, "": false} {
		if b.Believes("n2", fingerprint) != want {
			t.Errorf("n2 by %q: %v", fingerprint, !want)
		}
	}
	if !b.Believes("n1", "f9") || b.Believes("n3", "f0") {
		t.Error("of a node without certificates in the book, or of none, the wrong thing is believed")
	}
	if err := b.Set(two[:1]); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(removed, []replication.NodeID{"n1"}) || b.Believes("n1", "") {
		t.Errorf("removed %v", removed)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := members.OpenBook(file); err == nil {
		t.Error("a damaged book was accepted")
	}
}

type box struct {
	pool *members.Pool
	addr string
	stop func()
}

func open(t *testing.T, id replication.NodeID, cluster string, key []byte, known ...string) *box {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p, err := members.OpenPool(members.Options{Self: id, Cluster: cluster, Listen: addr, Peer: string(id) + ":7301", Key: key,
		Snapshot: filepath.Join(t.TempDir(), "serf"), Fast: true, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Known: func() []string { return known }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return p.Run(ctx) })
	b := &box{p, addr, nil}
	b.stop = func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		cancel()
		_ = g.Wait()
		b.stop = func() {}
	}
	t.Cleanup(func() { b.stop() })
	return b
}

// await polls until the pool of b sees n with the given state.
func (b *box) await(t *testing.T, n replication.NodeID, up bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		for _, m := range b.pool.Members() {
			if m.ID == n && m.Up == up {
				return
			}
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("node %s never became up=%v; the pool is %+v", n, up, b.pool.Members())
		}
	}
}

func TestBoxesOfOneDivisionSeeEachOther(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	n1 := open(t, "n1", "aa", key)
	n2 := open(t, "n2", "aa", key, n1.addr)
	n1.await(t, "n2", true)
	n2.await(t, "n1", true)
	foreign := open(t, "x1", "bb", key, n1.addr)                       // Another division's cluster with the same key.
	wrong := open(t, "y1", "aa", bytes.Repeat([]byte{8}, 32), n1.addr) // Another key.
	n2.stop()
	n1.await(t, "n2", false)
	for _, m := range n1.pool.Members() {
		if m.ID == "x1" || m.ID == "y1" {
			t.Errorf("a stranger is in the pool: %+v", m)
		}
	}
	if len(foreign.pool.Members()) != 1 || len(wrong.pool.Members()) != 1 {
		t.Errorf("strangers see %v and %v", foreign.pool.Members(), wrong.pool.Members())
	}
}
