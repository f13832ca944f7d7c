package appliance

import (
	"database/sql"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3" // To do to a file what replication would not.
	"go.uber.org/goleak"

	"tongban/node/exit"
	"tongban/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tamper runs SQL on a closed file, with the audit's triggers taken away and put back. The
// pages get the right checksums: this is not damage, but somebody's work.
func tamper(t *testing.T, file string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+file+"?vfs=tongban") // Registered by replication.
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	triggers := map[string]string{}
	rows, err := db.Query(`SELECT name, sql FROM sqlite_master WHERE type = 'trigger'`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var name, text string
		if err := rows.Scan(&name, &text); err != nil {
			t.Fatal(err)
		}
		triggers[name] = text
	}
	rows.Close()
	var all []string
	for name := range triggers {
		all = append(all, "DROP TRIGGER "+name)
	}
	all = append(all, statements...)
	for _, text := range triggers {
		all = append(all, text)
	}
	for _, s := range append(all, "PRAGMA wal_checkpoint(TRUNCATE)") {
		if _, err := db.Exec(s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// one reads a single text from a closed file.
func one(t *testing.T, file, query string) string {
	t.Helper()
	f, err := replication.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var value string
	if err := f.QueryRow(query).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

// copyTree copies a folder with its modes.
func copyTree(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Mkdir(filepath.Join(to, rel), info.Mode().Perm())
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), content, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// flip changes one bit of the byte at an offset; a negative one counts from the end.
func flip(t *testing.T, file string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if offset < 0 {
		end, err := f.Seek(0, io.SeekEnd)
		if err != nil {
			t.Fatal(err)
		}
		offset += end
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
}

// says checks that an error is one sentence with these words, and its exit code.
func says(t *testing.T, err error, code int, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; wanted one that says %q", words)
	}
	if got := exit.Code(err); got != code {
		t.Errorf("exit code %d, want %d: %v", got, code, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("%q is more than a sentence", err)
	}
}

// check returns the check of a name.
func check(r Report, name string) Check {
	for _, c := range r.Checks {
		if c.Name == name {
			return c
		}
	}
	return Check{}
}
