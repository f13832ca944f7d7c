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
	ProtocolJoin   = "tongban-join/1"  // Without a client certificate.
	ProtocolEnrol  = "tongban-enrol/1" // Without a client certificate.
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
// the directory, and by which certificates; it is asked at every handshake, also of the
// certificates that handed over to the one shown. A connection is either mutual TLS with
// one of the node protocols, or that of a join or an enrolment without a client certificate.
func (k *Keys) Listener(knows Knows, now func() time.Time) *tls.Config {
	base := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		GetCertificate:         func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return k.TLS(), nil },
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
	join.NextProtos = []string{ProtocolJoin, ProtocolEnrol}
	base.NextProtos = slices.Concat(nodes.NextProtos, join.NextProtos)
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(hello.SupportedProtos) == 1 && slices.Contains(join.NextProtos, hello.SupportedProtos[0]) {
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
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return k.TLS(), nil },
		NextProtos:           []string{protocol},
		ServerName:           k.Division.DNSName(to),
		InsecureSkipVerify:   true, // VerifyConnection below verifies, against the division's authority alone.
		Time:                 now,
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

// Believed reports whether the node behind an established connection of Listener is still
// one of the division.
func (k *Keys) Believed(s tls.ConnectionState, knows Knows, now time.Time) bool {
	_, err := k.peer(s.PeerCertificates, x509.ExtKeyUsageClientAuth, knows, now)
	return err == nil
}

// Peer returns the node behind an established connection of Listener.
func (k *Keys) Peer(s tls.ConnectionState) (replication.NodeID, error) {
	if len(s.PeerCertificates) == 0 {
		return "", ErrNoCertificate
	}
	return k.Division.nodeOf(s.PeerCertificates[0])
}

// peer returns the node that a certificate of the division names. One that ended within
// Grace is good where the ledger is asked: when all boxes of a division were off for longer
// than that, they need each other to issue new ones.
func (k *Keys) peer(chain []*x509.Certificate, usage x509.ExtKeyUsage, knows Knows, now time.Time) (replication.NodeID, error) {
	if len(chain) == 0 {
		return "", ErrNoCertificate
	}
	shown := chain[:1]
	if knows != nil {
		shown = []*x509.Certificate{graced(chain[0], now)}
	}
	n, err := k.Division.verify(k.Authority, shown, usage, now)
	if err != nil {
		return "", err
	}
	if knows != nil && !k.believed(n, chain, knows, now) {
		return "", fmt.Errorf("%w: %s, by the certificate with the fingerprint %s", ErrUnknownNode, n, Fingerprint(chain[0]))
	}
	return n, nil
}
