package trust

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"

	"tongban/replication"
)

// maxHandOvers bounds the predecessors that a certificate shows: a peer that was away for
// more renewals than that was away for longer than a certificate lasts.
const maxHandOvers = 2

// TLS is the chain that the node shows within its division now: its certificate, the
// division's self-signed authority, which a joining box compares with its token, and the
// hand-overs from the certificates before it (see HandOver). The certificate is the newest
// that Use was given, else the one that the box came with.
func (k *Keys) TLS() *tls.Certificate {
	if current := k.current.Load(); current != nil {
		return current
	}
	return &tls.Certificate{
		Certificate: [][]byte{k.Certificate.Raw, k.Authority.Raw},
		PrivateKey:  k.Key,
		Leaf:        k.Certificate,
	}
}

// Use shows another certificate from now on: its own first, then the hand-overs that came
// with it. It must be of this node and of the division's authority.
func (k *Keys) Use(c tls.Certificate, now time.Time) error {
	if len(c.Certificate) == 0 {
		return ErrNoCertificate
	}
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		return fmt.Errorf("read the node's certificate: %w", err)
	}
	if err := k.check(leaf, c.PrivateKey, now); err != nil {
		return err
	}
	chain := append([][]byte{leaf.Raw, k.Authority.Raw}, c.Certificate[1:]...)
	k.current.Store(&tls.Certificate{Certificate: chain, PrivateKey: c.PrivateKey, Leaf: leaf})
	return nil
}

// Link returns what the node shows on lines to other divisions: its certificate and its
// division's authority as the chain has it, which is empty for a division without a parent.
func (k *Keys) Link(chain func() ([]*x509.Certificate, error)) Own {
	return func() (*tls.Certificate, error) {
		authority := k.Authority
		list, err := chain()
		if err != nil {
			return nil, err
		}
		if len(list) > 0 {
			authority = list[0]
		}
		current := k.TLS()
		return &tls.Certificate{Certificate: [][]byte{current.Leaf.Raw, authority.Raw},
			PrivateKey: current.PrivateKey, Leaf: current.Leaf}, nil
	}
}

// HandOver returns what is shown behind a certificate of the public key, so that peers
// believe it that were away when it was issued, and have not yet heard of it: a certificate
// of the key by the node's present one, the present one itself, and so on. The division's
// authority alone does not vouch for a node, because its key is on every box; the present
// certificate, which is in the ledger that the peer has, does.
func (k *Keys) HandOver(next crypto.PublicKey, now time.Time) ([][]byte, error) {
	current := k.TLS()
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, NotBefore: current.Leaf.NotBefore, NotAfter: current.Leaf.NotAfter,
	}, current.Leaf, next, current.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("hand over to a new certificate: %w", err)
	}
	chain := [][]byte{der, current.Leaf.Raw}
	older := current.Certificate[2:]
	for len(older) >= 2 && len(chain) < 2*maxHandOvers {
		cert, err := x509.ParseCertificate(older[1])
		if err != nil || now.After(cert.NotAfter) {
			break
		}
		chain, older = append(chain, older[:2]...), older[2:]
	}
	return chain, nil
}

// believed reports whether the certificate, or one before it that handed over to it, is one
// that the division issued to the node.
func (k *Keys) believed(n replication.NodeID, chain []*x509.Certificate, knows Knows, now time.Time) bool {
	cert := chain[0]
	if knows(n, Fingerprint(cert)) {
		return true
	}
	if len(chain) > 2+2*maxHandOvers {
		return false
	}
	for rest := chain[min(2, len(chain)):]; len(rest) >= 2; rest = rest[2:] {
		over, before := graced(rest[0], now), graced(rest[1], now)
		named, err := k.Division.verify(k.Authority, []*x509.Certificate{before}, x509.ExtKeyUsageServerAuth, now)
		if err != nil || named != n || !bytes.Equal(over.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo) ||
			signedBy(before, over, now) != nil {
			return false
		}
		if knows(n, Fingerprint(before)) {
			return true
		}
		cert = before
	}
	return false
}
