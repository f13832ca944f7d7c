package federation

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// Wire carries a request to a neighbour, the parent or a child, and its answer back. It is
// implemented by the node over package leaf, and in memory by simulations.
type Wire interface {
	// Call sends body and waits for the answer, at most MaxMessage bytes each, until ctx
	// ends. Errors: ErrUnreachable when there is no line; a *service.Error that the
	// neighbour answered with; anything else means that nobody knows whether it arrived.
	Call(ctx context.Context, to division.Ref, kind string, body []byte) ([]byte, error)
	// Connected reports whether a line to the neighbour is up, as far as this node knows.
	Connected(to division.Ref) bool
	// Changed returns a channel that is closed when what Connected says next changes.
	Changed() <-chan struct{}
}

// MaxMessage bounds a request and an answer of a Wire, bytes.
const MaxMessage = 1 << 20

// ErrUnreachable: there is no line to the neighbour now.
var ErrUnreachable = errors.New("federation: the neighbour cannot be reached now")

// Kinds of requests on a Wire.
const (
	KindFeed  = "feed"  // Rows of a feed, or the question how far they are; to the division's leader.
	KindMail  = "mail"  // A mail, to be relayed or received.
	KindTrust = "trust" // A child asks for its authority's certificate again; to the division's leader.
	// KindFarewell tells a child that it is revoked; to the division's leader.
	KindFarewell = "farewell"
)

// Letters seals and signs what crosses other divisions. It is implemented by the node.
type Letters interface {
	// Seal signs plain as this division and encrypts it for the division of the entry.
	Seal(to Entry, plain []byte) ([]byte, error)
	// Open decrypts, checks the signature up to the anchor of the tree, and says whose it is.
	Open(sealed []byte) (from division.Ref, plain []byte, err error)
	// Sign fills in the entry's Recipients, Chain and Signature; Check verifies one of another
	// division up to the anchor.
	Sign(e Entry) (Entry, error)
	Check(e Entry) error
	// SignRevocation fills in the revocation's Chain and Signature; CheckRevocation verifies
	// one of another division up to the anchor.
	SignRevocation(r Revocation) (Revocation, error)
	CheckRevocation(r Revocation) error
}

// Entry is a division's row of the directory, signed by its authority.
type Entry struct {
	Ref        division.Ref `json:"ref"`
	Parent     division.Ref `json:"parent"` // Zero: it is the anchor.
	Since      int64        `json:"since"`  // When it was enrolled there, by its own clock, µs since 1970: orders its entries after a move.
	Name       string       `json:"name"`
	Web        string       `json:"web"`        // URL of its portal.
	Epoch      string       `json:"epoch"`      // Of its division database: a new one after a restore.
	Recipients []string     `json:"recipients"` // age recipients of its nodes.
	Chain      [][]byte     `json:"chain"`      // DER; its authority first, the anchor last.
	Algorithm  string       `json:"algorithm"`  // Of the signature, such as "ecdsa-p256-sha256".
	Signature  []byte       `json:"signature"`
}

// Options are the parts of a Federation. A zero field takes the default stated beside it.
type Options struct {
	Self        division.Ref // Required.
	Site        service.Site // Required.
	Division    func() *service.DB
	Tenants     func() []service.Tenant
	Database    func(slug string) (service.Tenant, *service.DB, bool)
	Definitions func() []service.Definition // All services of the program: their feeds and mails.
	Wire        Wire                        // Required.
	Letters     Letters                     // Required.
	Trust       Trust                       // nil: certificates stay as they are, and none are signed.
	// Web is the URL of this division's portal now.
	Web func() string
	// Lead has the leader of a database, here or on another node, run Serve with the same
	// arguments. Errors as of Wire.Call; ErrUnreachable when nobody leads now.
	Lead func(ctx context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error)
	// Room reports whether the disk has room for rows of neighbours; the last of it is for
	// people. nil: it has.
	Room func() bool
	Now  service.Clock // time.Now; only for what is stored. Waiting uses package time.
	Log  *slog.Logger  // slog.Default().

	// Beat is how often a sender that has nothing to send asks how far its neighbour is, and
	// how often what was confirmed meanwhile is stored. BeatEvery; simulations of months take more.
	Beat time.Duration
	// Mutant switches off one safeguard of the feeds. Only tests of the tests set it.
	Mutant Mutant
}

// Federation is one division's part in the tree, on one of its nodes. It is safe for
// concurrent use.
type Federation struct {
	o     Options
	held  holds // Mails that wait here for a line.
	feeds *feeds
	asked chan struct{} // The parent wants this division to ask for its certificate.
	// redriven: mails of some department here are to be tried anew.
	redriven bell
}

// New returns a Federation; its work is done by the workers of Definition and by Receive.
func New(o Options) *Federation {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Room == nil {
		o.Room = func() bool { return true }
	}
	o.Beat = cmp.Or(o.Beat, BeatEvery)
	f := &Federation{o: o, asked: make(chan struct{}, 1)}
	f.feeds = newFeeds(f.ownFeeds(), o.Definitions)
	return f
}

// Receive answers a request that a neighbour sent over the wire to whichever node: it is
// handed to the leader whose database it concerns, or relayed.
func (f *Federation) Receive(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error) {
	switch kind {
	case KindFeed, KindTrust, KindFarewell:
		return f.o.Lead(ctx, divisionDatabase, kind, from, body)
	case KindMail:
		return f.receiveMail(ctx, from, body)
	}
	return nil, service.ErrInvalid.With("detail", "a request of an unknown kind: "+kind)
}

// Serve answers a request on the leader of the database that it concerns.
func (f *Federation) Serve(ctx context.Context, id replication.DatabaseID, kind string, from division.Ref, body []byte) ([]byte, error) {
	switch kind {
	case KindFeed:
		return f.serveFeed(ctx, from, body)
	case KindMail:
		return f.serveMail(ctx, id, from, body)
	case KindTrust:
		return f.serveTrust(ctx, from, body)
	case KindFarewell:
		return nil, f.serveFarewell(ctx, from, body)
	case kindRedrive:
		if from == f.o.Self { // Of this division's own operators.
			return f.serveRedrive(ctx, id, body)
		}
	}
	return nil, service.ErrInvalid.With("detail", "a request of an unknown kind: "+kind)
}

// divisionDatabase is the ID of every division's own database.
const divisionDatabase = replication.DatabaseID("_division/main")
