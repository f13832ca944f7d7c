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

// A WAL that a process left behind when it was killed: SQLite takes the first frame that
// is damaged for the end. What it shows then must have been the state once, or be refused.
func TestAFlippedBitOfAWALLosesItsEndOrIsFound(t *testing.T) {
	t.Parallel()
	for name, pin := range map[string]uint64{"not copied back": 0, "copied back in part": 25, "copied back": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testRand(t)
			w, path := newStore(t)
			fill(t, w, r, 1, 10, nil)
			if _, err := w.exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
				t.Fatal(err)
			}
			contents := fill(t, w, r, 11, 40, func(applied uint64) {
				if applied == pin { // A checkpoint copies back what this reader sees.
					pinReader(t, path)
				}
			})
			if pin > 0 {
				if _, _, err := w.checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
			contents[10] = [32]byte{} // Set below: the WAL may be lost altogether.
			f := readFiles(t, path)
			base := files{main: f.main}.place(t)
			if pin == 0 {
				sum, err := readAll(base, copyConn)
				if err != nil {
					t.Fatal(err)
				}
				contents[10] = sum
			}
			flipWAL(t, r, f, contents)
		})
	}
}

// After a restart of the WAL its head is synced before the first frame is written: those of
// the old one that are still there lose nothing.
func TestAWALThatHasJustBegunAnewIsNotTakenForDamaged(t *testing.T) {
	t.Parallel()
	r := testRand(t)
	w, path := newStore(t)
	fill(t, w, r, 1, 10, nil)
	if _, _, err := w.checkpoint(); err != nil {
		t.Fatal(err)
	}
	old := readFiles(t, path)
	content := contentOf(t, w)
	fill(t, w, r, 11, 12, nil) // Begins anew.
	f := readFiles(t, path)
	for _, end := range []int{32, 32 + 24 + 4096, len(f.wal)} { // So much of it was written before the power went.
		wal := bytes.Clone(old.wal)
		copy(wal, f.wal[:end])
		if bytes.Equal(old.wal[16:24], f.wal[16:24]) {
			t.Fatal("the WAL did not begin anew")
		}
		path := files{f.main, wal, f.mark}.place(t)
		again, s, err := openStore(path)
		if err != nil {
			t.Fatalf("%d bytes: %v", end, err)
		}
		if s.applied == 10 && contentOf(t, again) != content {
			t.Errorf("%d bytes: another content", end)
		}
		again.close()
	}
}

// pinReader opens a view that lasts as long as the test.
func pinReader(t *testing.T, path string) {
	c, err := openConn(path, readerConn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close() })
	if _, err := c.exec("BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.readState(); err != nil {
		t.Fatal(err)
	}
}

func flipWAL(t *testing.T, r *rand.Rand, f files, contents map[uint64][32]byte) {
	shorter, refused := 0, 0
	for i := range int64(flips) {
		bit := r.Int64N(int64(len(f.wal)) * 8)
		if i < 56*8/16 { // And each byte of the heads of the file and of the first frame.
			bit = i*16 + r.Int64N(16)
		}
		flipBit(f.wal, bit)
		path := f.place(t)
		flipBit(f.wal, bit)
		w, s, err := openStore(path)
		if err != nil {
			refused++
			if !damaged(err) {
				t.Errorf("bit %d: not taken for damage: %v", bit, err)
			}
			continue
		}
		got, err := checksum(w, func() error { return nil })
		switch {
		case err == nil && got != contents[s.applied]:
			t.Errorf("bit %d: served as of entry %d", bit, s.applied)
		case err != nil && !damaged(err):
			t.Errorf("bit %d: not taken for damage: %v", bit, err)
		case s.applied < 40:
			shorter++
		}
		if err := w.close(); err != nil {
			t.Fatal(err)
		}
		if _, err := scrub(context.Background(), path); err != nil {
			t.Errorf("bit %d: after the recovery: %v", bit, err)
		}
	}
	t.Logf("%d flips: %d refused, %d took the end away", flips, refused, shorter)
	if refused+shorter < flips/2 {
		t.Error("the WAL was hardly needed")
	}
}

// While the database serves, the index of its WAL is in memory: a frame that has changed
// is read, by views and by checkpoints.
func TestAFlippedBitOfALiveWALIsFound(t *testing.T) {
	t.Parallel()
	r := testRand(t)
	w, path := newStore(t)
	content := fill(t, w, r, 1, 30, nil)[30]
	f := readFiles(t, path)
	wal, err := os.OpenFile(path+"-wal", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer wal.Close()
	refused := 0
	for range flips {
		bit := r.Int64N(int64(len(f.wal)) * 8)
		b := f.wal[bit/8] ^ 1<<(bit%8)
		if _, err := wal.WriteAt([]byte{b}, bit/8); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(path, readerConn)
		switch {
		case err == nil && got != content:
			t.Errorf("bit %d: served", bit)
		case err != nil && !damaged(err):
			t.Errorf("bit %d: not taken for damage: %v", bit, err)
		case err != nil:
			refused++
			if refused == 1 {
				if _, _, err := w.checkpoint(); !damaged(err) {
					t.Errorf("bit %d: a checkpoint copied it: %v", bit, err)
				}
			}
		}
		if _, err := wal.WriteAt(f.wal[bit/8:bit/8+1], bit/8); err != nil {
			t.Fatal(err)
		}
	}
	if refused < flips/20 {
		t.Errorf("only %d of %d were in the way of a reader", refused, flips)
	}
	if _, _, err := w.checkpoint(); err != nil {
		t.Error(err)
	}
	if got, err := readAll(path, copyConn); err != nil || got != content {
		t.Errorf("after it was mended and copied back: %v", err)
	}
}

// A transaction larger than the cache writes pages to the WAL before it commits, some of
// them twice: their checksums are made at the commit, and it reads them before.
func TestATransactionReadsItsOwnFramesBeforeTheyHaveChecksums(t *testing.T) {
	t.Parallel()
	w, path := newStore(t)
	if _, err := w.exec("PRAGMA cache_size=10"); err != nil {
		t.Fatal(err)
	}
	r := testRand(t)
	content := fill(t, w, r, 1, 3, nil)[3]
	change := func() {
		t.Helper()
		for range 6 {
			for _, sql := range []string{
				`INSERT INTO blobs SELECT randomblob(3000) FROM t LIMIT 60`, `UPDATE t SET v = v || 'x'`,
				`SAVEPOINT s`, `UPDATE blobs SET b = randomblob(2500)`, `UPDATE t SET k = k + 1`, `ROLLBACK TO s`, `RELEASE s`,
				`DELETE FROM blobs WHERE rowid % 5 = 1`,
			} {
				if _, err := w.exec(sql); err != nil {
					t.Fatalf("%s: %v", sql, err)
				}
			}
			contentOf(t, w)
		}
	}
	for i := range 6 {
		if _, err := w.exec("BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		change()
		end := "COMMIT"
		if i%2 == 0 {
			end = "ROLLBACK"
		}
		if _, err := w.exec(end); err != nil {
			t.Fatal(err)
		}
		if i%2 != 0 {
			content = contentOf(t, w)
		}
		if got, err := readAll(path, readerConn); err != nil || got != content {
			t.Fatalf("round %d: %v", i, err)
		}
		if _, _, err := w.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.close(); err != nil {
		t.Fatal(err)
	}
	if got, err := readAll(path, copyConn); err != nil || got != content {
		t.Errorf("closed: %v", err)
	}
	if _, err := scrub(context.Background(), path); err != nil {
		t.Error(err)
	}
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
