package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/replication"
)

// Own returns the certificate that this end of a line shows now: the node's, then the
// authority's as its parent signed it. It is asked at every handshake.
type Own func() (*tls.Certificate, error)

// LinkServer makes the TLS configuration of the port for children. A child's node shows its
// certificate and its authority's, which must be signed by the key of authority, this
// division's own, as one of a child. It is for the caller to ask the table of children
// whether it is still one, see PeerDivision and PeerAuthority, and to let a child whose
// certificates have [Ended] ask for new ones and do nothing else.
func LinkServer(own Own, authority *x509.Certificate, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return own() },
		ClientAuth:             tls.RequireAnyClientCert, // Verified by us: a hop is checked by keys and names.
		SessionTicketsDisabled: true,                     // A held child must not come back by a ticket.
		Time:                   now,
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyChild(authority, s.PeerCertificates, now())
		},
	}
}

// LinkClient makes the TLS configuration of a line up to a node of the parent, whose
// authority's key parentCA has. When parentCA ends is not asked: that is between the parent
// and the one above it, and must not cut the line below.
func LinkClient(own Own, parentCA *x509.Certificate, parent Division, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return own() },
		ServerName:           parent.DNS(),
		InsecureSkipVerify:   true, // VerifyConnection below verifies, against the parent's authority alone.
		Time:                 now,
		VerifyConnection: func(s tls.ConnectionState) error {
			pinned := *parentCA
			pinned.NotBefore, pinned.NotAfter = time.Time{}, now()
			_, err := parent.verify(&pinned, s.PeerCertificates, x509.ExtKeyUsageServerAuth, pinned.NotAfter)
			return err
		},
	}
}

// PeerDivision returns the division and node behind an established line of LinkServer or
// LinkClient.
func PeerDivision(s tls.ConnectionState) (division.Ref, replication.NodeID, error) {
	if len(s.PeerCertificates) == 0 {
		return division.Ref{}, "", ErrNoCertificate
	}
	d, n, err := nameOf(s.PeerCertificates[0])
	if err != nil {
		return division.Ref{}, "", fmt.Errorf("%w: %w", ErrStranger, err)
	}
	ref, err := d.Ref()
	return ref, n, err
}

// PeerAuthority returns the authority's certificate that a child's node showed, to be
// compared with the table of children.
func PeerAuthority(s tls.ConnectionState) (*x509.Certificate, error) {
	if len(s.PeerCertificates) < 2 {
		return nil, ErrNoCertificate
	}
	return s.PeerCertificates[1], nil
}

// verifyChild checks what a child's node shows. Its authority may have a name from before
// its parent was enrolled itself: the parent's key vouches for it, and with a new name the
// child could not be reached to be told. Each of the two certificates may have ended within
// [Grace]; see Ended.
func verifyChild(authority *x509.Certificate, chain []*x509.Certificate, now time.Time) error {
	if len(chain) < 2 {
		return fmt.Errorf("%w: it shows no authority of a child", ErrStranger)
	}
	parent, err := authorityOf(authority)
	if err != nil {
		return err
	}
	ca := graced(chain[1], now)
	child, err := authorityOf(ca)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	if err := signedBy(authority, ca, now); err != nil {
		return fmt.Errorf("%w: its authority: %w", ErrStranger, err)
	}
	if label := labelAbove(child); label != parent.Code || !below(child.Level, parent.Level) {
		return fmt.Errorf("%w: %s %s is no child of %s %s", ErrStranger, child.Level, child.DNS(), parent.Level, parent.Code)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := graced(chain[0], now).Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil {
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	d, _, err := nameOf(chain[0])
	if err == nil && chain[0].IsCA {
		err = errors.New("it is an authority's certificate, not a node's")
	}
	if err == nil && (!d.same(child) || d.DNS() != child.DNS()) {
		err = fmt.Errorf("%s %s is issued by the authority of %s %s", d.Level, d.DNS(), child.Level, child.DNS())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return nil
}
