package replication

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// fakeReplica is a snapshotSource whose file is a text.
type fakeReplica struct {
	dir    string
	text   string
	at     Index
	term   uint64
	log    *groupLog
	commit uint64
	during func() // While it is copied.
	wrong  error  // See failure.
}

func (f *fakeReplica) failure() error           { return f.wrong }
func (f *fakeReplica) unsynced(err error) error { return err }

func (f *fakeReplica) copyLive(context.Context) (*os.File, state, error) {
	if f.during != nil {
		f.during()
	}
	path := filepath.Join(f.dir, "copy")
	if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
		return nil, state{}, err
	}
	file, err := os.Open(path)
	return file, state{applied: uint64(f.at), term: f.term}, err
}
func (f *fakeReplica) Applied() Index     { return f.at }
func (f *fakeReplica) entries() *groupLog { return f.log }
func (f *fakeReplica) committed() uint64  { return f.commit }

// fileAt is the content of a replica's file at index.
func fileAt(t *testing.T, index uint64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state.db")
	w, s, err := openStore(path)
	if err != nil {
		t.Fatal(err)
	}
	s.applied, s.term = index, 3
	if err := errors.Join(w.writeState(s), w.close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func openSnapshots(t *testing.T, dir string, src snapshotSource) *snapshotStore {
	t.Helper()
	s, err := newSnapshotStore(dir, src, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func servers(names ...string) raft.Configuration {
	var c raft.Configuration
	for _, n := range names {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(n), Address: raft.ServerAddress(n)})
	}
	return c
}

// lengthed is a file with its length before it.
func lengthed(text string) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(len(text))), text...)
}

func create(t *testing.T, s *snapshotStore, index uint64, content []byte) raft.SnapshotSink {
	t.Helper()
	k, err := s.Create(1, index, 3, servers("n1", "n2"), index-1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(content) > 0 {
		if _, err := k.Write(content); err != nil {
			t.Fatal(err)
		}
	} else {
		k.(*snapshotSink).pointer.Applied = index
	}
	return k
}

// wantPointer checks the one snapshot that is listed; index 0: none.
func wantPointer(t *testing.T, s *snapshotStore, index uint64) *raft.SnapshotMeta {
	t.Helper()
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	if index == 0 && len(list) == 0 {
		return nil
	}
	if len(list) != 1 || list[0].Index != index || list[0].Term != 3 {
		t.Fatalf("the list is %+v, want index %d of term 3", list, index)
	}
	return list[0]
}

// wantStream opens a snapshot and checks index, size and text.
func wantStream(t *testing.T, s *snapshotStore, id string, index uint64, text string) *raft.SnapshotMeta {
	t.Helper()
	meta, r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(b, lengthed(text)) || meta.Index != index || meta.Size != int64(len(b)) {
		t.Fatalf("the stream is %q (%v) at %d with size %d, want %q at %d", b, err, meta.Index, meta.Size, lengthed(text), index)
	}
	for range 2 { // As raft and its FSM do.
		if err := r.Close(); err != nil {
			t.Fatal("closing it twice is an error: ", err)
		}
	}
	return meta
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "snapshot*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, filepath.Base(f))
	}
	if !reflect.DeepEqual(names, want) {
		t.Fatalf("the files are %q, want %q", names, want)
	}
}

func TestAnInterruptedStreamLeavesNothing(t *testing.T) {
	dir, src := t.TempDir(), &fakeReplica{}
	s := openSnapshots(t, dir, src)
	if err := create(t, s, 50, lengthed("half")[:9]).Cancel(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir)
	if err := create(t, s, 50, lengthed("half")[:9]).Close(); err == nil || !strings.Contains(err.Error(), "1 bytes were received of a file of 4") {
		t.Fatalf("a stream that is too short: %v", err)
	}
	if err := create(t, s, 50, lengthed("half")[:3]).Close(); err == nil {
		t.Fatal("a stream without its length was taken")
	}
	wantFiles(t, dir)
	create(t, s, 50, lengthed("half")[:9]) // And the power fails.
	wantFiles(t, dir, "snapshot-3-50.recv.part")
	s = openSnapshots(t, dir, src)
	wantFiles(t, dir)
	wantPointer(t, s, 0)
}

