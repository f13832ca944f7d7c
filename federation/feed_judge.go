package federation

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// Refusals of a feed's receiver.
var (
	// ErrStranger: rows are taken from the parent and from active children, each in its
	// direction.
	ErrStranger = service.Refuse(service.Forbidden, "federation.stranger")
	// ErrHeld: two show the identity of this neighbour, or an operator closed its lines.
	ErrHeld = service.Refuse(service.Forbidden, "federation.held")
	// ErrFull: the disk has no room for rows of neighbours.
	ErrFull = service.Refuse(service.Unprocessable, "federation.full")
)

// received is a row of federation_received.
type received struct {
	known   bool
	epoch   string
	version int64
	token   string
	before  string
	scan    bool
	mine    string
	mark    int64
	held    bool
}

func readReceived(q service.Querier, from division.Ref) (received, error) {
	r := received{known: true}
	err := q.QueryRow(`SELECT epoch, version, token, before, scan, mine, mark, held
		FROM federation_received WHERE neighbour = ?`, from.String()).Scan(
		&r.epoch, &r.version, &r.token, &r.before, &r.scan, &r.mine, &r.mark, &r.held)
	if errors.Is(err, replication.ErrNoRows) {
		return received{}, nil
	}
	if err != nil {
		return r, fmt.Errorf("read how far %s is: %w", from, err)
	}
	return r, nil
}

// write stores r, and leaves the confirmation as it is.
func (r received) write(tx *service.Tx, from division.Ref, s service.Stream) error {
	if err := tx.Exec(`INSERT INTO federation_received (neighbour, stream, epoch, version, token, before, scan, mine, mark, held)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (neighbour) DO UPDATE SET stream = excluded.stream, epoch = excluded.epoch,
			version = excluded.version, token = excluded.token, before = excluded.before, scan = excluded.scan,
			mine = excluded.mine, mark = excluded.mark, held = excluded.held`,
		from.String(), string(s), r.epoch, r.version, r.token, r.before, r.scan, r.mine, r.mark, r.held); err != nil {
		return fmt.Errorf("store how far %s is: %w", from, err)
	}
	return nil
}

// verdict is what an offer is, seen from what was received before.
type verdict int

const (
	takes  verdict = iota // Its sender has our newest token: rows may be taken.
	proves                // It may be late on the wire: its sender must show that it lives.
	lost                  // It lives, and the answer with our newest token did not reach it.
	begins                // It lives, and all of its rows are to come anew.
	copied                // It lives, and is not the one that we have gone on with.
)

// judge decides what an offer is. Only an offer with the newest token, or one whose sender
// answers what it was asked just now, changes anything: whatever the wire has kept back or
// doubled has an older token, and no such proof. See DESIGN.md.
func judge(q service.Querier, r received, from division.Ref, o offer, mine string) (verdict, error) {
	demanded := r.token != "" && r.mine == mine // Not after our own restore, and not once forgiven.
	lives := o.Proof == r.proof(from, o.Epoch, mine)
	if r.known && demanded && o.Epoch == r.epoch && o.Token == r.token && o.Head >= r.version {
		return takes, nil
	}
	if !lives {
		return proves, nil
	}
	if r.known && demanded && o.Epoch == r.epoch {
		if o.Token == r.before && o.Head >= r.version {
			return lost, nil
		}
		return copied, nil
	}
	var retired int
	err := q.QueryRow(`SELECT count(*) FROM federation_retired WHERE neighbour = ? AND epoch = ?`,
		from.String(), o.Epoch).Scan(&retired)
	if err != nil {
		return proves, fmt.Errorf("read the former epochs of %s: %w", from, err)
	}
	if retired > 0 {
		return copied, nil
	}
	return begins, nil
}

// proof is what the sender must show now; it changes with whatever a proof has led to.
func (r received) proof(from division.Ref, epoch, mine string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "tongban feed proof 1\n%s\n%s\n%s\n%s\n%d\n%s", from, r.epoch, r.token, mine, r.mark, epoch))
	return hex.EncodeToString(sum[:8])
}

// begin is r when all rows of epoch are to come anew.
func (r received) begin(epoch, token, mine string) received {
	return received{known: true, epoch: epoch, token: token, mine: mine, scan: true, mark: r.mark + 1}
}

// admit refuses whoever may not send rows in that direction.
func admit(q service.Querier, r received, from division.Ref, s service.Stream) error {
	switch s {
	case service.Up:
		c, err := ReadChild(q, from)
		if errors.Is(err, ErrNoChild) {
			return ErrStranger
		}
		if err != nil {
			return err
		}
		if c.State != Active {
			return ErrHeld.With("reason", c.Reason)
		}
		return nil
	case service.Down:
		p, ok, err := ReadParent(q)
		switch {
		case err != nil:
			return err
		case !ok || p.Ref != from:
			return ErrStranger
		case r.held:
			return ErrHeld.With("reason", HeldDuplicate)
		}
		return nil
	}
	return ErrStranger
}

// hold closes the lines to a neighbour of whose identity there are two.
func hold(tx *service.Tx, r received, from division.Ref, s service.Stream) error {
	if err := tx.Record(service.Event{What: "federation.held", Subject: from.String(), Who: worker,
		Detail: map[string]string{"reason": HeldDuplicate}}); err != nil {
		return err
	}
	if s == service.Up {
		return HoldChild(tx, from, HeldDuplicate)
	}
	r.held = true
	return r.write(tx, from, s)
}

// FreeParent takes rows of the parent again after two had shown its identity, all of them
// anew from the one that comes next.
func FreeParent(tx *service.Tx, parent division.Ref) error {
	if err := tx.Exec(`UPDATE federation_received SET held = 0 WHERE neighbour = ?`, parent.String()); err != nil {
		return fmt.Errorf("free the parent %s: %w", parent, err)
	}
	return forgive(tx, parent)
}

// worker is whom the audit names for what the feeds' workers do.
var worker = service.Principal{Kind: service.System, Account: "worker:federation.feeds", Name: "federation"}
