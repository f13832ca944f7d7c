package trust

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tongban/replication"
)

// maxChain bounds the authorities between a node and the anchor, both ends included.
const maxChain = maxLabels

// signedBy checks that a certificate is valid at the time and signed by the key of an
// authority. It asks the key alone, not the names and the constraints in the authority's
// certificate: a division's self-signed certificate knows nothing of the name that it got
// when it was enrolled.
func signedBy(authority, cert *x509.Certificate, now time.Time) error {
	switch {
	case now.Before(cert.NotBefore), now.After(cert.NotAfter):
		return x509.CertificateInvalidError{Cert: cert, Reason: x509.Expired,
			Detail: fmt.Sprintf("it is valid from %s to %s", cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339))}
	case now.Before(authority.NotBefore), now.After(authority.NotAfter):
		return x509.CertificateInvalidError{Cert: authority, Reason: x509.Expired, Detail: "that of the authority"}
	case len(cert.UnhandledCriticalExtensions) > 0:
		return x509.UnhandledCriticalExtension{}
	}
	return authority.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature)
}

// VerifyIssued checks that a node's certificate is valid at the time, for the usage, and
// signed by the key of an authority, whatever name the division had then. A
// [x509.CertificateInvalidError] with the reason x509.Expired may be a clock that is wrong.
func VerifyIssued(authority, cert *x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	if err := signedBy(authority, cert, now); err != nil {
		return err
	}
	if cert.IsCA {
		return errors.New("it is an authority's certificate, not a node's")
	}
	if !slices.Contains(cert.ExtKeyUsage, usage) {
		return x509.CertificateInvalidError{Cert: cert, Reason: x509.IncompatibleUsage}
	}
	return nil
}

// verify checks a peer's certificate by the division's authority and returns the node that
// it names. The chain's first certificate is the peer's; the others are not asked: there is
// one root and nothing between.
func (d Division) verify(authority *x509.Certificate, chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (replication.NodeID, error) {
	if len(chain) == 0 {
		return "", ErrNoCertificate
	}
	if err := VerifyIssued(authority, chain[0], usage, now); err != nil {
		return "", fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return d.nodeOf(chain[0])
}

// nodeOf returns the node that a certificate of the division names, whatever name the
// division had in the tree when it was issued.
func (d Division) nodeOf(cert *x509.Certificate) (replication.NodeID, error) {
	got, n, err := nameOf(cert)
	if err == nil && !got.same(d) {
		err = fmt.Errorf("it is of %s %s, not %s %s", got.Level, got.Code, d.Level, d.Code)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return n, nil
}

// labelAbove is the code of the parent in a division's name; "" when it has none.
func labelAbove(d Division) string {
	labels := strings.Split(strings.TrimSuffix(d.DNS(), "."+Domain), ".")
	if len(labels) < 2 {
		return ""
	}
	return labels[1]
}

// VerifyChain checks the authorities from a division's own up to the anchor: each signed by
// the next, named below it, and within its name constraints (RFC 5280, 6.1). It returns the
// divisions, the chain's first first.
func VerifyChain(chain []*x509.Certificate, anchor *x509.Certificate, now time.Time) ([]Division, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return nil, fmt.Errorf("%w: a chain of %d authorities", ErrStranger, len(chain))
	}
	if !chain[len(chain)-1].Equal(anchor) {
		return nil, fmt.Errorf("%w: the chain does not end at the anchor of this tree", ErrStranger)
	}
	list := make([]Division, len(chain))
	for i, cert := range chain {
		d, err := authorityOf(cert)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStranger, err)
		}
		list[i] = d
		if i == 0 {
			continue
		}
		if err := chain[i-1].CheckSignatureFrom(cert); err != nil {
			return nil, fmt.Errorf("%w: %s is not certified by %s: %w", ErrStranger, list[i-1].DNS(), d.DNS(), err)
		}
		if !list[i-1].childOf(d) {
			return nil, fmt.Errorf("%w: %s %s is not below %s %s", ErrStranger, list[i-1].Level, list[i-1].DNS(), d.Level, d.DNS())
		}
	}
	return list, verifyPath(chain[0], chain, x509.ExtKeyUsageAny, now)
}

// verifyPath has crypto/x509 check validity, path lengths and name constraints of a
// certificate below the chain's authorities, of which the last is the root.
func verifyPath(cert *x509.Certificate, chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) error {
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(),
		CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage}}
	o.Roots.AddCert(chain[len(chain)-1])
	for _, between := range chain[:len(chain)-1] {
		o.Intermediates.AddCert(between)
	}
	if _, err := cert.Verify(o); err != nil {
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return nil
}
