package torture

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tongban/internal/torture/mesh"
)

// cannot ends a test whose machine or user lacks something, and checks that the reason is
// one that a person understands.
func cannot(t *testing.T, err error) {
	t.Helper()
	if os.Geteuid() != 0 && !strings.Contains(err.Error(), "root") {
		t.Errorf("an ordinary user is told %q", err)
	}
	t.Logf("not run: %v", err)
}

func TestAPowerCutLosesWhatIsNotSyncedAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	d, err := newDisk(filepath.Join(dir, "img"), filepath.Join(dir, "mnt"))
	if err != nil {
		cannot(t, err)
		return
	}
	t.Cleanup(func() {
		if err := d.unmount(); err != nil {
			t.Error(err)
		}
	})
	write := func(name string, sync bool) {
		t.Helper()
		f, err := os.Create(filepath.Join(d.dir, name))
		if err == nil {
			_, err = f.WriteString("x")
		}
		if err == nil && sync {
			err = f.Sync()
		}
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	write("synced", true)
	write("loose", false)
	if err := d.cutPower(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Create(filepath.Join(d.dir, "late")); err == nil {
		t.Error("the disk works without power")
	}
	if err := d.remount(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(d.dir, "synced")); err != nil || string(text) != "x" {
		t.Errorf("what was synced is %q, %v", text, err)
	}
	if text, _ := os.ReadFile(filepath.Join(d.dir, "loose")); len(text) > 0 {
		t.Error("what was not synced survived: this cut shows nothing")
	}
	if err := d.fill(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(d.dir, "more"))
	if err == nil {
		_, err = f.Write(make([]byte, 1<<20))
		_ = f.Close()
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk takes more: %v", err)
	}
	if err := d.free(); err != nil {
		t.Error(err)
	}
}

func TestNamespacesDropOneWayAndBoth(t *testing.T) {
	n, err := newNamespaces()
	if err != nil {
		cannot(t, err)
		return
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	var address [2]string
	for i, name := range []string{"a", "b"} {
		if _, err := n.addresses(name); err != nil {
			t.Fatal(err)
		}
		address[i] = n.address(name) + ":7"
	}
	var l net.Listener
	if err := n.inside(n.space("b"), func() (err error) {
		l, err = net.Listen("tcp", address[1])
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := n.dial("a")(t.Context(), "tcp", address[1])
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	heard := func(from, to net.Conn) bool {
		t.Helper()
		if _, err := from.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_ = to.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err := io.ReadFull(to, make([]byte, 1))
		return err == nil
	}
	if !heard(c, far) || !heard(far, c) {
		t.Fatal("a line that is whole carries nothing")
	}
	ab := mesh.Way{From: "a", To: "b"}
	if err := errors.Join(n.cut(ab), n.cut(ab)); err != nil { // Cutting twice is cutting.
		t.Fatal(err)
	}
	if heard(c, far) {
		t.Error("a cut line carries")
	}
	if err := errors.Join(n.heal(false, ab), n.heal(false, ab)); err != nil {
		t.Fatal(err)
	}
	_ = far.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
		t.Errorf("what was sent while the line was cut never came: %v", err)
	}
}
