package replication

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"testing"
)

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
