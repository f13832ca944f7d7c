package demo

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"net/http"
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

	"tongban/internal/demo/page"
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

// smallTree is the district below the nation itself, and the window of another province.
func smallTree() []Place {
	return []Place{{nationCode, "", 1}, {shownCode, nationCode, 3}, {windowCode, nationCode, 1}}
}

func TestNothingIsLostWhenANodeIsKilledUnderLoadAndTheLineIsCut(t *testing.T) {
	t.Parallel() // Both mostly wait, and two trees at once are to get along.
	said := &transcript{}
	sum, err := Script(t.Context(), Options{Binary: binary, Items: smallCatalog(t), Cases: 20, Places: smallTree(), Progress: NewProgress(said)})
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
	if sum.ServedWhileCut != 20 || sum.NationWhileCut < 20 || sum.CasesAt[nationCode] != sum.NationWhileCut+20 {
		t.Errorf("20 cases before the cut and 20 during it: %+v", sum)
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
		ended <- Show(ctx, out, Options{Binary: binary, Items: smallCatalog(t), Places: smallTree(), Progress: NewProgress(said)})
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
	people := regexp.MustCompile(`(?m)^    (admin|head|officer2?|auditor|clerk) +(\S+)   ([A-Z2-7]{32})$`).FindAllStringSubmatch(shown, -1)
	if place == nil || folder == nil || len(people) != 6 {
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
	useThePage(t, regexp.MustCompile(`(?m)^    (http://localhost:\d+)/(\w{16})/$`).FindStringSubmatch(shown))
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

// visitor uses the page at host with key.
type visitor struct {
	t         *testing.T
	host, key string
}

// order presses a button.
func (v visitor) order(do, at string, status int) {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.host+"/"+v.key+"/do",
		strings.NewReader(url.Values{"do": {do}, "at": {at}}.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Page-Key", v.key)
	answer, err := newBrowser().http.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != status {
		v.t.Errorf("%s %s: %d, wanted %d", do, at, answer.StatusCode, status)
	}
}

// await waits until the page shows what is to come.
func (v visitor) await(what string, so func(s page.State) bool) {
	v.t.Helper()
	var s page.State
	for deadline := time.Now().Add(time.Minute); ; {
		if err := newBrowser().get(v.t.Context(), v.host, "/"+v.key+"/state", nil, &s); err != nil {
			v.t.Fatal(err)
		}
		if so(s) {
			return
		}
		for _, j := range s.Jobs {
			if j.Err != "" {
				v.t.Fatalf("%s %s: %s", j.Do, j.At, j.Err)
			}
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("never came: %s; last %+v, figures of the nation %+v", what, s, s.Divisions[0].Figures)
		}
		select {
		case <-v.t.Context().Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// useThePage cuts the district's line, makes cases and lodges one, kills a box, and heals,
// all through the page.
func useThePage(t *testing.T, place []string) {
	t.Helper()
	if place == nil {
		t.Fatal("the address of the page is not shown")
	}
	v := visitor{t, place[1], place[2]}
	decided := func(s page.State, i int) int {
		if s.Divisions[i].Figures == nil {
			return -1
		}
		return s.Divisions[i].Figures.Decided
	}
	v.order(page.Cut, "999999", 404)
	v.order(page.Start, shownCode+"/n1", 404) // It runs.
	v.order(page.Cut, shownCode, 202)
	v.await("the line is cut", func(s page.State) bool { return s.Lines[0].Cut && len(s.Jobs) == 0 })
	v.order(page.Load, "", 202)
	v.order(page.Load, "", 409)
	v.order(page.Lodge, "", 202)
	v.order(page.Kill, shownCode+"/n2", 202)
	v.await("the district goes on and says why the lodged case waits", func(s page.State) bool {
		return decided(s, 1) == loadCases && len(s.Lodged) == 1 && s.Lodged[0].State == page.Waiting && s.Lodged[0].Reason != "" && !s.Divisions[1].Boxes[1].Runs
	})
	v.await("the nation shows the old figure, and whom it does not hear", func(s page.State) bool {
		f := s.Divisions[0].Figures
		return f.Decided == 0 && len(f.Children) == 2 && (f.Children[0].Silent || f.Children[1].Silent)
	})
	v.order(page.Heal, shownCode, 202)
	v.order(page.Start, shownCode+"/n2", 202)
	v.await("all is equal, delivered, found and whole", func(s page.State) bool {
		return decided(s, 0) == loadCases && s.Lodged[0].State == page.Delivered && s.Divisions[1].Boxes[1].Runs &&
			s.Cases == page.Cases{Acknowledged: loadCases + 1, Found: loadCases + 1} && s.Lines[0].WhileCut == 0 && len(s.Jobs) == 0
	})
}
