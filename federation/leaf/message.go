package leaf

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
)

// maxEnvelope bounds what is around a body, bytes.
const maxEnvelope = 64 << 10

// Sizes of names in subjects, characters.
const (
	maxKind  = 32
	nameSize = 13 // Of 32 characters each: 65 random bits.
	maxName  = 40 // Of a node or an ID, from the other side.
)

// token is a division's name in subjects.
func token(r division.Ref) string { return r.Level.String() + "-" + string(r.Code) }

// newName returns a random name for a node or a request.
func newName() string { return rand.Text()[:nameSize] }

// newNode returns a name for an embedded server of a division. It starts with the
// division, so that no child can take a name of another's server and have that replaced.
func newNode(self division.Ref) string { return token(self) + "_" + newName() }

func validKind(kind string) bool { return validToken(kind, maxKind) }

// validToken tells whether s can be one token of a subject: no dot, no wildcard, no space.
func validToken(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// replyTo is a reply subject that was checked: the neighbour who asked may receive there,
// and nobody else.
type replyTo string

// checkReply is the one place that lets a reply subject pass. prefix is where the asking
// neighbour receives answers, "dn.<child>.rp." or "up.<child>.rp."; exactly a node and an
// ID follow. A neighbour that names another subject would have us write for it where it
// may not write itself.
func checkReply(reply, prefix string) (replyTo, bool) {
	rest, ok := strings.CutPrefix(reply, prefix)
	node, id, two := strings.Cut(rest, ".")
	return replyTo(reply), ok && two && validToken(node, maxName) && validToken(id, maxName)
}

// A request is version (1 byte), milliseconds that the asking side will wait (uvarint),
// body. An answer is version, outcome (1 byte), body.
const version = 1

// Outcomes of an answer; the body of a refusal is JSON, that of a failure text.
const (
	outcomeOK byte = iota
	outcomeRefused
	outcomeFailed
)

func packRequest(wait time.Duration, body []byte) []byte {
	b := make([]byte, 1, 1+binary.MaxVarintLen64+len(body))
	b[0] = version
	b = binary.AppendUvarint(b, uint64(max(0, wait.Milliseconds())))
	return append(b, body...)
}

func unpackRequest(b []byte) (wait time.Duration, body []byte, err error) {
	if len(b) == 0 || b[0] != version {
		return 0, nil, errors.New("a request of an unknown version")
	}
	ms, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return 0, nil, errors.New("a malformed request")
	}
	return time.Duration(min(ms, uint64(maxCall.Milliseconds()))) * time.Millisecond, b[1+n:], nil
}

// refusal is a *service.Error on the wire. Its cause stays here: it is for our operators.
type refusal struct {
	Code   service.Code      `json:"code"`
	Reason string            `json:"reason"`
	Params map[string]any    `json:"params,omitempty"`
	Fields map[string]string `json:"fields,omitempty"`
}

// maxFailure bounds the text of a failure that crosses, bytes.
const maxFailure = 500

// packAnswer never fails: an answer that cannot be sent becomes a failure.
func packAnswer(body []byte, err error) []byte {
	if err == nil && len(body) > federation.MaxMessage {
		err = fmt.Errorf("%w: an answer of %d bytes", ErrTooLarge, len(body))
	}
	if err == nil {
		return append([]byte{version, outcomeOK}, body...)
	}
	if refused, ok := errors.AsType[*service.Error](err); ok {
		b, jsonErr := json.Marshal(refusal{refused.Code, refused.Reason, refused.Params, refused.Fields})
		if jsonErr == nil && len(b) <= maxEnvelope/2 {
			return append([]byte{version, outcomeRefused}, b...)
		}
		err = fmt.Errorf("a refusal that cannot be sent: %s", refused.Reason)
	}
	text := err.Error()
	return append([]byte{version, outcomeFailed}, text[:min(len(text), maxFailure)]...)
}

func unpackAnswer(b []byte) ([]byte, error) {
	if len(b) < 2 || b[0] != version {
		return nil, errors.New("leaf: an answer of an unknown version")
	}
	body := b[2:]
	switch b[1] {
	case outcomeOK:
		return body, nil
	case outcomeRefused:
		var r refusal
		if err := json.Unmarshal(body, &r); err != nil || r.Reason == "" {
			return nil, errors.New("leaf: a malformed refusal")
		}
		if r.Code.Status() == 0 {
			r.Code = service.Internal // Of a newer program.
		}
		return nil, &service.Error{Code: r.Code, Reason: r.Reason, Params: r.Params, Fields: r.Fields}
	}
	return nil, fmt.Errorf("leaf: the neighbour could not answer: %q", body)
}
