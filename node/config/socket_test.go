package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatOthersPutIntoTheRuntimeFolderIsNotBelieved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	dir := RuntimeDir()
	link := func() {
		if err := os.Symlink("/evil/tongban.toml", filepath.Join(dir, "x.toml")); err != nil {
			t.Fatal(err)
		}
	}
	if err := CheckRuntimeDir(); err == nil || len(Running()) != 0 {
		t.Errorf("a folder that is not there passes: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	link()
	if got := Running(); len(got) != 1 {
		t.Errorf("of one's own folder: %v", got)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // Others can write into it, too.
		t.Fatal(err)
	}
	if got := Running(); len(got) != 0 || CheckRuntimeDir() == nil {
		t.Errorf("of everybody's folder: %v", got)
	}
	if _, err := MakeRuntimeDir(); err == nil {
		t.Error("everybody's folder is used")
	}
	real := t.TempDir()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, dir); err != nil {
		t.Fatal(err)
	}
	if CheckRuntimeDir() == nil {
		t.Error("a link to a folder passes")
	}
}
