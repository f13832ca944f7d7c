package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"tongban/service"
)

// Parameters of argon2id (RFC 9106): 19 MiB, two passes, one lane, the first choice of
// OWASP's Password Storage Cheat Sheet. About 25 ms on a small server. They are stored
// with each hash, so that they can grow.
const (
	argonTime    = 2
	argonMemory  = 19 * 1024 // KiB
	argonThreads = 1
	argonKey     = 32 // bytes
	argonSalt    = 16 // bytes
)

const (
	minPassword = 10  // characters
	maxPassword = 256 // bytes: a longer one costs the server, not the guesser
)

// hasher bounds how much memory and how many processors hashing takes at once: whoever
// can reach the sign-in page can ask for it.
type hasher struct {
	slots   chan struct{} // Working.
	waiting chan struct{} // Working or waiting.
	dummy   string        // Checked when there is no such account.
}

const (
	maxHashing = 2  // at once: 38 MiB
	maxWaiting = 64 // further ones are told to come back: a second of work
)

func newHasher() *hasher {
	return &hasher{slots: make(chan struct{}, maxHashing), waiting: make(chan struct{}, maxWaiting),
		dummy: encodeHash(make([]byte, argonSalt), make([]byte, argonKey))}
}

// enter waits for a slot; leave must be called after it returned nil.
func (h *hasher) enter(ctx context.Context) error {
	select {
	case h.waiting <- struct{}{}:
	default:
		return service.ErrUnavailable.With("retry_after", 2)
	}
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-h.waiting
		return ctx.Err()
	}
}

func (h *hasher) leave() { <-h.slots; <-h.waiting }

// hash returns the password's hash in PHC format with a new salt.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.enter(ctx); err != nil {
		return "", err
	}
	defer h.leave()
	salt := make([]byte, argonSalt)
	rand.Read(salt)
	key := argon2.IDKey([]byte(norm.NFC.String(password)), salt, argonTime, argonMemory, argonThreads, argonKey)
	return encodeHash(salt, key), nil
}

// verify reports whether the password has the hash. With an empty hash, of an account
// that does not exist or is not activated, it does the same work and says no.
func (h *hasher) verify(ctx context.Context, hash, password string) (bool, error) {
	if len(password) > maxPassword {
		password = "" // No account has one so long; the work is the same.
	}
	known := hash != ""
	if !known {
		hash = h.dummy
	}
	salt, want, memory, time, threads, err := decodeHash(hash)
	if err != nil {
		return false, err
	}
	if err := h.enter(ctx); err != nil {
		return false, err
	}
	defer h.leave()
	got := argon2.IDKey([]byte(norm.NFC.String(password)), salt, time, memory, threads, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

func encodeHash(salt, key []byte) string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonThreads,
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func decodeHash(s string) (salt, key []byte, memory, time uint32, threads uint8, err error) {
	parts := strings.Split(s, "$")
	bad := fmt.Errorf("a stored password hash is malformed")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return nil, nil, 0, 0, 0, bad
	}
	version := 0
	if _, err := fmt.Sscanf(parts[2], "v=%d", &version); err != nil || version != argon2.Version {
		return nil, nil, 0, 0, 0, bad
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil {
		return nil, nil, 0, 0, 0, bad
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	key, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(key) == 0 {
		return nil, nil, 0, 0, 0, bad
	}
	return salt, key, memory, time, threads, nil
}

// checkPassword returns the reason why a password is not taken, or "". Length and being
// no part of the account count, not classes of characters (NIST SP 800-63B, 5.1.1.2).
func checkPassword(password, login, name string) string {
	switch lower := strings.ToLower(password); {
	case utf8.RuneCountInString(password) < minPassword:
		return "identity.password_short"
	case len(password) > maxPassword:
		return "identity.password_long"
	case !utf8.ValidString(password):
		return "identity.password_text"
	case login != "" && strings.Contains(lower, login), name != "" && strings.Contains(lower, strings.ToLower(name)):
		return "identity.password_of_account"
	case fewCharacters(lower):
		return "identity.password_simple"
	}
	return ""
}

// fewCharacters reports whether a password has fewer than four different characters or
// only counts up or down: "1111111111", "ababababab", "1234567890".
func fewCharacters(s string) bool {
	different := map[rune]bool{}
	steps := map[rune]bool{}
	last := rune(-1)
	for _, r := range s {
		different[r] = true
		if last >= 0 && !(last == '9' && r == '0') {
			steps[r-last] = true
		}
		last = r
	}
	return len(different) < 4 || len(steps) == 1
}
