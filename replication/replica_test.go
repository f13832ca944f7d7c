package replication_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// leading is what f returns while name leads: it runs again if that was not so.
func leading(t testing.TB, c *replicationtest.Nodes, name replication.NodeID, f func() error) error {
	t.Helper()
	for {
		c.Lead(name)
		if err := f(); !errors.Is(err, replication.ErrNotLeader) {
			return err
		}
	}
}

// reaching starts f while name leads, and returns when f has closed reached; the returned
// function waits for f's end and returns its error.
func reaching(t testing.TB, c *replicationtest.Nodes, name replication.NodeID, reached <-chan struct{}, f func() error) (end func() error) {
	t.Helper()
	told := make(chan error, 1)
	err := leading(t, c, name, func() error {
		go func() { told <- f() }()
		select {
		case <-reached:
			return nil
		case err := <-told:
			return err
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return func() error { return <-told }
}

func TestFollowersRefuse(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n2")
	exec(t, c.DB("n2"), `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1)`)
	c.Settle()
	db := c.DB("n1")
	if _, err := db.Update(ctx, insert(1)); !errors.Is(err, replication.ErrNotLeader) || !strings.Contains(err.Error(), "n2") {
		t.Errorf("update: %v", err)
	}
	for _, level := range []replication.Level{replication.Leader, replication.Linearizable} {
		err := db.View(ctx, level, func(*replication.View) error { return nil })
		if !errors.Is(err, replication.ErrNotLeader) {
			t.Errorf("view at level %d: %v", level, err)
		}
	}
	if n := count(t, db, "t"); n != 1 {
		t.Errorf("a local view sees %d rows", n)
	}
	if s := db.Status(); s.Role != "follower" || s.Leader != "n2" || len(s.Voters) != 3 || s.Err != "" {
		t.Errorf("status %+v", s)
	}
	if err := db.AddNode(ctx, "n9"); !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("add a node: %v", err)
	}
	if err := db.TransferLeadership(ctx); !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("transfer: %v", err)
	}
}

func TestACutOffLeaderServesNoLeaderReads(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n1")
	db := c.DB("n1")
	exec(t, db, `CREATE TABLE t(v)`)
	read := func() error {
		return db.View(ctx, replication.Leader, func(*replication.View) error { return nil })
	}
	if err := leading(t, c, "n1", read); err != nil {
		t.Fatalf("before the cut: %v", err)
	}
	begun, goOn := make(chan struct{}), make(chan struct{})
	end := reaching(t, c, "n1", begun, func() error {
		return db.View(ctx, replication.Leader, func(*replication.View) error { close(begun); replication.HoldUntil(t, goOn); return nil })
	})
	c.Isolate("n1")
	replicationtest.Await(t, "the lease ends", func() bool { return read() != nil })
	c.Leader()
	close(goOn)
	if err := end(); !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("a read that outlived the lease: %v", err)
	}
	if err := db.View(ctx, replication.Linearizable, func(*replication.View) error { return nil }); !errors.Is(err, replication.ErrNotLeader) {
		t.Errorf("a linearizable read: %v", err)
	}
	if _, err := db.Update(ctx, insert(1)); err == nil {
		t.Error("an update committed without a majority")
	}
}

func TestAnUpdateWhoseLeaderIsCutOffHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	f := newForced(t, asItIs)
	goOn := f.stop(t, "a")
	f.Isolate("n1")
	if err := goOn(); !errors.Is(err, replication.ErrUnknownOutcome) {
		t.Errorf("the update is told %v", err)
	}
	f.Heal()
	if err := f.check(f.Nodes); err != nil {
		t.Error(err)
	}
}

// alone is for a node that elects itself: nobody else is to be waited for.
func alone(o *replication.Options) { o.HeartbeatTimeout = 20 * time.Millisecond }

func TestOnLeadRunsOncePerLeadership(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log []string
	active := 0
	note := func(s string, n int) {
		mu.Lock()
		defer mu.Unlock()
		if active += n; active > 1 {
			t.Error("two at once")
		}
		log = append(log, s)
	}
	c := replicationtest.Cluster(t, 1, alone)
	c.Open = func(replication.NodeID) replication.DBOptions {
		return replication.DBOptions{
			Voters: []replication.NodeID{"n1", "n2", "n3"},
			OnLead: func(ctx context.Context, db *replication.DB) {
				note("begin", 1)
				if !db.IsLeader() {
					t.Error("it does not lead yet")
				}
				<-ctx.Done()
				note("end", -1)
			},
		}
	}
	c.Stop("n1")
	c.Start("n1")
	replicationtest.Await(t, "it leads", func() bool { mu.Lock(); defer mu.Unlock(); return len(log) == 1 })
	c.Stop("n1")
	if got := fmt.Sprint(log); got != "[begin end]" {
		t.Error(got)
	}
}

func TestRestartGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 1, alone)
	exec(t, c.DB("n1"), counterSchema...)
	file := filepath.Join(c.Dir("n1"), "db", "test", "main", "state.db")
	r := attackSeed(t)
	lost := 0
	for round := range 6 {
		db := c.DB("n1")
		for i := range 30 {
			if _, err := db.Update(ctx, increment(fmt.Sprint(round, "/", i))); err != nil {
				t.Fatal(err)
			}
		}
		sum, at, err := db.Checksum(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if round%2 == 0 {
			lose := replication.PowerCut(t, db)
			c.Crash("n1")
			lose(r)
			f, err := replication.OpenFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if f.Applied() < at {
				lost++
			}
			f.Close()
		} else {
			c.Stop("n1")
			f, err := replication.OpenFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := f.Checksum(); err != nil || got != sum || f.Applied() != at {
				t.Errorf("the stopped file is at %d with %x (%v), the replica was at %d with %x", f.Applied(), got, err, at, sum)
			}
			f.Close()
		}
		db = c.Start("n1")
		c.Leader()
		if got, gotAt, err := db.Checksum(ctx); err != nil || got != sum || gotAt != at {
			t.Fatalf("round %d: after the restart %x at %d (%v), before it %x at %d", round, got, gotAt, err, sum, at)
		}
	}
	if n := count(t, c.DB("n1"), "done"); n != 180 {
		t.Errorf("%d rows", n)
	}
	if lost == 0 {
		t.Error("no power cut took anything from the file")
	}
}

func TestAFileWithoutItsLogIsRefused(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 1, alone)
	exec(t, c.DB("n1"), counterSchema...)
	c.Stop("n1")
	if err := os.RemoveAll(filepath.Join(c.Dir("n1"), "log")); err != nil {
		t.Fatal(err)
	}
	o := replicationtest.Options(t, "n1")
	o.Dir = c.Dir("n1")
	e, err := replication.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := e.OpenDB(replicationtest.ID, replication.DBOptions{Voters: []replication.NodeID{"n1"}}); err == nil || !strings.Contains(err.Error(), "log") {
		t.Errorf("opened with %v", err)
	}
}

func TestAFullDiskIsNoResult(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	c.Settle()
	big := func(tx *replication.Tx) error { return insert(strings.Repeat("x", 200_000))(tx) }

	// On the leader: the update is refused, the replica goes on.
	replication.Direct(t, c.DB("n1"), `PRAGMA max_page_count = 10`)
	update := func(name replication.NodeID, fn func(*replication.Tx) error) error {
		return leading(t, c, name, func() error { _, err := c.DB(name).Update(ctx, fn); return err })
	}
	if err := update("n1", big); !errors.Is(err, replication.ErrDisk) {
		t.Errorf("the leader's update: %v", err)
	}
	if err := update("n1", insert(1)); err != nil {
		t.Errorf("a small one: %v", err)
	}
	// On a follower: the replica waits and serves what it has, the others go on.
	if err := update("n2", big); err != nil {
		t.Fatal(err)
	}
	db := c.DB("n1")
	replicationtest.Await(t, "the replica waits", func() bool { return strings.Contains(db.Status().Held, "disk full") })
	if s := db.Status(); s.Role != "follower" || s.Err != "" {
		t.Errorf("status %+v", s)
	}
	if n := count(t, db, "t"); n != 1 {
		t.Errorf("%d rows while it waits", n)
	}
	if err := update("n2", insert(2)); err != nil {
		t.Errorf("the others: %v", err)
	}
	// It does not lead: who elects it gets the leadership back.
	replicationtest.Await(t, "n2 has handed over", func() bool { // n3 may have heard too late that it may vote.
		err := c.DB("n2").TransferLeadership(ctx)
		return err == nil || errors.Is(err, replication.ErrNotLeader)
	})
	replicationtest.Await(t, "another leads", func() bool { return c.DB("n2").IsLeader() || c.DB("n3").IsLeader() })
	// With room again it catches up, without a restart.
	replication.Direct(t, db, `PRAGMA max_page_count = 1000000`)
	c.Settle()
	if n := count(t, db, "t"); n != 3 || db.Status().Held != "" {
		t.Errorf("%d rows, %+v", n, db.Status())
	}
}

