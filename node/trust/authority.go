package trust

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"tongban/division"
	"tongban/replication"
)

const (
	// RootValid is how long a division's self-signed authority lasts. Its key is what the
	// boxes of the division and its children trust, so that it outlives all that is signed
	// anew; a root's 20 to 30 years are usual.
	RootValid = 30 * 365 * 24 * time.Hour
	// AuthorityValid is how long what a parent signs of a child's authority lasts. It is
	// renewed in its second half.
	AuthorityValid = 10 * 365 * 24 * time.Hour
	// CertificateValid is how long a node's certificate lasts: a year and a month, the
	// longest that browsers and auditors accept (CA/Browser Forum BR 6.3.2).
	CertificateValid = 397 * 24 * time.Hour
	// backdate makes a fresh certificate valid on boxes whose clock is a little late.
	backdate = 10 * time.Minute
)

// Authority is a division's certificate authority with its key.
type Authority struct {
	Division    Division
	Certificate *x509.Certificate // Self-signed, or as the parent signed it; see As.
	Valid       time.Duration     // Of the certificates that it issues; 0: CertificateValid.
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority that may only issue below the division's name. Its
// certificate is self-signed.
func NewAuthority(d Division, now time.Time) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of the authority: %w", err)
	}
	template, err := authorityTemplate(d, now, RootValid)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate of the authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate of the authority: %w", err)
	}
	return &Authority{Division: d, Certificate: cert, key: key}, nil
}

// authorityTemplate is the certificate of an authority: constrained to the division's name
// and what is below it, and to as many authorities below as there are levels.
func authorityTemplate(d Division, now time.Time, valid time.Duration) (*x509.Certificate, error) {
	ref, err := d.Ref()
	if err != nil {
		return nil, fmt.Errorf("name an authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	deep := int(division.County) - int(ref.Level)
	return &x509.Certificate{
		SerialNumber:                serial,
		Subject:                     pkix.Name{CommonName: "tongban " + d.Level + " " + d.Code},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    now.Add(valid),
		KeyUsage:                    x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLen:                  deep,
		MaxPathLenZero:              deep == 0,
		URIs:                        []*url.URL{d.uri()},
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{d.DNS()},
		PermittedURIDomains:         []string{d.DNS(), "." + d.DNS()}, // RFC 5280, 4.2.1.10: the host, and those below.
	}, nil
}

// LoadAuthority puts an authority together from its certificate and the key as KeyPEM
// returned it.
func LoadAuthority(d Division, cert *x509.Certificate, keyPEM []byte) (*Authority, error) {
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("read the key of the authority: %w", err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the key of the authority does not belong to its certificate")
	}
	return &Authority{Division: d, Certificate: cert, key: key}, nil
}

// KeyPEM returns the private key, for Seal alone.
func (a *Authority) KeyPEM() ([]byte, error) { return marshalKey(a.key) }

// Issue signs a certificate for the node and public key. It may last longer than what the
// parent signed of the authority: within the division the key alone counts, and across
// divisions that is asked for as well, and renewed by itself.
func (a *Authority) Issue(n replication.NodeID, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	uri, err := url.Parse(a.Division.URI(n))
	if err != nil {
		return nil, fmt.Errorf("name node %s: %w", n, err)
	}
	valid := cmp.Or(a.Valid, CertificateValid)
	begin := now.Add(-min(backdate, valid/8)) // One that lasts for seconds is not to begin in its second half.
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             begin,
		NotAfter:              begin.Add(valid),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{a.Division.DNSName(n)},
		URIs:                  []*url.URL{uri},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue the certificate of node %s: %w", n, err)
	}
	return x509.ParseCertificate(der)
}

// Fingerprint is the SHA-256 of a certificate, in hex: what a join token pins.
func Fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// NewRequest returns a certificate request signed by the key, which proves that whoever
// sends it has the key. The names are decided by the authority, so it has none.
func NewRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make the certificate request: %w", err)
	}
	return der, nil
}

// RequestKey checks the proof in a certificate request and returns its public key.
func RequestKey(der []byte) (*ecdsa.PublicKey, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	// Before the signature: one of an RSA key of a million bits is checked for a minute.
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request is not for an ECDSA P-256 key")
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the certificate request: %w", err)
	}
	return key, nil
}

// RequestFor is RequestKey of a request that asks for exactly one DNS name.
func RequestFor(der []byte, name string) (*ecdsa.PublicKey, error) {
	key, err := RequestKey(der)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	if len(csr.DNSNames) != 1 || csr.DNSNames[0] != name ||
		len(csr.URIs)+len(csr.IPAddresses)+len(csr.EmailAddresses)+len(csr.Subject.Names) > 0 {
		return nil, fmt.Errorf("the certificate request is for %q, %v, %v and %q, not for %s alone",
			csr.DNSNames, csr.URIs, csr.IPAddresses, csr.Subject.String(), name)
	}
	return key, nil
}

// NewKey makes the TLS key of a node.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return serial.Add(serial, big.NewInt(1)), nil
}

func marshalKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("it is no PEM file")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("it is no ECDSA key")
	}
	return key, nil
}

func encodeCertificate(cert *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is no PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}
