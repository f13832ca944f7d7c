package replication

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// raw connects to a node and says hello as n1, then whatever it is told.
func raw(t *testing.T, lan *testLAN, protocol string, hello []byte) net.Conn {
	t.Helper()
	conn, err := lan.dialer("n1")(t.Context(), "n2", protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if _, err := conn.Write(hello); err != nil {
		t.Fatal(err)
	}
	return conn
}

// malformed is a connection that says something wrong and then ends.
type malformed struct {
	name     string
	protocol string
	say      []byte
	want     string // In the reason; empty: nothing is wrong.
}

func malformedConnections() []malformed {
	hello := appendHello(nil, helloFrame{from: "n1", to: "n2", hello: []byte("x")})
	with := func(b ...byte) []byte { return append(bytes.Clone(hello), b...) }
	head := func(n uint32, b ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(bytes.Clone(hello), n), b...)
	}
	framed := func(kind frameKind, payload ...byte) []byte {
		return appendFrame(bytes.Clone(hello), frame{kind: kind, group: "a/main", seq: 1, payload: payload})
	}
	install := func(size uint64) []byte {
		q := &raft.InstallSnapshotRequest{RPCHeader: header(), Size: int64(size), Configuration: raft.EncodeConfiguration(raft.Configuration{})}
		return framed(kindInstall, appendInstallRequest(nil, q)...)
	}
	return []malformed{
		{"an unknown protocol", "tongban-raft/9", nil, "unknown protocol"},
		{"no hello", raftProtocol, appendFrame(nil, frame{kind: kindVote}), "not with a hello"},
		{"another program", raftProtocol, []byte("GET / HTTP/1.1\r\nHost: n2\r\n\r\n"), "at most"},
		{"another version", raftProtocol, appendFrame(nil, frame{kind: kindHello, payload: []byte("tongban\x02")}), "not one of this version"},
		{"a hello cut short", raftProtocol, appendFrame(nil, frame{kind: kindHello, payload: []byte(helloMagic + "\x09n1")}), "malformed"},
		{"another's name", raftProtocol, appendHello(nil, helloFrame{from: "n3", to: "n2"}), `says it is "n3"`},
		{"another's address", raftProtocol, appendHello(nil, helloFrame{from: "n1", to: "n3"}), "wrong node"},
		{"a hello that is too large", raftProtocol, appendHello(nil, helloFrame{from: "n1", to: "n2", hello: make([]byte, maxHello+1)}), "at most 4096"},
		{"a hello that is far too large", raftProtocol, appendHello(nil, helloFrame{from: "n1", to: "n2", hello: make([]byte, maxHelloFrame)}), "at most 5120"},
		{"a frame that is too large", raftProtocol, head(maxFrame + 1), "at most 16777216"},
		{"a frame that is too short", raftProtocol, head(9, make([]byte, 9)...), "at least 10"},
		{"an unknown kind", raftProtocol, framed(kindEnd), "unknown kind"},
		{"kind zero", raftProtocol, framed(0), "unknown kind 0"},
		{"a second hello", raftProtocol, with(hello...), "a request of kind 1"},
		{"an answer to nothing", raftProtocol, framed(kindResponse), "a request of kind 7"},
		{"a snapshot beside the stream", raftProtocol, install(5), "a request of kind 6"},
		{"a name longer than its frame", raftProtocol, head(10, byte(kindVote), 200, 0, 0, 0, 0, 0, 0, 0, 0), "name would have 200"},
		{"a vote cut short", raftProtocol, framed(kindVote, 3, 1), "malformed request of kind 3"},
		{"a vote with more behind it", raftProtocol, framed(kindVote, 3, 1, 1, 1, 1, 9), "1 bytes too many"},
		{"a flag that is no flag", raftProtocol, framed(kindVote, 3, 1, 1, 1, 2), "neither 0 nor 1"},
		{"more entries than bytes", raftProtocol, framed(kindAppend, 3, 1, 1, 1, 1, 255, 255, 3), "65535 entries"},
		{"a configuration that makes raft panic", raftProtocol, framed(kindAppend, 3, 1, 1, 1, 1, 1, 7, 5, byte(raft.LogConfiguration), 1, 0, 0, 0xc1), "cannot be read"},
		{"no install on a stream", streamProtocol, framed(kindVote, 3, 1, 1, 1, 1), "a stream begins with"},
		{"an empty snapshot", streamProtocol, install(0), "a snapshot of 0 bytes"},
		{"a snapshot of negative size", streamProtocol, install(1 << 63), "a snapshot of 9223372036854775808 bytes"},
		{"an end inside a head", raftProtocol, with(0, 0), "inside a frame"},
		{"an end inside a frame", raftProtocol, head(100, 1, 2, 3), "inside a frame"},
		{"an end between frames", raftProtocol, hello, ""},
	}
}