func TestAddAndRemoveANode(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 1)
	c.Open = func(replication.NodeID) replication.DBOptions {
		return replication.DBOptions{Voters: []replication.NodeID{"n1"}}
	}
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`)
	for i := range 300 {
		if _, err := c.DB("n1").Update(ctx, insert(i)); err != nil {
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := c.DB("n1").AddNode(short, "n2"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a node that does not run: %v", err)
	}
	for _, n := range []replication.NodeID{"n2", "n3"} {
		c.Add(n)
		for range 2 { // It may be called again.
			if err := c.DB("n1").AddNode(ctx, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.Settle()
	c.Crash("n1")
	leader := c.DB(c.Leader())
	if err := leader.RemoveNode(ctx, "n1"); err != nil {
		t.Fatal(err)
	}
	if _, err := leader.Update(ctx, insert("after")); err != nil {
		t.Fatal(err)
	}
	members, err := leader.Members()
	if err != nil || len(members) != 2 {
		t.Errorf("members %v, %v", members, err)
	}
	c.Settle()
}

func TestBackupWhileServing(t *testing.T) {
	t.Parallel()
	db := replicationtest.One(t)
	exec(t, db, counterSchema...)
	exec(t, db, `CREATE TABLE big(b)`, `INSERT INTO big VALUES (zeroblob(3000000))`)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				if _, err := db.Update(ctx, increment(fmt.Sprint(i))); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	path := filepath.Join(t.TempDir(), "backup.db")
	at, err := db.Backup(ctx, path)
	close(stop)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	f, err := replication.OpenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var n, rows int
	if err := f.QueryRow(`SELECT n, (SELECT count(*) FROM done) FROM counter`).Scan(&n, &rows); err != nil || n != rows || f.Applied() != at {
		t.Errorf("the counter is %d, %d rows, at %d of %d (%v)", n, rows, f.Applied(), at, err)
	}
	if _, err := db.Backup(ctx, path); err == nil {
		t.Error("a backup overwrote a file")
	}
}

func TestInstallACopy(t *testing.T) {
	t.Parallel()
	from, to := replicationtest.One(t), replicationtest.One(t)
	exec(t, from, `CREATE TABLE t(v)`, `INSERT INTO t VALUES (1)`)
	exec(t, to, `CREATE TABLE other(v)`)
	path := filepath.Join(t.TempDir(), "copy.db")
	at, err := from.Backup(ctx, path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b := append(binary.BigEndian.AppendUint64(nil, uint64(len(file))), file...)
	if err := replication.Install(to, bytes.NewReader(b[:len(b)-1])); err == nil {
		t.Error("a copy without its last byte was installed")
	}
	if n := count(t, to, "other"); n != 0 {
		t.Error("a copy that did not come has changed something")
	}
	if err := replication.Install(to, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	want, _, _ := from.Checksum(ctx)
	if got, gotAt, err := to.Checksum(ctx); err != nil || got != want || gotAt != at || to.Applied() != at {
		t.Errorf("installed %x at %d (%v), not %x at %d", got, gotAt, err, want, at)
	}
}

// TestFullText lets updates that fail stand between those that write to an fts4 table:
// shadow tables may differ then, content must not.
func TestFullText(t *testing.T) {
	t.Parallel()
	c := replicationtest.Cluster(t, 3)
	c.Lead("n1")
	exec(t, c.DB("n1"), `CREATE TABLE t(v)`, `CREATE VIRTUAL TABLE f USING fts4(body, tokenize=unicode61)`,
		`CREATE VIRTUAL TABLE bare USING fts4(content="", body)`,
		`CREATE TRIGGER ti AFTER INSERT ON t BEGIN INSERT INTO f(docid, body) VALUES (new.rowid, new.v); END`)
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"社 保", "户 口", "social", "security", "permit", "a", "b"}
	for range 40 {
		var fns []func(tx *replication.Tx) error
		for range 5 {
			text := words[r.IntN(len(words))] + " " + words[r.IntN(len(words))]
			docid, kind := r.IntN(30), r.IntN(5)
			fns = append(fns, func(tx *replication.Tx) error {
				res, err := tx.ExecResult(`INSERT INTO t(v) VALUES (?)`, text)
				if err != nil {
					return err
				}
				switch kind {
				case 0:
					return errors.New("refused")
				case 1:
					return tx.Exec(`DELETE FROM f WHERE docid = ?`, docid)
				case 2:
					return tx.Exec(`UPDATE f SET body = ? WHERE docid = ?`, text+" x", docid)
				case 3:
					return tx.Exec(`INSERT INTO bare(docid, body) VALUES (?, ?)`, res.LastInsertID, text)
				}
				var n int
				return tx.QueryRow(`SELECT count(*) FROM f WHERE f MATCH 'social'`).Scan(&n)
			})
		}
		for _, err := range together(t, c.DB("n1"), fns...) {
			if err != nil && err.Error() != "refused" {
				t.Fatal(err)
			}
		}
	}
	c.Settle()
	var want int
	for i, name := range c.Names() {
		n := count(t, c.DB(name), `f WHERE f MATCH 'social OR permit'`)
		if i > 0 && n != want {
			t.Errorf("%s finds %d, n1 %d", name, n, want)
		}
		want = n
	}
}
