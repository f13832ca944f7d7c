package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"tongban/node/exit"
	"tongban/node/trust"
)

// dialTimeout is for one address of the token: poor lines need some seconds.
const dialTimeout = 5 * time.Second

// ErrOtherAuthority is returned when whoever answers at the token's address is not the
// token's division: a wrong address, an old token, or somebody in between.
var ErrOtherAuthority = errors.New("the node that answers belongs to another division than the token (or somebody is in between); nothing was sent to it")

// Ask sends the request with the token's secret to the first of its addresses that
// answers, and returns what the division says. Nothing is sent before the peer has proved
// to hold a certificate of the pinned authority. A *Refusal is the division's; other
// errors say what happened at each address.
func Ask(ctx context.Context, t Token, r Request, now func() time.Time) (Answer, error) {
	r.Version, r.Secret = version, t.Secret
	var failed []error
	for _, address := range t.Addresses {
		answer, err := askAt(ctx, t, r, address, now)
		var refusal *Refusal
		if err == nil || errors.As(err, &refusal) {
			return answer, err
		}
		failed = append(failed, fmt.Errorf("%s: %w", address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return Answer{}, exit.Errorf(exit.Temporary, "no node of the division could be asked: %w", errors.Join(failed...))
}

func askAt(ctx context.Context, t Token, r Request, address string, now func() time.Time) (Answer, error) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: dialTimeout},
		Config: &tls.Config{
			MinVersion:         tls.VersionTLS13,
			NextProtos:         []string{ProtocolName},
			InsecureSkipVerify: true, // VerifyConnection pins the authority.
			Time:               now,
			VerifyConnection:   func(s tls.ConnectionState) error { return t.verify(s, now()) },
		},
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return Answer{}, explainDial(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	r.Time = now()
	if err := writeMessage(conn, r); err != nil {
		return Answer{}, err
	}
	var got reply
	if err := readMessage(conn, &got); err != nil {
		return Answer{}, fmt.Errorf("the connection broke before the answer came; if this goes on, use a new token: %w", err)
	}
	switch {
	case got.Refusal != nil:
		return Answer{}, got.Refusal
	case got.Answer == nil:
		return Answer{}, errors.New("the node sent an empty answer")
	}
	return *got.Answer, nil
}

// ProtocolName is the ALPN name of the join protocol.
const ProtocolName = trust.ProtocolJoin

// verify accepts a peer whose certificate was issued by the pinned authority, which it
// must show too.
func (t Token) verify(s tls.ConnectionState, now time.Time) error {
	if s.NegotiatedProtocol != ProtocolName {
		return trust.ErrNoProtocol
	}
	if len(s.PeerCertificates) < 2 {
		return ErrOtherAuthority
	}
	authority := s.PeerCertificates[1]
	if !t.matches(trust.Fingerprint(authority)) {
		return ErrOtherAuthority
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority)
	_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return fmt.Errorf("its certificate is valid from %s to %s, and this box's clock says %s; set the clock",
			s.PeerCertificates[0].NotBefore.Format(time.RFC3339), s.PeerCertificates[0].NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	if err != nil {
		return ErrOtherAuthority
	}
	return nil
}

func explainDial(err error) error {
	var alert tls.AlertError
	if errors.As(err, &alert) || errors.As(err, new(tls.RecordHeaderError)) {
		return fmt.Errorf("what answers is not a node port of tongban: %w", err)
	}
	return err
}
