package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
)

// checkBelow refuses a division that cannot be a child here: one that is not below this
// one, or that has a nearer parent among the children.
func (n *Node) checkBelow(q service.Querier, child division.Ref) error {
	path := division.Path(child)
	at := slices.IndexFunc(path, func(d division.Division) bool { return d.Ref == n.ref() })
	if at < 0 || child == n.ref() {
		return enrol.Refuse(enrol.NotBelow, called(child), called(n.ref()))
	}
	for _, between := range path[at+1 : len(path)-1] {
		_, err := federation.ReadChild(q, between.Ref)
		if err == nil {
			return enrol.Refuse(enrol.Nearer, called(between.Ref), called(child))
		}
		if !errors.Is(err, federation.ErrNoChild) {
			return err
		}
	}
	return nil
}

type enrolOrder struct {
	Request enrol.Document `json:"request"`
	DryRun  bool           `json:"dry_run"` // Check everything, also when the request does not ask to try only.
}

type enrolDone struct {
	Answer enrol.Document `json:"answer"`
	Child  division.Ref   `json:"child"`
	Again  bool           `json:"again"` // This request was answered before, with the same answer.
	Waits  bool           `json:"waits"` // Only tried: it will have to be approved.
}

// enrolChild carries out orderEnrol: in one transaction it spends the token, and enters the
// child with its authority, which it certified.
func (n *Node) enrolChild(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o enrolOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, enrol.Refuse(enrol.Malformed)
	}
	for range admitTries {
		done, err := n.tryEnrolChild(ctx, o)
		if errors.Is(err, errMoved) {
			continue
		}
		return done, err
	}
	return nil, &join.Refusal{Reason: join.Unavailable}
}

func (n *Node) tryEnrolChild(ctx context.Context, o enrolOrder) (enrolDone, error) {
	var token federation.Token
	// First: who has no token learns nothing and costs nothing.
	err := n.division().View(ctx, replication.Leader, func(v *service.View) (err error) {
		token, err = federation.ReadToken(v, o.Request.Token)
		return err
	})
	var r enrol.Request
	if err == nil {
		err = o.Request.Open(enrol.ForRequest, token.Secret, &r)
	}
	if err != nil {
		return enrolDone{}, enrolRefusal(err, token)
	}
	if r.Child != token.Ref {
		return enrolDone{}, enrol.Refuse(enrol.OtherDivision, called(token.Ref), called(r.Child))
	}
	key, err := trust.RequestKey(r.CSR)
	if err != nil {
		return enrolDone{}, enrol.Refuse(enrol.Malformed)
	}
	s, err := n.readStanding(ctx, replication.Leader)
	if err == nil && len(s.links) == 0 {
		err = errNotYet // The nodes have not told yet; without links the child could not be one.
	}
	if err != nil {
		return enrolDone{}, err
	}
	e, err := n.prepareChild(s, token, r, key)
	if err != nil {
		return enrolDone{}, err
	}
	done := enrolDone{Answer: e.answer, Child: r.Child}
	if r.Try || o.DryRun {
		err := n.division().View(ctx, replication.Leader, func(v *service.View) error { _, err := e.check(v, n); return err })
		if err != nil {
			return done, err
		}
		e.body.Waits = e.waits
		done.Waits = e.waits
		done.Answer, err = enrol.Prove(enrol.ForAnswer, token.ID, token.Secret, e.body)
		return done, err
	}
	err = n.division().Update(ctx, func(tx *service.Tx) error { return e.enter(tx, n) })
	if err != nil {
		return enrolDone{}, enrolRefusal(err, token)
	}
	switch {
	case e.waits:
		return done, enrol.Refuse(enrol.Waiting, called(r.Child), enrol.Print(e.print))
	case !e.again:
		n.log.Info("a division enrolled", "child", r.Child.String())
	}
	done.Answer, done.Again = e.answer, e.again
	return done, nil
}

// enrolment is what is decided outside the transaction, and checked again inside.
type enrolment struct {
	s       standing
	token   federation.Token
	key     *ecdsa.PublicKey
	child   federation.Child
	request []byte // What the token is spent on: by whom, with which key.
	print   string // Fingerprint of the key.
	body    enrol.Answer
	answer  enrol.Document
	again   bool // It was answered before.
	waits   bool // It has to be approved first.
}

func (n *Node) prepareChild(s standing, t federation.Token, r enrol.Request, key *ecdsa.PublicKey) (*enrolment, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, enrol.Refuse(enrol.Malformed)
	}
	sum := sha256.Sum256(append([]byte(r.Child.String()+"\x00"), der...))
	e := &enrolment{s: s, token: t, key: key, request: sum[:], print: printOf(der)}
	cert, err := s.certify(r.CSR, r.Child, n.now())
	if err != nil {
		return nil, err
	}
	e.child = federation.Child{Ref: r.Child, Name: s.nameOf(r.Child).DNS(), CA: cert.Raw}
	e.body = enrol.Answer{Child: r.Child, Parent: n.ref(), Name: n.site.Full, Links: s.links}
	if !r.Try {
		e.body.Chain = append([][]byte{cert.Raw}, s.chain...)
	}
	e.answer, err = enrol.Prove(enrol.ForAnswer, t.ID, t.Secret, e.body)
	return e, err
}

