package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// line is a command line of the program: a verb, and the names of its flags.
type line struct {
	verb  string // "tongban child token".
	flags []string
}

var (
	inText  = regexp.MustCompile("`(tongban [^`]*)`")
	inFence = regexp.MustCompile(`(?m)^ *(tongban .*)$`)
	inTest  = regexp.MustCompile(`(?m)^(?:! )?(?:exec|await) (tongban .*)$`)
)

// readLine finds the verb and the flags of a command line; a problem is what the program
// does not know.
func readLine(root *cobra.Command, text string) (l line, problem string) {
	text, _, _ = strings.Cut(text, " #")
	text, _, _ = strings.Cut(text, `\|`) // Several verbs, of which the first is looked at.
	var words []string
	for _, w := range strings.Fields(text)[1:] {
		words = append(words, strings.Trim(w, "[]"))
	}
	cmd, _, err := root.Find(words)
	if err != nil {
		return l, err.Error()
	}
	l.verb = cmd.CommandPath()
	if cmd.HasSubCommands() && cmd.ValidateArgs([]string{"nothing"}) != nil { // A group.
		return l, "it names no verb of " + l.verb
	}
	for _, w := range words {
		name, isFlag := strings.CutPrefix(w, "--")
		if !isFlag {
			continue
		}
		name, _, _ = strings.Cut(name, "=")
		if cmd.Flags().Lookup(name) == nil && cmd.InheritedFlags().Lookup(name) == nil {
			return l, l.verb + " has no flag --" + name
		}
		l.flags = append(l.flags, name)
	}
	return l, ""
}

// commands are the command lines in a file.
func commands(t *testing.T, path string, forms ...*regexp.Regexp) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, form := range forms {
		for _, m := range form.FindAllStringSubmatch(string(text), -1) {
			out = append(out, m[1])
		}
	}
	return out
}

func documents(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"../../README*.md", "../../docs/ops/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("no documents are %s (%v)", pattern, err)
		}
		out = append(out, paths...)
	}
	return out
}

func rootForDocs() *cobra.Command {
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	return newRoot(a, verbs)
}

// TestTheDocumentsNameCommandsThatThereAre reads every command in the guides: its verb and
// its flags must be the program's.
func TestTheDocumentsNameCommandsThatThereAre(t *testing.T) {
	t.Parallel()
	root, found := rootForDocs(), 0
	for _, path := range documents(t) {
		for _, text := range commands(t, path, inText, inFence) {
			found++
			if _, problem := readLine(root, text); problem != "" {
				t.Errorf("%s: `%s`: %s", filepath.Base(path), text, problem)
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d commands were found", found)
	}
}

// TestEveryCommandOfTheFederationGuideIsRun looks for each in the scripts, which run the
// real program: the same verb with at least the same flags.
func TestEveryCommandOfTheFederationGuideIsRun(t *testing.T) {
	t.Parallel()
	root := rootForDocs()
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("there are no scripts (%v)", err)
	}
	var run []line
	for _, path := range scripts {
		for _, text := range commands(t, path, inTest) {
			if l, problem := readLine(root, text); problem == "" {
				run = append(run, l)
			}
		}
	}
	for _, name := range []string{"federation.md", "federation.zh-CN.md"} {
		for _, text := range commands(t, filepath.Join("../../docs/ops", name), inText, inFence) {
			want, _ := readLine(root, text)
			if !slices.ContainsFunc(run, func(l line) bool { return l.verb == want.verb && containsAll(l.flags, want.flags) }) {
				t.Errorf("%s: no script runs `%s`", name, text)
			}
		}
	}
}

func containsAll(have, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(have, w) })
}

// TestAWrongCommandIsFound tries the test itself.
func TestAWrongCommandIsFound(t *testing.T) {
	t.Parallel()
	root := rootForDocs()
	for text, wrong := range map[string]bool{
		"tongban child token --code 511602":     false,
		"tongban tenant create \\| list":        false,
		"tongban child token --colour red":      true,
		"tongban chidl token":                   true,
		"tongban child tokne":                   true,
		"tongban items import FILE [--dry-run]": false,
	} {
		if _, problem := readLine(root, text); (problem != "") != wrong {
			t.Errorf("%q: %q", text, problem)
		}
	}
}
