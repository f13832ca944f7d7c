package trust

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"time"
)

// renewSelfSigned is when a self-signed certificate is made anew.
const renewSelfSigned = 30 * 24 * time.Hour

// SelfSigned makes a self-signed certificate and key for people's port, unless there is
// one for these names that lasts for another 30 days.
func SelfSigned(certificate, key string, names []string, now time.Time) error {
	text, err := os.ReadFile(certificate)
	if err == nil {
		have, err := parseCertificate(text)
		if err == nil && now.Add(renewSelfSigned).Before(have.NotAfter) && coversAll(have, names) {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the web certificate: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return err
	}
	private, err := NewKey()
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "tongban"},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(CertificateValid - backdate),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return fmt.Errorf("make the web certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("make the web certificate: %w", err)
	}
	keyText, err := marshalKey(private)
	if err != nil {
		return fmt.Errorf("make the web certificate: %w", err)
	}
	if err := WriteFile(key, keyText, 0o600); err != nil {
		return err
	}
	return WriteFile(certificate, encodeCertificate(cert), 0o644)
}

func coversAll(cert *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return cert.VerifyHostname(name) != nil })
}
