package replication_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	run "os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"tongban/replication"
	"tongban/replication/replicationtest"
)

// A power cut that is true: the test program starts itself as a node whose data folder is
// on an ext4 of its own, in a file. The ioctl EXT4_IOC_SHUTDOWN ends that file system as a
// power cut does: what is not synced is gone. Beforehand some of what is dirty is written,
// for a kernel may do that at any time and in any order.

const (
	powerEnv      = "TONGBAN_TEST_POWER" // The child's data folder.
	powerCuts     = 6
	powerRows     = 128 // Written over and over, so that pages are.
	powerBlob     = 7 << 10
	powerLeast    = 300 // Updates between two cuts: more than the checkpointer waits for.
	powerImage    = 512 << 20
	extShutdown   = 0x8004587d // _IOR('X', 125, __u32): linux/fs/ext4/ext4.h.
	shutdownNoLog = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH.
)

// powerUnable says why this machine cannot cut the power of a file system; empty: it can.
func powerUnable() string {
	if os.Geteuid() != 0 {
		return "a loop-mounted ext4 needs root"
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "there are no loop devices"
	}
	for _, name := range []string{"mkfs.ext4", "mount", "umount"} {
		if _, err := run.LookPath(name); err != nil {
			return "there is no " + name
		}
	}
	return ""
}

const powerHint = "sudo go test -run PowerCut ./replication, on a machine with loop devices"

// plug is a file system that can lose its power.
type plug struct{ image, mount string }

// newPlug makes one and mounts it; nil and the reason if the machine refuses that.
func newPlug(t *testing.T) (*plug, error) {
	dir, err := os.MkdirTemp("/dev/shm", "power")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &plug{filepath.Join(dir, "image"), filepath.Join(dir, "mount")}
	f, err := os.Create(p.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(powerImage), f.Close(), os.Mkdir(p.mount, 0o700)); err != nil {
		return nil, err
	}
	if out, err := run.Command("mkfs.ext4", "-q", "-F", p.image).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mkfs.ext4: %w: %s", err, out)
	}
	if err := p.plugIn(); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = run.Command("umount", p.mount).Run() })
	return p, nil
}

func (p *plug) plugIn() error {
	if out, err := run.Command("mount", "-o", "loop", p.image, p.mount).CombinedOutput(); err != nil {
		return fmt.Errorf("mount: %w: %s", err, out)
	}
	return nil
}

// pull cuts the power.
func (p *plug) pull() error {
	d, err := os.Open(p.mount)
	if err != nil {
		return err
	}
	defer d.Close()
	how := uint32(shutdownNoLog)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, d.Fd(), extShutdown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		return fmt.Errorf("shut the file system down: %w", errno)
	}
	return nil
}

// writeSome writes dirty pages of the node's SQLite files, as chance has it.
func (p *plug) writeSome(r *rand.Rand) {
	const all = 1 | 2 | 4 // SYNC_FILE_RANGE_WAIT_BEFORE, WRITE, WAIT_AFTER.
	for _, suffix := range []string{"", "-wal"} {
		f, err := os.Open(filepath.Join(p.mount, "data", "db", string(replicationtest.ID), "state.db"+suffix))
		if err != nil {
			continue
		}
		for range r.IntN(3) {
			from := int64(r.IntN(8)) * 4096 * int64(1+r.IntN(200))
			if r.IntN(2) == 0 {
				from = 0
			}
			_, _, _ = syscall.Syscall6(syscall.SYS_SYNC_FILE_RANGE, f.Fd(), uintptr(from), uintptr(4096*(1+r.IntN(40))), all, 0, 0)
		}
		f.Close()
	}
}

