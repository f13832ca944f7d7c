package torture

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// program builds tongban once for a test.
func program(t *testing.T, flags ...string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tongban")
	build := exec.Command("go", append(append([]string{"build"}, flags...), "-o", binary, "../../cmd/tongban")...)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	return binary
}

// seed is TONGBAN_SEED, or one that the clock gives.
func seed(t *testing.T) uint64 {
	s, err := strconv.ParseUint(os.Getenv("TONGBAN_SEED"), 10, 64)
	if err != nil {
		s = uint64(time.Now().UnixNano())%1e9 + 1
	}
	t.Logf("TONGBAN_SEED=%d draws these faults again", s)
	return s
}

// TestTorture is a short run with everything that this user may do; "make torture" and
// "make long" make longer ones.
func TestTorture(t *testing.T) {
	if testing.Short() {
		t.Skip("not run: it is half a minute of load; go test without -short")
	}
	r, err := Run(t.Context(), Options{Binary: program(t), Seed: seed(t), Duration: 15 * time.Second, Slack: busySlack,
		Dir: filepath.Join(t.TempDir(), "run"), Say: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + r.Text())
	if !r.OK() {
		t.Errorf("seed %d: %v", r.Seed, r.Violations)
	}
	total := 0
	for _, n := range r.Faults {
		total += n
	}
	if total < 3 || r.Operations < 500 || r.Registers == 0 {
		t.Errorf("this was no torture: %s", fmt.Sprintln(r.Line()))
	}
}

// busySlack: the tests of other packages run at the same time.
const busySlack = 4 * time.Second
