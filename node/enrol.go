package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
	"tongban/tenancy"
)

// Orders about the tree, to the division's leader.
const (
	orderChildToken = "child-token" // A token for a child was minted.
	orderEnrol      = "enrol"       // A division wants to become a child.
	orderParent     = "parent"      // This division was enrolled.
	orderAsked      = "asked"       // It asks to be, by a file.
	orderApproval   = "approve"     // Who waits to be a child is approved, or refused.
	orderPolicy     = "policy"      // Whether children are approved.
	orderHold       = "hold-child"  // A child is not let in for now.
	orderFree       = "free-child"  // It is let in again.
	orderFreeParent = "free-parent" // The parent is believed again.
	orderLink       = "link"        // Where a node takes links of children.
)

// withEnrolment adds the orders about the tree to the others.
func (n *Node) withEnrolment(orders map[string]order) map[string]order {
	maps.Copy(orders, map[string]order{
		orderChildToken: n.enterChildToken, orderEnrol: n.enrolChild, orderParent: n.enterParent, orderAsked: n.enterAsked,
		orderApproval: n.enterApproval, orderPolicy: n.enterChildPolicy,
		orderRevoke: n.revokeChild, orderHold: n.holdChild, orderFree: n.freeChild, orderFreeParent: n.freeParent, orderLink: n.enterLink,
	})
	return orders
}

// maxLinks bounds the addresses of a parent's nodes.
const maxLinks = 16

// standing is a division's place in the tree, and the authority that goes with it.
type standing struct {
	authority *trust.Authority  // It issues below the division's present name.
	chain     [][]byte          // DER; its own certificate first, the anchor's last.
	parent    federation.Parent // Zero: none.
	links     []string          // Where the division's nodes take links of children.
}

// readStanding reads the division's place, as this node's replica has it or its leader.
func (n *Node) readStanding(ctx context.Context, level replication.Level) (standing, error) {
	var s standing
	db := n.division()
	if db == nil {
		return s, errNotYet
	}
	err := db.View(ctx, level, func(v *service.View) (err error) {
		if s.parent, _, err = federation.ReadParent(v); err != nil {
			return err
		}
		s.links, err = readLinks(v)
		return err
	})
	if err != nil {
		return s, err
	}
	if s.chain = s.parent.Chain; len(s.chain) == 0 {
		s.chain = [][]byte{n.keys.Authority.Raw}
	}
	s.authority, err = n.authority(ctx, level)
	return s, err
}

// awaitStanding is readStanding of this node's replica; a node that starts gets the time
// that it needs.
func (n *Node) awaitStanding(ctx context.Context) (standing, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for {
		s, err := n.readStanding(ctx, replication.Local)
		if !errors.Is(err, errNotYet) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, errNotYet
		case <-time.After(leaderPause):
		}
	}
}

// readLinks returns where the active nodes take links of children.
func readLinks(q service.Querier) ([]string, error) {
	links, err := federation.ReadLinks(q)
	if err != nil {
		return nil, err
	}
	nodes, err := tenancy.ReadNodes(q)
	if err != nil {
		return nil, err
	}
	var list []string
	for _, one := range nodes {
		if a := links[one.ID]; a != "" && len(list) < maxLinks {
			list = append(list, a)
		}
	}
	return list, nil
}

// moved reports whether the place of the division is another one by now.
func (s standing) moved(q service.Querier) (bool, error) {
	now, _, err := federation.ReadParent(q)
	return !slices.EqualFunc(now.Chain, s.parent.Chain, bytes.Equal), err
}

// ref is this division.
func (n *Node) ref() division.Ref {
	level, _ := division.ParseLevel(n.site.Level) // Checked by siteOf.
	return division.Ref{Level: level, Code: division.Code(n.site.Code)}
}

// called is a division as messages name it: "county 511602 四川省广安市广安区".
func called(r division.Ref) string {
	return fmt.Sprintf("%s %s %s", r.Level, r.Code, division.FullName(r))
}

// checkAnswer checks what the parent said about this division: that it is about this
// division's own authority, by the parent, and that the chain holds up to its anchor.
func (n *Node) checkAnswer(own *trust.Authority, parent division.Ref, a enrol.Answer, now time.Time) error {
	bad := func(format string, args ...any) error {
		return enrol.Refuse(enrol.BadAnswer, fmt.Sprintf(format, args...))
	}
	if a.Child != n.ref() || a.Parent != parent {
		return bad("it is about %s below %s", a.Child, a.Parent)
	}
	if len(a.Links) > maxLinks {
		return bad("it has %d addresses", len(a.Links))
	}
	for _, link := range a.Links {
		if err := enrol.CheckAddress(link); err != nil {
			return bad("%v", err)
		}
	}
	chain, err := trust.ParseChain(a.Chain)
	if err != nil {
		return bad("%v", err)
	}
	if len(chain) < 2 {
		return bad("it has no certificates")
	}
	for _, cert := range chain {
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return bad("a certificate is valid from %s to %s, and this box's clock says %s: set the clocks",
				cert.NotBefore.Format(time.RFC3339), cert.NotAfter.Format(time.RFC3339), now.UTC().Format(time.RFC3339))
		}
	}
	if _, err := own.As(chain); err != nil {
		return bad("%v", err)
	}
	anchor := chain[len(chain)-1]
	list, err := trust.VerifyChain(chain, anchor, now)
	if err == nil {
		err = anchor.CheckSignatureFrom(anchor)
	}
	if err != nil {
		return bad("%v", err)
	}
	if signer, err := list[1].Ref(); err != nil || signer != parent {
		return bad("it is signed by %s %s", list[1].Level, list[1].Code)
	}
	return nil
}

type linkOrder struct {
	Address string `json:"address"`
}

// enterLink carries out orderLink for the node that asks.
func (n *Node) enterLink(ctx context.Context, from replication.NodeID, in json.RawMessage) (any, error) {
	var o linkOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error { return federation.SetLink(tx, from, o.Address) })
}

// tellLink has the division know where this node takes links of children.
func (n *Node) tellLink(ctx context.Context) error {
	address := advertised(n.cfg.Link)
	var known string
	err := n.division().View(ctx, replication.Local, func(v *service.View) error {
		links, err := federation.ReadLinks(v)
		known = links[n.cfg.Node]
		return err
	})
	if err != nil || known == address {
		return err
	}
	return n.command(ctx, orderLink, linkOrder{Address: address}, nil)
}

// enrolRefusal turns refusals of the tables into those of the protocol.
func enrolRefusal(err error, t federation.Token) error {
	for refusal, told := range map[error]*join.Refusal{
		federation.ErrTokenUnknown: enrol.Refuse(enrol.TokenUnknown), federation.ErrTokenSpent: enrol.Refuse(enrol.TokenUsed),
		federation.ErrTokenExpired: enrol.Refuse(enrol.TokenExpired, t.Expires.Format(time.RFC3339)),
		enrol.ErrForged:            enrol.Refuse(enrol.Forged), enrol.ErrVersion: enrol.Refuse(enrol.Version),
	} {
		if errors.Is(err, refusal) {
			return told
		}
	}
	return err
}