// powerNode is the child: it writes, one update after another, and says which are
// acknowledged. It ends when it is killed.
func powerNode(dir string) error {
	e, db, err := powerOpen(dir)
	if err != nil {
		return err
	}
	defer e.Close()
	if _, err := db.Update(ctx, func(tx *replication.Tx) error {
		for _, sql := range []string{`CREATE TABLE IF NOT EXISTS done(n INTEGER NOT NULL)`,
			`CREATE TABLE IF NOT EXISTS page(id INTEGER PRIMARY KEY, n INTEGER NOT NULL, data BLOB NOT NULL)`} {
			if err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for {
		var n int64
		if _, err := db.Update(ctx, func(tx *replication.Tx) error {
			if err := tx.QueryRow(`SELECT count(*) FROM done`).Scan(&n); err != nil {
				return err
			}
			if err := tx.Exec(`INSERT INTO done(n) VALUES (?)`, n); err != nil {
				return err
			}
			return tx.Exec(`INSERT OR REPLACE INTO page(id, n, data) VALUES (?, ?, ?)`, n%powerRows, n, powerData(n))
		}); err != nil {
			return err
		}
		fmt.Println(n)
	}
}

func powerData(n int64) []byte {
	b := make([]byte, powerBlob)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}

func powerOpen(dir string) (*replication.Engine, *replication.DB, error) {
	e, err := replication.Open(replication.Options{
		Dir: dir, Node: "n1", Log: slog.New(slog.DiscardHandler), HeartbeatTimeout: 20 * time.Millisecond, MaxClosure: replicationtest.MaxClosure,
	})
	if err != nil {
		return nil, nil, err
	}
	db, err := e.OpenDB(replicationtest.ID, replication.DBOptions{Voters: []replication.NodeID{"n1"}})
	if err != nil {
		return nil, nil, errors.Join(err, e.Close())
	}
	for end := time.Now().Add(30 * time.Second); !db.IsLeader(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			return nil, nil, errors.Join(fmt.Errorf("it never leads: %+v", db.Status()), e.Close())
		}
	}
	return e, db, nil
}

// round runs the child until so many updates are acknowledged, cuts the power, and checks
// what is left. acknowledged is the last one of the rounds before.
func (p *plug) round(t *testing.T, r *rand.Rand, mutant string, acknowledged int64) (last int64, wrong error) {
	child := run.Command(os.Args[0])
	child.Env = append(os.Environ(), powerEnv+"="+filepath.Join(p.mount, "data"), "TONGBAN_MUTANT="+mutant)
	var complaint strings.Builder
	child.Stderr = &complaint
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	goal := acknowledged + powerLeast + int64(r.IntN(powerLeast))
	lines := bufio.NewScanner(out)
	for last = acknowledged; last < goal && lines.Scan(); {
		if last, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
			break
		}
	}
	p.writeSome(r)
	pulled := p.pull()
	_ = child.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = child.Wait() // It was killed.
	if last < goal {
		return last, fmt.Errorf("the node has stopped after %d: %s", last, complaint.String())
	}
	if out, err := run.Command("umount", p.mount).CombinedOutput(); err != nil {
		t.Fatalf("umount: %v: %s", err, out)
	}
	if err := errors.Join(pulled, p.plugIn()); err != nil {
		t.Fatal(err)
	}
	return last, powerCheck(filepath.Join(p.mount, "data"), last)
}

// powerCheck opens the node's data and looks at everything in it.
func powerCheck(dir string, acknowledged int64) error {
	e, db, err := powerOpen(dir)
	if err != nil {
		return err
	}
	err = db.View(ctx, replication.Local, func(v *replication.View) error {
		var rows, least, most, different int64
		if err := v.QueryRow(`SELECT count(*), coalesce(min(n), 0), coalesce(max(n), -1), count(DISTINCT n) FROM done`).
			Scan(&rows, &least, &most, &different); err != nil {
			return err
		}
		if rows <= acknowledged || least != 0 || most != rows-1 || different != rows {
			return fmt.Errorf("%d rows of %d values from %d to %d, when %d was acknowledged", rows, different, least, most, acknowledged)
		}
		for n := max(0, rows-powerRows); n < rows; n++ {
			var data []byte
			if err := v.QueryRow(`SELECT data FROM page WHERE id = ? AND n = ?`, n%powerRows, n).Scan(&data); err != nil {
				return fmt.Errorf("page of %d: %w", n, err)
			}
			if string(data) != string(powerData(n)) {
				return fmt.Errorf("the page of %d holds something else", n)
			}
		}
		return nil
	})
	if err == nil {
		_, _, err = db.Checksum(ctx)
	}
	return errors.Join(err, e.Close())
}

// TestPowerCut cuts the power of a node that writes, again and again.
func TestPowerCut(t *testing.T) {
	if why := powerUnable(); why != "" {
		t.Skipf("not run: %s; %s", why, powerHint)
	}
	r := attackSeed(t)
	p, err := newPlug(t)
	if err != nil {
		t.Skipf("not run: %v; %s", err, powerHint)
	}
	last := int64(-1)
	for range powerCuts {
		if last, err = p.round(t, r, "", last); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d cuts, %d updates acknowledged", powerCuts, last+1)
}
