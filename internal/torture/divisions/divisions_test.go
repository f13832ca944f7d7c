package divisions

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tongban/internal/demo"
)

func TestATallyFindsWhatIsLostAndWhatIsThereTwice(t *testing.T) {
	t.Parallel()
	have := map[string]int{"a": 1, "b": 2, "d": 3}
	if lost, doubled := tally([]string{"a", "b", "c"}, have); lost != 1 || doubled != 3 {
		t.Errorf("%d lost and %d doubled of %v", lost, doubled, have)
	}
	if lost, doubled := tally([]string{"a"}, map[string]int{"a": 1}); lost+doubled != 0 {
		t.Errorf("%d lost and %d doubled, where all is well", lost, doubled)
	}
}

func TestAReportIsOKOnlyIfNothingIsWrong(t *testing.T) {
	t.Parallel()
	well := Report{Seed: 7, Faults: map[string]int{Cut: 2, Restore: 1}, Cases: 9}
	if line := well.Line(); !well.OK() || line != "seed=7 cuts=2 holes=0 narrow=0 kills=0 restarts=0 restores=1 cases=9 mails=0 lost=0 doubled=0" {
		t.Errorf("%q", line)
	}
	for _, bad := range []Report{{Lost: 1}, {Doubled: 1}, {Violations: []string{"a count is wrong"}}} {
		if bad.OK() {
			t.Errorf("%+v is OK", bad)
		}
	}
}

// TestDivisionsUnderFaults is a short run with real processes; "make torture
// SUITE=federation" and "make long" make longer ones.
func TestDivisionsUnderFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("not run: it is a minute of load; go test without -short")
	}
	binary := filepath.Join(t.TempDir(), "tongban")
	if out, err := exec.Command("go", "build", "-o", binary, "../../../cmd/tongban").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	seed, err := strconv.ParseUint(os.Getenv("TONGBAN_SEED"), 10, 64)
	if err != nil {
		seed = uint64(time.Now().UnixNano())%1e9 + 1
	}
	t.Logf("TONGBAN_SEED=%d draws these faults again", seed)
	var said strings.Builder
	r, err := Run(t.Context(), Options{Binary: binary, Seed: seed, Duration: 15 * time.Second, Progress: demo.NewProgress(&said)})
	t.Log("\n" + said.String() + r.Text())
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() {
		t.Errorf("seed %d: %v", r.Seed, r.Violations)
	}
	total := 0
	for _, n := range r.Faults {
		total += n
	}
	if total < 3 || r.Cases < 20 || r.Mails == 0 {
		t.Errorf("this was no torture: %s", r.Line())
	}
}
