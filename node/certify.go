package node

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tongban/federation"
	"tongban/node/certs"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

const (
	// certifyRetry is how soon the node asks again for its first certificate, or for one of
	// a new name.
	certifyRetry = time.Second
	// certifyPause gathers changes of the division database before its name is looked at.
	certifyPause = time.Second
	// certifyTries bounds how often a certificate is made anew because the division got
	// another name meanwhile.
	certifyTries = 3
)

type certifyOrder struct {
	CSR   []byte `json:"csr"`   // DER; for the name of the node that asks, and no other.
	Shown string `json:"shown"` // Serial number of the certificate that it shows.
}

type certifyAnswer struct {
	Certificate []byte `json:"certificate"` // DER.
}

// certify carries out orderCertify: it issues a certificate to the node that asks, in its own
// name as the division is called now, and enters it in the ledger.
func (n *Node) certify(ctx context.Context, from replication.NodeID, in json.RawMessage) (any, error) {
	var o certifyOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	for range certifyTries {
		authority, err := n.authority(ctx, replication.Leader)
		if err != nil {
			return nil, err
		}
		public, err := trust.RequestFor(o.CSR, authority.Division.DNSName(from))
		if err != nil {
			return nil, &join.Refusal{Reason: join.Malformed, Detail: err.Error()}
		}
		cert, err := authority.Issue(from, public, n.now())
		if err != nil {
			return nil, err
		}
		err = n.division().Update(ctx, func(tx *service.Tx) error {
			return enterCertificate(tx, from, o.Shown, cert, authority.Division)
		})
		if errors.Is(err, errMoved) {
			continue
		}
		if errors.Is(err, tenancy.ErrNodeUnknown) {
			return nil, &join.Refusal{Reason: reasonNoNode, Detail: fmt.Sprintf("the division has no node %s", from)}
		}
		return certifyAnswer{Certificate: cert.Raw}, err
	}
	return nil, errNotYet
}

func enterCertificate(tx *service.Tx, n replication.NodeID, shown string, cert *x509.Certificate, as trust.Division) error {
	chain, err := chainOf(tx)
	if err != nil {
		return err
	}
	if len(chain) > 0 {
		if now, err := trust.Named(chain[0]); err != nil || now != as {
			return errors.Join(errMoved, err)
		}
	} else if as.Name != "" {
		return errMoved
	}
	nodes, err := tenancy.ReadNodes(tx)
	if err != nil {
		return err
	}
	for _, one := range nodes {
		if one.ID != n {
			continue
		}
		if err := tenancy.NoteShown(tx, n, shown); err != nil {
			return err
		}
		if err := tenancy.RecordCertificate(tx, ledgerRow(n, cert)); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "node.certified", Subject: string(n), Who: systemOf(n),
			Detail: map[string]string{"name": cert.DNSNames[0], "until": cert.NotAfter.UTC().Format(time.RFC3339)}})
	}
	return tenancy.ErrNodeUnknown
}

// systemOf names a node that acts by itself.
func systemOf(n replication.NodeID) service.Principal {
	return service.Principal{Kind: service.System, Account: "node:" + string(n), Name: "node"}
}

// authority opens the division's authority, as its parent certified it.
func (n *Node) authority(ctx context.Context, level replication.Level) (*trust.Authority, error) {
	var sealed []byte
	var chain []*x509.Certificate
	err := n.division().View(ctx, level, func(v *service.View) (err error) {
		if sealed, err = tenancy.Secret(v, secretAuthority); err != nil {
			return err
		}
		chain, err = chainOf(v)
		return err
	})
	if errors.Is(err, replication.ErrNoRows) {
		return nil, errNotYet
	}
	if err != nil {
		return nil, err
	}
	own, err := n.keys.OpenAuthority(sealed)
	if err != nil {
		return nil, err
	}
	own.Valid = n.opts.CertificateValid
	return own.As(chain)
}

// chainOf reads the authorities from the division's own, as its parent signed it, to the
// anchor; none when it has no parent.
func chainOf(q service.Querier) ([]*x509.Certificate, error) {
	parent, ok, err := federation.ReadParent(q)
	if err != nil || !ok {
		return nil, err
	}
	return trust.ParseChain(parent.Chain)
}

// chain is chainOf of this node's replica. It is nil while the database is not open.
func (n *Node) chain() (chain []*x509.Certificate, err error) {
	db := n.division()
	if db == nil {
		return nil, nil
	}
	err = db.View(context.Background(), replication.Local, func(v *service.View) error {
		chain, err = chainOf(v)
		return err
	})
	return chain, err
}

// named is the division with its present place in the tree.
func (n *Node) named() (trust.Division, error) {
	chain, err := n.chain()
	if err != nil || len(chain) == 0 {
		return divisionOf(n.cfg), err
	}
	return trust.Named(chain[0])
}

// keepCertificate obtains the node's certificate, renews it, and gets another one when the
// division is named anew, until ctx ends.
func (n *Node) keepCertificate(ctx context.Context) error {
	store := certs.Open(certs.Options{Data: n.cfg.Data, Keys: n.keys, Certify: n.askCertificate,
		Now: n.now, Check: n.opts.CertificateCheck, Log: n.log})
	defer store.Close()
	if err := n.tree.ReadyDivision(ctx); err != nil {
		return nil // The node stops.
	}
	var managed string
	next := time.Now()
	for {
		applied := n.division().AppliedChanged()
		d, err := n.named()
		if name := d.DNSName(n.cfg.Node); err == nil && (name != managed || !time.Now().Before(next)) {
			if err = store.Manage(ctx, name); err == nil {
				managed, next = name, time.Now().Add(store.Check())
			}
		}
		var wait <-chan time.Time
		if err != nil && ctx.Err() == nil {
			n.log.Debug("obtain the node's certificate, will try again", "err", err)
			applied, wait = nil, time.After(certifyRetry)
		} else {
			wait = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wait:
			continue
		case <-applied:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(certifyPause):
		}
	}
}

// askCertificate has the division's leader issue a certificate.
func (n *Node) askCertificate(ctx context.Context, csr []byte) ([]byte, error) {
	var a certifyAnswer
	err := n.command(ctx, orderCertify, certifyOrder{CSR: csr, Shown: serialOf(n.keys.TLS().Leaf)}, &a)
	return a.Certificate, err
}
