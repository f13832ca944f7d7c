package replication_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tongban/replication/replicationtest"
)

// TestRandomFlips damages one of three stopped replicas, log and file, at random: nothing of
// it is served or spread, and it is whole again. Four rounds of fifty bits.
func TestRandomFlips(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed) // What it flips depends on the sizes of the files, too.
	c := threeWithRows(t, 20)
	for round := range 4 {
		c.Stop("n3")
		flipBits(t, r, c.Dir("n3"), 50)
		exec(t, c.DB(c.Leader()), `INSERT INTO t VALUES ('meanwhile')`)
		if err := c.TryStart("n3"); err != nil { // The log store is made anew at the next start.
			t.Logf("round %d: %v", round, err)
			c.Start("n3")
		}
		awaitEqual(t, c)
		c.Settle()
		for _, name := range c.Names() {
			if got, want := count(t, c.DB(name), "t"), 21+round; got != want {
				t.Errorf("round %d: %s has %d rows, not %d", round, name, got, want)
			}
		}
	}
}

// awaitEqual waits until all three hold the same, and starts n3 again when it asks for that.
func awaitEqual(t *testing.T, c *replicationtest.Nodes) {
	t.Helper()
	last := ""
	defer func() {
		if last != "" {
			t.Log(last)
		}
	}()
	replicationtest.Await(t, "all replicas are whole", func() bool {
		select {
		case err := <-c.Engine("n3").Failed():
			t.Logf("started again: %v", err)
			c.Stop("n3")
			c.Start("n3")
		default:
		}
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		v, err := c.DB(c.Leader()).Verify(short)
		s := c.DB("n3").Status()
		whole := err == nil && v.Equal && s.Err == "" && s.Held == ""
		if last = ""; !whole {
			last = fmt.Sprintf("%+v %v; n3: %+v", v, err, s)
		}
		return whole
	})
}

// flipBits flips bits of a stopped node's log and databases, each in a file by its size.
func flipBits(t *testing.T, r *rand.Rand, dir string, bits int) {
	t.Helper()
	var paths []string
	var sizes []int64
	var all int64
	for _, below := range []string{"log", "db"} {
		err := filepath.WalkDir(filepath.Join(dir, below), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || strings.Contains(path, ".damaged") || e.Name() == "LOCK" {
				return err
			}
			info, err := e.Info()
			if err == nil && info.Size() > 0 {
				paths, sizes, all = append(paths, path), append(sizes, info.Size()), all+info.Size()
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range bits {
		at, i := r.Int64N(all), 0
		for ; at >= sizes[i]; i++ {
			at -= sizes[i]
		}
		b, err := os.ReadFile(paths[i])
		if err != nil {
			t.Fatal(err)
		}
		b[at] ^= 1 << r.IntN(8)
		if err := os.WriteFile(paths[i], b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
