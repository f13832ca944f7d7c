package appliance

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/nodetest"
	"tongban/service/databases"
	"tongban/tenancy"
)

// asked is what a database answers to a program with a key.
func asked(t *testing.T, url, key, path, body string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("minzheng.notes", key)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// An application database may have tables with any names, those of the program's own among
// them, and what its owner takes for foreign keys.
func TestApplicationDatabasesAreBackedUpAndRestored(t *testing.T) {
	t.Parallel()
	c := nodetest.Division(t, 1, nodetest.Admin(Serve), nodetest.Databases())
	c.CreateTenant(0, "minzheng", "民政局")
	admin := c.Admin(0)
	defer admin.Close()
	var made databases.Created
	if err := admin.Post(t.Context(), "/databases", databases.NewDatabases{Tenant: "minzheng", Name: "notes", Key: true}, &made); err != nil {
		t.Fatal(err)
	}
	key := made.Keys[0].Secret
	got := asked(t, c.DatabasesURL(0), key, "/db/execute", `["CREATE TABLE service_meta (key TEXT, value BLOB)", "CREATE TABLE audit_event (x)",
		"CREATE TABLE service_migration (service TEXT, version INTEGER)", "INSERT INTO service_migration VALUES ('cases', 99)",
		"CREATE TABLE tenancy_node (a REFERENCES nowhere (b))", "INSERT INTO service_meta VALUES ('epoch', x'00')"]`)
	if strings.Contains(got, "error") {
		t.Fatal(got)
	}
	file := filepath.Join(t.TempDir(), "b.tongban")
	b, err := Backup(t.Context(), BackupOptions{Config: c.Config(0), File: file, Passphrase: secret, workFactor: quickFactor})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(b.Manifest.Databases); n != 3 || b.Manifest.Databases[2].ID != "minzheng/notes" {
		t.Fatalf("the backup is %+v", b.Manifest)
	}
	c.Stop(0)
	if err := os.RemoveAll(c.Config(0).Dir()); err != nil {
		t.Fatal(err)
	}
	if seen, err := VerifyBackup(t.Context(), file, secret, time.Now(), nil); err != nil || len(seen.Faults) > 0 {
		t.Fatalf("verify: %+v, %v", seen, err)
	}
	addresses := loopback()
	addresses.Databases = "127.0.0.1:0"
	dir := filepath.Join(t.TempDir(), "new")
	r, err := Restore(t.Context(), RestoreOptions{File: file, Passphrase: secret, Dir: dir, Expect: "511602", Addresses: addresses,
		Confirm: func(Contents) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Verify(t.Context(), []string{dir}, nil); err != nil || v.Verdict != Agree {
		t.Fatalf("%v\n%s", err, v.Text())
	}
	restored := nodetest.Restored(t, r.Config, nodetest.Admin(Serve))
	restored.Await("the program goes on with its key", func() bool {
		return strings.Contains(asked(t, restored.DatabasesURL(0), key, "/db/query", `["SELECT hex(value) FROM service_meta"]`), `"values":[["00"]]`)
	})
	got = asked(t, restored.DatabasesURL(0), key, "/db/execute", `["INSERT INTO service_meta VALUES ('x', 1)"]`)
	if got != `{"results":[{"last_insert_id":2,"rows_affected":1}]}` {
		t.Error(got)
	}
	restored.Join()
	restored.Await("the further box has the database", func() bool {
		s, err := restored.Status(1)
		return err == nil && has(s, "minzheng/notes") && has(s, string(tenancy.DivisionDatabase))
	})
}

func has(s node.Status, database string) bool {
	for _, d := range s.Databases {
		if string(d.Database) == database && len(d.Voters) == 2 {
			return true
		}
	}
	return false
}
