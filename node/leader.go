package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tongban/node/join"
	"tongban/replication"
	"tongban/service"
)

// What changes the division's own records (nodes, tokens, secrets) runs at the leader of
// the division database: here, or over the node port as POST /node/<name>.
const (
	orderAdmit   = "admit"   // A box wants to join.
	orderToken   = "token"   // A token was minted.
	orderRemove  = "remove"  // A node leaves for good.
	orderMove    = "move"    // A node has new addresses.
	orderFound   = "found"   // The first node brings what init made.
	orderBackup  = "backup"  // A backup was made.
	orderCertify = "certify" // A node needs its next certificate.
)

const (
	// leaderPatience is how long an order waits for a leader.
	leaderPatience = 10 * time.Second
	leaderPause    = 50 * time.Millisecond
	// maxOrder bounds an order and its answer, bytes.
	maxOrder = 256 << 10
)

// order is one kind of change. from is the node that asks, verified.
type order func(ctx context.Context, from replication.NodeID, in json.RawMessage) (any, error)

func (n *Node) orders() map[string]order {
	return n.withEnrolment(map[string]order{
		orderAdmit: n.admit, orderToken: n.mintToken, orderRemove: n.removeNode,
		orderMove: n.moveNode, orderFound: n.enterFounding,
		orderBackup: n.noteBackup, orderCertify: n.certify,
	})
}

// verdict is an order's answer on the wire.
type verdict struct {
	Out     json.RawMessage `json:"out,omitempty"`
	Refusal *join.Refusal   `json:"refusal,omitempty"`
	Retry   bool            `json:"retry,omitempty"` // Not applied: this node does not lead.
}

// command has the division's leader carry out an order, and decodes its answer into out.
// It waits while there is no leader. Refusals are *join.Refusal; when nobody leads in
// time, its reason is Unavailable. An order that may have been applied is not repeated.
func (n *Node) command(ctx context.Context, name string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	for {
		v, err := n.tryCommand(ctx, name, body)
		switch {
		case err != nil:
			return err
		case v.Refusal != nil:
			return v.Refusal
		case !v.Retry && out == nil:
			return nil
		case !v.Retry:
			return json.Unmarshal(v.Out, out)
		}
		select {
		case <-ctx.Done():
			return &join.Refusal{Reason: join.Unavailable}
		case <-time.After(leaderPause):
		}
	}
}

func (n *Node) tryCommand(ctx context.Context, name string, body []byte) (verdict, error) {
	db := n.division()
	if db == nil {
		return verdict{Retry: true}, nil
	}
	leader, ok := db.Leader()
	switch {
	case !ok:
		return verdict{Retry: true}, nil
	case leader == n.cfg.Node:
		return n.carryOut(ctx, name, n.cfg.Node, body)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://node/node/"+name, bytes.NewReader(body))
	if err != nil {
		return verdict{}, err
	}
	response, err := n.Forward(ctx, leader, r)
	if errors.Is(err, errUnreachable) {
		return verdict{Retry: true}, nil
	}
	if err != nil {
		return verdict{}, fmt.Errorf("ask the leader %s: %w", leader, err)
	}
	defer response.Body.Close()
	var v verdict
	if err := json.NewDecoder(io.LimitReader(response.Body, maxOrder)).Decode(&v); err != nil {
		return verdict{}, fmt.Errorf("ask the leader %s: %w", leader, err)
	}
	return v, nil
}

// carryOut runs an order on this node.
func (n *Node) carryOut(ctx context.Context, name string, from replication.NodeID, body []byte) (verdict, error) {
	do, ok := n.orders()[name]
	if !ok {
		return verdict{Refusal: &join.Refusal{Reason: join.Version, Detail: name}}, nil
	}
	n.mu.RLock()
	tree := n.tree
	n.mu.RUnlock()
	if err := tree.ReadyDivision(ctx); err != nil { // It leads, but its tables are not all there yet.
		return verdict{Retry: true}, nil
	}
	out, err := do(ctx, from, body)
	var refusal *join.Refusal
	switch {
	case errors.Is(err, replication.ErrNotLeader), errors.Is(err, replication.ErrOverloaded), errors.Is(err, errNotYet):
		return verdict{Retry: true}, nil
	case errors.As(err, &refusal):
		return verdict{Refusal: refusal}, nil
	case err != nil:
		return verdict{}, err
	}
	v := verdict{}
	v.Out, err = json.Marshal(out)
	return v, err
}

// serveOrder is POST /node/{order} of the node port.
func (n *Node) serveOrder(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxOrder))
	if err != nil {
		http.Error(rw, "the order is too large", http.StatusRequestEntityTooLarge)
		return
	}
	db := n.division()
	if db == nil || !db.IsLeader() {
		writeJSON(rw, http.StatusOK, verdict{Retry: true})
		return
	}
	v, err := n.carryOut(r.Context(), r.PathValue("order"), peerOf(r), body)
	if err != nil {
		n.log.Error("carry out an order", "order", r.PathValue("order"), "node", peerOf(r), "err", err)
		v = verdict{Refusal: &join.Refusal{Reason: join.Internal}}
	}
	writeJSON(rw, http.StatusOK, v)
}

// operator is whom the audit names for what is done by command.
var operator = service.Principal{Kind: service.Operator, Account: "operator", Name: "operator"}

func (n *Node) system() service.Principal {
	return service.Principal{Kind: service.System, Account: "node:" + string(n.cfg.Node), Name: "node"}
}

func writeJSON(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v) // The client went away: nobody to tell.
}
