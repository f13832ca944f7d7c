package trust

import (
	"crypto/x509"
	"time"
)

// Grace is how long after its end a certificate is still good for getting a new one: a
// division that was away for longer than its certificates last could otherwise never come
// back, because it needs a line to renew them and they to have a line.
const Grace = 90 * 24 * time.Hour

// graced returns the certificate as if it had not ended yet, if it did within Grace. All
// else about it is as it was.
func graced(cert *x509.Certificate, now time.Time) *x509.Certificate {
	if !now.After(cert.NotAfter) || now.Sub(cert.NotAfter) > Grace {
		return cert
	}
	lasting := *cert
	lasting.NotAfter = now
	return &lasting
}

// Ended reports whether what an end of a line shows, its node's certificate and its
// authority's, is over in any part.
func Ended(chain []*x509.Certificate, now time.Time) bool {
	for _, cert := range chain {
		if now.After(cert.NotAfter) {
			return true
		}
	}
	return false
}
