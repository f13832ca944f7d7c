package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for name, c := range map[string]struct {
		stream          string
		want, forbidden []string
		bad             bool
	}{
		"a run in which all passed": {
			stream: `{"Action":"pass","Package":"tongban/a","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"tongban/a"}`,
			want:   []string{"ok   tongban/a", "1 passed, 0 failed, 0 skipped", "not run: nothing"},
		},
		"a failure shows what it printed, a success does not": {
			stream: `{"Action":"output","Package":"tongban/a","Test":"TestA","Output":"noise\n"}` + "\n" +
				`{"Action":"pass","Package":"tongban/a","Test":"TestA"}` + "\n" +
				`{"Action":"output","Package":"tongban/a","Test":"TestB","Output":"the reason\n"}` + "\n" +
				`{"Action":"fail","Package":"tongban/a","Test":"TestB"}` + "\n" + `{"Action":"fail","Package":"tongban/a"}`,
			want: []string{"--- FAIL tongban/a TestB\nthe reason", "1 passed, 1 failed"}, forbidden: []string{"noise"}, bad: true,
		},
		"a test that did not run says why and what to do": {
			stream: `{"Action":"output","Package":"tongban/a","Test":"TestA","Output":"    a_test.go:1: not run: chromium is missing; apt-get install -y chromium\n"}` + "\n" +
				`{"Action":"skip","Package":"tongban/a","Test":"TestA"}` + "\n" + `{"Action":"pass","Package":"tongban/a"}`,
			want: []string{"not run: a TestA", "because chromium is missing", "to run it: apt-get install -y chromium"},
		},
		"a compiler's words come through": {
			stream: `{"Action":"build-output","ImportPath":"tongban/a","Output":"a.go:1: undefined: x\n"}` + "\n" + `{"Action":"fail","Package":"tongban/a"}`,
			want:   []string{"undefined: x", "FAIL tongban/a"}, bad: true,
		},
	} {
		var out strings.Builder
		ty := tally{output: map[string][]string{}}
		if err := ty.read(strings.NewReader(c.stream), &out); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ty.print(&out)
		for _, w := range c.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: there is no %q in\n%s", name, w, out.String())
			}
		}
		for _, f := range c.forbidden {
			if strings.Contains(out.String(), f) {
				t.Errorf("%s: there is %q in\n%s", name, f, out.String())
			}
		}
		if bad := ty.failed > 0 || ty.packagesFails > 0; bad != c.bad {
			t.Errorf("%s: taken for bad: %v, want %v", name, bad, c.bad)
		}
	}
}
