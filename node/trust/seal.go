package trust

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
)

// NewIdentity makes an age identity: a node key or a recovery kit.
func NewIdentity() (*age.X25519Identity, error) { return age.GenerateX25519Identity() }

// ParseRecipient checks the public half of an identity ("age1…").
func ParseRecipient(text string) (age.Recipient, error) { return age.ParseX25519Recipient(text) }

// Seal encrypts a secret to all recipients ("age1…"), ASCII not needed.
func Seal(secret []byte, recipients ...string) ([]byte, error) {
	to := make([]age.Recipient, len(recipients))
	for i, text := range recipients {
		r, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("read recipient %q: %w", text, err)
		}
		to[i] = r
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	if _, err := w.Write(secret); err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	return out.Bytes(), nil
}

// Unseal decrypts what Seal made, with one of its recipients' identities.
func Unseal(sealed []byte, identity age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		return nil, fmt.Errorf("unseal a secret: %w", err)
	}
	secret, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("unseal a secret: %w", err)
	}
	return secret, nil
}

func parseIdentity(data []byte) (*age.X25519Identity, error) {
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return age.ParseX25519Identity(line)
		}
	}
	return nil, fmt.Errorf("it has no AGE-SECRET-KEY line")
}
