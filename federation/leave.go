package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// ErrLeft: the division, or one that it is below of, has left the tree for good.
var ErrLeft = errors.New("federation: this division has left the tree")

// Revocation says that a child has left for good: no letter of it, or of what is below it, is
// believed any more, and nothing of it is taken. Its parent signs it. It counts as long as the
// directory has the division below that parent, or not at all; enrolling it again takes it back.
type Revocation struct {
	Ref       division.Ref `json:"ref"`
	Parent    division.Ref `json:"parent"`
	At        time.Time    `json:"at"`
	AsOf      time.Time    `json:"as_of"` // Its figures are as of then; zero: it was never heard.
	Chain     [][]byte     `json:"chain"` // DER; the parent's authority first, the anchor last.
	Algorithm string       `json:"algorithm"`
	Signature []byte       `json:"signature"`
}

// RevokeChild ends a child for good, as r says, which this division has signed: it is no child
// any more, its tokens are void, and the tree is told. What it has told stays. It returns
// ErrNoChild.
func RevokeChild(tx *service.Tx, r Revocation) error {
	if err := tx.Exec(`DELETE FROM federation_token WHERE ref = ?`, r.Ref.String()); err != nil {
		return fmt.Errorf("drop the tokens for %s: %w", r.Ref, err) // Those that were used too: who asks again must not be answered as before.
	}
	if err := change(tx, r.Ref, `DELETE FROM federation_child WHERE ref = ?`, r.Ref.String()); err != nil {
		return err
	}
	payload, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := enterRevocation(tx, r, "", payload); err != nil {
		return err
	}
	return tellRevocation(tx, r.Ref, payload, service.Up, service.Down)
}

// readmit takes back that a child had left, once it is enrolled again.
func readmit(tx *service.Tx, ref division.Ref) error {
	done, err := tx.ExecResult(`DELETE FROM federation_revocation WHERE ref = ?`, ref.String())
	if err != nil {
		return fmt.Errorf("readmit %s: %w", ref, err)
	}
	if done.RowsAffected == 0 {
		return nil
	}
	return tellRevocation(tx, ref, nil, service.Up, service.Down)
}

