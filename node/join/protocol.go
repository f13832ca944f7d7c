package join

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"tongban/replication"
)

const (
	// version of the protocol; a node answers another one with Version.
	version = 1
	// MaxSkew is how far a joining box's clock may be off: certificates, sessions and
	// audit times tolerate so much.
	MaxSkew = time.Minute
)

// Peer is a node as others know it.
type Peer struct {
	ID        replication.NodeID `json:"id"`
	Address   string             `json:"address"`   // Node port.
	Web       string             `json:"web"`       // What people type.
	Recipient string             `json:"recipient"` // age recipient of its node key.
	// Certificates are the fingerprints of those that it is believed by; see tenancy.Node.
	Certificates string `json:"certificates,omitempty"`
}

// Request is what the box asks.
type Request struct {
	Version int       `json:"version"`
	Secret  string    `json:"secret"`
	Node    Peer      `json:"node"`
	Gossip  string    `json:"gossip"` // Address of its gossip port.
	CSR     []byte    `json:"csr"`
	Time    time.Time `json:"time"` // Clock of the box.
}

// TokenHash is the hash under which the division knows the request's token.
func (r Request) TokenHash() []byte { return hashSecret(r.Secret) }

// Answer is what a box needs to be a node.
type Answer struct {
	Code        string             `json:"code"`
	Level       string             `json:"level"`
	Node        replication.NodeID `json:"node"`        // As asked for, or the next free name.
	Certificate []byte             `json:"certificate"` // DER.
	Authority   []byte             `json:"authority"`   // DER.
	Sealed      []byte             `json:"sealed"`      // The authority's key, sealed to all nodes.
	Recovery    string             `json:"recovery"`    // Recipient of the recovery kit.
	GossipKey   []byte             `json:"gossip_key"`
	Peers       []Peer             `json:"peers"`  // All nodes, the new one too.
	Gossip      []string           `json:"gossip"` // Gossip addresses to try.
}

// Reason says why a division refuses a box.
type Reason string

// Reasons of refusal.
const (
	Unknown     Reason = "token_unknown"
	Used        Reason = "token_used"
	Expired     Reason = "token_expired"
	NameTaken   Reason = "name_taken"
	Clock       Reason = "clock"
	Malformed   Reason = "malformed"
	Version     Reason = "version"
	Unavailable Reason = "unavailable" // No leader for now.
	Internal    Reason = "internal"
)

// Refusal is a division's no.
type Refusal struct {
	Reason Reason `json:"reason"`
	Detail string `json:"detail,omitempty"`
}

// Error says what is wrong and what to do, to the operator of the new box.
func (r *Refusal) Error() string {
	texts := map[Reason]string{
		Unknown:     "the division does not know this token; copy it again, or run `tongban token` on a node for a new one",
		Used:        "this token was already used, and each is good for one box; run `tongban token` on a node for a new one",
		Expired:     "this token has expired; run `tongban token` on a node for a new one",
		NameTaken:   "another box of the division has this name; choose another with --node, or first run `tongban node remove` for a box that is gone",
		Clock:       "the clocks differ by more than a minute; set this box's clock",
		Malformed:   "the division could not read the request; do both boxes run the same version of tongban?",
		Version:     "the division speaks another version of the join protocol; install the version that its nodes run",
		Unavailable: "the division has no leader at the moment, nothing was changed; try again in a minute",
		Internal:    "the division's node met an error, see its log; try again with a new token",
	}
	text := texts[r.Reason]
	if text == "" { // A reason of somebody else's: its detail is the sentence.
		return cmp.Or(r.Detail, "the division refused: "+string(r.Reason))
	}
	if r.Detail != "" {
		text += " (" + r.Detail + ")"
	}
	return text
}

// Admit decides about a request. A *Refusal is told to the box; any other error is told
// as Internal.
type Admit func(ctx context.Context, r Request) (Answer, error)

type reply struct {
	Refusal *Refusal `json:"refusal,omitempty"`
	Answer  *Answer  `json:"answer,omitempty"`
}

// Serve answers one request on a connection of the join protocol and closes it. The
// returned error is for the log; it has no secret.
func Serve(ctx context.Context, conn net.Conn, now func() time.Time, admit Admit) error {
	var r Request
	return ServeExchange(ctx, conn, &r, func(ctx context.Context, unread error) (any, error) {
		if unread != nil {
			return reply{Refusal: &Refusal{Reason: Malformed}}, unread
		}
		answer, err := consider(ctx, r, now(), admit)
		if err == nil {
			return reply{Answer: &answer}, nil
		}
		var refusal *Refusal
		if !errors.As(err, &refusal) {
			refusal = &Refusal{Reason: Internal}
		}
		return reply{Refusal: refusal}, fmt.Errorf("admit node %s: %w", r.Node.ID, err)
	})
}

func consider(ctx context.Context, r Request, now time.Time, admit Admit) (Answer, error) {
	if r.Version != version {
		return Answer{}, &Refusal{Reason: Version, Detail: fmt.Sprintf("theirs %d, this box's %d", version, r.Version)}
	}
	if skew := now.Sub(r.Time); skew.Abs() > MaxSkew {
		return Answer{}, &Refusal{Reason: Clock, Detail: fmt.Sprintf("the division says %s, this box %s",
			now.UTC().Format(time.RFC3339), r.Time.UTC().Format(time.RFC3339))}
	}
	if !isHex(r.Secret, secretBytes) {
		return Answer{}, &Refusal{Reason: Unknown}
	}
	return admit(ctx, r)
}
