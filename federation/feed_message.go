package federation

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zstd"

	"tongban/service"
)

// What crosses the wire, both ways: a byte of format, the header with its length before
// it, and the rows, compressed (RFC 8878). Numbers are varints, texts have their length
// before them. A newer program appends to the header, which an older one leaves unread.

// offer is a sender's request: rows after one version up to another, or, with none, the
// question how far the receiver is.
type offer struct {
	Stream  service.Stream
	Epoch   string // Of the sender's database.
	Token   string // The newest that the receiver gave and the sender has stored.
	Proof   string // What the receiver has just asked to be shown; see position.Prove.
	Run     string // Names the sender's leadership, and
	Turn    int64  // counts its requests: one that comes late confirms nothing.
	After   int64
	Through int64 // Every key whose newest version is in (After, Through] is among Rows.
	Head    int64 // The stream's newest version.
	Rows    []service.FeedRow
	// First are rows after Through that cannot wait for their turn, in which they come again:
	// revocations. They move no cursor.
	First []service.FeedRow
}

// position is the receiver's answer.
type position struct {
	Epoch   string // Of the sender, as the receiver has it.
	Version int64  // Up to here all is committed.
	Token   string
	Prove   string // Not empty: nothing was taken; ask again at once and show this as Proof.
}

const (
	feedFormat = 1
	// maxRows and maxBatch bound the rows of an offer and the bytes of their keys and payloads.
	maxRows  = 1000
	maxFirst = 100 // Of offer.First.
	maxBatch = 512 << 10
	// maxBody bounds the rows of an offer before compression: a batch, and the row that
	// fills it.
	maxBody = maxBatch + service.MaxFeedPayload + (maxRows+maxFirst)*64 + maxFirstBytes
	// maxFirstBytes bounds the keys and payloads of offer.First, but for the row that fills it.
	maxFirstBytes = 64 << 10
	// maxName bounds the texts of a header and a feed's name.
	maxName = 128
	// rowOverhead is what a row takes beside its key and payload, about.
	rowOverhead = 16
)

// errMalformed says what is wrong with a message.
var errMalformed = errors.New("federation: a malformed message about a feed")

// coder compresses and decompresses. It is safe for concurrent use.
type coder struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCoder() *coder {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithWindowSize(maxBatch), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // The options above are constants.
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBody), zstd.WithDecoderLowmem(true))
	if err != nil {
		panic(err)
	}
	return &coder{enc, dec}
}

func (c *coder) encodeOffer(o offer) []byte {
	var h []byte
	for _, s := range []string{string(o.Stream), o.Epoch, o.Token, o.Proof, o.Run} {
		h = appendText(h, s)
	}
	for _, n := range []int64{o.Turn, o.After, o.Through, o.Head, int64(len(o.Rows)), int64(len(o.First))} {
		h = binary.AppendUvarint(h, uint64(n))
	}
	out := appendText([]byte{feedFormat}, string(h))
	if len(o.Rows)+len(o.First) == 0 {
		return out
	}
	body := make([]byte, 0, 64<<10)
	for _, r := range slices.Concat(o.Rows, o.First) {
		body = appendText(appendText(body, r.Feed), r.Key)
		body = binary.AppendUvarint(body, uint64(r.Version-o.After))
		body = binary.AppendUvarint(body, uint64(r.Format))
		body = appendText(body, string(r.Payload))
	}
	return c.enc.EncodeAll(body, out)
}

// decodeOffer refuses what no sender of ours sends: too much of it, rows that are not in
// order of their versions, or not between After and Through.
func (c *coder) decodeOffer(raw []byte) (offer, error) {
	h, body, err := openMessage(raw)
	if err != nil {
		return offer{}, err
	}
	o := offer{Stream: service.Stream(h.text(maxName)), Epoch: h.text(maxName), Token: h.text(maxName),
		Proof: h.text(maxName), Run: h.text(maxName), Turn: h.number(), After: h.number(), Through: h.number(), Head: h.number()}
	n, first := h.number(), h.number()
	switch {
	case h.err != nil:
		return o, h.err
	case o.Epoch == "" || o.Through < o.After || o.Head < o.Through:
		return o, fmt.Errorf("%w: it goes from %d to %d of %d in epoch %q", errMalformed, o.After, o.Through, o.Head, o.Epoch)
	case n > maxRows:
		return o, fmt.Errorf("%w: %d rows; at most %d are allowed", errMalformed, n, maxRows)
	case first > maxFirst:
		return o, fmt.Errorf("%w: %d rows before their turn; at most %d are allowed", errMalformed, first, maxFirst)
	case n+first == 0 && len(body) == 0:
		return o, nil
	}
	plain, err := c.dec.DecodeAll(body, nil)
	if err != nil {
		return o, fmt.Errorf("%w: %w", errMalformed, err)
	}
	r := reader{b: plain}
	if o.Rows, err = r.rows(n, o.After, o.After, o.Through); err == nil {
		o.First, err = r.rows(first, o.After, o.Through, o.Head)
	}
	if err == nil && len(r.b) > 0 {
		err = fmt.Errorf("%w: %d bytes follow the last row", errMalformed, len(r.b))
	}
	return o, err
}

// rows takes n rows whose versions, counted from a base, are after one and up to another.
func (r *reader) rows(n, base, last, upto int64) (list []service.FeedRow, err error) {
	for range n {
		row := service.FeedRow{Feed: r.text(maxName), Key: r.text(service.MaxFeedKey), Version: base + r.number(),
			Format: int(r.number()), Payload: []byte(r.text(service.MaxFeedPayload))}
		if r.err == nil && (row.Version <= last || row.Version > upto) {
			r.err = fmt.Errorf("%w: version %d follows %d, up to %d", errMalformed, row.Version, last, upto)
		}
		if r.err != nil {
			return list, r.err
		}
		last = row.Version
		list = append(list, row)
	}
	return list, nil
}

func encodePosition(r position) []byte {
	h := appendText(nil, r.Epoch)
	h = binary.AppendUvarint(h, uint64(r.Version))
	h = appendText(appendText(h, r.Token), r.Prove)
	return appendText([]byte{feedFormat}, string(h))
}

func decodePosition(raw []byte) (position, error) {
	h, _, err := openMessage(raw)
	if err != nil {
		return position{}, err
	}
	r := position{Epoch: h.text(maxName), Version: h.number(), Token: h.text(maxName), Prove: h.text(maxName)}
	return r, h.err
}

// openMessage splits a message into its header and what follows.
func openMessage(raw []byte) (header reader, body []byte, err error) {
	if len(raw) == 0 || len(raw) > MaxMessage {
		return header, nil, fmt.Errorf("%w: it has %d bytes", errMalformed, len(raw))
	}
	if raw[0] != feedFormat {
		return header, nil, fmt.Errorf("%w: its format %d is not known here", errMalformed, raw[0])
	}
	r := reader{b: raw[1:]}
	header.b = []byte(r.text(MaxMessage))
	return header, r.b, r.err
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes values off the front of b; after an error they are zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) number() int64 {
	n, size := binary.Uvarint(r.b)
	if r.err != nil || size <= 0 || n > 1<<62 {
		r.fail()
		return 0
	}
	r.b = r.b[size:]
	return int64(n)
}

func (r *reader) text(most int) string {
	n := r.number()
	if r.err != nil || n > int64(len(r.b)) || n > int64(most) {
		r.fail()
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("%w: it ends too early, or holds something too long", errMalformed)
	}
}
