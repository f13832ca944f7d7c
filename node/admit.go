package node

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tongban/node/config"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
	"tongban/service/identity"
	"tongban/tenancy"
)

// Names of secrets in the division database.
const (
	secretAuthority = "authority-key"      // Sealed to the nodes and the recovery kit.
	secretRecovery  = "recovery-recipient" // Not secret: whom to seal to besides the nodes.
)

// admitTries bounds how often an admission begins again: because another box joined at
// the same time, or because the next name belonged to a box that was removed.
const admitTries = 100

// errMoved: what was read before the transaction is no longer so.
var errMoved = errors.New("node: the directory has changed meanwhile")

// errNotYet: the first node is still entering what init made; the order is tried again.
var errNotYet = errors.New("node: the division's records are not there yet")

// admit carries out orderAdmit: in one transaction it spends the token, enters the node
// and its certificate, and seals the authority's key to it too.
func (n *Node) admit(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var r join.Request
	if err := json.Unmarshal(in, &r); err != nil {
		return nil, &join.Refusal{Reason: join.Malformed}
	}
	// First: who has no token learns nothing and costs nothing.
	if err := n.division().View(ctx, replication.Leader, func(v *service.View) error {
		return tenancy.CheckJoinToken(v, r.TokenHash())
	}); err != nil {
		return nil, refusalOf(err)
	}
	public, err := trust.RequestKey(r.CSR)
	if err != nil {
		return nil, &join.Refusal{Reason: join.Malformed, Detail: "the certificate request"}
	}
	if _, err := trust.ParseRecipient(r.Node.Recipient); err != nil {
		return nil, &join.Refusal{Reason: join.Malformed, Detail: "the node key"}
	}
	gone := 0 // Free names that belonged to removed boxes.
	for range admitTries {
		a, err := n.prepare(ctx, r, gone)
		if err != nil {
			return nil, err
		}
		if a.certificate, err = a.authority.Issue(a.node.ID, public, n.now()); err != nil {
			return nil, err
		}
		err = n.division().Update(ctx, func(tx *service.Tx) error { return a.enter(tx, r) })
		if errors.Is(err, tenancy.ErrNodeTaken) && r.Node.ID == "" {
			gone++
			continue
		}
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return nil, refusalOf(err)
		}
		n.log.Info("a node joined", "node", a.node.ID, "address", a.node.Address)
		return n.answer(a), nil
	}
	return nil, &join.Refusal{Reason: join.Unavailable}
}

// admission is what is decided outside the transaction, and checked again inside.
type admission struct {
	nodes       []tenancy.Node // Before.
	node        tenancy.Node
	again       bool // The same box asks again: a join died after its commit.
	authority   *trust.Authority
	before      []byte // Sealed key that was read.
	sealed      []byte // Sealed to the new node too.
	recovery    string
	certificate *x509.Certificate
}

