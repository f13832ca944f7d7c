package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
)

// trustee has authorities' certificates signed again over the line, which vouches for who
// asks: the documents are those of an enrolment without proofs. It implements
// federation.Trust.
type trustee struct{ n *Node }

// Ask implements federation.Trust.
func (t trustee) Ask(ctx context.Context) ([]byte, error) {
	authority, err := t.n.authority(ctx, replication.Leader)
	if err != nil {
		return nil, err
	}
	csr, err := authority.Request()
	if err != nil {
		return nil, err
	}
	return json.Marshal(enrol.Request{Child: t.n.ref(), Name: t.n.site.Full, CSR: csr})
}

// Serve implements federation.Trust. It answers with the certificate that the child has,
// or, when the child is named otherwise by now or the certificate is in its second half,
// with a new one.
func (t trustee) Serve(ctx context.Context, from division.Ref, body []byte) ([]byte, error) {
	var r enrol.Request
	if err := json.Unmarshal(body, &r); err != nil || r.Child != from {
		return nil, service.ErrInvalid.With("detail", "a request of another division")
	}
	key, err := trust.RequestKey(r.CSR)
	if err != nil {
		return nil, service.ErrInvalid.With("detail", "the certificate request cannot be used")
	}
	for range admitTries {
		answer, err := t.sign(ctx, from, r.CSR, key)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return json.Marshal(answer)
	}
	return nil, federation.ErrUnreachable
}

func (t trustee) sign(ctx context.Context, from division.Ref, csr []byte, key *ecdsa.PublicKey) (enrol.Answer, error) {
	n := t.n
	s, err := n.readStanding(ctx, replication.Leader)
	if err != nil {
		return enrol.Answer{}, err
	}
	next, err := s.certify(csr, from, n.now())
	if err != nil {
		return enrol.Answer{}, err
	}
	answer := enrol.Answer{Child: from, Parent: n.ref(), Name: n.site.Full, Links: s.links}
	err = n.division().Update(ctx, func(tx *service.Tx) error {
		c, err := federation.ReadChild(tx, from)
		switch {
		case errors.Is(err, federation.ErrNoChild) || err == nil && c.State != federation.Active:
			return service.ErrForbidden.With("detail", "the division is not enrolled here, or is held")
		case err != nil:
			return err
		case !isOfKey(c.CA, key):
			return service.ErrForbidden.With("detail", "the division is enrolled with another authority")
		}
		if moved, err := s.moved(tx); err != nil || moved {
			return errors.Join(err, errMoved)
		}
		answer.Chain = append([][]byte{c.CA}, s.chain...)
		if !s.replaces(c.CA, next, tx.Now()) {
			return nil
		}
		answer.Chain[0] = next.Raw
		if err := federation.RenewChild(tx, from, s.nameOf(from).DNS(), next.Raw); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "federation.child_renewed", Subject: from.String(), Who: n.system(),
			Detail: map[string]string{"name": s.nameOf(from).DNS(), "until": next.NotAfter.UTC().Format(time.RFC3339)}})
	})
	return answer, err
}

// replaces reports whether a child's certificate, DER, is to be replaced by next.
func (s standing) replaces(der []byte, next *x509.Certificate, now time.Time) bool {
	have, err := x509.ParseCertificate(der)
	if err != nil || have.CheckSignatureFrom(s.authority.Certificate) != nil {
		return true
	}
	named, err := trust.Named(have)
	wanted, err2 := trust.Named(next)
	if err != nil || err2 != nil || named != wanted {
		return true
	}
	half := have.NotBefore.Add(have.NotAfter.Sub(have.NotBefore) / 2)
	return now.After(half)
}

// Take implements federation.Trust.
func (t trustee) Take(ctx context.Context, answer []byte) error {
	n := t.n
	var a enrol.Answer
	if err := json.Unmarshal(answer, &a); err != nil {
		return fmt.Errorf("read what the parent signed: %w", err)
	}
	s, err := n.readStanding(ctx, replication.Leader)
	if err != nil {
		return err
	}
	if s.parent.Ref.IsZero() {
		return nil // It has none any more.
	}
	if err := n.checkAnswer(s.authority, s.parent.Ref, a, n.now()); err != nil {
		return err
	}
	if !sameAuthority(a.Chain[1], s.parent.Chain[1]) {
		return errors.New("the parent's authority has another key than when this division was enrolled; enrol it again")
	}
	if s.parent.Fixed || len(a.Links) == 0 {
		a.Links = s.parent.Links
	}
	if slices.EqualFunc(a.Chain, s.parent.Chain, bytes.Equal) && slices.Equal(a.Links, s.parent.Links) {
		return nil
	}
	return n.division().Update(ctx, func(tx *service.Tx) error {
		if moved, err := s.moved(tx); err != nil || moved {
			return errors.Join(err, errMoved)
		}
		if err := federation.SetParent(tx, federation.Parent{Ref: s.parent.Ref, Links: a.Links, Fixed: s.parent.Fixed, Chain: a.Chain}); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "federation.parent_renewed", Subject: s.parent.Ref.String(), Who: n.system()})
	})
}

// sameAuthority reports whether two certificates, DER, are of one key.
func sameAuthority(a, b []byte) bool {
	one, err := x509.ParseCertificate(a)
	two, err2 := x509.ParseCertificate(b)
	return err == nil && err2 == nil && bytes.Equal(one.RawSubjectPublicKeyInfo, two.RawSubjectPublicKeyInfo)
}
