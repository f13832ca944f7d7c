package identity

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"net/url"
	"time"

	"github.com/pquerna/otp/hotp"
	"rsc.io/qr"
)

// TOTP (RFC 6238) as every authenticator app knows it: SHA-1, six digits, 30 seconds.
const (
	totpPeriod = 30 // seconds
	totpSkew   = 1  // steps that a clock may be off
	totpSecret = 20 // bytes (RFC 4226, section 4: the length of the hash)
)

func newTOTP() []byte {
	secret := make([]byte, totpSecret)
	rand.Read(secret)
	return secret
}

func totpText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// totpStep returns the step whose code was typed, which is later than the last one used
// and within one of now; ok is false when there is none. Every candidate is compared.
func totpStep(secret []byte, typed string, last int64, now time.Time) (step int64, ok bool) {
	current := now.Unix() / totpPeriod
	for s := current - totpSkew; s <= current+totpSkew; s++ {
		code, err := hotp.GenerateCode(totpText(secret), uint64(s))
		if err != nil {
			return 0, false // The secret is always valid.
		}
		if subtle.ConstantTimeCompare([]byte(code), []byte(typed)) == 1 && s > last && !ok {
			step, ok = s, true
		}
	}
	return step, ok
}

// totpURI is what the QR code holds (Key Uri Format of the authenticator apps). Blanks
// are %20, because some apps show a "+" as it is.
func totpURI(issuer, login string, secret []byte) string {
	return "otpauth://totp/" + url.PathEscape(issuer+":"+login) +
		"?secret=" + totpText(secret) + "&issuer=" + url.PathEscape(issuer)
}

// totpImage returns the URI as a QR code in PNG, with the quiet zone around it.
func totpImage(uri string) ([]byte, error) {
	code, err := qr.Encode(uri, qr.M)
	if err != nil {
		return nil, fmt.Errorf("draw the QR code: %w", err)
	}
	return code.PNG(), nil
}
