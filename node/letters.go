package node

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"

	"tongban/division"
	"tongban/federation"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// letters seals and signs for the division what crosses others, with the keys of this node
// and the chain that the division database has. It implements federation.Letters.
type letters struct{ n *Node }

// authorities are those from the division's own to the anchor of the tree: its own alone,
// when it has no parent.
func (l letters) authorities() ([]*x509.Certificate, error) {
	chain, err := l.n.chain()
	if err == nil && len(chain) == 0 {
		chain = []*x509.Certificate{l.n.keys.Authority}
	}
	return chain, err
}

func (l letters) self() (division.Ref, error) { return divisionOf(l.n.cfg).Ref() }

// Seal implements federation.Letters.
func (l letters) Seal(to federation.Entry, plain []byte) ([]byte, error) {
	chain, err := l.authorities()
	if err != nil {
		return nil, err
	}
	if len(to.Recipients) == 0 {
		return nil, fmt.Errorf("the directory has no key of %s", to.Ref)
	}
	return l.n.keys.SealLetter(chain, to.Ref, to.Recipients, plain)
}

// Open implements federation.Letters.
func (l letters) Open(sealed []byte) (division.Ref, []byte, error) {
	chain, err := l.authorities()
	if err != nil {
		return division.Ref{}, nil, err
	}
	self, err := l.self()
	if err != nil {
		return division.Ref{}, nil, err
	}
	return l.n.keys.OpenLetter(sealed, self, chain[len(chain)-1], l.n.now())
}

// Sign implements federation.Letters.
func (l letters) Sign(e federation.Entry) (federation.Entry, error) {
	self, err := l.self()
	if err != nil {
		return e, err
	}
	if e.Ref != self {
		return e, fmt.Errorf("an entry of %s is not for %s to sign", e.Ref, self)
	}
	ctx := context.Background()
	authority, err := l.n.authority(ctx, replication.Local)
	if err != nil {
		return e, err
	}
	chain, err := l.authorities()
	if err != nil {
		return e, err
	}
	e.Recipients, e.Chain = nil, nil
	if err := l.n.division().View(ctx, replication.Local, func(v *service.View) error {
		nodes, err := tenancy.ReadNodes(v)
		for _, one := range nodes {
			e.Recipients = append(e.Recipients, one.Recipient)
		}
		return err
	}); err != nil {
		return e, err
	}
	for _, c := range chain {
		e.Chain = append(e.Chain, c.Raw)
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
	anchors, err := l.authorities()
	if err != nil {
		return err
	}
	chain, err := trust.ParseChain(e.Chain)
	if err != nil {
		return err
	}
	named, err := trust.VerifyChain(chain, anchors[len(anchors)-1], l.n.now())
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
		return fmt.Errorf("%w: an entry of %s below %q with the chain of %s below %q", trust.ErrForged, e.Ref, e.Parent, ref, parent)
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

// entryText is what an entry's signature is of: its JSON without the signature, with the
// fields in their order.
func entryText(e federation.Entry) ([]byte, error) {
	e.Signature = nil
	return json.Marshal(e)
}
