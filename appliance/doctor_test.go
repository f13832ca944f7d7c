package appliance

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/nodetest"
	"tongban/replication"
)

// healthy are the options for a machine on which all is well.
func healthy(file string) DoctorOptions {
	return DoctorOptions{File: file, Environ: []string{},
		Statfs: func(_ string, st *syscall.Statfs_t) error {
			*st = syscall.Statfs_t{Type: 0xef53, Bsize: 4096, Blocks: 1 << 22, Bavail: 1 << 21, Files: 1 << 20, Ffree: 1 << 19}
			return nil
		},
		Limit:  func(int) (uint64, error) { return 65536, nil },
		Memory: func() (uint64, uint64, error) { return 4 << 30, 8 << 30, nil },
		Sync:   func(string) (time.Duration, error) { return time.Millisecond, nil },
	}
}

// sick is what one breakage changes: the folder, the machine, or both.
type sick struct {
	dir string
	cfg config.Config
	o   DoctorOptions
}

func (s *sick) data(name string) string { return filepath.Join(s.cfg.Data, name) }

func (s *sick) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *sick) edit(t *testing.T, old, new string) {
	t.Helper()
	text, err := os.ReadFile(s.o.File)
	if err != nil || !strings.Contains(string(text), old) {
		t.Fatalf("the configuration has no %q (%v)", old, err)
	}
	s.write(t, s.o.File, strings.Replace(string(text), old, new, 1))
}

func (s *sick) disk(change func(st *syscall.Statfs_t)) {
	before := s.o.Statfs
	s.o.Statfs = func(dir string, st *syscall.Statfs_t) error {
		err := before(dir, st)
		change(st)
		return err
	}
}

func (s *sick) running(change func(st *node.Status)) {
	s.o.Ask = func(_ context.Context, st *node.Status) error {
		*st = node.Status{PID: os.Getpid(), Version: "1", Newest: time.Now(), Backup: &node.BackupNote{At: time.Now(), Current: true}, Databases: []node.DatabaseStatus{
			{Status: replication.Status{Database: "_division/main", Leader: "n1"}},
			{Status: replication.Status{Database: "minzheng/main", Leader: "n1"}}}}
		change(st)
		return nil
	}
	s.inTree(func(*Tree) {})
}

// inTree has the running node say how it stands in the tree: nobody above or below it.
func (s *sick) inTree(change func(t *Tree)) {
	s.o.Tree = func(_ context.Context, t *Tree) error { change(t); return nil }
}

const day = 24 * time.Hour

func later(d time.Duration) func(*testing.T, *sick) {
	return func(_ *testing.T, s *sick) { s.o.Now = func() time.Time { return time.Now().Add(d) } }
}

type breakage struct {
	do    func(t *testing.T, s *sick)
	check string
	state State
	found string // In the finding.
	fix   string // In the command.
	more  []string
}

