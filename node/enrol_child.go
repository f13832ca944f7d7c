package node

import (
	"context"
	"encoding/json"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/replication"
	"tongban/service"
)

// askParentPatience bounds asking all the addresses of a token: the command waits a minute.
const askParentPatience = 45 * time.Second

// EnrolRequest asks the admin socket to enrol this division: POST /node/enrol.
type EnrolRequest struct {
	Token string `json:"token"`
	// Links are the addresses at which the parent is reached from here, host:port; empty:
	// those that the parent advertises.
	Links  []string `json:"links,omitempty"`
	Move   bool     `json:"move,omitempty"`    // Leave the parent that it has for the token's.
	DryRun bool     `json:"dry_run,omitempty"` // Check everything, also at the parent, and change nothing.
}

// EnrolReply is what became of an enrolment.
type EnrolReply struct {
	Child  division.Ref `json:"child"`
	Parent division.Ref `json:"parent"`
	Name   string       `json:"name"` // Of the parent, for people.
	Links  []string     `json:"links"`
	Again  bool         `json:"again"`           // It was enrolled there before.
	Before division.Ref `json:"before,omitzero"` // The parent that it leaves; zero: it does not move.
	// Waits says, of a dry run, that an administrator of the parent has to approve.
	Waits  bool `json:"waits"`
	DryRun bool `json:"dry_run"`
}

// enrolHere makes this division a child of the token's parent. It may be repeated with the
// same token after any failure.
func (n *Node) enrolHere(ctx context.Context, in EnrolRequest) (EnrolReply, error) {
	token, s, err := n.checkToken(ctx, in)
	if err != nil {
		return EnrolReply{}, err
	}
	request, err := n.requestOf(s, token, in.DryRun)
	if err != nil {
		return EnrolReply{}, err
	}
	asking, cancel := context.WithTimeout(ctx, askParentPatience)
	defer cancel()
	document, err := enrol.Ask(asking, token, request, n.now)
	if err != nil {
		return EnrolReply{}, n.explainWaiting(err, s)
	}
	return n.takeAnswer(ctx, s, token, document, in)
}

// checkToken refuses a token that is not for this division, as it stands.
func (n *Node) checkToken(ctx context.Context, in EnrolRequest) (enrol.Token, standing, error) {
	token, err := enrol.ParseToken(in.Token)
	if err != nil {
		return token, standing{}, enrol.Refuse(enrol.BadToken, err.Error())
	}
	for _, link := range in.Links {
		if err := enrol.CheckAddress(link); err != nil {
			return token, standing{}, enrol.Refuse(enrol.BadToken, err.Error())
		}
	}
	// Whether it has expired is for the parent to say: the answer to a token that was used may
	// have been lost, and this box's clock may be wrong.
	if token.Child != n.ref() {
		return token, standing{}, enrol.Refuse(enrol.OtherDivision, called(token.Child), called(n.ref()))
	}
	s, err := n.awaitStanding(ctx)
	if err != nil {
		return token, s, err
	}
	if p := s.parent.Ref; !p.IsZero() && p != token.Parent && !in.Move {
		return token, s, enrol.Refuse(enrol.OtherParent, called(p))
	}
	return token, s, nil
}

// requestOf is what this division asks the token's parent.
func (n *Node) requestOf(s standing, t enrol.Token, try bool) (enrol.Document, error) {
	csr, err := s.authority.Request()
	if err != nil {
		return enrol.Document{}, err
	}
	return enrol.Prove(enrol.ForRequest, t.ID, t.Secret, enrol.Request{Child: n.ref(), Name: n.site.Full, CSR: csr, Try: try})
}

// takeAnswer checks the parent's answer, and makes this division its child unless that was
// only tried. A line that tried has an answer without a chain.
func (n *Node) takeAnswer(ctx context.Context, s standing, t enrol.Token, document enrol.Document, in EnrolRequest) (EnrolReply, error) {
	var answer enrol.Answer
	if err := document.Open(enrol.ForAnswer, t.Secret, &answer); err != nil {
		return EnrolReply{}, enrol.Refuse(enrol.BadAnswer, err.Error())
	}
	if !in.DryRun || len(answer.Chain) > 0 {
		if err := n.checkAnswer(s.authority, t.Parent, answer, n.now()); err != nil {
			return EnrolReply{}, err
		}
	}
	parent := federation.Parent{Ref: t.Parent, Links: answer.Links, Chain: answer.Chain}
	if len(in.Links) > 0 {
		parent.Links, parent.Fixed = in.Links, true
	}
	out := EnrolReply{Child: n.ref(), Parent: parent.Ref, Name: answer.Name, Links: parent.Links,
		Again: s.parent.Ref == parent.Ref, Waits: answer.Waits, DryRun: in.DryRun}
	if p := s.parent.Ref; p != parent.Ref {
		out.Before = p
	}
	if in.DryRun {
		return out, nil
	}
	return out, n.command(ctx, orderParent, parentOrder{Parent: parent, Move: in.Move}, nil)
}

type parentOrder struct {
	Parent federation.Parent `json:"parent"`
	Move   bool              `json:"move,omitempty"`
}

// enterParent carries out orderParent.
func (n *Node) enterParent(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o parentOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		have, enrolled, err := federation.ReadParent(tx)
		if err != nil {
			return err
		}
		if enrolled && have.Ref != o.Parent.Ref && !o.Move {
			return enrol.Refuse(enrol.OtherParent, called(have.Ref))
		}
		if err := federation.SetParent(tx, o.Parent); err != nil {
			return err
		}
		event := service.Event{What: "federation.parent_set", Subject: o.Parent.Ref.String(), Who: operator}
		if enrolled && have.Ref != o.Parent.Ref {
			event.What, event.Detail = "federation.parent_moved", map[string]string{"from": have.Ref.String()}
		}
		return tx.Record(event)
	})
}

// freeParent carries out orderFreeParent.
func (n *Node) freeParent(ctx context.Context, _ replication.NodeID, _ json.RawMessage) (any, error) {
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		p, enrolled, err := federation.ReadParent(tx)
		if err != nil {
			return err
		}
		if !enrolled {
			return enrol.Refuse(enrol.NoParent)
		}
		if err := federation.FreeParent(tx, p.Ref); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "federation.parent_freed", Subject: p.Ref.String(), Who: operator})
	})
}
