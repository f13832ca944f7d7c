package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/node/enrol"
)

// TestATokenFromAScannerNeedsNoEndOfFile: what a scanner types ends with Enter, and the
// terminal stays open.
func TestATokenFromAScannerNeedsNoEndOfFile(t *testing.T) {
	token, err := enrol.NewToken(division.Ref{Level: division.City, Code: "511600"}, division.Ref{Level: division.County, Code: "511602"},
		strings.Repeat("ab", 32), time.Now().Add(time.Hour), []string{"192.0.2.10:7301"})
	if err != nil {
		t.Fatal(err)
	}
	text := token.String()
	r, w := io.Pipe()
	defer r.Close()
	go func() { _, _ = io.WriteString(w, "\n"+text[:80]+"\n"+text[80:]+"\n") }() // Not closed.
	got, err := readToken(r)
	if err != nil {
		t.Fatal(err)
	}
	if parsed, err := enrol.ParseToken(got); err != nil || parsed.ID != token.ID {
		t.Errorf("read %q: %v", got, err)
	}
	if got, err := readToken(strings.NewReader("te1-")); err != nil || got != "te1-" {
		t.Errorf("what is no token is read as %q, %v", got, err)
	}
}