// printOf is the fingerprint of a public key, PKIX DER, hexadecimal.
func printOf(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// nameOf is a child as this division's certificates name it.
func (s standing) nameOf(child division.Ref) trust.Division {
	return s.authority.Division.Child(string(child.Code), child.Level.String())
}

func (s standing) certify(csr []byte, child division.Ref, now time.Time) (*x509.Certificate, error) {
	cert, err := s.authority.SignChild(csr, s.nameOf(child), now)
	if err != nil {
		return nil, fmt.Errorf("certify the child %s: %w", child, err)
	}
	return cert, nil
}

// check decides whether the token can be used for this, and whether it has to be approved
// first; before: it was used, for the same, and this is what was answered.
func (e *enrolment) check(q service.Querier, n *Node) (before []byte, err error) {
	e.waits = false
	t, err := federation.ReadToken(q, e.token.ID)
	if err != nil {
		return nil, err
	}
	err = t.Check(q.Now())
	if errors.Is(err, federation.ErrTokenSpent) && bytes.Equal(t.Request, e.request) {
		return t.Answer, nil
	}
	if err == nil || errors.Is(err, federation.ErrTokenExpired) {
		if !t.Asked.IsZero() && !bytes.Equal(t.Asker, e.request) {
			return nil, enrol.Refuse(enrol.OtherAsks)
		}
		if e.waits = t.Waits(); e.waits {
			return nil, nil
		}
	}
	if err != nil {
		return nil, enrolRefusal(err, t)
	}
	if err := n.checkBelow(q, e.child.Ref); err != nil {
		return nil, err
	}
	have, err := federation.ReadChild(q, e.child.Ref)
	switch {
	case err != nil && !errors.Is(err, federation.ErrNoChild):
		return nil, err
	case err == nil && isOfKey(have.CA, e.key):
		return nil, nil // It was let in before.
	case err == nil && !t.Replace:
		return nil, enrol.Refuse(enrol.OtherKey, called(e.child.Ref))
	}
	policy, err := federation.ReadApproval(q)
	e.waits = policy == federation.ByAdmin && t.Approved.IsZero()
	return nil, err
}

func (e *enrolment) enter(tx *service.Tx, n *Node) error {
	before, err := e.check(tx, n)
	if err != nil {
		return err
	}
	if e.again = before != nil; e.again {
		return json.Unmarshal(before, &e.answer)
	}
	if e.waits {
		return e.wait(tx, n)
	}
	if moved, err := e.s.moved(tx); err != nil || moved {
		return errors.Join(err, errMoved)
	}
	answer, err := json.Marshal(e.answer)
	if err != nil {
		return err
	}
	if err := federation.SpendToken(tx, e.token.ID, e.request, answer); err != nil {
		return err
	}
	if err := federation.EnterChild(tx, e.child); err != nil {
		return err
	}
	return tx.Record(service.Event{What: "federation.child_enrolled", Subject: e.child.Ref.String(), Who: n.system(),
		Detail: map[string]string{"token": e.token.ID, "name": e.child.Name}})
}

// wait notes that the child waits for approval, once.
func (e *enrolment) wait(tx *service.Tx, n *Node) error {
	t, err := federation.ReadToken(tx, e.token.ID)
	if err != nil || t.Waits() {
		return err
	}
	if err := federation.AskToken(tx, e.token.ID, e.request, e.print); err != nil {
		return err
	}
	return tx.Record(service.Event{What: "federation.child_asked", Subject: e.child.Ref.String(), Who: n.system(),
		Detail: map[string]string{"token": e.token.ID, "key": e.print}})
}

// isOfKey reports whether a certificate, DER, is of the public key.
func isOfKey(der []byte, key *ecdsa.PublicKey) bool {
	cert, err := x509.ParseCertificate(der)
	return err == nil && key.Equal(cert.PublicKey)
}

type childOrder struct {
	Ref division.Ref `json:"ref"`
}

// holdChild carries out orderHold.
func (n *Node) holdChild(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	return n.changeChild(ctx, in, "federation.child_held", func(tx *service.Tx, ref division.Ref) error {
		return federation.HoldChild(tx, ref, federation.HeldOperator)
	})
}

// freeChild carries out orderFree.
func (n *Node) freeChild(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	return n.changeChild(ctx, in, "federation.child_freed", federation.FreeChild)
}

func (n *Node) changeChild(ctx context.Context, in json.RawMessage, what string, change func(tx *service.Tx, ref division.Ref) error) (any, error) {
	var o childOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		if err := change(tx, o.Ref); errors.Is(err, federation.ErrNoChild) {
			return enrol.Refuse(enrol.NoChild, called(o.Ref))
		} else if err != nil {
			return err
		}
		return tx.Record(service.Event{What: what, Subject: o.Ref.String(), Who: operator})
	})
}
