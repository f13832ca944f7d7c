package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
	"tongban/service"
)

const (
	// DefaultChildTokenValid is how long an enrolment token can be used: it travels to
	// another house.
	DefaultChildTokenValid = 72 * time.Hour
	// MaxChildTokenValid bounds it.
	MaxChildTokenValid = 30 * 24 * time.Hour
)

// ChildTokenRequest asks the admin socket for an enrolment token: POST /node/child/token.
type ChildTokenRequest struct {
	Code    string `json:"code"`
	Level   string `json:"level,omitempty"` // Needed where the code has two.
	Valid   string `json:"valid,omitempty"` // A duration such as "72h"; empty: DefaultChildTokenValid.
	Replace bool   `json:"replace,omitempty"`
	DryRun  bool   `json:"dry_run,omitempty"` // Check, make none.
}

// ChildTokenReply is an enrolment token, shown once.
type ChildTokenReply struct {
	Token       string       `json:"token,omitempty"` // Empty after a dry run.
	Child       division.Ref `json:"child"`
	Name        string       `json:"name"`        // Of the child, for people.
	Fingerprint string       `json:"fingerprint"` // Of this division's authority.
	Expires     time.Time    `json:"expires"`
	Enrolled    bool         `json:"enrolled"` // The child is one already.
	Replace     bool         `json:"replace"`  // Another authority may take its place.
	// LocalPorts and LocalLinks say that no other box reaches the node ports, or the ports
	// for links, of this division.
	LocalPorts bool `json:"local_ports"`
	LocalLinks bool `json:"local_links"`
}

type childTokenOrder struct {
	Tokens []federation.Token `json:"tokens"`
	// New leaves out, without an error, the tokens for divisions that are enrolled.
	New    bool `json:"new"`
	DryRun bool `json:"dry_run"`
}

type childTokenDone struct {
	Enrolled []bool                `json:"enrolled"`          // By token: the child is one already.
	Refused  map[int]*join.Refusal `json:"refused,omitempty"` // By token. When there is one, none was minted.
	Links    []string              `json:"links"`             // Where this division's nodes take links.
}

// enterChildToken carries out orderChildToken: all of the tokens or none.
func (n *Node) enterChildToken(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o childTokenOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	var done childTokenDone
	db := n.division()
	if o.DryRun {
		return &done, db.View(ctx, replication.Leader, func(v *service.View) error { _, err := n.checkChildTokens(v, o, &done); return err })
	}
	return &done, db.Update(ctx, func(tx *service.Tx) error {
		mint, err := n.checkChildTokens(tx, o, &done)
		if err != nil || len(done.Refused) > 0 {
			return err
		}
		if err := federation.MintToken(tx, mint...); err != nil {
			return err
		}
		for _, t := range mint {
			if err := tx.Record(service.Event{What: "federation.child_token", Subject: t.Ref.String(), Who: operator,
				Detail: map[string]string{"token": t.ID}}); err != nil {
				return err
			}
		}
		return nil
	})
}

// checkChildTokens fills in what can be said about the tokens, and returns those that are
// to be minted.
func (n *Node) checkChildTokens(q service.Querier, o childTokenOrder, done *childTokenDone) (mint []federation.Token, err error) {
	*done = childTokenDone{Refused: map[int]*join.Refusal{}}
	if done.Links, err = readLinks(q); err != nil {
		return nil, err
	}
	for i, t := range o.Tokens {
		_, err := federation.ReadChild(q, t.Ref)
		if err != nil && !errors.Is(err, federation.ErrNoChild) {
			return nil, err
		}
		done.Enrolled = append(done.Enrolled, err == nil)
		if err == nil && o.New {
			continue
		}
		var refusal *join.Refusal
		if err := n.checkBelow(q, t.Ref); errors.As(err, &refusal) {
			done.Refused[i] = refusal
		} else if err != nil {
			return nil, err
		}
		mint = append(mint, t)
	}
	return mint, nil
}

// mint is what tokens are made for.
type mint struct {
	children []division.Ref
	valid    string // A duration; empty: DefaultChildTokenValid.
	replace  bool
	onlyNew  bool // Leave out those that are enrolled.
	dryRun   bool
}

// mintTokens makes a token for each of the children, or for none when one is refused.
func (n *Node) mintTokens(ctx context.Context, m mint) (done childTokenDone, tokens []enrol.Token, err error) {
	valid := DefaultChildTokenValid
	if m.valid != "" {
		valid, err = time.ParseDuration(m.valid)
	}
	if err != nil || valid < time.Second || valid > MaxChildTokenValid {
		return done, nil, exit.Usagef("an enrolment token is valid for a time such as 72h, at most %dh", MaxChildTokenValid/time.Hour)
	}
	addresses := []string{advertised(n.cfg.Peer)}
	for _, p := range n.book.Peers() {
		if p.ID != n.cfg.Node {
			addresses = append(addresses, p.Address)
		}
	}
	o := childTokenOrder{New: m.onlyNew && !m.replace, DryRun: m.dryRun}
	for _, child := range m.children {
		token, err := enrol.NewToken(n.ref(), child, trust.Fingerprint(n.keys.Authority), n.now().Add(valid), addresses)
		if err != nil {
			return done, nil, err
		}
		tokens = append(tokens, token)
		o.Tokens = append(o.Tokens, federation.Token{ID: token.ID, Ref: child, Secret: token.Secret, Replace: m.replace, Expires: token.Expires})
	}
	err = n.command(ctx, orderChildToken, o, &done)
	if err == nil && len(done.Enrolled) != len(tokens) {
		err = fmt.Errorf("asked for %d enrolment tokens, the leader answered about %d", len(tokens), len(done.Enrolled))
	}
	return done, tokens, err
}

// reply is what people are told of the token i.
func (m mint) reply(done childTokenDone, tokens []enrol.Token, i int) ChildTokenReply {
	t := tokens[i]
	r := ChildTokenReply{Token: t.String(), Child: t.Child, Name: division.FullName(t.Child), Fingerprint: t.Fingerprint,
		Expires: t.Expires, Enrolled: done.Enrolled[i], Replace: m.replace,
		LocalPorts: enrol.OnlyHere(t.Addresses), LocalLinks: enrol.OnlyHere(done.Links)}
	if m.dryRun {
		r.Token = ""
	}
	return r
}

func (n *Node) mintChildToken(ctx context.Context, in ChildTokenRequest) (ChildTokenReply, error) {
	child, err := chooseDivision(in.Code, in.Level)
	if err != nil {
		return ChildTokenReply{}, err
	}
	m := mint{children: []division.Ref{child.Ref}, valid: in.Valid, replace: in.Replace, dryRun: in.DryRun}
	done, tokens, err := n.mintTokens(ctx, m)
	switch {
	case err != nil:
		return ChildTokenReply{}, err
	case done.Refused[0] != nil:
		return ChildTokenReply{}, done.Refused[0]
	}
	return m.reply(done, tokens, 0), nil
}
