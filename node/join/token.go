// Package join lets a box become a node of a division over the node port's join protocol
// ("tongban-join/1"): the box has a one-time token and no certificate yet.
//
// The token pins the fingerprint of the division's authority, so that the box speaks to
// nobody else, and carries a secret that the division knows by its hash, so that nobody
// else speaks to the division. One request and one answer cross, each a line of JSON.
//
// # Not here
//
// What the division does with a request (spend the token, issue the certificate, list the
// node) is an Admit function of package node.
package join

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
)

const (
	tokenPrefix = "tb1"
	secretBytes = 16
	// maxAddresses bounds the addresses in a token: a joining box needs one that answers.
	maxAddresses = 8
	maxToken     = 1024
)

// Token is what an operator carries from a node of the division to a new box.
type Token struct {
	Fingerprint string   // SHA-256 of the authority's certificate, 64 hex digits.
	Secret      string   // 32 hex digits.
	Addresses   []string // Node ports to try, host:port.
}

// NewToken makes a token with a fresh secret.
func NewToken(fingerprint string, addresses []string) (Token, error) {
	secret := make([]byte, secretBytes)
	if _, err := rand.Read(secret); err != nil {
		return Token{}, fmt.Errorf("make a token: %w", err)
	}
	return Token{
		Fingerprint: fingerprint,
		Secret:      hex.EncodeToString(secret),
		Addresses:   addresses[:min(len(addresses), maxAddresses)],
	}, nil
}

// String is the token as people copy it: tb1-<fingerprint>-<secret>-<addresses>.
func (t Token) String() string {
	return strings.Join([]string{tokenPrefix, t.Fingerprint, t.Secret, strings.Join(t.Addresses, ",")}, "-")
}

// Hash is what the division keeps of the token.
func (t Token) Hash() []byte { return hashSecret(t.Secret) }

func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte("tongban join token\x00" + secret))
	return sum[:]
}

// matches reports whether the certificate with this fingerprint is the token's authority.
func (t Token) matches(fingerprint string) bool {
	return subtle.ConstantTimeCompare([]byte(t.Fingerprint), []byte(fingerprint)) == 1
}

// OnlyHere reports whether every address of the token is of this machine's loopback: no
// other box can use it.
func (t Token) OnlyHere() bool {
	for _, a := range t.Addresses {
		host, _, err := net.SplitHostPort(a)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

// ParseToken reads a token; white space around and within it (a wrapped line) is ignored.
func ParseToken(text string) (Token, error) {
	if len(text) > maxToken {
		return Token{}, errors.New("the token is too long; copy it again")
	}
	text = strings.Join(strings.Fields(text), "")
	parts := strings.SplitN(text, "-", 4)
	if parts[0] != tokenPrefix {
		return Token{}, errors.New("the token does not begin with tb1-; copy all of what `tongban token` printed")
	}
	if len(parts) != 4 {
		return Token{}, errors.New("the token is cut off; copy all of what `tongban token` printed")
	}
	t := Token{Fingerprint: parts[1], Secret: parts[2], Addresses: strings.Split(parts[3], ",")}
	if !isHex(t.Fingerprint, sha256.Size) || !isHex(t.Secret, secretBytes) {
		return Token{}, errors.New("the token has a wrong character or is cut off; copy all of what `tongban token` printed")
	}
	if len(t.Addresses) > maxAddresses {
		return Token{}, errors.New("the token has too many addresses; copy it again")
	}
	for _, a := range t.Addresses {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return Token{}, fmt.Errorf("the token's address %q is no host:port; copy all of what `tongban token` printed", a)
		}
	}
	return t, nil
}

func isHex(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size
}
