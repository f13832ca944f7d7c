package replication

import (
	"fmt"
	"strings"
)

// SplitSQL splits a script into its statements, as SQLite's shell does: strings,
// comments and the bodies of triggers are seen. Comments between statements stay with the
// statement that follows; the last statement needs no semicolon.
func SplitSQL(script string) ([]string, error) {
	var out []string
	start := 0
	for at := 0; at < len(script); at++ {
		if script[at] != ';' || !complete(script[start:at+1]) {
			continue
		}
		if s := strings.TrimSpace(script[start : at+1]); hasSQL(s) {
			out = append(out, s)
		}
		start = at + 1
	}
	rest := strings.TrimSpace(script[start:])
	if !hasSQL(rest) {
		return out, nil
	}
	if !complete(rest + "\n;") {
		return nil, fmt.Errorf("replication: the script ends inside a statement: %.80q", rest)
	}
	return append(out, rest), nil
}

// hasSQL says whether s holds more than space, comments and semicolons.
func hasSQL(s string) bool {
	for s != "" {
		switch {
		case strings.ContainsRune(" \t\r\n\f;", rune(s[0])):
			s = s[1:]
		case strings.HasPrefix(s, "--"):
			_, s, _ = strings.Cut(s, "\n")
		case strings.HasPrefix(s, "/*"):
			_, s, _ = strings.Cut(s[2:], "*/")
		default:
			return true
		}
	}
	return false
}
