package demo

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	catalogdemo "tongban/service/catalog/demo"
)

// binary is the program, built once for all tests of this package.
var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "tongban-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "tongban")
	build := exec.Command("go", "build", "-o", binary, "../../cmd/tongban")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// smallCatalog writes the rows of three departments, dirty ones among them, to a file.
func smallCatalog(t *testing.T) string {
	t.Helper()
	all, err := csv.NewReader(bytes.NewReader(catalogdemo.CSV(false))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var some [][]string
	departments := map[string]int{}
	for i, row := range all {
		if _, known := departments[row[0]]; i > 0 && !known && len(departments) == 3 {
			break
		}
		if i > 0 {
			departments[row[0]]++
			if departments[row[0]] <= 2 { // The code of the body is one character short.
				row[7] = row[7][:17]
			}
		}
		some = append(some, row)
	}
	path := filepath.Join(t.TempDir(), "items.csv")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := csv.NewWriter(f).WriteAll(some); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// transcript is what a run says, kept for a test that fails.
type transcript struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *transcript) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *transcript) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func TestADistrictLosesNothingWhenANodeIsKilledUnderLoad(t *testing.T) {
	t.Parallel() // Both mostly wait, and two districts at once are to get along.
	said := &transcript{}
	sum, err := Script(t.Context(), Options{Binary: binary, Items: smallCatalog(t), Cases: 20, Progress: NewProgress(said)})
	if err == nil {
		err = sum.Err()
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	if sum.Quarantined != 6 || sum.Repaired != 2 || sum.Items == 0 {
		t.Errorf("6 rows are dirty, 2 of a department: %+v", sum)
	}
	if sum.CasesAcknowledged < 20 || sum.FailoverMS <= 0 || sum.CatchupMS <= 0 {
		t.Errorf("nothing was measured: %+v", sum)
	}
	for _, pid := range regexp.MustCompile(`process (\d+)`).FindAllStringSubmatch(said.String(), -1) {
		if n, _ := strconv.Atoi(pid[1]); syscall.Kill(n, 0) == nil {
			t.Errorf("process %d still runs", n)
		}
	}
	t.Logf("%s", said)
}

func TestPeopleGetInWithWhatTheDemonstrationShows(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	said, out := &transcript{}, &transcript{}
	ended := make(chan error, 1)
	go func() {
		ended <- Show(ctx, out, Options{Binary: binary, Items: smallCatalog(t), Progress: NewProgress(said)})
	}()
	deadline := time.After(time.Minute)
	for !strings.Contains(out.String(), "Ctrl-C") {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s", err, said)
		case <-deadline:
			t.Fatalf("it never showed how to get in\n%s", said)
		case <-time.After(20 * time.Millisecond):
		}
	}
	shown := out.String()
	place := regexp.MustCompile(`n2   (http://localhost:\d+)`).FindStringSubmatch(shown)
	folder := regexp.MustCompile(`removes (\S+)`).FindStringSubmatch(shown)
	people := regexp.MustCompile(`(?m)^    (admin|head|officer2?|auditor) +(\S+)   ([A-Z2-7]{32})$`).FindAllStringSubmatch(shown, -1)
	if place == nil || folder == nil || len(people) != 5 {
		t.Fatalf("place %v, folder %v, %d people in\n%s", place, folder, len(people), shown)
	}
	b := newBrowser()
	defer b.close()
	for _, p := range people {
		// The code of the enrolment cannot be used again; the next one is taken already.
		code, err := totp.GenerateCode(p[3], time.Now().Add(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		r, err := b.insist(ctx, func() []string { return place[1:] }, 0, "/sign-in",
			url.Values{"login": {p[1]}, "password": {p[2]}, "code": {code}}, nil)
		if err != nil || r.cookie("session") == "" {
			t.Errorf("%s cannot sign in: %v", p[1], err)
		}
	}
	stop()
	begun := time.Now()
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v", err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	if _, err := os.Stat(folder[1]); !os.IsNotExist(err) {
		t.Errorf("the folder %s is still there: %v", folder[1], err)
	}
}
