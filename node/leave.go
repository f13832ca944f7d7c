package node

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/node/enrol"
	"tongban/node/exit"
	"tongban/replication"
	"tongban/service"
)

// orderRevoke has a child leave for good.
const orderRevoke = "revoke-child"

// ChildRevokeRequest asks the admin socket to revoke a child: POST /node/child/revoke.
type ChildRevokeRequest struct {
	Child  string `json:"child"`             // Code, or level/code.
	DryRun bool   `json:"dry_run,omitempty"` // Say what would be, and change nothing.
}

// ChildRevokeReply says whom a revocation is about.
type ChildRevokeReply struct {
	Ref       division.Ref `json:"ref"`
	Name      string       `json:"name"`      // For people.
	Below     int          `json:"below"`     // So many divisions below it leave with it.
	Confirmed *time.Time   `json:"confirmed"` // Its figures stay as of then; null: it was never heard.
	DryRun    bool         `json:"dry_run"`
}

// FormerChild is a division that has left.
type FormerChild struct {
	Ref       division.Ref `json:"ref"`
	Name      string       `json:"name"` // For people.
	Left      time.Time    `json:"left"`
	Confirmed *time.Time   `json:"confirmed"` // Its figures are as of then.
}

// revokeHere has the child that a person named leave, and says whom that concerns.
func (n *Node) revokeHere(ctx context.Context, in ChildRevokeRequest) (ChildRevokeReply, error) {
	ref, err := division.ParseRef(in.Child)
	if err != nil {
		return ChildRevokeReply{}, exit.Usagef("%w", err)
	}
	out := ChildRevokeReply{Ref: ref, Name: division.FullName(ref), DryRun: in.DryRun}
	db := n.division()
	if db == nil {
		return out, errNotYet
	}
	if err := db.View(ctx, replication.Local, func(v *service.View) error {
		if err := readEnrolled(v, ref); err != nil {
			return err
		}
		fresh, err := federation.ReadFreshness(v, n.ref(), n.now())
		if f := fresh[ref]; f.Known {
			out.Confirmed = &f.AsOf
		}
		for other := range fresh {
			below, e := federation.Below(v, ref, other)
			if err = errors.Join(err, e); below && other != ref {
				out.Below++
			}
		}
		return err
	}); err != nil || in.DryRun {
		return out, err
	}
	return out, n.command(ctx, orderRevoke, childOrder{Ref: ref}, nil)
}

func readEnrolled(q service.Querier, ref division.Ref) error {
	_, err := federation.ReadChild(q, ref)
	if errors.Is(err, federation.ErrNoChild) {
		return enrol.Refuse(enrol.NoChild, called(ref))
	}
	return err
}

// revokeChild carries out orderRevoke. The child is told before its lines are closed, if there
// is a line: its own audit is to say so too.
func (n *Node) revokeChild(ctx context.Context, _ replication.NodeID, in json.RawMessage) (any, error) {
	var o childOrder
	if err := json.Unmarshal(in, &o); err != nil {
		return nil, err
	}
	r := federation.Revocation{Ref: o.Ref, Parent: n.ref(), At: n.now().UTC().Truncate(time.Microsecond)}
	if err := n.division().View(ctx, replication.Leader, func(v *service.View) error {
		if err := readEnrolled(v, o.Ref); err != nil {
			return err
		}
		fresh, err := federation.ReadFreshness(v, n.ref(), n.now())
		r.AsOf = fresh[o.Ref].AsOf.UTC()
		return err
	}); err != nil {
		return nil, err
	}
	letters, err := n.letters()
	if err == nil {
		r, err = letters.SignRevocation(r)
	}
	if err != nil {
		return nil, err
	}
	if err := n.fed.Farewell(ctx, r); err != nil {
		n.log.Info("a child that is revoked could not be told", "child", o.Ref.String(), "err", err)
	}
	return nil, n.division().Update(ctx, func(tx *service.Tx) error {
		if err := federation.RevokeChild(tx, r); errors.Is(err, federation.ErrNoChild) {
			return enrol.Refuse(enrol.NoChild, called(o.Ref))
		} else if err != nil {
			return err
		}
		return tx.Record(service.Event{What: "federation.child_revoked", Subject: o.Ref.String(), Who: operator})
	})
}

// readFormer returns the children that have left, in the order of their references.
func (n *Node) readFormer(q service.Querier) ([]FormerChild, error) {
	list := []FormerChild{}
	left, err := federation.ReadRevocations(q)
	for _, r := range left {
		if r.Parent != n.ref() {
			continue
		}
		one := FormerChild{Ref: r.Ref, Name: division.FullName(r.Ref), Left: r.At}
		if !r.AsOf.IsZero() {
			one.Confirmed = &r.AsOf
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b FormerChild) int { return cmp.Compare(a.Ref.String(), b.Ref.String()) })
	return list, err
}