func (n *Node) prepare(ctx context.Context, r join.Request, gone int) (*admission, error) {
	a := &admission{node: tenancy.Node{ID: r.Node.ID, Address: r.Node.Address, Web: r.Node.Web, Recipient: r.Node.Recipient}}
	var recovery []byte
	var chain []*x509.Certificate
	err := n.division().View(ctx, replication.Leader, func(v *service.View) (err error) {
		if a.nodes, err = tenancy.ReadNodes(v); err != nil {
			return err
		}
		if a.before, err = tenancy.Secret(v, secretAuthority); err != nil {
			return err
		}
		if recovery, err = tenancy.Secret(v, secretRecovery); err != nil {
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
	a.recovery = string(recovery)
	recipients := []string{a.recovery, a.node.Recipient}
	for _, other := range a.nodes {
		if other.Recipient == a.node.Recipient {
			if a.node.ID != "" && a.node.ID != other.ID {
				return nil, &join.Refusal{Reason: join.NameTaken, Detail: fmt.Sprintf("this box is %s already", other.ID)}
			}
			a.node.ID, a.again = other.ID, true
			continue
		}
		recipients = append(recipients, other.Recipient)
	}
	if a.node.ID == "" {
		a.node.ID = freeName(a.nodes, gone)
	}
	if !config.ValidNode(string(a.node.ID)) {
		return nil, &join.Refusal{Reason: join.Malformed, Detail: "the name of the node"}
	}
	if a.authority, err = n.keys.OpenAuthority(a.before); err != nil {
		return nil, err
	}
	if a.authority, err = a.authority.As(chain); err != nil {
		return nil, err
	}
	secret, err := a.authority.KeyPEM()
	if err != nil {
		return nil, err
	}
	a.sealed, err = trust.Seal(secret, recipients...)
	return a, err
}

// freeName returns the name after the highest of n1, n2, … that a node has, and after as
// many more as belonged to removed boxes.
func freeName(nodes []tenancy.Node, gone int) replication.NodeID {
	highest := 1
	for _, n := range nodes {
		var i int
		if _, err := fmt.Sscanf(string(n.ID), "n%d", &i); err == nil {
			highest = max(highest, i)
		}
	}
	return replication.NodeID(fmt.Sprintf("n%d", highest+1+gone))
}

func (a *admission) enter(tx *service.Tx, r join.Request) error {
	now, err := tenancy.Secret(tx, secretAuthority)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, a.before) {
		return errMoved
	}
	if err := tenancy.SpendJoinToken(tx, r.TokenHash(), a.node.ID); err != nil {
		return err
	}
	if a.again {
		err = tenancy.MoveNode(tx, a.node.ID, a.node.Address, a.node.Web)
	} else {
		err = tenancy.AddNode(tx, a.node)
	}
	if err != nil {
		return err
	}
	if err := tenancy.RecordCertificate(tx, ledgerRow(a.node.ID, a.certificate)); err != nil {
		return err
	}
	if err := tenancy.PutSecret(tx, secretAuthority, a.sealed); err != nil {
		return err
	}
	return tx.Record(service.Event{What: "node.joined", Subject: string(a.node.ID), Who: operator,
		Detail: map[string]string{"address": a.node.Address}})
}

func ledgerRow(n replication.NodeID, c *x509.Certificate) tenancy.Certificate {
	return tenancy.Certificate{Serial: serialOf(c), Node: n, NotAfter: c.NotAfter, DER: c.Raw}
}

// serialOf is a certificate's serial number as the ledger has it.
func serialOf(c *x509.Certificate) string { return c.SerialNumber.Text(16) }

func (n *Node) answer(a *admission) join.Answer {
	self := peerFrom(a.node)
	self.Certificates = trust.Fingerprint(a.certificate)
	peers := []join.Peer{self}
	for _, other := range a.nodes {
		if other.ID != a.node.ID {
			peers = append(peers, peerFrom(other))
		}
	}
	gossip := append(n.book.Gossip(), advertised(n.cfg.Gossip))
	slices.Sort(gossip)
	return join.Answer{
		Code: n.cfg.Division.Code, Level: n.cfg.Division.Level, Node: a.node.ID,
		Certificate: a.certificate.Raw, Authority: n.keys.Authority.Raw,
		Sealed: a.sealed, Recovery: a.recovery, GossipKey: n.keys.Gossip,
		Peers: peers, Gossip: slices.Compact(gossip),
	}
}

func peerFrom(n tenancy.Node) join.Peer {
	return join.Peer{ID: n.ID, Address: n.Address, Web: n.Web, Recipient: n.Recipient, Certificates: n.Certificates}
}

// refusalOf turns tenancy's refusals into those of the join protocol.
func refusalOf(err error) error {
	for refusal, reason := range map[error]join.Reason{
		tenancy.ErrTokenUnknown: join.Unknown, tenancy.ErrTokenSpent: join.Used, tenancy.ErrTokenExpired: join.Expired,
		tenancy.ErrNodeTaken: join.NameTaken,
	} {
		if errors.Is(err, refusal) {
			return &join.Refusal{Reason: reason}
		}
	}
	return err
}

type tokenOrder struct {
	Hash    []byte    `json:"hash"`
	Expires time.Time `json:"expires"`
}

// mintToken carries out orderToken.
func (n *Node) mintToken(ctx context.Context, from replication.NodeID, in json.RawMessage) (any, error) {
	var o tokenOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		if err := tenancy.MintJoinToken(tx, o.Hash, o.Expires); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "node.token", Subject: string(from), Who: operator})
	})
}

type removeOrder struct {
	Node replication.NodeID `json:"node"`
}

// removeNode carries out orderRemove. The last node cannot be removed.
func (n *Node) removeNode(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o removeOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		nodes, err := tenancy.ReadNodes(tx)
		if err != nil {
			return err
		}
		if len(nodes) == 1 && nodes[0].ID == o.Node {
			return &join.Refusal{Reason: reasonLast, Detail: "this is the division's last node, it cannot be removed"}
		}
		if err := tenancy.RemoveNode(tx, o.Node); errors.Is(err, tenancy.ErrNodeUnknown) {
			return &join.Refusal{Reason: reasonNoNode, Detail: fmt.Sprintf("the division has no node %s; see `tongban node list`", o.Node)}
		} else if err != nil {
			return err
		}
		return tx.Record(service.Event{What: "node.removed", Subject: string(o.Node), Who: operator})
	})
}

// Reasons of refusal to operators of nodes.
const (
	reasonLast   join.Reason = "last_node"
	reasonNoNode join.Reason = "no_such_node"
)

type moveOrder struct {
	Address string `json:"address"`
	Web     string `json:"web"`
}

// moveNode carries out orderMove for the node that asks.
func (n *Node) moveNode(ctx context.Context, from replication.NodeID, in json.RawMessage) (any, error) {
	var o moveOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		return tenancy.MoveNode(tx, from, o.Address, o.Web)
	})
}

type foundOrder struct {
	Sealed      []byte `json:"sealed"`
	Recovery    string `json:"recovery"`
	Certificate []byte `json:"certificate"`
	FirstBoot   []byte `json:"first_boot"`
}

// enterFounding carries out orderFound, once.
func (n *Node) enterFounding(ctx context.Context, from replication.NodeID, in json.RawMessage) (any, error) {
	var o foundOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(o.Certificate)
	if err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		_, err := tenancy.Secret(tx, secretAuthority)
		if !errors.Is(err, replication.ErrNoRows) {
			return err // It is there already, or cannot be read.
		}
		if err := tenancy.PutSecret(tx, secretAuthority, o.Sealed); err != nil {
			return err
		}
		if err := tenancy.PutSecret(tx, secretRecovery, []byte(o.Recovery)); err != nil {
			return err
		}
		if err := tenancy.RecordCertificate(tx, ledgerRow(from, cert)); err != nil {
			return err
		}
		if err := identity.SetFirstBoot(tx, o.FirstBoot); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "node.founded", Subject: string(from), Who: n.system()})
	})
}
