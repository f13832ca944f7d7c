//go:build !mutants

package replication_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
)

// The names of mutants stand beside every fault point: a program that has none of the
// names has none of the points.
func TestNoFaultPointIsInAProgramWithoutTheTag(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mark := strings.Join([]string{"mutant", "no-base-check"}, ":") // Not in this program as one text.
	if bytes.Contains(program, []byte(mark)) {
		t.Error("fault points are compiled in")
	}
	if !bytes.Contains(program, []byte("the replica's file was replaced")) {
		t.Error("this does not find texts of the package at all")
	}
}