func TestAMalformedConnectionIsClosedWithTheReason(t *testing.T) {
	checkLeaks(t)
	for _, test := range malformedConnections() {
		t.Run(test.name, func(t *testing.T) {
			lan := newTestLAN(t)
			lan.transport("n2").group("a/main")
			conn := raw(t, lan, test.protocol, test.say)
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			for { // Until the other side closes.
				if _, err := conn.Read(make([]byte, 1024)); err != nil {
					if e, ok := err.(net.Error); ok && e.Timeout() {
						t.Fatal("the connection stays open")
					}
					break
				}
			}
			eventually(t, "serve returns", func() bool {
				lan.mu.Lock()
				defer lan.mu.Unlock()
				return len(lan.ended) > 0
			})
			if test.want == "" {
				if lan.ended[0] != nil {
					t.Fatalf("an orderly end is an error: %v", lan.ended[0])
				}
				return
			}
			if lan.ended[0] == nil {
				t.Fatalf("it ended in order, want %q", test.want)
			}
			reason := lan.ended[0].Error()
			if !strings.Contains(reason, test.want) || !strings.Contains(reason, "n1") {
				t.Fatalf("%q, want %q and who it was", reason, test.want)
			}
		})
	}
}

// randomEntries are entries of every kind, with and without each part.
func randomEntries(rng *rand.Rand) []*raft.Log {
	var entries []*raft.Log
	for range rng.IntN(5) {
		e := &raft.Log{Index: rng.Uint64(), Term: rng.Uint64() >> rng.IntN(64), Type: raft.LogCommand}
		if rng.IntN(2) == 0 {
			e.Data = []byte(strings.Repeat("d", 1+rng.IntN(300)))
		}
		if rng.IntN(2) == 0 {
			e.Extensions = []byte(strings.Repeat("x", 1+rng.IntN(300)))
		}
		if rng.IntN(2) == 0 {
			e.AppendedAt = time.Unix(0, rng.Int64())
		}
		if rng.IntN(5) == 0 {
			e.Type, e.Data = raft.LogConfiguration, raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{{ID: "n1", Address: "n1"}}})
		}
		entries = append(entries, e)
	}
	return entries
}

