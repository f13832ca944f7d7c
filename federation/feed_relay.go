package federation

import (
	"errors"
	"fmt"
	"strings"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// tellOn tells on a row that is not this program's to fold, as it is. Nobody here knows what
// is in it, but its key begins with the division that it speaks of (see service.Feed), and a
// child may speak only of itself and of what is below it: else one could put rows in the
// place of another's, or of this division's own.
func (f *Federation) tellOn(tx *service.Tx, from division.Ref, s service.Stream, r service.FeedRow) error {
	key, err := f.relayKey(tx, from, s, r)
	if err == nil && key != "" {
		err = tx.PublishTo(s, r.Feed, key, r.Format, r.Payload)
	}
	if err == nil || ofMachine(err) {
		return err
	}
	return &foldError{r.Feed, err}
}

// relayKey is under which key a row is told on; empty: it is gone, and not this child's to
// take back any more.
func (f *Federation) relayKey(q service.Querier, from division.Ref, s service.Stream, r service.FeedRow) (string, error) {
	if s != service.Up {
		return r.Key, nil
	}
	of, rest, _ := strings.Cut(r.Key, "|")
	if of == "" {
		return from.String() + "|" + rest, nil // It has left its own name out.
	}
	ref, err := division.ParseRef(of)
	if err != nil {
		return "", fmt.Errorf("the key %.80q names no division: %w", r.Key, err)
	}
	via, known, err := viaOf(q, ref)
	switch {
	case err != nil:
		return "", err
	case ref == from || known && via == from || !known && ref != f.o.Self:
		return r.Key, nil // Unknown: its entry may be one of those that this program cannot read.
	case len(r.Payload) > 0:
		return "", fmt.Errorf("%s tells of %s, which is not below it as far as the directory knows", from, ref)
	}
	var left bool // Told by it, before the division went to another, who has not told it.
	err = q.QueryRow(`SELECT count(*) = 1 AND max(neighbour) = ?1 FROM federation_row
		WHERE neighbour IN (?1, ?2) AND feed = ?3 AND key = ?4`, from.String(), via.String(), r.Feed, r.Key).Scan(&left)
	if err != nil || !left {
		return "", err
	}
	return r.Key, nil
}

// relays reports whether rows of the neighbour were told on that this program did not know.
func relays(q service.Querier, from division.Ref) (yes bool, err error) {
	err = q.QueryRow(`SELECT EXISTS (SELECT 1 FROM federation_row INDEXED BY federation_row_state
		WHERE state <> 'folded' AND state = 'newer' AND neighbour = ?)`, from.String()).Scan(&yes)
	if err != nil {
		return false, fmt.Errorf("read whether rows of %s wait: %w", from, err)
	}
	return yes, nil
}

// retract takes back what was told on of a key while this program did not know it.
func (f *Federation) retract(tx *service.Tx, from division.Ref, s service.Stream, r service.FeedRow) error {
	var state string
	err := tx.QueryRow(`SELECT state FROM federation_row WHERE neighbour = ? AND feed = ? AND key = ?`,
		from.String(), r.Feed, r.Key).Scan(&state)
	if errors.Is(err, replication.ErrNoRows) || err == nil && state != stateNewer {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what was told on of %s: %w", from, err)
	}
	r.Payload = nil
	key, err := f.relayKey(tx, from, s, r)
	if err != nil || key == "" {
		return err
	}
	return tx.PublishTo(s, r.Feed, key, r.Format, nil)
}
