package replication

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func openSolo(tb testing.TB, dir string) *Solo {
	tb.Helper()
	s, err := OpenSolo(dir, "a/main", nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Errorf("close the database: %v", err)
		}
	})
	return s
}

func soloUpdate(tb testing.TB, s *Solo, sql string, args ...any) {
	tb.Helper()
	if _, err := s.Update(tb.Context(), func(tx *Tx) error { return tx.Exec(sql, args...) }); err != nil {
		tb.Fatal(err)
	}
}

func soloCount(tb testing.TB, s *Solo) (n int) {
	tb.Helper()
	if err := s.View(tb.Context(), Linearizable, func(v *View) error {
		return v.QueryRow(`SELECT count(*) FROM t`).Scan(&n)
	}); err != nil {
		tb.Fatal(err)
	}
	return n
}

func TestSoloKeepsTheRulesOfUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSolo(t, t.TempDir())
		soloUpdate(t, s, `CREATE TABLE t (n INTEGER PRIMARY KEY)`)
		changed, at := s.AppliedChanged(), s.Applied()
		soloUpdate(t, s, `INSERT INTO t VALUES (1)`)
		select {
		case <-changed:
		default:
			t.Error("a commit did not close the channel of AppliedChanged")
		}
		if s.Applied() != at+1 || !s.IsLeader() {
			t.Errorf("it is at index %d after %d, leads: %v", s.Applied(), at, s.IsLeader())
		}

		refusal := errors.New("no")
		if _, err := s.Update(t.Context(), func(tx *Tx) error {
			if err := tx.Exec(`INSERT INTO t VALUES (2)`); err != nil {
				return err
			}
			return refusal
		}); !errors.Is(err, refusal) {
			t.Errorf("a refused update returned %v", err)
		}
		if _, err := s.Update(t.Context(), func(tx *Tx) error {
			return tx.Exec(`ATTACH 'x' AS y`)
		}); !errors.Is(err, ErrForbiddenSQL) {
			t.Errorf("ATTACH gave %v", err)
		}
		if _, err := s.Update(t.Context(), func(tx *Tx) error {
			<-time.After(time.Minute) // Of the bubble.
			return tx.Exec(`INSERT INTO t VALUES (3)`)
		}); !errors.Is(err, ErrTooSlow) {
			t.Errorf("a slow closure gave %v", err)
		}
		if n := soloCount(t, s); n != 1 {
			t.Errorf("it holds %d rows, of which 1 was committed", n)
		}
	})
}

func TestSoloOpensAnOldCopyOfItsFile(t *testing.T) {
	dir := t.TempDir()
	s := openSolo(t, dir)
	soloUpdate(t, s, `CREATE TABLE t (n INTEGER PRIMARY KEY)`)
	soloUpdate(t, s, `INSERT INTO t VALUES (1)`)
	old := t.TempDir()
	if err := os.MkdirAll(filepath.Join(old, "db", "a", "main"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), filepath.Join(old, "db", "a", "main", "state.db")); err != nil {
		t.Fatal(err)
	}
	soloUpdate(t, s, `INSERT INTO t VALUES (2)`)
	if n := soloCount(t, openSolo(t, old)); n != 1 {
		t.Errorf("the copy holds %d rows, want the 1 of its time", n)
	}
	if n := soloCount(t, s); n != 2 {
		t.Errorf("the database holds %d rows, want 2", n)
	}
}

func TestSoloCommitsUpdatesOfManyCallersOnceEach(t *testing.T) {
	s := openSolo(t, t.TempDir())
	soloUpdate(t, s, `CREATE TABLE t (n INTEGER PRIMARY KEY)`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := s.Update(context.Background(), func(tx *Tx) error {
					return tx.Exec(`INSERT INTO t SELECT coalesce(max(n), 0) + 1 FROM t`)
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := soloCount(t, s); n != 400 {
		t.Errorf("400 updates left %d rows", n)
	}
}

func BenchmarkSolo(b *testing.B) {
	s := openSolo(b, b.TempDir())
	soloUpdate(b, s, `CREATE TABLE t (n INTEGER PRIMARY KEY)`)
	for b.Loop() {
		if _, err := s.Update(b.Context(), func(tx *Tx) error {
			for range 100 {
				if err := tx.Exec(`INSERT INTO t VALUES (NULL)`); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "rows/s")
}