func TestAReceivedSnapshotWaitsUntilItIsInstalled(t *testing.T) {
	dir, src := t.TempDir(), &fakeReplica{dir: t.TempDir(), text: "old", at: 10, term: 3}
	s := openSnapshots(t, dir, src)
	k := create(t, s, 50, lengthed(fileAt(t, 48)))
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // Before and after a crash.
		wantFiles(t, dir, "snapshot-3-50.recv", pointerName)
		meta := wantPointer(t, s, 50)
		if meta.ID != k.ID() || meta.Version != 1 || meta.ConfigurationIndex != 49 || !reflect.DeepEqual(meta.Configuration, servers("n1", "n2")) {
			t.Fatalf("the pointer is %+v", meta)
		}
		if meta, r, err := s.Open(k.ID()); err != nil || meta.Index != 50 || r.Close() != nil {
			t.Fatalf("opened at %+v: %v", meta, err)
		}
		if err := create(t, s, 60, nil).Close(); err == nil {
			t.Fatal("a pointer to the file that is about to be replaced was taken")
		}
		s = openSnapshots(t, dir, src)
	}
	if err := finishInstall(filepath.Join(dir, "state.db")); err != nil {
		t.Fatal(err)
	}
	s.installed()
	src.text, src.at = "new", 48
	wantFiles(t, dir, pointerName)
	wantStream(t, s, k.ID(), 50, "new") // Now the live one; nothing between 48 and 50 is in a file.
	wantFiles(t, dir, pointerName)
	if _, _, err := s.Open("3-49"); err == nil {
		t.Fatal("an unknown snapshot was opened")
	}
	if err := finishInstall(filepath.Join(dir, "state.db")); err != nil {
		t.Fatal("once more, as after a crash: ", err)
	}
	f, err := OpenFile(filepath.Join(dir, "state.db"))
	if err != nil || f.Applied() != 48 || f.Close() != nil {
		t.Fatalf("the installed file: %v", err)
	}
}

func TestAPointerNeverMovesBack(t *testing.T) {
	dir, src := t.TempDir(), &fakeReplica{dir: t.TempDir(), text: "live", at: 80, term: 3}
	s := openSnapshots(t, dir, src)
	if err := create(t, s, 80, nil).Close(); err != nil { // Of its own file.
		t.Fatal(err)
	}
	for what, begin := range map[string]func() raft.SnapshotSink{
		"an older received one": func() raft.SnapshotSink { return create(t, s, 79, lengthed(fileAt(t, 79))) },
		"an own one, again":     func() raft.SnapshotSink { return create(t, s, 80, nil) },
		"above the file":        func() raft.SnapshotSink { return create(t, s, 90, nil) },
	} {
		if err := begin().Close(); err == nil { // raft must hear of it: its own notion would move back.
			t.Errorf("%s was taken", what)
		}
		wantPointer(t, s, 80)
		wantFiles(t, dir, pointerName)
	}
	src.at = 100
	if err := create(t, s, 90, lengthed(fileAt(t, 90))).Close(); !errors.Is(err, errStale) {
		t.Errorf("a received one older than what is applied: %v", err)
	}
	src.at = 80
	if err := create(t, s, 80, lengthed(fileAt(t, 80))).Close(); err != nil { // Its sender may not know.
		t.Error(err)
	}
	wantPointer(t, openSnapshots(t, dir, src), 80)
}

