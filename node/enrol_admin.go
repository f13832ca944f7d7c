package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// ChildList is the children, who waits to be one, and the tokens that were not used: GET
// /node/child.
type ChildList struct {
	Children []ChildStatus       `json:"children"`
	Waiting  []ChildWaiting      `json:"waiting"`
	Tokens   []ChildTokenStatus  `json:"tokens"`
	Former   []FormerChild       `json:"former"`   // That have left.
	Approval federation.Approval `json:"approval"` // The policy.
}

// ChildStatus is about one child.
type ChildStatus struct {
	Ref       division.Ref     `json:"ref"`
	Name      string           `json:"name"` // For people.
	State     federation.State `json:"state"`
	Reason    string           `json:"reason,omitempty"` // Of a hold: "duplicate", "operator".
	Since     time.Time        `json:"since"`
	Confirmed *time.Time       `json:"confirmed"` // Its figures are as of then; null: nothing was received yet.
	Age       *int64           `json:"age_s"`
	Silent    bool             `json:"silent"`    // It has not been heard of as it should.
	Connected bool             `json:"connected"` // One of this division's nodes has a line to it.
}

// ChildTokenStatus is about a token that was not used yet; the token itself is not kept.
type ChildTokenStatus struct {
	ID      string       `json:"id"`
	Ref     division.Ref `json:"ref"`
	Name    string       `json:"name"`
	Created time.Time    `json:"created"`
	Expires time.Time    `json:"expires"`
	Replace bool         `json:"replace"`
}

// ChildRequest asks the admin socket to hold or free a child: POST /node/child/hold, /free.
type ChildRequest struct {
	Child string `json:"child"` // Code, or level/code.
}

// ParentStatus is about the division at which this one is enrolled: GET /node/parent.
type ParentStatus struct {
	Enrolled bool         `json:"enrolled"` // false: there is none, and all else is empty.
	Ref      division.Ref `json:"ref"`
	Name     string       `json:"name"` // For people.
	Since    time.Time    `json:"since,omitzero"`
	Links    []string     `json:"links"`
	Fixed    bool         `json:"fixed"`              // The links were given by command.
	DNSName  string       `json:"dns_name"`           // Of this division, along the tree.
	NotAfter time.Time    `json:"not_after,omitzero"` // End of the certificate of this division's authority.
	Held     bool         `json:"held"`               // Two show the parent's identity; nothing is taken from it.
	Left     *time.Time   `json:"left"`               // The parent has revoked this division then; null: not that it is known here.
	// Connected says that one of this division's nodes has a line to the parent, Here that it
	// is this one.
	Connected bool `json:"connected"`
	Here      bool `json:"here"`
}

// enrolAdmin adds the verbs of enrolment to what the admin socket serves.
func (n *Node) enrolAdmin(mux *http.ServeMux) {
	handle(n, mux, "POST /node/child/token", n.mintChildToken)
	handle(n, mux, "POST /node/child/tokens", n.mintChildTokens)
	handle(n, mux, "POST /node/enrol", n.enrolHere)
	handle(n, mux, "POST /node/enrol/request", n.enrolRequest)
	handle(n, mux, "POST /node/enrol/reply", n.enrolReply)
	handle(n, mux, "POST /node/child/answer", n.answerChild)
	handle(n, mux, "POST /node/child/approve", func(ctx context.Context, in ChildApproval) (ChildApproved, error) {
		return n.judgeChildren(ctx, in, false)
	})
	handle(n, mux, "POST /node/child/refuse", func(ctx context.Context, in ChildApproval) (ChildApproved, error) {
		return n.judgeChildren(ctx, in, true)
	})
	handle(n, mux, "POST /node/child/policy", n.setChildPolicy)
	handle(n, mux, "POST /node/child/hold", func(ctx context.Context, in ChildRequest) (ChildStatus, error) {
		return n.orderChild(ctx, orderHold, in)
	})
	handle(n, mux, "POST /node/child/free", func(ctx context.Context, in ChildRequest) (ChildStatus, error) {
		return n.orderChild(ctx, orderFree, in)
	})
	handle(n, mux, "POST /node/child/revoke", n.revokeHere)
	mux.HandleFunc("GET /node/child", func(rw http.ResponseWriter, r *http.Request) {
		out, err := n.listChildren(r.Context())
		n.replyEnrol(rw, err, out)
	})
	mux.HandleFunc("GET /node/parent", func(rw http.ResponseWriter, r *http.Request) {
		out, err := n.parentStatus(r.Context())
		n.replyEnrol(rw, err, out)
	})
	mux.HandleFunc("POST /node/parent/free", func(rw http.ResponseWriter, r *http.Request) {
		err := n.command(r.Context(), orderFreeParent, nil, nil)
		var out ParentStatus
		if err == nil {
			out, err = n.parentStatus(r.Context())
		}
		n.replyEnrol(rw, err, out)
	})
}

