package trust

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Request returns a certificate request signed by the authority's key, for SignChild of the
// parent's authority. It has no names: the parent decides them.
func (a *Authority) Request() ([]byte, error) { return NewRequest(a.key) }

// SignChild certifies the authority of a child that sent the request: for names below the
// child's, and for authorities of lower levels alone. child must be what Division.Child of
// the authority's own division returned. The certificate may last longer than that of the
// authority itself, which its own parent renews: their line needs the keys of the two alone.
func (a *Authority) SignChild(csr []byte, child Division, now time.Time) (*x509.Certificate, error) {
	if !child.childOf(a.Division) {
		return nil, fmt.Errorf("%s %s is no division below %s %s", child.Level, child.DNS(), a.Division.Level, a.Division.DNS())
	}
	public, err := RequestKey(csr)
	if err != nil {
		return nil, err
	}
	template, err := authorityTemplate(child, now, AuthorityValid)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("certify the authority of %s: %w", child.DNS(), err)
	}
	return x509.ParseCertificate(der)
}

// As returns the authority as its parent certified it: it issues below the name that the
// chain's first certificate gives it. The chain is that certificate, the parent's, and so
// on up to the anchor; an empty chain is that of a division without a parent, and returns
// the authority itself.
func (a *Authority) As(chain []*x509.Certificate) (*Authority, error) {
	if len(chain) == 0 {
		return a, nil
	}
	d, err := authorityOf(chain[0])
	if err != nil {
		return nil, fmt.Errorf("read the division's certificate: %w", err)
	}
	if !a.key.PublicKey.Equal(chain[0].PublicKey) {
		return nil, errors.New("the parent certified another key than that of the division's authority")
	}
	if !d.same(a.Division) {
		return nil, fmt.Errorf("the parent certified %s %s, and this is %s %s", d.Level, d.Code, a.Division.Level, a.Division.Code)
	}
	return &Authority{Division: d, Certificate: chain[0], Valid: a.Valid, key: a.key}, nil
}

// ParseChain reads certificates, DER.
func ParseChain(ders [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, len(ders))
	for i, der := range ders {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read certificate %d of a chain: %w", i+1, err)
		}
		chain[i] = cert
	}
	return chain, nil
}

// Named returns the division as the authority's certificate names it: with its place in
// the tree, when the parent signed it.
func Named(authority *x509.Certificate) (Division, error) { return authorityOf(authority) }
