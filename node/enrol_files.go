package node

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/replication"
	"tongban/service"
)

// EnrolFile is the file that carries a request to the parent: answer to POST
// /node/enrol/request, which takes an EnrolRequest without Links.
type EnrolFile struct {
	File    enrol.File `json:"file"`
	Name    string     `json:"name"`    // Of the parent, for people.
	Expires time.Time  `json:"expires"` // Until then the parent must have answered.
	Key     string     `json:"key"`     // Fingerprint of this division's key, to compare when the parent approves.
	DryRun  bool       `json:"dry_run"`
}

// EnrolFromFile asks the admin socket to take the parent's reply: POST /node/enrol/reply.
// The answer is an EnrolReply.
type EnrolFromFile struct {
	File   enrol.File `json:"file"`
	Links  []string   `json:"links,omitempty"` // As EnrolRequest's.
	DryRun bool       `json:"dry_run,omitempty"`
}

// ChildAnswerRequest asks the admin socket of the parent to answer a child's file: POST
// /node/child/answer.
type ChildAnswerRequest struct {
	File   enrol.File `json:"file"`
	DryRun bool       `json:"dry_run,omitempty"`
}

// ChildAnswerReply is the file that goes back to the child.
type ChildAnswerReply struct {
	File   enrol.File   `json:"file"`
	Child  division.Ref `json:"child"`
	Name   string       `json:"name"`  // Of the child, for people.
	Again  bool         `json:"again"` // The request was answered before, with the same.
	Waits  bool         `json:"waits"` // Only tried: it has to be approved first.
	DryRun bool         `json:"dry_run"`
	// LocalLinks says that no other box reaches the ports for links of this division.
	LocalLinks bool `json:"local_links"`
}

// enrolRequest makes the file of a request, and keeps the token until the reply comes.
func (n *Node) enrolRequest(ctx context.Context, in EnrolRequest) (EnrolFile, error) {
	in.Links = nil
	token, s, err := n.checkToken(ctx, in)
	if err != nil {
		return EnrolFile{}, err
	}
	out := EnrolFile{Name: division.FullName(token.Parent), Expires: token.Expires, Key: enrol.Print(s.ownPrint()), DryRun: in.DryRun,
		File: enrol.File{Kind: enrol.RequestFile, Child: n.ref(), Parent: token.Parent}}
	if in.DryRun {
		return out, nil
	}
	if out.File.Document, err = n.requestOf(s, token, false); err != nil {
		return EnrolFile{}, err
	}
	return out, n.command(ctx, orderAsked, askedOrder{ID: token.ID, Token: token.String()}, nil)
}

type askedOrder struct {
	ID    string `json:"id"`
	Token string `json:"token"`
}

// enterAsked carries out orderAsked.
func (n *Node) enterAsked(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o askedOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error { return federation.EnterAsked(tx, o.ID, o.Token) })
}

// enrolReply makes this division a child by the parent's file.
func (n *Node) enrolReply(ctx context.Context, in EnrolFromFile) (EnrolReply, error) {
	db := n.division()
	switch {
	case db == nil:
		return EnrolReply{}, errNotYet
	case in.File.Kind != enrol.ReplyFile:
		return EnrolReply{}, enrol.Refuse(enrol.BadFile, "is not the reply of a parent; have one made there with `tongban child answer`")
	case in.File.Child != n.ref():
		return EnrolReply{}, enrol.Refuse(enrol.BadFile, "is for "+called(in.File.Child)+", and this division is "+called(n.ref()))
	}
	request := EnrolRequest{Links: in.Links, DryRun: in.DryRun}
	err := db.View(ctx, replication.Local, func(v *service.View) (err error) {
		request.Token, err = federation.ReadAsked(v, in.File.Document.Token)
		return err
	})
	if errors.Is(err, federation.ErrTokenUnknown) {
		return EnrolReply{}, enrol.Refuse(enrol.NotAsked)
	}
	if err != nil {
		return EnrolReply{}, err
	}
	token, s, err := n.checkToken(ctx, request)
	if err != nil {
		return EnrolReply{}, err
	}
	return n.takeAnswer(ctx, s, token, in.File.Document, request)
}

// answerChild answers the file of a child. The same file again is answered alike.
func (n *Node) answerChild(ctx context.Context, in ChildAnswerRequest) (ChildAnswerReply, error) {
	switch {
	case in.File.Kind != enrol.RequestFile:
		return ChildAnswerReply{}, enrol.Refuse(enrol.BadFile, "is not the request of a child; make one there with `tongban enrol TOKEN --request-file FILE`")
	case in.File.Parent != n.ref():
		return ChildAnswerReply{}, enrol.Refuse(enrol.BadFile, "asks "+called(in.File.Parent)+", and this division is "+called(n.ref()))
	}
	var done enrolDone
	if err := n.command(ctx, orderEnrol, enrolOrder{Request: in.File.Document, DryRun: in.DryRun}, &done); err != nil {
		return ChildAnswerReply{}, err
	}
	out := ChildAnswerReply{Child: done.Child, Name: division.FullName(done.Child), Again: done.Again, Waits: done.Waits, DryRun: in.DryRun,
		File: enrol.File{Kind: enrol.ReplyFile, Child: done.Child, Parent: n.ref()}}
	if !in.DryRun {
		out.File.Document = done.Answer
	}
	s, err := n.readStanding(ctx, replication.Local)
	out.LocalLinks = enrol.OnlyHere(s.links)
	return out, err
}
