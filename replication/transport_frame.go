package replication

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The protocols of the node port (ALPN names).
const (
	raftProtocol   = "tongban-raft/1"
	streamProtocol = "tongban-stream/1"
)

// A connection of either protocol carries frames in both directions:
//
//	length(4, big endian) of what follows
//	kind(1) | length of group(1) | group | seq(8, big endian) | payload
//
// The first frame each way is a hello, the dialer's first. The dialer sends requests;
// the acceptor answers each with a response or failure of the same seq, in any order.
// Nobody states who he is in a request: it is who he was proven to be when the
// connection was made.
const (
	// maxFrame bounds what a peer can make this node hold for one frame. One entry of
	// the largest batch fits many times; AppendEntries is cut to appendSoftBytes.
	maxFrame = 16 << 20
	// maxHello is Options.Hello; maxHelloFrame leaves room for the names.
	maxHello      = 4 << 10
	maxHelloFrame = maxHello + 1<<10
	frameFixed    = 1 + 1 + 8
)

type frameKind byte

const (
	kindHello frameKind = 1 + iota
	kindAppend
	kindVote
	kindPreVote
	kindTimeoutNow
	kindInstall  // Only on a stream; req.Size bytes follow the frame.
	kindResponse // Payload: the response, as its request's kind has it.
	kindFailure  // Payload: text.
	kindPing     // Answered with the number of breaks (lease.go).
	kindAsk      // Who leads these databases? See election_ask.go.
	kindHints    // Many AppendEntries without entries; see hints.go.
	kindRelease  // A leader gives the promises back; see lease.go.
	kindFetch    // Only on a stream; see fetch.go.
	kindEnd      // One more than the last.
)

type frame struct {
	kind    frameKind
	group   DatabaseID
	seq     uint64
	payload []byte
}

// beginFrame appends a frame's head; the payload follows, then endFrame.
func beginFrame(b []byte, kind frameKind, group DatabaseID, seq uint64) []byte {
	b = append(b, 0, 0, 0, 0, byte(kind), byte(len(group)))
	b = append(b, group...)
	return binary.BigEndian.AppendUint64(b, seq)
}

// endFrame writes the length of the frame that begins at start.
func endFrame(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

func appendFrame(b []byte, f frame) []byte {
	start := len(b)
	return endFrame(append(beginFrame(b, f.kind, f.group, f.seq), f.payload...), start)
}

// readFrame reads one frame of at most limit bytes. The payload is the frame's own. At
// the end of the connection between two frames it returns io.EOF.
func readFrame(r *bufio.Reader, limit int) (frame, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("the connection ended inside a frame: %w", err)
		}
		return frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(head[:]))
	if n > int64(limit) {
		return frame{}, fmt.Errorf("a frame of %d bytes, where at most %d are allowed", n, limit)
	}
	if n < frameFixed {
		return frame{}, fmt.Errorf("a frame of %d bytes, where at least %d are needed", n, frameFixed)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, fmt.Errorf("the connection ended inside a frame: %w", err)
	}
	return parseFrame(b)
}

func parseFrame(b []byte) (frame, error) {
	kind, group := frameKind(b[0]), int(b[1])
	if kind == 0 || kind >= kindEnd {
		return frame{}, fmt.Errorf("a frame of unknown kind %d", kind)
	}
	if len(b) < frameFixed+group {
		return frame{}, fmt.Errorf("a frame of %d bytes whose database name would have %d", len(b), group)
	}
	f := frame{kind: kind, group: DatabaseID(b[2 : 2+group])}
	f.seq = binary.BigEndian.Uint64(b[2+group:])
	f.payload = b[frameFixed+group:]
	return f, nil
}

// helloMagic begins a hello; its last byte is the version of the frames.
const helloMagic = "tongban\x01"

// helloFrame is what each side says first: who it is, whom it means to talk to, and
// Options.Hello.
type helloFrame struct {
	from, to NodeID
	hello    []byte
}

func appendHello(b []byte, h helloFrame) []byte {
	payload := []byte(helloMagic)
	for _, s := range [][]byte{[]byte(h.from), []byte(h.to), h.hello} {
		payload = binary.AppendUvarint(payload, uint64(len(s)))
		payload = append(payload, s...)
	}
	return appendFrame(b, frame{kind: kindHello, payload: payload})
}

// readHello reads the peer's first frame and checks it against what is known: the peer
// was proven to be from, and must mean self.
func readHello(r *bufio.Reader, self, from NodeID) (helloFrame, error) {
	f, err := readFrame(r, maxHelloFrame)
	if err != nil {
		return helloFrame{}, fmt.Errorf("read the hello: %w", err)
	}
	if f.kind != kindHello {
		return helloFrame{}, fmt.Errorf("the connection begins with a frame of kind %d, not with a hello", f.kind)
	}
	p := byteReader{b: f.payload}
	if magic := p.bytes(uint64(len(helloMagic))); p.err != nil || string(magic) != helloMagic {
		return helloFrame{}, fmt.Errorf("the hello is not one of this version of tongban")
	}
	var h helloFrame
	h.from = NodeID(p.bytes(p.uvarint()))
	h.to = NodeID(p.bytes(p.uvarint()))
	h.hello = p.bytes(p.uvarint())
	if err := p.end(); err != nil {
		return helloFrame{}, fmt.Errorf("the hello is malformed: %w", err)
	}
	if len(h.hello) > maxHello {
		return helloFrame{}, fmt.Errorf("a hello of %d bytes, where at most %d are allowed", len(h.hello), maxHello)
	}
	if h.from != from {
		return helloFrame{}, fmt.Errorf("the peer says it is %q, but its certificate is %q's", h.from, from)
	}
	if h.to != self {
		return helloFrame{}, fmt.Errorf("the peer means %q, but this is %q: an address leads to the wrong node", h.to, self)
	}
	return h, nil
}
