package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cespare/xxhash/v2"
)

// flips is how many bits a test of damage flips, one after another.
const flips = 200

func testRand(t *testing.T) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// fill writes a database of every kind of page: inner and leaf pages of tables and
// indexes, overflow pages, free ones. Each transaction has an applied index; the content
// at each is returned.
func fill(t *testing.T, w *conn, r *rand.Rand, from, to uint64, after func(applied uint64)) map[uint64][32]byte {
	t.Helper()
	must := func(sql string, args ...any) {
		t.Helper()
		if _, err := w.exec(sql, args...); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	contents := map[uint64][32]byte{}
	for i := from; i <= to; i++ {
		must("BEGIN IMMEDIATE")
		if i == 1 {
			must(`CREATE TABLE t(id INTEGER PRIMARY KEY, k, v)`)
			must(`CREATE INDEX tk ON t(k)`)
			must(`CREATE TABLE blobs(b)`)
		}
		for range 20 {
			must(`INSERT INTO t(k, v) VALUES (?, ?)`, r.Int64N(1e6), fmt.Sprint("value ", r.Uint64()))
		}
		must(`INSERT INTO blobs VALUES (randomblob(?))`, 1+r.Int64N(20_000))
		if i%5 == 0 {
			must(`DELETE FROM blobs WHERE rowid % 3 = 0`)
			must(`DELETE FROM t WHERE id % 7 = 0`)
		}
		if err := w.writeState(state{applied: i, term: 1, lastcmd: i}); err != nil {
			t.Fatal(err)
		}
		must("COMMIT")
		contents[i] = contentOf(t, w)
		if after != nil {
			after(i)
		}
	}
	return contents
}

func contentOf(t *testing.T, c *conn) [32]byte {
	t.Helper()
	sum, err := checksum(c, func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// files are the bytes of a main file and its WAL as a crash would leave them.
type files struct{ main, wal, mark []byte }

func readFiles(t *testing.T, path string) files {
	t.Helper()
	read := func(suffix string) []byte {
		b, err := os.ReadFile(path + suffix)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return b
	}
	return files{read(""), read("-wal"), read("-wal-mark")}
}

// place writes copies into a new folder.
func (f files) place(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "state.db")
	for suffix, b := range map[string][]byte{"": f.main, "-wal": f.wal, "-wal-mark": f.mark} {
		if len(b) == 0 {
			continue
		}
		if err := os.WriteFile(path+suffix, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func flipBit(b []byte, bit int64) { b[bit/8] ^= 1 << (bit % 8) }

func newStore(t *testing.T) (*conn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	w, _, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close() })
	return w, path
}

func TestTheSumOfAPageIsXXH64(t *testing.T) {
	t.Parallel()
	r := testRand(t)
	for range 50 {
		b := make([]byte, 8*(4+r.IntN(600)))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		seed := r.Uint64()
		d := xxhash.NewWithSeed(seed)
		_, _ = d.Write(b)
		if got := pageSum(b, seed); got != d.Sum64() {
			t.Fatalf("%d bytes, seed %d: %x, want %x", len(b), seed, got, d.Sum64())
		}
	}
}

func TestEveryFlippedBitOfAClosedFileIsFound(t *testing.T) {
	t.Parallel()
	r := testRand(t)
	w, path := newStore(t)
	content := fill(t, w, r, 1, 40, nil)[40]
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	if pages, err := scrub(context.Background(), path); err != nil || pages < 50 {
		t.Fatalf("%d pages are sound (%v)", pages, err)
	}
	f := readFiles(t, path)
	path = f.place(t)
	refused := 0
	for range flips {
		bit := r.Int64N(int64(len(f.main)) * 8)
		flipBit(f.main, bit)
		if err := os.WriteFile(path, f.main, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := scrub(context.Background(), path); !damaged(err) {
			t.Errorf("bit %d of page %d: the scrub says %v", bit, bit/8/4096+1, err)
		}
		got, err := readAll(path, fileConn)
		switch {
		case err == nil && got != content:
			t.Errorf("bit %d of page %d: served", bit, bit/8/4096+1)
		case err != nil && !damaged(err):
			t.Errorf("bit %d of page %d: not taken for damage: %v", bit, bit/8/4096+1, err)
		case err != nil:
			refused++
		}
		flipBit(f.main, bit)
	}
	if refused < flips/2 {
		t.Errorf("only %d of %d were in the way of a reader", refused, flips)
	}
}

// readAll reads everything in the file at path.
func readAll(path string, kind int) (sum [32]byte, err error) {
	c, err := openConn(path, kind)
	if err != nil {
		return sum, err
	}
	defer c.close()
	if sum, err = checksum(c, func() error { return nil }); err != nil {
		return sum, err
	}
	var n int64
	return sum, c.one(`SELECT count(*) FROM t INDEXED BY tk`, &n)
}

func TestAPageInTheWrongPlaceAndAMissingEndAreFound(t *testing.T) {
	t.Parallel()
	w, path := newStore(t)
	fill(t, w, testRand(t), 1, 20, nil)
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	f := readFiles(t, path)
	for name, change := range map[string]func(b []byte) []byte{
		"two pages swapped": func(b []byte) []byte {
			p := bytes.Clone(b[4*4096 : 5*4096])
			copy(b[4*4096:], b[6*4096:7*4096])
			copy(b[6*4096:], p)
			return b
		},
		"a page of zeros": func(b []byte) []byte { clear(b[5*4096 : 6*4096]); return b },
		"half a page":     func(b []byte) []byte { clear(b[5*4096+2048 : 6*4096]); return b },
	} {
		bad := files{main: change(bytes.Clone(f.main))}.place(t)
		if _, err := scrub(context.Background(), bad); !damaged(err) {
			t.Errorf("%s: the scrub says %v", name, err)
		}
	}
	cut := files{main: f.main[:len(f.main)-3*4096]}.place(t)
	if _, err := readAll(cut, fileConn); !damaged(err) {
		t.Errorf("cut: %v", err)
	}
}

func TestEveryPageOfTheFileIsSealed(t *testing.T) {
	t.Parallel()
	w, path := newStore(t)
	fill(t, w, testRand(t), 1, 5, nil)
	for _, sql := range []string{ // Pages that are free when they would be written for the first time.
		"BEGIN IMMEDIATE", "CREATE TABLE x(b)", "INSERT INTO x SELECT zeroblob(9000) FROM t", "CREATE TABLE y(b)",
		"INSERT INTO y SELECT zeroblob(9000) FROM t", "DROP TABLE x", "DELETE FROM y WHERE rowid > 3", "COMMIT",
	} {
		if _, err := w.exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if _, _, err := w.checkpoint(); err != nil {
		t.Fatal(err)
	}
	var pages int64
	if err := w.one("PRAGMA page_count", &pages); err != nil {
		t.Fatal(err)
	}
	if n, err := scrub(context.Background(), path); err != nil || n != pages {
		t.Errorf("%d of %d pages are sound (%v)", n, pages, err)
	}
}

func TestAFileOfOtherOriginIsReadUnverified(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "other.db")
	raw := openForeign(t, path)
	if _, err := raw.Exec(`CREATE TABLE t(a); INSERT INTO t VALUES (7)`, nil); err != nil {
		t.Fatal(err)
	}
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := scrub(context.Background(), path); err != nil || n != 0 {
		t.Errorf("%d pages, %v", n, err)
	}
	w, _, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if err := w.one(`SELECT a FROM t`, &n); err != nil || n != 7 {
		t.Error(n, err)
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	head := readFiles(t, path).main
	if head[20] != 0 || binary.BigEndian.Uint32(head[68:]) != 0 {
		t.Errorf("%d bytes a page were reserved", head[20])
	}
}
