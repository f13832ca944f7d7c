package replication

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func flipByte(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[(at+len(b))%len(b)] ^= 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestWhatADamagedStoreMayLackCountsAsLost damages the newest record of a store, which Pebble
// takes for a write that was cut short: a vote that is too old is worse than none.
func TestWhatADamagedStoreMayLackCountsAsLost(t *testing.T) {
	dir := t.TempDir()
	files := filepath.Join(dir, "db", "t", "main")
	if err := os.MkdirAll(files, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := openLogs(filepath.Join(dir, "log"), quiet())
	if err != nil {
		t.Fatal(err)
	}
	g := l.group("t/main")
	err = errors.Join(g.StoreLogs(testEntries(2, 1, 3)), g.Set(nameVote, []byte("n2")), g.Set(nameVote, []byte("n3")), l.close(), sealStore(l.dir))
	if err != nil {
		t.Fatal(err)
	}
	flipByte(t, newestOf(t, l.dir, "*.log"), -1)
	l, err = openOrSalvage(dir, quiet(), openLogs)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if m, err := readMark(files); err != nil || m == nil || !m.Log || !m.Vote || m.Last != nil {
		t.Errorf("marked %+v, %v", m, err)
	}
	g = l.group("t/main")
	if vote, err := g.Get(nameVote); err != nil || len(vote) > 0 {
		t.Errorf("it has voted for %q: %v", vote, err)
	}
	if last, err := g.LastIndex(); err != nil || last != 0 {
		t.Errorf("its last entry is %d: %v", last, err)
	}
}

func newestOf(t *testing.T, dir, pattern string) string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return list[len(list)-1]
}

// TestAFailureBeforeTheEngineListensIsHeard: the store may meet damage while it is opened.
func TestAFailureBeforeTheEngineListensIsHeard(t *testing.T) {
	l, err := openLogs(filepath.Join(t.TempDir(), "log"), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	_ = l.damaged(os.ErrNotExist)
	var heard error
	l.tellLost(func(err error) { heard = err })
	if !errors.Is(heard, errStore) {
		t.Errorf("heard of %v", heard)
	}
}
