package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// alphabet is Crockford's base 32: no letter that is taken for a digit.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// codeLength is the number of characters of a one-time code: 100 bits.
const codeLength = 20

// NewCode returns a one-time code for people to type ("K7QF2-…", four groups of five)
// and its hash, which is what is stored.
func NewCode() (code string, hash []byte) {
	random := make([]byte, codeLength)
	rand.Read(random)
	var b strings.Builder
	for i, v := range random {
		if i > 0 && i%5 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(alphabet[v%32])
	}
	return b.String(), HashCode(b.String())
}

// HashCode returns the hash of a code as it was typed: case, blanks and hyphens do not
// matter, O is 0, I and L are 1.
func HashCode(code string) []byte {
	typed := strings.Map(func(r rune) rune {
		switch {
		case r == 'O':
			return '0'
		case r == 'I' || r == 'L':
			return '1'
		case strings.ContainsRune(alphabet, r):
			return r
		}
		return -1
	}, strings.ToUpper(code))
	return digest("code", typed)
}

// newToken returns a token of 256 bits and its hash.
func newToken(use string) (token string, hash []byte) {
	var random [32]byte
	rand.Read(random[:])
	token = base64.RawURLEncoding.EncodeToString(random[:])
	return token, digest(use, token)
}

// tokenLength is that of newToken's tokens in characters.
const tokenLength = 43

// newID returns an id of 80 bits with a letter in front: "a1f0…".
func newID(letter string) string {
	var random [10]byte
	rand.Read(random[:])
	return letter + hex.EncodeToString(random[:])
}

// digest is SHA-256 of a secret that is itself random, so that no work factor is needed.
// use keeps one kind of token from passing as another.
func digest(use, secret string) []byte {
	sum := sha256.Sum256([]byte("tongban " + use + "\x00" + secret))
	return sum[:]
}

func same(a, b []byte) bool { return len(a) > 0 && subtle.ConstantTimeCompare(a, b) == 1 }
