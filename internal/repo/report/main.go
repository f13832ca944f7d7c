// Command report reads the stream of "go test -json", prints what failed, and ends with
// a table of what ran and what did not, because of what, and the command that would make
// it run. With -strict a test that did not run is a failure.
//
// A test that cannot run says so with t.Skip("not run: <because>; <command>").
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// event is one line of "go test -json" (cmd/internal/test2json).
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string
	Elapsed                       float64
}

type skip struct{ test, because, command string }

// tally is what the stream has said so far.
type tally struct {
	output                  map[string][]string // By package and test, until it passes.
	passed, failed          int
	packages, packagesFails int
	skips                   []skip
}

func main() {
	strict := flag.Bool("strict", false, "a test that did not run is a failure")
	flag.Parse()
	t := tally{output: map[string][]string{}}
	if err := t.read(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
	t.print(os.Stdout)
	if t.failed > 0 || t.packagesFails > 0 || t.packages == 0 || *strict && len(t.skips) > 0 {
		os.Exit(1)
	}
}

func (t *tally) read(r io.Reader, w io.Writer) error {
	scan := bufio.NewScanner(r)
	scan.Buffer(nil, 16<<20)
	for scan.Scan() {
		var e event
		if err := json.Unmarshal(scan.Bytes(), &e); err != nil {
			fmt.Fprintln(w, scan.Text()) // Not of the test runner: the compiler's, say.
			continue
		}
		t.take(e, w)
	}
	return scan.Err()
}

func (t *tally) take(e event, w io.Writer) {
	id := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		t.output[id] = append(t.output[id], e.Output)
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e, id, w)
			break
		}
		switch e.Action {
		case "pass":
			t.passed++
		case "fail":
			t.failed++
			fmt.Fprintf(w, "--- FAIL %s %s\n%s", e.Package, e.Test, strings.Join(t.output[id], ""))
		case "skip":
			t.skips = append(t.skips, skipOf(e, t.output[id]))
		}
		delete(t.output, id)
	}
}

func (t *tally) endPackage(e event, id string, w io.Writer) {
	t.packages++
	switch e.Action {
	case "fail":
		t.packagesFails++
		fmt.Fprintf(w, "FAIL %s (%.1fs)\n%s", e.Package, e.Elapsed, strings.Join(t.output[id], ""))
	case "pass":
		fmt.Fprintf(w, "ok   %s (%.1fs)\n", e.Package, e.Elapsed)
	}
}

func skipOf(e event, output []string) skip {
	s := skip{test: strings.TrimPrefix(e.Package, "tongban/") + " " + e.Test, because: "it does not say"}
	for _, line := range output {
		if _, reason, ok := strings.Cut(line, "not run: "); ok {
			s.because, s.command, _ = strings.Cut(strings.TrimSpace(reason), "; ")
		}
	}
	return s
}

func (t *tally) print(w io.Writer) {
	fmt.Fprintf(w, "\nran: %d tests in %d packages, %d failed\n", t.passed+t.failed, t.packages, t.failed)
	if len(t.skips) == 0 {
		fmt.Fprintln(w, "not run: nothing")
	}
	for _, s := range t.skips {
		fmt.Fprintf(w, "not run: %s\n    because %s\n", s.test, s.because)
		if s.command != "" {
			fmt.Fprintf(w, "    to run it: %s\n", s.command)
		}
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", t.passed, t.failed, len(t.skips))
}