// handle serves a verb whose request and answer are JSON.
func handle[In, Out any](n *Node, mux *http.ServeMux, pattern string, do func(context.Context, In) (Out, error)) {
	mux.HandleFunc(pattern, func(rw http.ResponseWriter, r *http.Request) {
		var in In
		if err := json.NewDecoder(http.MaxBytesReader(rw, r.Body, maxOrder)).Decode(&in); err != nil {
			problem(rw, http.StatusBadRequest, "malformed", "the request is no JSON")
			return
		}
		out, err := do(r.Context(), in)
		n.replyEnrol(rw, err, out)
	})
}

// replyEnrol is reply for errors that have an exit code, and those of the protocol.
func (n *Node) replyEnrol(rw http.ResponseWriter, err error, out any) {
	var coded *exit.Error
	var refusal *join.Refusal
	switch {
	case errors.Is(err, errNotYet):
		problem(rw, http.StatusServiceUnavailable, "starting", "the node is still starting; try again in a moment")
	case errors.As(err, &refusal) && refusal.Reason == enrol.NoChild:
		problem(rw, http.StatusNotFound, string(refusal.Reason), refusal.Error())
	case errors.As(err, &refusal) && refusal.Reason == enrol.Waiting:
		problem(rw, http.StatusServiceUnavailable, string(refusal.Reason), refusal.Error())
	case errors.As(err, &refusal):
		n.reply(rw, refusal, out)
	case errors.As(err, &coded) && coded.Code == exit.Usage:
		problem(rw, http.StatusBadRequest, "usage", coded.Error())
	case errors.As(err, &coded) && coded.Code == exit.Temporary:
		problem(rw, http.StatusServiceUnavailable, "unreachable", coded.Error())
	default:
		n.reply(rw, err, out)
	}
}

func (n *Node) listChildren(ctx context.Context) (ChildList, error) {
	list := ChildList{Children: []ChildStatus{}, Waiting: []ChildWaiting{}, Tokens: []ChildTokenStatus{}, Former: []FormerChild{}}
	db := n.division()
	if db == nil {
		return list, errNotYet
	}
	now := n.now()
	err := db.View(ctx, replication.Local, func(v *service.View) error {
		children, err := federation.ReadChildren(v)
		if err != nil {
			return err
		}
		fresh, err := federation.ReadFreshness(v, n.ref(), now)
		if err != nil {
			return err
		}
		tokens, err := federation.ReadTokens(v)
		if err != nil {
			return err
		}
		if list.Former, err = n.readFormer(v); err != nil {
			return err
		}
		for _, c := range children {
			list.Children = append(list.Children, childStatus(c, fresh[c.Ref], now))
		}
		wait, err := federation.ReadWaiting(v)
		if err != nil {
			return err
		}
		for _, t := range wait {
			list.Waiting = append(list.Waiting, waiting(t))
		}
		if list.Approval, err = federation.ReadApproval(v); err != nil {
			return err
		}
		for _, t := range tokens {
			if now.Before(t.Expires) && !t.Waits() {
				list.Tokens = append(list.Tokens, ChildTokenStatus{ID: t.ID, Ref: t.Ref, Name: division.FullName(t.Ref),
					Created: t.Created, Expires: t.Expires, Replace: t.Replace})
			}
		}
		return nil
	})
	if l := n.wire(); err == nil && len(list.Children) > 0 && l != nil {
		others := l.ofOthers(ctx)
		for i, c := range list.Children {
			list.Children[i].Connected = l.leaf.Connected(c.Ref) || len(others[c.Ref]) > 0
		}
	}
	return list, err
}