var breakages = map[string]breakage{
	"no configuration":  {func(_ *testing.T, s *sick) { s.o.File += "x" }, "configuration", Bad, "there is no configuration", "tongban init", nil},
	"a key that is not": {func(t *testing.T, s *sick) { s.edit(t, "[web]", "[web]\nlitsen = \"x\"") }, "configuration", Bad, "web.litsen", "config show", nil},
	"the environment overrides with nonsense": {func(_ *testing.T, s *sick) { s.o.Environ = []string{"TONGBAN_LOG_LEVEL=loud"} },
		"configuration", Bad, "TONGBAN_LOG_LEVEL", "config show", nil},
	"others may look into the data folder": {func(t *testing.T, s *sick) { chmod(t, s.cfg.Data, 0o755) }, "data folder", Bad, "mode 0755", "chmod 700 ", nil},
	"the data folder is gone": {func(t *testing.T, s *sick) { s.edit(t, "[division]", "data = \"gone\"\n[division]") }, "data folder", Bad, "gone", "config show",
		[]string{"identity", "keys", "certificate", "authority", "disk writes", "peers", "backup"}},
	"another node's data":               {func(t *testing.T, s *sick) { s.edit(t, `node = 'n1'`, `node = 'n9'`) }, "identity", Bad, "node n1", "config show", []string{"keys", "certificate", "authority", "peers"}},
	"no mark in the data folder":        {func(t *testing.T, s *sick) { remove(t, s.data("node.json")) }, "identity", Bad, "not the data folder", "config show", nil},
	"the node key is missing":           {func(t *testing.T, s *sick) { remove(t, s.data("node.key")) }, "keys", Bad, "missing", "tongban node remove n1", []string{"certificate", "authority"}},
	"the TLS key is readable by others": {func(t *testing.T, s *sick) { chmod(t, s.data("tls/node-key.pem"), 0o644) }, "keys", Bad, "mode 0644", "chmod 600 ", []string{"certificate", "authority"}},
	"a key file is garbage":             {func(t *testing.T, s *sick) { s.write(t, s.data("tls/gossip.key"), "xyz") }, "keys", Bad, "gossip.key", "restore", []string{"certificate", "authority"}},
	"the certificate has ended":         {later(400 * day), "certificate", Warn, "it is renewed as soon as", "tongban run --config", []string{"backup"}},
	"the certificate ended long ago":    {later(500 * day), "certificate", Bad, "ended on", "tongban join", []string{"backup"}},
	"the certificate ends soon":         {later(380 * day), "certificate", Warn, "ends in 1", "tongban run --config", []string{"backup"}},
	"the clock is a year behind":        {later(-365 * day), "clock", Bad, "newest entry is from", "timedatectl", []string{"certificate", "backup"}},
	"the authority's key does not open": {func(t *testing.T, s *sick) { flip(t, s.data("tls/ca-key.age"), -1) }, "authority", Bad, "cannot be opened", "tongban restore", nil},
	"the authority ends":                {func(t *testing.T, s *sick) { later(29*365*day+30*day)(t, s) }, "authority", Warn, "ends on", "tongban backup", []string{"certificate", "backup"}},
	"the disk is full":                  {func(_ *testing.T, s *sick) { s.disk(func(st *syscall.Statfs_t) { st.Bavail = 100 }) }, "disk space", Bad, "full", "du ", nil},
	"the disk is almost full":           {func(_ *testing.T, s *sick) { s.disk(func(st *syscall.Statfs_t) { st.Bavail = st.Blocks / 50 }) }, "disk space", Warn, "almost full", "du ", nil},
	"no inodes are left":                {func(_ *testing.T, s *sick) { s.disk(func(st *syscall.Statfs_t) { st.Ffree = 3 }) }, "disk space", Bad, "inodes", "df -i", nil},
	"the folder is on tmpfs":            {func(_ *testing.T, s *sick) { s.disk(func(st *syscall.Statfs_t) { st.Type = 0x01021994 }) }, "file system", Warn, "tmpfs", "findmnt", nil},
	"the disk is slow":                  {func(_ *testing.T, s *sick) { s.sync(200*time.Millisecond, nil) }, "disk writes", Warn, "200ms", "dmesg", nil},
	"the disk hangs":                    {func(_ *testing.T, s *sick) { s.sync(3*time.Second, nil) }, "disk writes", Bad, "3s", "dmesg", nil},
	"the disk went read-only":           {func(_ *testing.T, s *sick) { s.sync(0, syscall.EROFS) }, "disk writes", Bad, "read-only", "remount", nil},
	"the disk has errors":               {func(_ *testing.T, s *sick) { s.sync(0, syscall.EIO) }, "disk writes", Bad, "input/output error", "dmesg", nil},
	"the folder cannot be written":      {func(_ *testing.T, s *sick) { s.sync(0, os.ErrPermission) }, "disk writes", Bad, "cannot be written", "chown", nil},
	"a port is in use": {func(t *testing.T, s *sick) {
		l, err := net.Listen("tcp", s.cfg.Peer.Listen)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
	}, "ports", Bad, "peer.listen", "ss -ltnp", nil},
	"a database file is damaged": {func(t *testing.T, s *sick) {
		for i := range int64(8) {
			flip(t, s.data("db/minzheng/main/state.db"), 2*4096+i)
		}
	}, "database files", Bad, "minzheng/main", "tongban verify", nil},
	"the division's file is no database": {func(t *testing.T, s *sick) {
		s.write(t, s.data("db/_division/main/state.db"), strings.Repeat("x", 9000))
	},
		"database files", Bad, "_division/main", "tongban verify", []string{"clock", "backup"}},
	"the address book is damaged": {func(t *testing.T, s *sick) { s.write(t, s.data("peers.json"), "{") }, "peers", Bad, "peers.json", "rm ", nil},
	"no other node answers": {func(t *testing.T, s *sick) {
		s.write(t, s.data("peers.json"), `{"peers": [{"id": "n2", "address": "127.0.0.1:1"}]}`)
	},
		"peers", Bad, "n2", "nc -vz 127.0.0.1 1", nil},
	"the node was killed": {func(t *testing.T, s *sick) { s.leaveSocket(t) }, "last stop", Warn, "killed", "journalctl", nil},
	"a process hangs": {func(t *testing.T, s *sick) {
		f, err := os.OpenFile(s.data("LOCK"), os.O_RDWR, 0)
		if err == nil {
			err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
	}, "node", Bad, "does not answer", "journalctl", nil},
	"few files may be open": {func(_ *testing.T, s *sick) { s.o.Limit = func(int) (uint64, error) { return 256, nil } }, "open files", Bad, "256", "ulimit", nil},
	"memory is short": {func(_ *testing.T, s *sick) {
		s.o.Memory = func() (uint64, uint64, error) { return 1 << 20, 1 << 30, nil }
	}, "memory", Bad, "used up", "ps ", nil},
	"a database has no leader": {func(_ *testing.T, s *sick) { s.running(func(st *node.Status) { st.Databases[1].Leader = "" }) },
		"leaders", Bad, "minzheng/main", "tongban status", []string{"ports"}},
	"a replica has stopped": {func(_ *testing.T, s *sick) {
		s.running(func(st *node.Status) { st.Databases[1].Err = "the disk refused" })
	},
		"replicas", Bad, "the disk refused", "tongban join", []string{"ports"}},
	"a replica is far behind": {func(_ *testing.T, s *sick) {
		s.running(func(st *node.Status) { lag := int64(20_000); st.Databases[1].Lag = &lag })
	}, "replicas", Warn, "20000 entries", "tongban status", []string{"ports"}},
	"the ports were changed under a running node": {func(_ *testing.T, s *sick) { s.running(func(*node.Status) {}) },
		"ports", Bad, "nobody listens", "systemctl restart", nil},
	"the last backup is a week old": {later(9 * day), "backup", Bad, "9 days", "tongban backup", nil},
	"the last backup is old":        {later(30 * time.Hour), "backup", Warn, "1 day and 6 hours", "tongban backup", nil},
}

// leaveSocket leaves what a killed node leaves, at a path that is short enough for one.
func (s *sick) leaveSocket(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "admin.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.o.Environ = []string{"TONGBAN_ADMIN_SOCKET=" + socket}
}

func (s *sick) sync(took time.Duration, err error) {
	s.o.Sync = func(string) (time.Duration, error) { return took, err }
}

func chmod(t *testing.T, name string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, name string) {
	t.Helper()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestTheDoctorNamesWhatIsBrokenAndTheCommandThatHelps(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 1, nodetest.Admin(Serve))
	c.CreateTenant(0, "minzheng", "广安区民政局")
	if _, err := Backup(t.Context(), BackupOptions{Config: c.Config(0), File: filepath.Join(t.TempDir(), "b"), Passphrase: secret, workFactor: quickFactor}); err != nil {
		t.Fatal(err)
	}
	running := Examine(t.Context(), healthy(c.Config(0).File))
	if bad := notOK(running); !running.Running || !slices.Equal(bad, []string{"peers"}) || running.ExitCode() != exit.Degraded {
		t.Errorf("a running node of one: %q is not ok: %+v", bad, running)
	}
	if len(running.Checks) != len(examinations) {
		t.Errorf("%d checks", len(running.Checks))
	}
	c.Stop(0)
	source := c.Config(0).Dir()
	usual := []string{"node", "peers"} // It does not run, and it is alone.
	if got := notOK(Examine(t.Context(), healthy(c.Config(0).File))); !slices.Equal(got, usual) {
		t.Fatalf("a stopped node: %q is not ok", got)
	}
	if len(breakages) < 20 {
		t.Errorf("only %d breakages", len(breakages))
	}
	maps.Copy(breakages, treeBreakages)
	for name, b := range breakages {
		t.Run(name, func(t *testing.T) {
			s := &sick{dir: copyTree(t, source)}
			s.o = healthy(filepath.Join(s.dir, config.FileName))
			var err error
			if s.cfg, _, err = config.Read(s.o.File, nil); err != nil {
				t.Fatal(err)
			}
			b.do(t, s)
			before := listing(t, s.dir)
			r := Examine(t.Context(), s.o)
			if after := listing(t, s.dir); after != before {
				t.Errorf("the doctor changed the folder:\n%s\n%s", before, after)
			}
			got := check(r, b.check)
			if got.State != b.state || !strings.Contains(got.Found, b.found) || !strings.Contains(got.Fix, b.fix) {
				t.Errorf("%+v\nwanted %s: … %s … fix: … %s", got, b.state, b.found, b.fix)
			}
			for _, other := range notOK(r) {
				if other != b.check && !slices.Contains(usual, other) && !slices.Contains(b.more, other) {
					t.Errorf("%s is blamed too: %+v", other, check(r, other))
				}
			}
			if r.ExitCode() == exit.OK {
				t.Error("the exit code says that all is well")
			}
		})
	}
}

// notOK names the checks that found something.
func notOK(r Report) []string {
	var list []string
	for _, c := range r.Checks {
		if c.State != OK {
			list = append(list, c.Name)
			if c.Fix == "" {
				list = append(list, c.Name+" (without a command)")
			}
		}
	}
	return list
}

// listing is what a folder holds, but for what SQLite makes beside a file that it reads.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && !strings.HasSuffix(path, "-shm") && !strings.HasSuffix(path, "-wal") {
			_, sum, hashErr := hashFile(path)
			b.WriteString(path + " " + info.Mode().String() + " " + sum + "\n")
			return hashErr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTheDoctorCallsTheOtherNodesAndComparesClocks(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 3)
	o := healthy(c.Config(0).File)
	if got := check(Examine(t.Context(), o), "peers"); got.State != OK || !strings.Contains(got.Found, "2 other nodes") {
		t.Errorf("three nodes: %+v", got)
	}
	o.Now = func() time.Time { return time.Now().Add(time.Minute) }
	if got := check(Examine(t.Context(), o), "peers"); got.State != Warn || !strings.Contains(got.Found, "clock differs") || !strings.Contains(got.Fix, "timedatectl") {
		t.Errorf("a clock that is a minute ahead: %+v", got)
	}
	c.Stop(2)
	o.Now = nil
	if got := check(Examine(t.Context(), o), "peers"); got.State != Warn || !strings.Contains(got.Found, "n3") {
		t.Errorf("a node is down: %+v", got)
	}
}

func TestTheMachineIsReadWithoutHelp(t *testing.T) {
	t.Parallel()
	if n, err := openFileLimit(os.Getpid()); err != nil || n == 0 {
		t.Errorf("open files: %d, %v", n, err)
	}
	if available, total, err := readMemory(); err != nil || available == 0 || total < available {
		t.Errorf("memory: %d of %d, %v", available, total, err)
	}
	if _, err := timeSync(t.TempDir()); err != nil {
		t.Errorf("sync: %v", err)
	}
	if _, err := timeSync(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("sync without a folder: %v", err)
	}
}