func TestMessagesComeOutAsTheyWentIn(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	h := peerHeader(3, "n1")
	number := func() uint64 { return rng.Uint64() >> rng.IntN(64) }
	for range 500 {
		//lint:ignore SA1019 the codec carries it
		app := &raft.AppendEntriesRequest{RPCHeader: h, Leader: []byte("n1"), Term: number(), PrevLogEntry: number(), PrevLogTerm: number(), LeaderCommitIndex: number(), Entries: randomEntries(rng)}
		//lint:ignore SA1019 the codec carries it
		vote := &raft.RequestVoteRequest{RPCHeader: h, Candidate: []byte("n1"), Term: number(), LastLogIndex: number(), LastLogTerm: number(), LeadershipTransfer: rng.IntN(2) == 0}
		pre := &raft.RequestPreVoteRequest{RPCHeader: h, Term: number(), LastLogIndex: number(), LastLogTerm: number()}
		install := &raft.InstallSnapshotRequest{RPCHeader: h, Leader: []byte("n1"), SnapshotVersion: 1, Term: number(), LastLogIndex: number(), LastLogTerm: number(), ConfigurationIndex: number(), Size: 1 + int64(number()>>1), Configuration: raft.EncodeConfiguration(raft.Configuration{})}
		install.Size = max(install.Size, 1)
		for _, m := range []struct {
			in     any
			b      []byte
			decode func([]byte) (any, error)
		}{
			{app, appendAppendRequest(nil, app), func(b []byte) (any, error) { return decodeAppendRequest(b, "n1") }},
			{vote, appendVoteRequest(nil, vote), func(b []byte) (any, error) { return decodeVoteRequest(b, "n1") }},
			{pre, appendPreVoteRequest(nil, pre), func(b []byte) (any, error) { return decodePreVoteRequest(b, "n1") }},
			{install, appendInstallRequest(nil, install), func(b []byte) (any, error) { return decodeInstallRequest(b, "n1") }},
		} {
			out, err := m.decode(m.b)
			if err != nil || !reflect.DeepEqual(m.in, out) {
				t.Fatalf("seed %d: %+v came out as %+v (%v)", seed, m.in, out, err)
			}
			// Cut anywhere it is an error, or (inside the last entry's data) another text.
			if cut := rng.IntN(len(m.b)); cut < 5 {
				if _, err := m.decode(m.b[:cut]); err == nil {
					t.Fatalf("seed %d: %T of %d bytes was taken for whole when cut to %d", seed, m.in, len(m.b), cut)
				}
			}
		}
		responses := []any{
			&raft.AppendEntriesResponse{RPCHeader: h, Term: number(), LastLog: number(), Success: rng.IntN(2) == 0, NoRetryBackoff: rng.IntN(2) == 0},
			&raft.RequestVoteResponse{RPCHeader: h, Term: number(), Granted: rng.IntN(2) == 0},
			&raft.RequestPreVoteResponse{RPCHeader: h, Term: number(), Granted: rng.IntN(2) == 0},
			&raft.TimeoutNowResponse{RPCHeader: h},
			&raft.InstallSnapshotResponse{RPCHeader: h, Term: number(), Success: rng.IntN(2) == 0},
		}
		for _, r := range responses {
			b, err := appendResponse(nil, r)
			if err != nil {
				t.Fatal(err)
			}
			out := reflect.New(reflect.TypeOf(r).Elem()).Interface()
			if err := decodeResponse(b, "n1", out); err != nil || !reflect.DeepEqual(r, out) {
				t.Fatalf("seed %d: %+v came out as %+v (%v)", seed, r, out, err)
			}
		}
	}
}

// FuzzMessages: whatever a peer sends, decoding ends without a panic, and what is taken
// is written as it was read.
func FuzzMessages(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(byte(kindAppend), appendAppendRequest(nil, &raft.AppendEntriesRequest{RPCHeader: header(), Entries: randomEntries(rng)}))
	}
	f.Add(byte(kindVote), appendVoteRequest(nil, &raft.RequestVoteRequest{RPCHeader: header()}))
	f.Add(byte(kindInstall), appendInstallRequest(nil, &raft.InstallSnapshotRequest{RPCHeader: header(), Size: 9}))
	f.Add(byte(kindHello), appendHello(nil, helloFrame{from: "n1", to: "n2"}))
	f.Add(byte(kindHints), someHints())
	f.Add(byte(kindAsk), someQuestions())
	f.Add(byte(kindRelease), someReleases())
	f.Fuzz(takeMessage)
}

