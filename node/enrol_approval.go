package node

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/replication"
	"tongban/service"
)

// ChildWaiting is a division that came with a token and waits for approval.
type ChildWaiting struct {
	Ref     division.Ref `json:"ref"`
	Name    string       `json:"name"`
	Key     string       `json:"key"` // Fingerprint of its authority's key, grouped as the division sees it.
	Since   time.Time    `json:"since"`
	Replace bool         `json:"replace"` // It is to take the place of the one that is enrolled.
}

// ChildApproval asks the admin socket to approve or refuse those who wait: POST
// /node/child/approve, /node/child/refuse. All that are named, or none.
type ChildApproval struct {
	Children []string `json:"children,omitempty"` // Code, or level/code.
	All      bool     `json:"all,omitempty"`      // Of those who wait; then Children is empty.
	Key      string   `json:"key,omitempty"`      // The one child's key begins with it; spaces do not count.
	DryRun   bool     `json:"dry_run,omitempty"`
}

// ChildApproved is what was approved or refused.
type ChildApproved struct {
	Children []ChildWaiting `json:"children"`
	DryRun   bool           `json:"dry_run"`
}

// ChildPolicy is by which policy divisions become children: POST /node/child/policy sets
// it; see ChildList.
type ChildPolicy struct {
	Approval federation.Approval `json:"approval"`
}

type approvalOrder struct {
	Refs   []division.Ref `json:"refs"` // None: all who wait.
	Key    string         `json:"key"`
	Refuse bool           `json:"refuse"`
	DryRun bool           `json:"dry_run"`
}

// judgeChildren approves or refuses those whom a person named.
func (n *Node) judgeChildren(ctx context.Context, in ChildApproval, refuse bool) (ChildApproved, error) {
	o := approvalOrder{Refuse: refuse, DryRun: in.DryRun, Key: strings.ToLower(strings.Join(strings.Fields(in.Key), ""))}
	switch {
	case in.All == (len(in.Children) > 0):
		return ChildApproved{}, exit.Usagef("say which children, or --all")
	case len(in.Children) > enrol.MaxRows:
		return ChildApproved{}, exit.Usagef("at most %d children at once, or --all", enrol.MaxRows)
	case in.Key != "" && len(in.Children) != 1:
		return ChildApproved{}, exit.Usagef("--key is that of one child")
	}
	for _, text := range in.Children {
		ref, err := division.ParseRef(text)
		if err != nil {
			return ChildApproved{}, exit.Usagef("%w", err)
		}
		if !slices.Contains(o.Refs, ref) {
			o.Refs = append(o.Refs, ref)
		}
	}
	out := ChildApproved{Children: []ChildWaiting{}, DryRun: in.DryRun}
	return out, n.command(ctx, orderApproval, o, &out.Children)
}

// enterApproval carries out orderApproval.
func (n *Node) enterApproval(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o approvalOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	var done []ChildWaiting
	judge := func(q service.Querier, change func(t federation.Token) error) error {
		tokens, err := o.choose(q)
		done = []ChildWaiting{}
		for _, t := range tokens {
			done = append(done, waiting(t))
			err = errors.Join(err, change(t))
		}
		return err
	}
	if o.DryRun {
		err := n.division().View(ctx, replication.Leader, func(v *service.View) error {
			return judge(v, func(federation.Token) error { return nil })
		})
		return done, err
	}
	err := n.division().Update(ctx, func(tx *service.Tx) error {
		return judge(tx, func(t federation.Token) error {
			what, err := "federation.child_refused", error(nil)
			if o.Refuse {
				err = federation.DropToken(tx, t.ID)
			} else {
				what = "federation.child_approved"
				err = federation.ApproveToken(tx, t.ID, tx.Now().Add(DefaultChildTokenValid))
			}
			return errors.Join(err, tx.Record(service.Event{What: what, Subject: t.Ref.String(), Who: operator,
				Detail: map[string]string{"token": t.ID, "key": t.Print}}))
		})
	})
	return done, err
}

// choose returns the tokens of those who wait and are meant. Two that wait in one name are
// told apart by their keys alone: one of them is a stranger.
func (o approvalOrder) choose(q service.Querier) ([]federation.Token, error) {
	all, err := federation.ReadWaiting(q)
	if err != nil {
		return nil, err
	}
	refs := o.Refs
	if len(refs) == 0 {
		for _, t := range all {
			if !slices.Contains(refs, t.Ref) {
				refs = append(refs, t.Ref)
			}
		}
	}
	var chosen []federation.Token
	for _, ref := range refs {
		found := slices.DeleteFunc(slices.Clone(all), func(t federation.Token) bool { return t.Ref != ref || !strings.HasPrefix(t.Print, o.Key) })
		if len(found) == 0 {
			return nil, enrol.Refuse(enrol.NotWaiting, called(ref))
		}
		// The same key may have come with two tokens; it is one division then.
		if slices.ContainsFunc(found, func(t federation.Token) bool { return t.Print != found[0].Print }) {
			return nil, enrol.Refuse(enrol.SeveralWait, called(ref))
		}
		chosen = append(chosen, found...)
	}
	return chosen, nil
}

func waiting(t federation.Token) ChildWaiting {
	return ChildWaiting{Ref: t.Ref, Name: division.FullName(t.Ref), Key: enrol.Print(t.Print), Since: t.Asked, Replace: t.Replace}
}

// setChildPolicy has a policy set.
func (n *Node) setChildPolicy(ctx context.Context, in ChildPolicy) (ChildPolicy, error) {
	if in.Approval != federation.Automatic && in.Approval != federation.ByAdmin {
		return in, exit.Usagef("the policy is %q or %q, not %.20q", federation.Automatic, federation.ByAdmin, in.Approval)
	}
	return in, n.command(ctx, orderPolicy, in, nil)
}

// enterChildPolicy carries out orderPolicy.
func (n *Node) enterChildPolicy(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o ChildPolicy
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		if err := federation.SetApproval(tx, o.Approval); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "federation.child_policy", Subject: n.ref().String(), Who: operator,
			Detail: map[string]string{"approval": string(o.Approval)}})
	})
}

// ownPrint is the fingerprint of this division's authority's key: what people compare.
func (s standing) ownPrint() string { return printOf(s.authority.Certificate.RawSubjectPublicKeyInfo) }

// explainWaiting says the division's own key, not what the parent took for it.
func (n *Node) explainWaiting(err error, s standing) error {
	var refusal *join.Refusal
	if errors.As(err, &refusal) && refusal.Reason == enrol.Waiting {
		return enrol.Refuse(enrol.Waiting, called(n.ref()), enrol.Print(s.ownPrint()))
	}
	return err
}
