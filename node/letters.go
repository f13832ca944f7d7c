package node

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"

	"tongban/division"
	"tongban/federation"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// letters seals and signs for the division what crosses others. It implements
// federation.Letters.
type letters struct {
	self division.Ref
	keys *trust.Keys
	now  service.Clock
	// chain is from the division's authority to the anchor; empty without a parent.
	chain      func() ([]*x509.Certificate, error)
	authority  func() (*trust.Authority, error)
	recipients func() ([]string, error) // Of the division's nodes.
	entry      func(division.Ref) (federation.Entry, error)
	left       func(division.Ref) (bool, error) // It, or one above it, has left the tree.
}

// letters are those of this node: its keys, and what its replica of the division database
// has.
func (n *Node) letters() (federation.Letters, error) {
	self, err := divisionOf(n.cfg).Ref()
	return letters{self: self, keys: n.keys, now: n.now, chain: n.chain,
		authority: func() (*trust.Authority, error) {
			return n.authority(context.Background(), replication.Local)
		},
		recipients: n.recipients, entry: n.entry, left: n.hasLeft}, err
}

// hasLeft is whether this node's replica of the directory has that a division left.
func (n *Node) hasLeft(of division.Ref) (left bool, err error) {
	err = n.division().View(context.Background(), replication.Local, func(v *service.View) error {
		left, err = federation.HasLeft(v, n.ref(), of)
		return err
	})
	return left, err
}

// entry is what this node's replica of the directory has of a division.
func (n *Node) entry(of division.Ref) (e federation.Entry, err error) {
	err = n.division().View(context.Background(), replication.Local, func(v *service.View) error {
		e, err = federation.ReadEntry(v, of)
		return err
	})
	return e, err
}

func (n *Node) recipients() (list []string, err error) {
	err = n.division().View(context.Background(), replication.Local, func(v *service.View) error {
		nodes, err := tenancy.ReadNodes(v)
		for _, one := range nodes {
			list = append(list, one.Recipient)
		}
		return err
	})
	return list, err
}

// authorities are those from the division's own to the anchor of the tree: its own alone,
// when it has no parent.
func (l letters) authorities() ([]*x509.Certificate, error) {
	chain, err := l.chain()
	if err == nil && len(chain) == 0 {
		chain = []*x509.Certificate{l.keys.Authority}
	}
	return chain, err
}

// Seal implements federation.Letters.
func (l letters) Seal(to federation.Entry, plain []byte) ([]byte, error) {
	chain, err := l.authorities()
	if err != nil {
		return nil, err
	}
	if len(to.Recipients) == 0 {
		return nil, fmt.Errorf("the directory has no key of %s", to.Ref)
	}
	return l.keys.SealLetter(chain, to.Ref, to.Recipients, plain)
}

// Open implements federation.Letters.
func (l letters) Open(sealed []byte) (division.Ref, []byte, error) {
	chain, err := l.authorities()
	if err != nil {
		return division.Ref{}, nil, err
	}
	return l.keys.OpenLetter(sealed, l.self, chain[len(chain)-1], l.known, l.now())
}

// known refuses an authority that is not, or no longer, the one by which the directory has the
// division, and one that was revoked: the chain of one that was replaced is good for years.
func (l letters) known(of division.Ref, authority *x509.Certificate) error {
	switch left, err := l.left(of); {
	case err != nil:
		return err
	case left:
		return fmt.Errorf("%w: %s has left the tree", trust.ErrStranger, of)
	}
	e, err := l.entry(of)
	if errors.Is(err, federation.ErrNoDivision) {
		return nil // Its mails stop for that.
	}
	if err != nil {
		return err
	}
	if len(e.Chain) == 0 || !sameAuthority(e.Chain[0], authority.Raw) {
		return fmt.Errorf("%w: the directory has %s by another authority", trust.ErrStranger, of)
	}
	return nil
}