func TestNoPointerMovesWhileTheFileIsCopied(t *testing.T) {
	src := &fakeReplica{dir: t.TempDir(), text: "live", at: 80, term: 3}
	s := openSnapshots(t, t.TempDir(), src)
	if err := create(t, s, 80, nil).Close(); err != nil {
		t.Fatal(err)
	}
	src.during = func() {
		src.at = 90
		if err := create(t, s, 90, nil).Close(); !errors.Is(err, errCopying) {
			t.Errorf("%v", err)
		}
		src.at = 80
	}
	meta := wantStream(t, s, "3-80", 80, "live")
	if s.busy() || meta.ConfigurationIndex != 79 {
		t.Errorf("busy %v after %+v was closed", s.busy(), meta)
	}
	src.at = 90
	if err := create(t, s, 90, nil).Close(); err != nil {
		t.Error(err)
	}
}

func TestASnapshotTellsTermAndConfigurationOfItsIndex(t *testing.T) {
	checkLeaks(t)
	g := openTestLogs(t, vfs.NewMem()).group("a/main")
	dir, src := t.TempDir(), &fakeReplica{dir: t.TempDir(), text: "live", at: 10, term: 3, log: g}
	s := openSnapshots(t, dir, src)
	if err := create(t, s, 10, nil).Close(); err != nil {
		t.Fatal(err)
	}
	id := wantPointer(t, s, 10).ID
	entries := testEntries(5, 11, 30)
	for i, c := range map[uint64]raft.Configuration{13: servers("n1"), 17: servers("n1", "n3"), 25: servers("n1", "n2", "n3")} {
		entries[i-11].Type, entries[i-11].Data = raft.LogConfiguration, raft.EncodeConfiguration(c)
	}
	entries[19].Term = 6
	entries[18].Type, entries[19].Type = raft.LogNoop, raft.LogBarrier
	mustStore(t, g, entries)
	tests := []struct {
		in, inTerm, commit uint64
		at, term, index    uint64
		configuration      raft.Configuration
	}{
		{10, 3, 10, 10, 3, 9, servers("n1", "n2")},
		{12, 5, 12, 12, 5, 9, servers("n1", "n2")},
		{12, 5, 30, 13, 5, 13, servers("n1")}, // 13 never reaches a file, and is committed.
		{24, 5, 24, 24, 5, 17, servers("n1", "n3")},
		{28, 5, 29, 29, 5, 25, servers("n1", "n2", "n3")},
		{28, 5, 30, 30, 6, 25, servers("n1", "n2", "n3")},
	}
	for _, test := range tests {
		src.at, src.term, src.commit = Index(test.in), test.inTerm, test.commit
		meta := wantStream(t, s, id, test.at, "live")
		if meta.Term != test.term || meta.ConfigurationIndex != test.index || !reflect.DeepEqual(meta.Configuration, test.configuration) {
			t.Errorf("at %d: %+v, want %+v", test.at, meta, test)
		}
	}
	src.at = 9 // Below its pointer.
	if _, _, err := s.Open(id); err == nil {
		t.Error("a snapshot below the pointer was taken")
	}
	wantFiles(t, dir, pointerName)
}

func TestAMalformedPointerIsReported(t *testing.T) {
	whole := `{"format":1,"id":"3-50","index":50,"term":3,"configuration":{"Servers":null},"configuration_index":1}`
	tests := []struct{ name, text, want string }{
		{"whole", whole, ""},
		{"empty", "", "damaged"},
		{"cut short", whole[:40], "damaged"},
		{"of the future", `{"format":2}`, "format 2 is not known"},
		{"with something unknown", whole[:len(whole)-1] + `,"more":1}`, "damaged"},
		{"of a file that is further than it", whole[:len(whole)-1] + `,"applied":51}`, "wrong"},
		{"without an index", strings.Replace(whole, `"index":50,`, "", 1), "missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, pointerName), fmt.Appendf(nil, "%s\n%08x\n", test.text, crc32.Checksum([]byte(test.text), castagnoli)), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := newSnapshotStore(dir, &fakeReplica{at: 50}, quiet())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("%v, want %q", err, test.want)
			}
		})
	}
}