func (n *Node) parentStatus(ctx context.Context) (ParentStatus, error) {
	db := n.division()
	if db == nil {
		return ParentStatus{}, errNotYet
	}
	s := ParentStatus{Links: []string{}}
	err := db.View(ctx, replication.Local, func(v *service.View) error {
		p, enrolled, err := federation.ReadParent(v)
		if err != nil || !enrolled {
			return err
		}
		held, err := federation.ParentHeld(v, p.Ref)
		if err != nil {
			return err
		}
		chain, err := trust.ParseChain(p.Chain)
		if err != nil || len(chain) == 0 {
			return errors.Join(err, errNotYet)
		}
		revoked, err := federation.ReadRevocations(v)
		if err != nil {
			return err
		}
		var left *time.Time
		if r, ok := revoked[n.ref()]; ok {
			left = &r.At
		}
		named, err := trust.Named(chain[0])
		s = ParentStatus{Enrolled: true, Ref: p.Ref, Name: division.FullName(p.Ref), Since: p.Enrolled, Links: p.Links,
			Fixed: p.Fixed, DNSName: named.DNS(), NotAfter: chain[0].NotAfter, Held: held, Left: left}
		return err
	})
	if l := n.wire(); err == nil && s.Enrolled && l != nil {
		s.Here = l.leaf.Connected(s.Ref)
		s.Connected = s.Here || len(l.ofOthers(ctx)[s.Ref]) > 0
	}
	return s, err
}

// newFor is how long a child that was enrolled may take until it is heard first: two
// nodes get certificates, find each other, and tell for the first time.
const newFor = 2 * time.Minute

func childStatus(c federation.Child, f federation.Freshness, now time.Time) ChildStatus {
	s := ChildStatus{Ref: c.Ref, Name: division.FullName(c.Ref), State: c.State, Reason: c.Reason, Since: c.Enrolled,
		Silent: f.Silent && (f.Known || now.Sub(c.Enrolled) > newFor)}
	if f.Known {
		age := int64(max(0, now.Sub(f.AsOf)).Seconds())
		s.Confirmed, s.Age = &f.AsOf, &age
	}
	return s
}

// orderChild holds or frees the child that a person named, and says how it stands then.
func (n *Node) orderChild(ctx context.Context, order string, in ChildRequest) (ChildStatus, error) {
	ref, err := division.ParseRef(in.Child)
	if err != nil {
		return ChildStatus{}, exit.Usagef("%w", err)
	}
	if err := n.command(ctx, order, childOrder{Ref: ref}, nil); err != nil {
		return ChildStatus{}, err
	}
	s := ChildStatus{Ref: ref, Name: division.FullName(ref), State: federation.Active}
	if order == orderHold {
		s.State, s.Reason = federation.Held, federation.HeldOperator
	}
	return s, nil
}

// enrolAsked answers a request of the node port's enrolment protocol.
func (n *Node) enrolAsked(ctx context.Context, request enrol.Document) (answer enrol.Document, err error) {
	var done enrolDone
	if err = n.command(ctx, orderEnrol, enrolOrder{Request: request}, &done); err != nil {
		return answer, fmt.Errorf("carry out an enrolment: %w", err)
	}
	return done.Answer, nil
}
