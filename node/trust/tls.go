package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"tongban/replication"
)

// Protocols of the node port (ALPN).
const (
	ProtocolRaft   = "tongban-raft/1"
	ProtocolStream = "tongban-stream/1"
	ProtocolHTTP   = "h2"
	ProtocolJoin   = "tongban-join/1" // Without a client certificate.
)

// Errors of the handshake.
var (
	ErrNoCertificate = errors.New("trust: the peer shows no certificate")
	ErrStranger      = errors.New("trust: the peer's certificate is not of this division")
	ErrUnknownNode   = errors.New("trust: the peer is not, or no longer, a node of this division")
	ErrNoProtocol    = errors.New("trust: the peer speaks no protocol of the node port")
)

// Knows says whether a node is one of the division and the certificate with the fingerprint
// (see [Fingerprint]) one that was issued to it. The second matters because the authority's
// key is on every box: a stolen one can sign what it likes, with any name and serial number,
// but enter nothing in the division's ledger.
type Knows func(n replication.NodeID, fingerprint string) bool

// Listener makes the TLS configuration of the node port. knows says whether a node is in
// the directory, and by which certificates; it is asked at every handshake. A connection is either mutual TLS with
// one of the node protocols, or the join protocol without a client certificate.
func (k *Keys) Listener(knows Knows, now func() time.Time) *tls.Config {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{k.TLS()},
		SessionTicketsDisabled: true, // A removed node must not come back by a ticket.
		Time:                   now,
	}
	nodes := base.Clone()
	nodes.NextProtos = []string{ProtocolRaft, ProtocolStream, ProtocolHTTP}
	nodes.ClientAuth = tls.RequireAnyClientCert // Verified by us: the identity is the SAN.
	nodes.VerifyConnection = func(s tls.ConnectionState) error {
		if s.NegotiatedProtocol == "" {
			return ErrNoProtocol
		}
		_, err := k.peer(s.PeerCertificates, x509.ExtKeyUsageClientAuth, knows, now())
		return err
	}
	join := base.Clone()
	join.NextProtos = []string{ProtocolJoin}
	base.NextProtos = slices.Concat(nodes.NextProtos, join.NextProtos)
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if slices.Equal(hello.SupportedProtos, join.NextProtos) {
			return join, nil
		}
		return nodes, nil
	}
	return base
}

// Dialer makes the TLS configuration of a connection to another node's node port; the
// handshake fails unless that node answers, with a certificate that knows knows (nil: with
// any of the authority).
func (k *Keys) Dialer(to replication.NodeID, protocol string, knows Knows, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		Certificates:       []tls.Certificate{k.TLS()},
		NextProtos:         []string{protocol},
		ServerName:         k.Division.DNSName(to),
		InsecureSkipVerify: true, // VerifyConnection below verifies, against the division's authority alone.
		Time:               now,
		VerifyConnection: func(s tls.ConnectionState) error {
			got, err := k.peer(s.PeerCertificates, x509.ExtKeyUsageServerAuth, knows, now())
			if err != nil {
				return err
			}
			if got != to {
				return fmt.Errorf("%w: node %s answers in place of %s", ErrStranger, got, to)
			}
			if s.NegotiatedProtocol != protocol {
				return ErrNoProtocol
			}
			return nil
		},
	}
}

// Peer returns the node behind an established connection of Listener.
func (k *Keys) Peer(s tls.ConnectionState) (replication.NodeID, error) {
	if len(s.PeerCertificates) == 0 {
		return "", ErrNoCertificate
	}
	return k.Division.nodeOf(s.PeerCertificates[0])
}

func (k *Keys) peer(chain []*x509.Certificate, usage x509.ExtKeyUsage, knows Knows, now time.Time) (replication.NodeID, error) {
	n, err := k.Division.verify(k.Authority, chain, usage, now)
	if err != nil {
		return "", err
	}
	if knows != nil && !knows(n, Fingerprint(chain[0])) {
		return "", fmt.Errorf("%w: %s, by the certificate with the fingerprint %s", ErrUnknownNode, n, Fingerprint(chain[0]))
	}
	return n, nil
}

// verify checks a peer's certificate and returns the node that it names. The chain's
// first certificate is the peer's; the others are ignored: there is one root and nothing
// between.
func (d Division) verify(root *x509.Certificate, chain []*x509.Certificate, usage x509.ExtKeyUsage, now time.Time) (replication.NodeID, error) {
	if len(chain) == 0 {
		return "", ErrNoCertificate
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	if _, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	}); err != nil {
		return "", fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return d.nodeOf(chain[0])
}

// nodeOf reads the node from the SANs: exactly one DNS name and one URI, which must agree.
func (d Division) nodeOf(cert *x509.Certificate) (replication.NodeID, error) {
	suffix := "." + d.name()
	if len(cert.DNSNames) != 1 || len(cert.DNSNames[0]) <= len(suffix) {
		return "", fmt.Errorf("%w: it has not one name below %s", ErrStranger, d.name())
	}
	n := replication.NodeID(cert.DNSNames[0][:len(cert.DNSNames[0])-len(suffix)])
	if err := d.checkNode(cert, n); err != nil {
		return "", fmt.Errorf("%w: %w", ErrStranger, err)
	}
	return n, nil
}

func (d Division) checkNode(cert *x509.Certificate, n replication.NodeID) error {
	if len(cert.DNSNames) != 1 || cert.DNSNames[0] != d.DNSName(n) {
		return fmt.Errorf("its names are %q, not %s", cert.DNSNames, d.DNSName(n))
	}
	if len(cert.URIs) != 1 || cert.URIs[0].String() != d.URI(n) {
		return fmt.Errorf("its URI is %v, not %s", cert.URIs, d.URI(n))
	}
	return nil
}