func enterRevocation(tx *service.Tx, r Revocation, via string, payload []byte) error {
	var asOf *time.Time
	if !r.AsOf.IsZero() {
		asOf = &r.AsOf
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO federation_revocation (ref, parent, at, as_of, row, via) VALUES (?, ?, ?, ?, ?, ?)`,
		r.Ref.String(), r.Parent.String(), r.At, asOf, string(payload), via); err != nil {
		return fmt.Errorf("enter that %s has left: %w", r.Ref, err)
	}
	return nil
}

func tellRevocation(tx *service.Tx, ref division.Ref, payload []byte, streams ...service.Stream) error {
	for _, s := range streams {
		if err := tx.PublishTo(s, feedRevoked, ref.String(), 1, payload); err != nil {
			return err
		}
	}
	return nil
}

// countsLeft is the condition under which a revocation v counts.
const countsLeft = `NOT EXISTS (SELECT 1 FROM federation_directory d WHERE d.ref = v.ref AND d.parent <> v.parent)`

// ReadRevocations returns the divisions that have left, as far as this one was told and
// nothing newer contradicts.
func ReadRevocations(q service.Querier) (map[division.Ref]Revocation, error) {
	rows, err := q.Query(`SELECT row FROM federation_revocation v WHERE ` + countsLeft + ` ORDER BY ref`)
	if err != nil {
		return nil, fmt.Errorf("read who has left: %w", err)
	}
	defer rows.Close()
	out := map[division.Ref]Revocation{}
	for rows.Next() {
		var text string
		var r Revocation
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			return nil, fmt.Errorf("read a revocation: %w", err)
		}
		out[r.Ref] = r
	}
	return out, rows.Err()
}

// HasLeft reports whether a division, or one between it and self, has left the tree. Cost: two
// lookups for each level.
func HasLeft(q service.Querier, self, ref division.Ref) (bool, error) {
	for range maxDepth {
		if ref == self || ref.IsZero() {
			return false, nil
		}
		var left bool
		var parent division.Ref
		err := q.QueryRow(`SELECT EXISTS (SELECT 1 FROM federation_revocation v WHERE v.ref = ? AND `+countsLeft+`)`, ref.String()).Scan(&left)
		if err != nil {
			return false, fmt.Errorf("read whether %s has left: %w", ref, err)
		}
		if left {
			return true, nil
		}
		err = scanRefs(q.QueryRow(`SELECT parent FROM federation_directory WHERE ref = ?`, ref.String()), &parent)
		if errors.Is(err, replication.ErrNoRows) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("read the parent of %s: %w", ref, err)
		}
		ref = parent
	}
	return false, nil
}

// feedRevoked carries revocations up to the anchor and down to every division, before all
// else. Key: reference.
const feedRevoked = "federation.revoked"

// foldRevokedUp takes what a child tells of divisions that were below it.
func (f *Federation) foldRevokedUp(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	for _, row := range rows {
		err := f.foldRevoked(tx, from, row, service.Up, service.Down)
		if err != nil {
			return err
		}
	}
	return nil
}

// foldRevokedDown takes what the parent tells of all others.
func (f *Federation) foldRevokedDown(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	for _, row := range rows {
		err := f.foldRevoked(tx, from, row, service.Down)
		if err != nil {
			return err
		}
	}
	return nil
}

// foldRevoked enters a revocation and tells it on into the streams. What this division or a
// child of it says of its own is not for the parent to change.
func (f *Federation) foldRevoked(tx *service.Tx, from division.Ref, row service.FeedRow, streams ...service.Stream) error {
	ref, err := division.ParseRef(row.Key)
	if err != nil {
		return err
	}
	var had, via string
	err = tx.QueryRow(`SELECT row, via FROM federation_revocation WHERE ref = ?`, row.Key).Scan(&had, &via)
	known := err == nil
	if err != nil && !errors.Is(err, replication.ErrNoRows) {
		return fmt.Errorf("read whether %s has left: %w", ref, err)
	}
	if len(row.Payload) == 0 {
		if !known || via != from.String() {
			return nil
		}
		if err := tx.Exec(`DELETE FROM federation_revocation WHERE ref = ?`, row.Key); err != nil {
			return fmt.Errorf("enter that %s is back: %w", ref, err)
		}
		return tellRevocation(tx, ref, nil, streams...)
	}
	r, err := f.openRevocation(ref, row.Payload)
	if err != nil {
		return err
	}
	if len(streams) > 1 { // Of a child.
		if below, err := Below(tx, from, r.Parent); err != nil || !below {
			return errors.Join(err, fmt.Errorf("%s tells what %q says, which is not below it as far as the directory knows", from, r.Parent))
		}
	} else if own, err := f.ownSide(tx, r.Parent); err != nil || own {
		return err
	}
	if known && had == string(row.Payload) && via == from.String() {
		return nil
	}
	if !known {
		if err := hasRoom(tx); err != nil {
			return err
		}
	}
	if err := enterRevocation(tx, r, from.String(), row.Payload); err != nil {
		return err
	}
	return tellRevocation(tx, ref, row.Payload, streams...)
}

// ownSide reports whether a division is this one or below it.
func (f *Federation) ownSide(q service.Querier, ref division.Ref) (bool, error) {
	if ref == f.o.Self {
		return true, nil
	}
	via, known, err := viaOf(q, ref)
	if err != nil || !known || via.IsZero() {
		return false, err
	}
	_, err = ReadChild(q, via)
	if errors.Is(err, ErrNoChild) {
		return false, nil
	}
	return err == nil, err
}

func (f *Federation) openRevocation(ref division.Ref, payload []byte) (Revocation, error) {
	var r Revocation
	if len(payload) > maxEntry {
		return r, fmt.Errorf("the revocation of %s has %d bytes; at most %d are kept", ref, len(payload), maxEntry)
	}
	if err := json.Unmarshal(payload, &r); err != nil {
		return r, fmt.Errorf("read the revocation of %s: %w", ref, err)
	}
	if r.Ref != ref || r.Parent == ref {
		return r, fmt.Errorf("the revocation of %s is one of %s by %s", ref, r.Ref, r.Parent)
	}
	if err := f.o.Letters.CheckRevocation(r); err != nil {
		return r, fmt.Errorf("check the revocation of %s: %w", ref, err)
	}
	return r, nil
}

// farewellTimeout bounds telling a child that it is revoked, before its lines are closed.
const farewellTimeout = 2 * time.Second

// Farewell tells a child, if there is a line to it, that it is about to be revoked, so that its
// own records say so too.
func (f *Federation) Farewell(ctx context.Context, r Revocation) error {
	payload, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, farewellTimeout)
	defer cancel()
	_, err = f.o.Wire.Call(ctx, r.Ref, KindFarewell, payload)
	return err
}

// serveFarewell notes that the parent revokes this division. It changes nothing else here:
// people go on being served, and a parent that takes this division again takes it back.
func (f *Federation) serveFarewell(ctx context.Context, from division.Ref, body []byte) error {
	r, err := f.openRevocation(f.o.Self, body)
	if err != nil {
		return service.ErrInvalid.With("detail", err.Error()).Because(err)
	}
	db := f.o.Division()
	if db == nil {
		return ErrUnreachable
	}
	return db.Update(ctx, func(tx *service.Tx) error {
		parent, ok, err := ReadParent(tx)
		if err != nil {
			return err
		}
		if !ok || parent.Ref != from || r.Parent != from {
			return ErrStranger
		}
		if err := enterRevocation(tx, r, from.String(), body); err != nil {
			return err
		}
		return tx.Record(service.Event{What: "federation.parent_revoked", Subject: from.String(), Who: worker})
	})
}
