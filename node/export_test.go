package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/node/trust"
	"tongban/replication"
)

// AskCertificate has the division's leader issue a certificate, which this node does not use.
func (n *Node) AskCertificate(ctx context.Context) error {
	csr, err := n.requestOwn()
	if err != nil {
		return err
	}
	_, err = n.askCertificate(ctx, csr)
	return err
}

// requestOwn makes a certificate request for the node's present name with a new key.
func (n *Node) requestOwn() ([]byte, error) {
	d, err := n.named()
	if err != nil {
		return nil, err
	}
	key, err := trust.NewKey()
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{d.DNSName(n.cfg.Node)}}, key)
}

// Wire is the node's way to the neighbouring divisions.
func (n *Node) Wire() federation.Wire { return wire{n} }

// HasLine reports whether this very node has a line to the neighbour.
func (n *Node) HasLine(to division.Ref) bool { return n.wire().leaf.Connected(to) }

// AskTrust makes what this division's leader asks its parent, on whichever node.
func (n *Node) AskTrust(ctx context.Context) ([]byte, error) {
	authority, err := n.authority(ctx, replication.Local)
	if err != nil {
		return nil, err
	}
	csr, err := authority.Request()
	if err != nil {
		return nil, err
	}
	return json.Marshal(enrol.Request{Child: n.ref(), Name: n.site.Full, CSR: csr})
}
