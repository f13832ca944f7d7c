package join

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"tongban/node/exit"
	"tongban/node/trust"
)

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
	verify := func(s tls.ConnectionState) error { return t.verify(s, now()) }
	var got reply
	err := Exchange(ctx, address, ProtocolName, verify, now, func() any { r.Time = now(); return r }, &got)
	switch {
	case err != nil:
		return Answer{}, err
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
	err := trust.VerifyIssued(authority, s.PeerCertificates[0], x509.ExtKeyUsageServerAuth, now)
	if told, expired := ExplainExpiry(err, s.PeerCertificates[0], now); expired {
		return told
	}
	if err != nil {
		return ErrOtherAuthority
	}
	return nil
}
