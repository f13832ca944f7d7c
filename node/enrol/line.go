package enrol

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
)

// ErrOtherAuthority is returned when whoever answers at the token's address is not the
// token's parent: a wrong address, an old token, or somebody in between.
var ErrOtherAuthority = errors.New("the node that answers belongs to another division than the token's parent (or somebody is in between); nothing was sent to it; make a new token at the parent")

// reply is what crosses back.
type reply struct {
	Refusal *join.Refusal `json:"refusal,omitempty"`
	Answer  *Document     `json:"answer,omitempty"`
}

// Ask sends the request to the first of the token's addresses that answers, and returns
// what the parent says. Nothing is sent before the peer has proved to hold a certificate of
// the pinned authority. A *join.Refusal is the parent's; other errors say what happened at
// each address.
func Ask(ctx context.Context, t Token, request Document, now func() time.Time) (Document, error) {
	var failed []error
	for _, address := range t.Addresses {
		var got reply
		err := join.Exchange(ctx, address, trust.ProtocolEnrol,
			func(s tls.ConnectionState) error { return t.verify(s, now()) }, now, func() any { return request }, &got)
		switch {
		case err == nil && got.Refusal != nil:
			return Document{}, got.Refusal
		case err == nil && got.Answer != nil:
			return *got.Answer, nil
		case err == nil:
			err = errors.New("the node sent an empty answer")
		}
		failed = append(failed, fmt.Errorf("%s: %w", address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return Document{}, exit.Errorf(exit.Temporary, "no node of the parent could be asked: %w", errors.Join(failed...))
}

// verify accepts a peer whose certificate was issued by the pinned authority, which it
// must show too.
func (t Token) verify(s tls.ConnectionState, now time.Time) error {
	if s.NegotiatedProtocol != trust.ProtocolEnrol {
		return trust.ErrNoProtocol
	}
	if len(s.PeerCertificates) < 2 {
		return ErrOtherAuthority
	}
	node, authority := s.PeerCertificates[0], s.PeerCertificates[1]
	if subtle.ConstantTimeCompare([]byte(t.Fingerprint), []byte(trust.Fingerprint(authority))) != 1 {
		return ErrOtherAuthority
	}
	err := trust.VerifyIssued(authority, node, x509.ExtKeyUsageServerAuth, now)
	if told, expired := join.ExplainExpiry(err, node, now); expired {
		return told
	}
	if err != nil {
		return ErrOtherAuthority
	}
	return nil
}

// Consider decides about a request. A *join.Refusal is told to the child; any other error
// is told as join.Internal.
type Consider func(ctx context.Context, request Document) (Document, error)

// Serve answers one request on a connection of the enrolment protocol and closes it. The
// returned error is for the log; it has no secret.
func Serve(ctx context.Context, conn net.Conn, consider Consider) error {
	var request Document
	return join.ServeExchange(ctx, conn, &request, func(ctx context.Context, unread error) (any, error) {
		if unread != nil {
			return reply{Refusal: Refuse(Malformed)}, unread
		}
		answer, err := consider(ctx, request)
		if err == nil {
			return reply{Answer: &answer}, nil
		}
		var refusal *join.Refusal
		if !errors.As(err, &refusal) {
			refusal = &join.Refusal{Reason: join.Internal}
		}
		return reply{Refusal: refusal}, fmt.Errorf("enrol a division with token %.16q: %w", request.Token, err)
	})
}
