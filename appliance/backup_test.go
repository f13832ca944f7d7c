package appliance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/exit"
	"tongban/node/nodetest"
	"tongban/replication"
	"tongban/service/audit"
	"tongban/tenancy"
)

const secret = "correct horse battery staple"

// quickFactor makes scrypt fast in tests.
const quickFactor = 10

func loopback() node.Addresses {
	return node.Addresses{Web: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0"}
}

// backedUp makes a division of one node with two departments, and a backup of it.
func backedUp(t *testing.T) (*nodetest.Cluster, BackupResult) {
	t.Helper()
	c := nodetest.Division(t, 1, nodetest.Admin(Serve))
	c.CreateTenant(0, "minzheng", "广安区民政局")
	c.CreateTenant(0, "gongan", "广安区公安分局")
	r, err := Backup(t.Context(), BackupOptions{Config: c.Config(0), File: filepath.Join(t.TempDir(), "b"), Passphrase: secret, workFactor: quickFactor})
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

func TestABackupIsRestoredWithoutTheOldBox(t *testing.T) {
	t.Parallel()
	c, b := backedUp(t)
	if len(b.Manifest.Databases) != 3 || b.Manifest.Databases[0].ID != tenancy.DivisionDatabase || b.Unnoted != "" || len(b.Manifest.Behind()) > 0 {
		t.Fatalf("the backup is %+v", b)
	}
	if seen := Examine(t.Context(), DoctorOptions{File: c.Config(0).File, Environ: []string{}}); check(seen, "backup").State != OK {
		t.Errorf("the division does not know of its backup: %+v", check(seen, "backup"))
	}
	c.Stop(0)
	if err := os.RemoveAll(c.Config(0).Dir()); err != nil { // Nothing of it may be needed.
		t.Fatal(err)
	}
	if seen, err := VerifyBackup(t.Context(), b.File, secret, time.Now(), nil); err != nil || len(seen.Faults) > 0 || seen.Rows != b.Rows {
		t.Fatalf("verify: %+v, %v", seen, err)
	}

	dir := filepath.Join(t.TempDir(), "new")
	shown := Contents{}
	r, err := Restore(t.Context(), RestoreOptions{File: b.File, Passphrase: secret, Dir: dir, Expect: "511602", Addresses: loopback(),
		Confirm: func(c Contents) bool { shown = c; return true }})
	if err != nil {
		t.Fatal(err)
	}
	if shown.Manifest.Division.Code != "511602" || !strings.Contains(shown.Age, "second") || shown.Rows != b.Rows {
		t.Errorf("shown before: %+v", shown)
	}
	if r.Node != "n2" {
		t.Errorf("the node is %s; n1's certificate is still valid, so it must be another name", r.Node)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if v, err := Verify(t.Context(), []string{dir}, nil); err != nil || v.Verdict != Agree {
		t.Fatalf("%v\n%s", err, v.Text())
	}
	checkRenewed(t, r, b)
	checkServes(t, r)
}

// checkRenewed looks into the restored files.
func checkRenewed(t *testing.T, r RestoreResult, b BackupResult) {
	t.Helper()
	epochs := map[string]bool{}
	for _, d := range b.Manifest.Databases {
		file := filepath.Join(r.Config.Data, "db", filepath.FromSlash(string(d.ID)), "state.db")
		epoch := one(t, file, `SELECT value FROM service_meta WHERE key = 'epoch'`)
		if len(epoch) < 26 || epochs[epoch] || epoch != r.Epochs[string(d.ID)] {
			t.Errorf("%s has epoch %q, reported %q", d.ID, epoch, r.Epochs[string(d.ID)])
		}
		epochs[epoch] = true
		if what := one(t, file, `SELECT what FROM audit_event ORDER BY seq DESC LIMIT 1`); what != "appliance.restored" {
			t.Errorf("the audit of %s ends with %s", d.ID, what)
		}
		f, err := replication.OpenFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if report, err := audit.Verify(f, d.Audit); err != nil || !report.OK() && d.Audit.Seq > 0 {
			t.Errorf("%s: the audit does not go on from the backup's: %v, %v", d.ID, report, err)
		}
		f.Close()
	}
	division := filepath.Join(r.Config.Data, "db", "_division", "main", "state.db")
	for query, want := range map[string]string{
		`SELECT group_concat(id || ' ' || state) FROM (SELECT * FROM tenancy_node ORDER BY id)`: "n1 removed,n2 active",
		`SELECT group_concat(DISTINCT founders) FROM tenancy_database`:                          `["n2"]`,
		`SELECT '' || count(*) FROM tenancy_token`:                                              "0",
		`SELECT '' || count(*) FROM identity_session`:                                           "0",
		`SELECT '' || count(*) FROM tenancy_certificate WHERE node = 'n2'`:                      "1",
	} {
		if got := one(t, division, query); got != want {
			t.Errorf("%s is %q, want %q", query, got, want)
		}
	}
}

// checkServes starts the restored node, and lets a further box join it.
func checkServes(t *testing.T, r RestoreResult) {
	t.Helper()
	c := nodetest.Restored(t, r.Config, nodetest.Admin(Serve))
	var list struct {
		Tenants []struct {
			Slug string `json:"slug"`
		} `json:"tenants"`
	}
	c.Await("the restored node serves its departments", func() bool {
		admin := c.Admin(0)
		defer admin.Close()
		return admin.Get(t.Context(), "/tenants", &list) == nil && len(list.Tenants) == 2
	})
	i := c.Join()
	c.Await("the further box has all databases", func() bool {
		s, err := c.Status(i)
		return err == nil && len(s.Databases) == 3
	})
	c.CreateTenant(i, "caizheng", "广安区财政局")
}

// badBackup is a file, or a wish, that a restore refuses.
type badBackup struct {
	change func([]byte) []byte
	secret string
	expect string
	node   replication.NodeID
	code   int
	words  []string
}

func flipped(at int) func([]byte) []byte {
	return func(b []byte) []byte { b[(at+len(b))%len(b)] ^= 1; return b }
}

// otherLetter changes a letter of the base64 in age's header to another one.
func otherLetter(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		if b[at] == 'B' {
			b[at] = 'C'
		} else {
			b[at] = 'B'
		}
		return b
	}
}

func badBackups(t *testing.T, good []byte) map[string]badBackup {
	return map[string]badBackup{
		"another passphrase":           {secret: secret + "x", code: exit.Denied, words: []string{"passphrase does not open"}},
		"another division":             {expect: "511603", code: exit.Failed, words: []string{"511602", "not of 511603"}},
		"a name that the division had": {node: "n1", code: exit.Usage, words: []string{"n1", "n2 is free"}},
		"no name":                      {node: "N 1", code: exit.Config, words: []string{"node"}},
		"a changed byte in the middle": {change: flipped(len(good) / 2), code: exit.Failed, words: []string{"damaged"}},
		"a changed last byte":          {change: flipped(-1), code: exit.Failed, words: []string{"damaged"}},
		"a changed first byte":         {change: flipped(0), code: exit.Failed, words: []string{"no backup of tongban"}},
		"a changed byte of the key":    {change: otherLetter(60), code: exit.Denied, words: []string{"first bytes were changed"}},
		"its end cut off":              {change: func(b []byte) []byte { return b[:len(b)-100] }, code: exit.Failed, words: []string{"damaged"}},
		"only its head":                {change: func(b []byte) []byte { return b[:100] }, code: exit.Failed, words: []string{"cut off"}},
		"an empty file":                {change: func([]byte) []byte { return nil }, code: exit.Failed, words: []string{"no backup"}},
		"something after its end":      {change: func(b []byte) []byte { return append(b, 'x') }, code: exit.Failed, words: []string{"damaged"}},
		"something else":               {change: func([]byte) []byte { return []byte("PK\x03\x04 and so on") }, code: exit.Failed, words: []string{"no backup of tongban"}},
		"a newer format": {change: func([]byte) []byte {
			return resealed(t, good, func(m string) string { return strings.Replace(m, `"format": 1`, `"format": 2`, 1) })
		}, code: exit.Failed, words: []string{"format 2", "install tongban"}},
		"another content than listed": {change: func([]byte) []byte {
			return resealed(t, good, func(m string) string { return strings.Replace(m, `"sha256": "`, `"sha256": "0`, 1) })
		}, code: exit.Failed, words: []string{"not the one of the backup's list"}},
		"a database outside": {change: func([]byte) []byte {
			return resealed(t, good, func(m string) string { return strings.Replace(m, `"id": "gongan/main"`, `"id": "../../x"`, 1) })
		}, code: exit.Failed, words: []string{"cannot be"}},
	}
}

func TestWhatIsNoGoodBackupIsRefusedAndNothingIsLeft(t *testing.T) {
	t.Parallel()
	_, b := backedUp(t)
	good, err := os.ReadFile(b.File)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(t *testing.T, change func(b []byte) []byte) string {
		name := filepath.Join(t.TempDir(), "damaged")
		if err := os.WriteFile(name, change(bytes.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	for name, c := range badBackups(t, good) {
		t.Run(name, func(t *testing.T) {
			file, pass := b.File, secret
			if c.change != nil {
				file = damaged(t, c.change)
			}
			if c.secret != "" {
				pass = c.secret
			}
			parent := t.TempDir()
			o := RestoreOptions{File: file, Passphrase: pass, Expect: c.expect, Node: c.node, Addresses: loopback()}
			for _, existing := range []bool{false, true} {
				o.Dir = filepath.Join(parent, "new")
				if existing {
					if err := os.Mkdir(o.Dir, 0o700); err != nil {
						t.Fatal(err)
					}
				}
				_, err := Restore(t.Context(), o)
				says(t, err, c.code, c.words...)
				left, err := os.ReadDir(parent)
				if err != nil || len(left) > 0 && !existing {
					t.Errorf("left behind: %v, %v", left, err)
				}
				if left, _ := os.ReadDir(o.Dir); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			}
			if c.change != nil {
				_, err := VerifyBackup(t.Context(), file, pass, time.Now(), nil)
				says(t, err, c.code, c.words...)
			}
		})
	}
}

// resealed is a backup whose manifest was changed by somebody who has the passphrase.
func resealed(t *testing.T, good []byte, change func(string) string) []byte {
	t.Helper()
	in, err := openStream(bytes.NewReader(good), "good", secret)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var out bytes.Buffer
	w, err := newSealer(&out, secret, quickFactor)
	if err != nil {
		t.Fatal(err)
	}
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == entryManifest {
			content = []byte(change(string(content)))
		}
		if err := writeEntry(w.Writer, h.Name, int64(len(content)), bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestABackupNeverReplacesUnasked(t *testing.T) {
	t.Parallel()
	c, b := backedUp(t)
	before, err := os.ReadFile(b.File)
	if err != nil {
		t.Fatal(err)
	}
	o := BackupOptions{Config: c.Config(0), File: b.File, Passphrase: secret, workFactor: quickFactor}
	_, err = Backup(t.Context(), o)
	says(t, err, exit.Failed, "there already", "--force")
	if after, _ := os.ReadFile(b.File); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	o.Force = true
	if _, err := Backup(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.ReadFile(b.File); bytes.Equal(before, after) {
		t.Error("the file was not replaced")
	}
	if left, _ := filepath.Glob(b.File + ".*"); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if _, err := os.Stat(filepath.Join(c.Config(0).Data, stageFolder)); err == nil {
		t.Error("the copies were left behind")
	}
	c.Stop(0)
	o.File = filepath.Join(t.TempDir(), "c")
	_, err = Backup(t.Context(), o)
	says(t, err, exit.Temporary, "does not run", "systemctl start")
	if left, _ := os.ReadDir(filepath.Dir(o.File)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestANodeThatStopsInTheMiddleOfABackupIsSeen(t *testing.T) {
	t.Parallel()
	_, b := backedUp(t)
	f, err := os.Open(b.File)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := openStream(f, b.File, secret)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var plain bytes.Buffer // What the node sends.
	if _, err := io.Copy(&plain, in.zstd); err != nil {
		t.Fatal(err)
	}
	whole := plain.Bytes()
	o := BackupOptions{Passphrase: secret, workFactor: quickFactor}
	if _, err := seal(bytes.NewReader(whole), io.Discard, o); err != nil {
		t.Fatalf("the whole stream: %v", err)
	}
	size := b.Manifest.Size()
	for _, at := range []int{0, 100, 2000, len(whole) - int(size)/2} {
		_, err := seal(bytes.NewReader(whole[:at]), io.Discard, o)
		says(t, err, exit.Temporary, "stopped in the middle")
	}
	changed := bytes.Clone(whole)
	changed[len(changed)-int(size)/2] ^= 1
	_, err = seal(bytes.NewReader(changed), io.Discard, o)
	says(t, err, exit.Temporary, "something else came")
}

func TestAFollowerBacksUpWhatTheLeaderHasAndSaysWhenThereIsNone(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 3, nodetest.Admin(Serve))
	c.CreateTenant(0, "minzheng", "广安区民政局")
	c.CreateTenant(1, "gongan", "广安区公安分局")
	follower := (c.Leader(0, tenancy.DivisionDatabase) + 1) % 3
	o := BackupOptions{Config: c.Config(follower), File: filepath.Join(t.TempDir(), "b"), Passphrase: secret, Force: true, workFactor: quickFactor}
	b, err := Backup(t.Context(), o)
	if behind := b.Manifest.Behind(); err != nil || len(behind) > 0 || b.Unnoted != "" || len(b.Manifest.Databases) != 3 {
		t.Fatalf("with a leader: %q lack a leader, %q, %v", behind, b.Unnoted, err)
	}
	for i := range 3 {
		if i != follower {
			c.Stop(i)
		}
	}
	c.Await("the node left over knows no leader", func() bool {
		s, err := c.Status(follower)
		if err != nil {
			return false
		}
		for _, d := range s.Databases {
			if d.Leader != "" {
				return false
			}
		}
		return true
	})
	b, err = Backup(t.Context(), o)
	if err != nil || len(b.Manifest.Behind()) != 3 || !strings.Contains(b.Unnoted, "leader") {
		t.Fatalf("without a leader: %+v, %v", b, err)
	}
	if seen, err := VerifyBackup(t.Context(), o.File, secret, time.Now(), nil); err != nil || len(seen.Faults) > 0 {
		t.Errorf("verify: %+v, %v", seen, err)
	}
}

func TestOneBackupIsMadeAtATime(t *testing.T) {
	t.Parallel()
	s := &server{busy: make(chan struct{}, 1)}
	s.busy <- struct{}{}
	rec := httptest.NewRecorder()
	s.backup(rec, httptest.NewRequestWithContext(t.Context(), "GET", "/node/backup", nil))
	if rec.Code != http.StatusConflict || !strings.Contains(rec.Body.String(), "another backup") {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
}

func TestThreeStoppedNodesAgree(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 3)
	for i, slug := range []string{"minzheng", "gongan", "caizheng"} {
		c.CreateTenant(i, slug, "局"+slug)
	}
	// The leader of the division last: a new one would publish its own address.
	leader := c.Leader(0, tenancy.DivisionDatabase)
	var dirs []string
	for i := range 3 {
		stopped := (leader + 1 + i) % 3
		c.Stop(stopped)
		dirs = append(dirs, c.Config(stopped).Dir())
	}
	v, err := Verify(t.Context(), dirs, nil)
	if err != nil || v.Verdict != Agree || len(v.Databases) != 4 {
		t.Errorf("%v\n%s", err, v.Text())
	}
}

func TestARestoreNeverWritesOverAnything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Restore(t.Context(), RestoreOptions{File: "none", Passphrase: secret, Dir: dir})
	says(t, err, exit.Usage, "is not empty", "it has x")
}

func TestWhatAKilledRestoreLeftIsInNobodysWay(t *testing.T) {
	t.Parallel()
	_, b := backedUp(t)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, partialFolder, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	o := RestoreOptions{File: b.File, Passphrase: secret, Dir: dir, Addresses: loopback(), Confirm: func(Contents) bool { return false }}
	if _, err := Restore(t.Context(), o); !errors.Is(err, ErrDeclined) {
		t.Errorf("declined: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Confirm = func(Contents) bool { cancel(); return true }
	_, err := Restore(ctx, o)
	says(t, err, exit.Failed, "interrupted")
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("an interrupted restore left %v", left)
	}
	o.Confirm, o.Node = nil, "box-7"
	r, err := Restore(t.Context(), o)
	if err != nil || r.Node != "box-7" {
		t.Fatalf("%+v, %v", r, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 2 {
		t.Errorf("the folder holds %q", left)
	}
}

func TestAgeIsSaidInWords(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		0: "0 seconds", time.Second: "1 second", 61 * time.Second: "1 minute", 3 * time.Hour: "3 hours",
		25*time.Hour + 30*time.Minute: "1 day and 1 hour", 75 * 24 * time.Hour: "75 days", -time.Hour: "from the future (is the clock right?)",
	} {
		if got := Age(now.Add(-d), now); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}
