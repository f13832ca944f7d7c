package replication

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// incrementUntil adds one to the counter, as a literal, on whichever replica leads, until stop is
// closed; it returns how often that was acknowledged, and how often the outcome is unknown.
func incrementUntil(stop <-chan struct{}, dbs func() []*DB) (acknowledged, unknown int) {
	for i := 0; ; i++ {
		for _, db := range dbs() {
			select {
			case <-stop:
				return acknowledged, unknown
			default:
			}
			_, err := db.Update(context.Background(), func(tx *Tx) error {
				var n int
				if err := tx.QueryRow(`SELECT n FROM counter`).Scan(&n); err != nil {
					return err
				}
				return tx.Exec(fmt.Sprintf(`UPDATE counter SET n = %d`, n+1))
			})
			switch {
			case err == nil:
				acknowledged++
			case errors.Is(err, ErrUnknownOutcome):
				unknown++
			}
		}
	}
}

// TestANodeJoinsAgainAndAgainUnderLoad takes a node away, empties it and lets it join: each
// time it receives the file, while there are updates, and views on the node itself.
func TestANodeJoinsAgainAndAgainUnderLoad(t *testing.T) {
	t.Parallel()
	lan, dir1, dir2 := newTestLAN(t), t.TempDir(), t.TempDir()
	if err := Seed(dir1, "n1", seeded, seedFile(t)); err != nil {
		t.Fatal(err)
	}
	_, db1 := openNode(t, lan, "n1", dir1)
	eventually(t, "the seeded node leads", db1.IsLeader)
	update(t, db1, `CREATE TABLE counter(n)`)
	update(t, db1, `INSERT INTO counter VALUES (0)`)
	e2, db2 := openNode(t, lan, "n2", dir2)
	var second atomic.Pointer[DB]
	second.Store(db2)
	stop := make(chan struct{})
	var acknowledged, unknown int
	var load sync.WaitGroup
	load.Go(func() {
		acknowledged, unknown = incrementUntil(stop, func() []*DB { return []*DB{db1, second.Load()} })
	})
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := second.Load().View(t.Context(), Local, func(v *View) error { return v.QueryRow(`SELECT n FROM counter`).Scan(new(int)) })
			if err != nil && !errors.Is(err, ErrClosed) && !strings.Contains(err.Error(), "no such table") {
				t.Errorf("a view on the node that joins: %v", err)
			}
		}
	})
	for round := range 4 {
		addNode(t, "n2", db1, db2)
		p, ok := db2.group.Load().snapshots.latest()
		if !ok || p.Received == 0 {
			t.Errorf("round %d: it received no file (%+v)", round, p)
		}
		if round == 3 {
			break
		}
		eventually(t, "the leader has taken it out", func() bool {
			return db1.RemoveNode(t.Context(), "n2") == nil
		})
		if err := errors.Join(e2.Close(), os.RemoveAll(dir2), os.Mkdir(dir2, 0o700)); err != nil {
			t.Fatal(err)
		}
		e2, db2 = openNode(t, lan, "n2", dir2)
		second.Store(db2)
	}
	close(stop)
	load.Wait()
	two := []*DB{db1, db2}
	wantEqual(t, updateOn(t, two, `INSERT INTO t (text) VALUES ('after it')`), two...)
	var n int
	if err := db2.View(t.Context(), Local, func(v *View) error { return v.QueryRow(`SELECT n FROM counter`).Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d increments are acknowledged, %d unknown, the counter is %d", acknowledged, unknown, n)
	if n < acknowledged || n > acknowledged+unknown || acknowledged < 10 {
		t.Errorf("the counter is %d after %d acknowledged and %d unknown increments", n, acknowledged, unknown)
	}
}

// TestAStopDoesNotWaitForAFileThatIsBeingSent sends the file to a node that takes it and
// never says that it has installed it.
func TestAStopDoesNotWaitForAFileThatIsBeingSent(t *testing.T) {
	t.Parallel()
	lan, dir1 := newTestLAN(t), t.TempDir()
	if err := Seed(dir1, "n1", seeded, seedFile(t)); err != nil {
		t.Fatal(err)
	}
	e1, db1 := openNode(t, lan, "n1", dir1)
	eventually(t, "the seeded node leads", db1.IsLeader)
	e2, _ := openNode(t, nil, "n2", t.TempDir())
	taken := make(chan struct{})
	var once sync.Once
	stop := lan.listen("n2", func(conn net.Conn, from NodeID, protocol string) error {
		if protocol == raftProtocol {
			return e2.ServeConn(conn, from, protocol)
		}
		defer conn.Close()
		_, err := e2.transport.greeted(conn, bufio.NewReader(conn), from)
		once.Do(func() { close(taken) })
		_, copyErr := io.Copy(io.Discard, conn)
		return errors.Join(err, copyErr)
	})
	t.Cleanup(stop)
	added := make(chan error, 1)
	go func() { added <- db1.AddNode(t.Context(), "n2") }()
	Reached(t, taken)
	begun := time.Now()
	if err := e1.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 8*time.Second { // At an installTimeout of a minute.
		t.Errorf("the stop took %v", took)
	}
	if err := <-added; err == nil {
		t.Error("the node was added")
	}
}