// takeMessage decodes b as a message of a kind.
func takeMessage(t *testing.T, kind byte, b []byte) {
	switch frameKind(kind) {
	case kindAppend:
		if q, err := decodeAppendRequest(b, "n1"); err == nil {
			again, err := decodeAppendRequest(appendAppendRequest(nil, q), "n1")
			if err != nil || !reflect.DeepEqual(q, again) {
				t.Fatalf("%+v came back as %+v (%v)", q, again, err)
			}
		}
	case kindVote:
		_, _ = decodeVoteRequest(b, "n1")
	case kindPreVote:
		_, _ = decodePreVoteRequest(b, "n1")
	case kindInstall:
		_, _ = decodeInstallRequest(b, "n1")
	case kindResponse:
		_ = decodeResponse(b, "n1", new(raft.AppendEntriesResponse))
		_ = decodeHintAnswer(b, "n1", &vowedAppend{AppendEntriesResponse: new(raft.AppendEntriesResponse)})
		_, _ = decodeStandings(b, 3)
	case kindHints:
		again(t, b, decodeHints, appendHints)
	case kindAsk:
		again(t, b, decodeQuestions, appendQuestions)
	case kindRelease:
		again(t, b, decodeReleases, appendReleases)
	default:
		_, _ = readHello(bufio.NewReader(bytes.NewReader(b)), "n2", "n1")
		_, _ = readFrame(bufio.NewReader(bytes.NewReader(b)), 1<<16)
	}
}

// again decodes b, and what it was if it is written once more.
func again[T any](t *testing.T, b []byte, decode func([]byte) ([]T, error), encode func([]byte, []T) []byte) {
	t.Helper()
	list, err := decode(b)
	if err != nil {
		return
	}
	if same, err := decode(encode(nil, list)); err != nil || !reflect.DeepEqual(list, same) {
		t.Fatalf("%+v came back as %+v (%v)", list, same, err)
	}
}

func someHints() []byte {
	return appendHints(nil, []hint{{group: "civil-affairs/main", term: 5, prev: 1 << 40, prevTerm: 4}, {group: "bench/large", term: 1}})
}

func someQuestions() []byte {
	return appendQuestions(nil, []question{{id: "civil-affairs/main", term: 7}, {id: "bench/large"}})
}

func someReleases() []byte {
	return appendReleases(nil, []release{{group: "civil-affairs/main", term: 7, why: ended}, {group: "bench/large", why: lapsed}})
}

// TestGarbledMessagesAreErrors is FuzzMessages for every run: sound messages with some
// bytes changed, cut or doubled.
func TestGarbledMessagesAreErrors(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 0))
	t.Logf("seed %d", seed)
	h := header()
	for range 5_000 {
		sound := [][]byte{
			kindAppend:   appendAppendRequest(nil, &raft.AppendEntriesRequest{RPCHeader: h, Term: 5, Entries: randomEntries(rng)}),
			kindVote:     appendVoteRequest(nil, &raft.RequestVoteRequest{RPCHeader: h, Term: 5}),
			kindPreVote:  appendPreVoteRequest(nil, &raft.RequestPreVoteRequest{RPCHeader: h, Term: 5}),
			kindInstall:  appendInstallRequest(nil, &raft.InstallSnapshotRequest{RPCHeader: h, Size: 9, Configuration: raft.EncodeConfiguration(servers("n1"))}),
			kindResponse: {3, 5, 5, 1, 0},
			kindHello:    appendHello(nil, helloFrame{from: "n1", to: "n2", hello: []byte("x")}),
			kindHints:    someHints(),
			kindAsk:      someQuestions(),
			kindRelease:  someReleases(),
		}
		for kind, b := range sound {
			for range rng.IntN(4) {
				if len(b) == 0 {
					break
				}
				switch at := rng.IntN(len(b)); rng.IntN(3) {
				case 0:
					b[at] = byte(rng.Uint32())
				case 1:
					b = b[:at]
				case 2:
					b = append(b, b[at:]...)
				}
			}
			takeMessage(t, byte(kind), b)
		}
	}
}
