package enrol

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"tongban/division"
)

const (
	// version of the documents; a parent answers another one with Version.
	version = 1
	// algorithm proves a document: HMAC (RFC 2104) with SHA-256.
	algorithm = "hmac-sha256"
)

// Purpose is what a document is; one cannot be passed off as the other.
type Purpose string

// Purposes.
const (
	ForRequest Purpose = "request" // Body is a Request.
	ForAnswer  Purpose = "answer"  // Body is an Answer.
)

// Errors of Open.
var (
	ErrVersion = errors.New("enrol: the document is of another version")
	ErrForged  = errors.New("enrol: the document is not proved by the token's secret")
)

// Document is a request or an answer with the proof that its sender has the token.
type Document struct {
	Version   int    `json:"version"`
	Token     string `json:"token"`     // ID.
	Algorithm string `json:"algorithm"` // Of Proof: "hmac-sha256".
	Body      []byte `json:"body"`      // JSON.
	Proof     []byte `json:"proof"`     // Over purpose, token and body.
}

// Request is what a child asks its parent.
type Request struct {
	Child division.Ref `json:"child"`
	Name  string       `json:"name"` // Of its government, for people.
	CSR   []byte       `json:"csr"`  // PKCS #10, DER, of its authority's key.
	// Try asks for everything to be checked and nothing to be done; the answer has no chain.
	Try bool `json:"try,omitempty"`
}

// Answer is what a parent tells its child.
type Answer struct {
	Child  division.Ref `json:"child"`
	Parent division.Ref `json:"parent"`
	Name   string       `json:"name"`  // The parent's, for people.
	Links  []string     `json:"links"` // Where its nodes take links, host:port.
	// Chain is the child's authority as the parent signed it, the parent's own, and so on
	// up to the anchor; DER.
	Chain [][]byte `json:"chain"`
	// Waits says, when it was only tried, that an administrator of the parent has to approve.
	Waits bool `json:"waits,omitempty"`
}

// Prove makes a document of the body, proved by the token's secret.
func Prove(purpose Purpose, token string, secret []byte, body any) (Document, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return Document{}, fmt.Errorf("encode an enrolment %s: %w", purpose, err)
	}
	d := Document{Version: version, Token: token, Algorithm: algorithm, Body: data}
	d.Proof = d.proof(purpose, secret)
	return d, nil
}

// Open checks the proof and decodes the body. Errors: ErrVersion, also for an algorithm
// that this program does not have; ErrForged; others when the body cannot be read.
func (d Document) Open(purpose Purpose, secret []byte, body any) error {
	switch {
	case d.Version != version || d.Algorithm != algorithm:
		return fmt.Errorf("%w: version %d with %.20q, this program has %d with %q", ErrVersion, d.Version, d.Algorithm, version, algorithm)
	case !hmac.Equal(d.Proof, d.proof(purpose, secret)):
		return ErrForged
	}
	if err := json.Unmarshal(d.Body, body); err != nil {
		return fmt.Errorf("decode an enrolment %s: %w", purpose, err)
	}
	return nil
}

func (d Document) proof(purpose Purpose, secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "tongban-enrol/%d\x00%s\x00%s\x00%s\x00", d.Version, purpose, d.Algorithm, d.Token)
	mac.Write(d.Body)
	return mac.Sum(nil)
}
