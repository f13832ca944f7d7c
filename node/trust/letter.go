package trust

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"time"

	"filippo.io/age"

	"tongban/division"
)

// Algorithm names how this program signs: ECDSA on P-256 (FIPS 186-5) of SHA-256, ASN.1.
// Each signature carries the name of its algorithm, so that SM2 can be added beside it.
const Algorithm = "ecdsa-p256-sha256"

// What a signature is for: it is part of what is signed, so that none can be shown as
// another.
const (
	ForLetter = "tongban letter 1"
	ForEntry  = "tongban directory entry 1"

	ForRevocation = "tongban revocation 1"
)

// maxLetter bounds an opened letter, bytes.
const maxLetter = 1 << 20

// Errors of letters and signatures.
var (
	// ErrNotRecipient: the letter is sealed to other boxes. One that joined since the sender
	// read the directory is not among them; another node of the division is.
	ErrNotRecipient = errors.New("trust: the letter is not sealed to this box")
	ErrForged       = errors.New("trust: the signature is not that of the sender")
)

// letter is the head of an opened letter; the body follows.
type letter struct {
	To        string   `json:"to"` // Ref: a receiver cannot pass it on as if to another.
	Algorithm string   `json:"algorithm"`
	Chain     [][]byte `json:"chain"` // DER: the node, its authority, …, the anchor.
	Signature []byte   `json:"signature"`
}

// signed is the digest that a signature is made of.
func signed(what string, parts ...[]byte) []byte {
	h := sha256.New()
	h.Write([]byte(what))
	for _, p := range parts {
		_ = binary.Write(h, binary.BigEndian, uint64(len(p))) // A hash takes all.
		h.Write(p)
	}
	return h.Sum(nil)
}

func checkSignature(by *x509.Certificate, algorithm string, digest, signature []byte) error {
	if algorithm != Algorithm {
		return fmt.Errorf("%w: this program does not know the algorithm %q", ErrForged, algorithm)
	}
	key, ok := by.PublicKey.(*ecdsa.PublicKey)
	if !ok || !ecdsa.VerifyASN1(key, digest, signature) {
		return ErrForged
	}
	return nil
}

// Sign signs data as the authority, by Algorithm.
func (a *Authority) Sign(what string, data []byte) ([]byte, error) {
	return ecdsa.SignASN1(rand.Reader, a.key, signed(what, data))
}

// CheckSigned checks a signature that Sign of the certificate's authority made.
func CheckSigned(by *x509.Certificate, algorithm, what string, data, signature []byte) error {
	return checkSignature(by, algorithm, signed(what, data), signature)
}

// SealLetter signs plain with the node's TLS key and encrypts letter, signature and chain to
// the receiver's nodes, which may read it and nobody on the way. chain are the authorities
// from the division's own to the anchor; the node's certificate must be of the name that
// they give it.
func (k *Keys) SealLetter(chain []*x509.Certificate, to division.Ref, recipients []string, plain []byte) ([]byte, error) {
	current := k.TLS()
	if named, _, err := nameOf(current.Leaf); err != nil {
		return nil, err
	} else if d, err := authorityOf(chain[0]); err != nil || d != named {
		return nil, errors.Join(fmt.Errorf("the node's certificate is still of %s; it gets one of %s", named.DNS(), d.DNS()), err)
	}
	l := letter{To: to.String(), Algorithm: Algorithm, Chain: [][]byte{current.Leaf.Raw}}
	for _, c := range chain {
		l.Chain = append(l.Chain, c.Raw)
	}
	signer, ok := current.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the node's key cannot sign")
	}
	var err error
	if l.Signature, err = signer.Sign(rand.Reader, signed(ForLetter, []byte(l.To), plain), crypto.SHA256); err != nil {
		return nil, fmt.Errorf("sign a letter: %w", err)
	}
	head, err := json.Marshal(l)
	if err != nil {
		return nil, err
	}
	opened := binary.BigEndian.AppendUint32(nil, uint32(len(head)))
	return Seal(append(append(opened, head...), plain...), recipients...)
}

// Known says whether an authority's certificate is still that of the division: a chain does
// not tell that it was replaced.
type Known func(of division.Ref, authority *x509.Certificate) error

// OpenLetter decrypts a letter to self and checks who signed it: a node of the division that
// it returns, which the chain ties to the anchor. known is asked about its authority; nil:
// the chain is enough. Errors: ErrNotRecipient, ErrForged, ErrStranger, those of known.
func (k *Keys) OpenLetter(sealed []byte, self division.Ref, anchor *x509.Certificate, known Known, now time.Time) (from division.Ref, plain []byte, err error) {
	head, plain, err := openLetter(sealed, k.Identity)
	if err != nil {
		return from, nil, err
	}
	chain, err := ParseChain(head.Chain)
	if err != nil || len(chain) < 2 {
		return from, nil, errors.Join(fmt.Errorf("%w: a letter without a chain", ErrStranger), err)
	}
	d, err := verifySender(chain[0], chain[1:], anchor, now)
	if err != nil {
		return from, nil, err
	}
	if err := checkSignature(chain[0], head.Algorithm, signed(ForLetter, []byte(head.To), plain), head.Signature); err != nil {
		return from, nil, err
	}
	if head.To != self.String() {
		return from, nil, fmt.Errorf("%w: the letter is to %s", ErrForged, head.To)
	}
	if from, err = d.Ref(); err == nil && known != nil {
		err = known(from, chain[1])
	}
	return from, plain, err
}

func openLetter(sealed []byte, identity age.Identity) (head letter, plain []byte, err error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if errors.As(err, new(*age.NoIdentityMatchError)) {
		return head, nil, ErrNotRecipient
	}
	if err != nil {
		return head, nil, fmt.Errorf("open a letter: %w", err)
	}
	opened, err := io.ReadAll(io.LimitReader(r, maxLetter+1))
	if err != nil {
		return head, nil, fmt.Errorf("open a letter: %w", err)
	}
	if len(opened) > maxLetter || len(opened) < 4 {
		return head, nil, fmt.Errorf("open a letter: it has %d bytes", len(opened))
	}
	n := int64(binary.BigEndian.Uint32(opened))
	if n > int64(len(opened)-4) {
		return head, nil, errors.New("open a letter: its head is longer than the letter")
	}
	if err := json.Unmarshal(opened[4:4+n], &head); err != nil {
		return head, nil, fmt.Errorf("open a letter: %w", err)
	}
	return head, opened[4+n:], nil
}

// verifySender checks a node's certificate and the authorities above it up to the anchor.
func verifySender(leaf *x509.Certificate, chain []*x509.Certificate, anchor *x509.Certificate, now time.Time) (Division, error) {
	above, err := VerifyChain(chain, anchor, now)
	if err != nil {
		return Division{}, err
	}
	d, _, err := nameOf(leaf)
	if err == nil && d != above[0] {
		err = fmt.Errorf("%s %s is issued by the authority of %s %s", d.Level, d.DNS(), above[0].Level, above[0].DNS())
	}
	if err == nil {
		err = VerifyIssued(chain[0], leaf, x509.ExtKeyUsageClientAuth, now)
	}
	if err != nil {
		return d, fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return d, verifyPath(leaf, chain, x509.ExtKeyUsageClientAuth, now)
}
