package node

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"tongban/federation"
	"tongban/node/exit"
	"tongban/node/join"
)

// QueueList is what waits in this division: GET /node/queue.
type QueueList struct {
	Queues []federation.Queue `json:"queues"`
}

// DeadList is what does not get on by itself: GET /node/queue/dead; with ?refused=1 also the
// mails that were sent back.
type DeadList struct {
	Dead []federation.DeadLetter `json:"dead"`
}

// RedriveRequest asks the admin socket to try dead letters anew: POST /node/queue/redrive.
type RedriveRequest struct {
	IDs []string `json:"ids,omitempty"`
	All bool     `json:"all,omitempty"` // All but the mails that were sent back.
}

// reasonNoDead: what is to be redriven is no dead letter, or is none any more.
const reasonNoDead join.Reason = "no_such_dead_letter"

// maxRedrive bounds the IDs of one RedriveRequest.
const maxRedrive = 1000

// queueAdmin adds the verbs about queues to what the admin socket serves.
func (n *Node) queueAdmin(mux *http.ServeMux) {
	mux.HandleFunc("GET /node/queue", func(rw http.ResponseWriter, r *http.Request) {
		out := QueueList{}
		fed, err := n.inTree()
		if err == nil {
			out.Queues, err = fed.Queues(r.Context())
		}
		n.replyQueue(rw, err, out)
	})
	mux.HandleFunc("GET /node/queue/dead", func(rw http.ResponseWriter, r *http.Request) {
		out := DeadList{}
		fed, err := n.inTree()
		if err == nil {
			out.Dead, err = fed.DeadLetters(r.Context(), r.URL.Query().Get("refused") != "")
		}
		n.replyQueue(rw, err, out)
	})
	handle(n, mux, "POST /node/queue/redrive", n.redrive)
}

// inTree is the division's part in the tree, once there is one.
func (n *Node) inTree() (*federation.Federation, error) {
	if n.division() == nil || n.wire() == nil { // The lines are opened last.
		return nil, errNotYet
	}
	return n.fed, nil
}

func (n *Node) replyQueue(rw http.ResponseWriter, err error, out any) {
	if errors.Is(err, federation.ErrUnreachable) {
		err = errNotYet
	}
	n.replyEnrol(rw, err, out)
}

func (n *Node) redrive(ctx context.Context, in RedriveRequest) (federation.Redriven, error) {
	switch {
	case in.All == (len(in.IDs) > 0):
		return federation.Redriven{}, exit.Usagef("say which dead letters, or --all of them")
	case len(in.IDs) > maxRedrive:
		return federation.Redriven{}, exit.Usagef("at most %d dead letters are redriven by one command", maxRedrive)
	}
	for _, id := range in.IDs {
		if federation.BadDeadID(id) {
			return federation.Redriven{}, exit.Usagef("%q names no dead letter; `tongban queue show` lists them", id)
		}
	}
	fed, err := n.inTree()
	if err != nil {
		return federation.Redriven{}, err
	}
	out, err := fed.Redrive(ctx, in.IDs, in.All)
	switch {
	case errors.Is(err, federation.ErrUnreachable):
		return out, &join.Refusal{Reason: join.Unavailable}
	case err != nil:
		return out, err
	case len(out.Unknown) > 0 && out.Rows+out.Mails+len(out.Still) == 0:
		return out, &join.Refusal{Reason: reasonNoDead, Detail: strings.Join(out.Unknown, ", ") + ": no dead letter has this name any more; see `tongban queue show`"}
	}
	return out, nil
}
