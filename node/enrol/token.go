package enrol

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"tongban/division"
)

const (
	tokenPrefix = "te1"
	tokenParts  = 9
	idBytes     = 8
	secretBytes = 16
	sumBytes    = 4
	// maxAddresses bounds the addresses in a token: a child needs one that answers.
	maxAddresses = 8
	maxToken     = 1024 // Characters.
)

// Token is what an operator carries from the parent to the child.
type Token struct {
	Parent      division.Ref
	Child       division.Ref // For whom it is.
	Fingerprint string       // SHA-256 of the parent's authority, 64 hex digits.
	ID          string       // 16 hex digits; the parent knows the token by it.
	Secret      []byte       // 16 bytes.
	Expires     time.Time    // To the second.
	Addresses   []string     // The parent's node ports to try, host:port.
}

// NewToken makes a token with a fresh id and secret.
func NewToken(parent, child division.Ref, fingerprint string, expires time.Time, addresses []string) (Token, error) {
	random := make([]byte, idBytes+secretBytes)
	if _, err := rand.Read(random); err != nil {
		return Token{}, fmt.Errorf("make a token: %w", err)
	}
	return Token{Parent: parent, Child: child, Fingerprint: fingerprint, Expires: expires.UTC().Truncate(time.Second),
		ID: hex.EncodeToString(random[:idBytes]), Secret: random[idBytes:],
		Addresses: addresses[:min(len(addresses), maxAddresses)]}, nil
}

// String is the token as people copy it:
// te1-<parent>-<child>-<expires>-<fingerprint>-<id>-<secret>-<addresses>-<sum>, where sum
// tells a token that was cut off or mistyped.
func (t Token) String() string {
	text := strings.Join([]string{tokenPrefix, writeRef(t.Parent), writeRef(t.Child), strconv.FormatInt(t.Expires.Unix(), 16),
		t.Fingerprint, t.ID, hex.EncodeToString(t.Secret), strings.Join(t.Addresses, ",")}, "-")
	return text + "-" + checksum(text)
}

// OnlyHere reports whether every one of the addresses is of this machine's loopback: no
// other box can use them.
func OnlyHere(addresses []string) bool {
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a)
		if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return false
		}
	}
	return true
}

var errCutOff = errors.New("the token is cut off or mistyped; copy all of what `tongban child token` printed")

// ParseToken reads a token; white space around and within it (a wrapped line) is ignored.
// Its errors are one sentence for the operator.
func ParseToken(text string) (Token, error) {
	if len(text) > maxToken {
		return Token{}, errors.New("the token is too long; copy it again")
	}
	text = strings.Join(strings.Fields(text), "")
	if strings.HasPrefix(text, "tb1-") {
		return Token{}, errors.New("this token is for a box that joins a division (`tongban join`); to enrol a division, make one at the parent with `tongban child token`")
	}
	if !strings.HasPrefix(text, tokenPrefix+"-") {
		return Token{}, errors.New("the token does not begin with te1-; copy all of what `tongban child token` printed")
	}
	end := strings.LastIndexByte(text, '-')
	parts := strings.SplitN(text[:end], "-", tokenParts-1)
	if len(parts) != tokenParts-1 || text[end+1:] != checksum(text[:end]) {
		return Token{}, errCutOff
	}
	t := Token{Fingerprint: parts[4], ID: parts[5], Addresses: strings.Split(parts[7], ",")}
	expires, err := strconv.ParseInt(parts[3], 16, 64)
	t.Expires = time.Unix(expires, 0).UTC()
	var errs [3]error
	t.Parent, errs[0] = readRef(parts[1])
	t.Child, errs[1] = readRef(parts[2])
	t.Secret, errs[2] = hex.DecodeString(parts[6])
	if errors.Join(append(errs[:], err)...) != nil || len(t.Secret) != secretBytes || !isHex(t.ID, idBytes) || !isHex(t.Fingerprint, sha256.Size) || t.String() != text {
		return Token{}, errCutOff
	}
	if len(t.Addresses) > maxAddresses {
		return Token{}, errors.New("the token has too many addresses; make a new one at the parent with `tongban child token`")
	}
	for _, a := range t.Addresses {
		if err := CheckAddress(a); err != nil {
			return Token{}, fmt.Errorf("%w; make a new token at the parent with `tongban child token`", err)
		}
	}
	return t, nil
}

// CheckAddress tells whether an address is host:port.
func CheckAddress(a string) error {
	host, port, err := net.SplitHostPort(a)
	if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 || host == "" {
		return fmt.Errorf("the address %q is no host:port such as 192.0.2.10:7303", a)
	}
	return nil
}

// writeRef writes a reference without a slash, at which a double click would stop.
func writeRef(r division.Ref) string { return strings.Replace(r.String(), "/", ".", 1) }

func readRef(s string) (division.Ref, error) {
	if !strings.Contains(s, ".") {
		return division.Ref{}, division.ErrMalformed
	}
	return division.ParseRef(strings.Replace(s, ".", "/", 1))
}

func checksum(text string) string {
	sum := sha256.Sum256([]byte("tongban enrolment token\x00" + text))
	return hex.EncodeToString(sum[:sumBytes])
}

func isHex(s string, size int) bool {
	b, err := hex.DecodeString(s)
	return err == nil && len(b) == size
}
