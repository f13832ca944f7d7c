package replication

import (
	"bytes"
	"context"
	"encoding/binary"
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
	text string
	at   Index
	log  *groupLog
}

func (f *fakeReplica) Backup(_ context.Context, path string) (Index, error) {
	return f.at, os.WriteFile(path, []byte(f.text), 0o600)
}
func (f *fakeReplica) Applied() Index     { return f.at }
func (f *fakeReplica) entries() *groupLog { return f.log }

func openSnapshots(t *testing.T, dir string, src snapshotSource) *snapshotStore {
	t.Helper()
	s, err := newSnapshotStore(dir, src, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return s.(*snapshotStore)
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
	dir, src := t.TempDir(), &fakeReplica{text: "old", at: 10}
	s := openSnapshots(t, dir, src)
	k := create(t, s, 50, lengthed("new"))
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // Before and after a crash.
		wantFiles(t, dir, "snapshot-3-50.recv", pointerName)
		meta := wantPointer(t, s, 50)
		if meta.ID != k.ID() || meta.Version != 1 || meta.ConfigurationIndex != 49 || !reflect.DeepEqual(meta.Configuration, servers("n1", "n2")) {
			t.Fatalf("the pointer is %+v", meta)
		}
		wantStream(t, s, k.ID(), 50, "new")
		s = openSnapshots(t, dir, src)
	}
	_, r, err := s.Open(k.ID())
	if err != nil {
		t.Fatal(err)
	}
	src.text, src.at = "new", 50 // Installed.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, pointerName)
	wantStream(t, s, k.ID(), 50, "new") // Now the live one.
	wantFiles(t, dir, pointerName)
	if _, _, err := s.Open("3-49"); err == nil {
		t.Fatal("an unknown snapshot was opened")
	}
}

func TestACrashBetweenInstallationAndCleanUp(t *testing.T) {
	dir, src := t.TempDir(), &fakeReplica{at: 10}
	if err := create(t, openSnapshots(t, dir, src), 50, lengthed("new")).Close(); err != nil {
		t.Fatal(err)
	}
	src.text, src.at = "new", 50
	s := openSnapshots(t, dir, src)
	wantFiles(t, dir, pointerName)
	wantStream(t, s, wantPointer(t, s, 50).ID, 50, "new")
}

func TestAPointerNeverMovesBack(t *testing.T) {
	dir, src := t.TempDir(), &fakeReplica{text: "live", at: 80}
	s := openSnapshots(t, dir, src)
	if err := create(t, s, 80, nil).Close(); err != nil { // Of its own file.
		t.Fatal(err)
	}
	late := create(t, s, 50, lengthed("late"))
	if err := late.Close(); err != nil {
		t.Fatal(err)
	}
	wantPointer(t, s, 80)
	wantFiles(t, dir, pointerName)
	wantStream(t, s, late.ID(), 80, "live") // raft restores what it got: the live file.
	if err := create(t, s, 90, nil).Close(); err == nil {
		t.Fatal("a pointer above what the file holds was taken")
	}
	wantPointer(t, openSnapshots(t, dir, src), 80)
}

func TestASnapshotTellsTermAndConfigurationOfItsIndex(t *testing.T) {
	checkLeaks(t)
	g := openTestLogs(t, vfs.NewMem()).group("a/main")
	dir, src := t.TempDir(), &fakeReplica{text: "live", at: 10, log: g}
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
	mustStore(t, g, entries)
	tests := []struct {
		at, term, index uint64
		configuration   raft.Configuration
	}{
		{10, 3, 9, servers("n1", "n2")},
		{12, 5, 9, servers("n1", "n2")},
		{13, 5, 13, servers("n1")},
		{24, 5, 17, servers("n1", "n3")},
		{30, 6, 25, servers("n1", "n2", "n3")},
	}
	for _, test := range tests {
		src.at = Index(test.at)
		meta := wantStream(t, s, id, test.at, "live")
		if meta.Term != test.term || meta.ConfigurationIndex != test.index || !reflect.DeepEqual(meta.Configuration, test.configuration) {
			t.Errorf("at %d: %+v, want %+v", test.at, meta, test)
		}
	}
	for _, at := range []Index{9, 31} { // Below its pointer; above its log.
		src.at = at
		if at == 9 {
			s.pointer.Received = 0
		}
		if _, _, err := s.Open(id); err == nil {
			t.Errorf("a snapshot at %d was taken", at)
		}
	}
	wantFiles(t, dir, pointerName)
}

func TestAMalformedPointerIsReported(t *testing.T) {
	whole := `{"format":1,"id":"3-50","index":50,"term":3,"configuration":{"Servers":null},"configuration_index":1}`
	tests := []struct{ name, text, want string }{
		{"whole", whole, ""},
		{"empty", "", "rebuild this replica"},
		{"cut short", whole[:40], "rebuild this replica"},
		{"of the future", `{"format":2}`, "format 2 is not known"},
		{"with something unknown", whole[:len(whole)-1] + `,"more":1}`, "rebuild this replica"},
		{"without an index", strings.Replace(whole, `"index":50,`, "", 1), "missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, pointerName), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := newSnapshotStore(dir, &fakeReplica{at: 50}, quiet())
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Fatalf("%v, want %q", err, test.want)
			}
		})
	}
}