// Sign implements federation.Letters.
func (l letters) Sign(e federation.Entry) (federation.Entry, error) {
	if e.Ref != l.self {
		return e, fmt.Errorf("an entry of %s is not for %s to sign", e.Ref, l.self)
	}
	authority, err := l.authority()
	if err != nil {
		return e, err
	}
	chain, err := l.authorities()
	if err != nil {
		return e, err
	}
	if e.Recipients, err = l.recipients(); err != nil {
		return e, err
	}
	e.Chain = make([][]byte, len(chain))
	for i, c := range chain {
		e.Chain[i] = c.Raw
	}
	e.Algorithm = trust.Algorithm
	text, err := entryText(e)
	if err != nil {
		return e, err
	}
	e.Signature, err = authority.Sign(trust.ForEntry, text)
	return e, err
}

// Check implements federation.Letters.
func (l letters) Check(e federation.Entry) error {
	own, err := l.authorities()
	if err != nil {
		return err
	}
	chain, err := trust.ParseChain(e.Chain)
	if err != nil {
		return err
	}
	named, err := trust.VerifyChain(chain, own[len(own)-1], l.now())
	if err != nil {
		return err
	}
	var parent division.Ref
	if len(named) > 1 {
		if parent, err = named[1].Ref(); err != nil {
			return err
		}
	}
	if ref, err := named[0].Ref(); err != nil || ref != e.Ref || parent != e.Parent {
		return fmt.Errorf("%w: an entry of %s below %q has the chain of %s below %q", trust.ErrForged, e.Ref, e.Parent, ref, parent)
	}
	if len(e.Recipients) > maxRecipients {
		return fmt.Errorf("the entry of %s has %d keys", e.Ref, len(e.Recipients))
	}
	for _, r := range e.Recipients {
		if _, err := trust.ParseRecipient(r); err != nil {
			return fmt.Errorf("read a key of %s: %w", e.Ref, err)
		}
	}
	text, err := entryText(e)
	if err != nil {
		return err
	}
	return trust.CheckSigned(chain[0], e.Algorithm, trust.ForEntry, text, e.Signature)
}

// SignRevocation implements federation.Letters.
func (l letters) SignRevocation(r federation.Revocation) (federation.Revocation, error) {
	if r.Parent != l.self {
		return r, fmt.Errorf("a revocation by %s is not for %s to sign", r.Parent, l.self)
	}
	authority, err := l.authority()
	if err != nil {
		return r, err
	}
	chain, err := l.authorities()
	if err != nil {
		return r, err
	}
	r.Chain = make([][]byte, len(chain))
	for i, c := range chain {
		r.Chain[i] = c.Raw
	}
	r.Algorithm = trust.Algorithm
	text, err := revocationText(r)
	if err != nil {
		return r, err
	}
	r.Signature, err = authority.Sign(trust.ForRevocation, text)
	return r, err
}

// CheckRevocation implements federation.Letters. The chain is judged as of the revocation,
// which is good for longer than the certificates under it.
func (l letters) CheckRevocation(r federation.Revocation) error {
	own, err := l.authorities()
	if err != nil {
		return err
	}
	chain, err := trust.ParseChain(r.Chain)
	if err != nil {
		return err
	}
	at := l.now()
	if r.At.Before(at) {
		at = r.At
	}
	named, err := trust.VerifyChain(chain, own[len(own)-1], at)
	if err != nil {
		return err
	}
	if ref, err := named[0].Ref(); err != nil || ref != r.Parent {
		return fmt.Errorf("%w: a revocation by %s has the chain of %s", trust.ErrForged, r.Parent, ref)
	}
	text, err := revocationText(r)
	if err != nil {
		return err
	}
	return trust.CheckSigned(chain[0], r.Algorithm, trust.ForRevocation, text, r.Signature)
}

// revocationText is what a revocation's signature is of.
func revocationText(r federation.Revocation) ([]byte, error) {
	r.Signature = nil
	return json.Marshal(r)
}

// maxRecipients bounds the nodes of a division: each letter to it is sealed to all of them.
const maxRecipients = 64

// entryText is what an entry's signature is of: its JSON without the signature, with the
// fields in their order.
func entryText(e federation.Entry) ([]byte, error) {
	e.Signature = nil
	return json.Marshal(e)
}
