package federation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// feedDirectory carries entries up to the anchor and down to every division. Key: reference.
const feedDirectory = "federation.directory"

// ownFeeds are the federation's own feeds.
func (f *Federation) ownFeeds() []service.Feed {
	return []service.Feed{
		{Name: feedRevoked, FoldUp: f.foldRevokedUp, FoldDown: f.foldRevokedDown},
		{Name: feedDirectory, FoldUp: f.foldEntriesUp, FoldDown: f.foldEntriesDown},
		{Name: feedWhole, FoldUp: f.foldWholeUp, FoldDown: f.foldWholeDown},
		{Name: feedSilent, FoldUp: foldSilent},
	}
}

// foldEntriesUp takes entries of a child and of the divisions below it. A child tells of no
// other: what is below another child is refused, and what names an unknown parent waits
// until that is known.
func (f *Federation) foldEntriesUp(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	for _, r := range rows {
		ref, err := division.ParseRef(r.Key)
		if err != nil {
			return err
		}
		via, known, err := viaOf(tx, ref)
		if err != nil {
			return err
		}
		if len(r.Payload) == 0 {
			if known && via == from {
				if err = f.dropEntry(tx, ref); err == nil {
					err = f.recall(tx, ref)
				}
			}
			if err != nil {
				return err
			}
			continue
		}
		e, err := f.openEntry(ref, r.Payload)
		if err != nil {
			return err
		}
		if err := f.mayTell(tx, from, via, e); err != nil {
			return err
		}
		if e.Ref != from {
			if err := f.endMoved(tx, e); err != nil {
				return err
			}
		}
		if err := f.enterEntry(tx, e, from.String(), r.Payload); err != nil {
			return err
		}
	}
	return nil
}

// mayTell refuses an entry that is not a child's to tell. via is who told of it before.
func (f *Federation) mayTell(q service.Querier, from, via division.Ref, e Entry) error {
	if e.Ref == f.o.Self {
		return fmt.Errorf("%s tells of this division itself", from)
	}
	if via != from && !via.IsZero() && e.Ref != from {
		follows, err := followsMove(q, from, e)
		if err != nil {
			return err
		}
		if !follows {
			return fmt.Errorf("%s tells of %s, which is below %s", from, e.Ref, via)
		}
	}
	if e.Ref == from {
		if e.Parent != f.o.Self {
			return fmt.Errorf("%s names %q as its parent", from, e.Parent)
		}
		return nil
	}
	below, err := Below(q, from, e.Parent)
	if err == nil && !below {
		err = fmt.Errorf("%s tells of %s, whose parent %q is not below it as far as the directory knows", from, e.Ref, e.Parent)
	}
	return err
}

// foldEntriesDown takes the entries of all that is not below this division, which its own
// children know better.
func (f *Federation) foldEntriesDown(tx *service.Tx, from division.Ref, rows []service.FeedRow) error {
	for _, r := range rows {
		ref, err := division.ParseRef(r.Key)
		if err != nil {
			return err
		}
		if ref == f.o.Self {
			continue
		}
		via, known, err := viaOf(tx, ref)
		if err != nil {
			return err
		}
		if err := f.foldEntryDown(tx, from, ref, via, known, r.Payload); err != nil {
			return err
		}
	}
	return nil
}

func (f *Federation) foldEntryDown(tx *service.Tx, from, ref, via division.Ref, known bool, payload []byte) error {
	own := false
	for _, teller := range []division.Ref{via, ref} { // A child itself may not have told yet.
		_, err := ReadChild(tx, teller)
		if own = own || err == nil; err != nil && !errors.Is(err, ErrNoChild) {
			return err
		}
	}
	if len(payload) == 0 {
		if own || !known {
			return tx.Exec(`DELETE FROM federation_told WHERE ref = ?`, ref.String())
		}
		return f.dropEntry(tx, ref)
	}
	e, err := f.openEntry(ref, payload)
	if err != nil {
		return err
	}
	if own {
		away, err := f.movedAway(tx, e)
		if err != nil {
			return err
		}
		if !away {
			return tx.Exec(`INSERT OR REPLACE INTO federation_told (ref, row) VALUES (?, ?)`, ref.String(), string(payload))
		}
		if err := f.endMoved(tx, e); err != nil {
			return err
		}
	}
	return f.enterEntry(tx, e, from.String(), payload)
}

// Limits of the directory, which every division of the tree holds and every letter's way
// is looked up in.
const (
	maxEntry     = 32 << 10 // Of an entry's JSON, bytes: a chain of four and the keys of its nodes take 6 KiB.
	maxEntries   = 60_000   // The country has 3,200 divisions down to the counties and 41,000 townships.
	maxEntryName = 200      // Characters.
	maxEntryWeb  = 500      // Bytes.
)

// openEntry reads a signed entry. What is signed may still be what no page should show.
func (f *Federation) openEntry(ref division.Ref, payload []byte) (Entry, error) {
	var e Entry
	if len(payload) > maxEntry {
		return e, fmt.Errorf("the entry of %s has %d bytes; at most %d are kept", ref, len(payload), maxEntry)
	}
	if err := json.Unmarshal(payload, &e); err != nil {
		return e, fmt.Errorf("read the entry of %s: %w", ref, err)
	}
	if e.Ref != ref {
		return e, fmt.Errorf("the entry of %s is that of %s", ref, e.Ref)
	}
	if err := f.o.Letters.Check(e); err != nil {
		return e, fmt.Errorf("check the entry of %s: %w", ref, err)
	}
	if utf8.RuneCountInString(e.Name) > maxEntryName || strings.ContainsFunc(e.Name, unicode.IsControl) {
		return e, fmt.Errorf("the entry of %s has a name %.40q that no division has", ref, e.Name)
	}
	if u, err := url.Parse(e.Web); e.Web != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || len(e.Web) > maxEntryWeb) {
		return e, fmt.Errorf("the entry of %s has a portal %.80q to which no browser may be sent", ref, e.Web)
	}
	return e, nil
}

// hasRoom refuses entries without end.
func hasRoom(q service.Querier) error {
	var n int
	if err := q.QueryRow(`SELECT count(*) FROM federation_directory`).Scan(&n); err != nil {
		return fmt.Errorf("count the directory: %w", err)
	}
	if n >= maxEntries {
		return fmt.Errorf("the directory has %d divisions; no more are kept", n)
	}
	return nil
}

// enterEntry stores an entry and tells it in both directions: siblings know each other also
// when the line to the anchor is cut. What is known already is not told again, or the
// entries would go round between the levels.
func (f *Federation) enterEntry(tx *service.Tx, e Entry, via string, payload []byte) error {
	var had, hadVia string
	err := tx.QueryRow(`SELECT row, via FROM federation_directory WHERE ref = ?`, e.Ref.String()).Scan(&had, &hadVia)
	if err != nil && !errors.Is(err, replication.ErrNoRows) {
		return fmt.Errorf("read the entry of %s: %w", e.Ref, err)
	}
	if had == string(payload) && hadVia == via {
		return nil
	}
	if had == "" {
		if err := hasRoom(tx); err != nil {
			return err
		}
	}
	if err := tx.Exec(`INSERT OR REPLACE INTO federation_directory (ref, parent, name, web, epoch, row, via) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		e.Ref.String(), e.Parent.String(), e.Name, e.Web, e.Epoch, string(payload), via); err != nil {
		return fmt.Errorf("enter %s in the directory: %w", e.Ref, err)
	}
	if parent, ok, err := ReadParent(tx); err != nil {
		return err
	} else if ok && via == parent.Ref.String() && had != "" && hadVia != via { // It is not this side's to tell of any more.
		if err := tx.PublishTo(service.Up, feedDirectory, e.Ref.String(), 1, nil); err != nil {
			return err
		}
	}
	return f.tellEntry(tx, e.Ref, via, payload)
}

func (f *Federation) tellEntry(tx *service.Tx, ref division.Ref, via string, payload []byte) error {
	parent, ok, err := ReadParent(tx)
	if err != nil {
		return err
	}
	if !ok || via != parent.Ref.String() {
		if err := tx.PublishTo(service.Up, feedDirectory, ref.String(), 1, payload); err != nil {
			return err
		}
	}
	return tx.PublishTo(service.Down, feedDirectory, ref.String(), 1, payload)
}

func (f *Federation) dropEntry(tx *service.Tx, ref division.Ref) error {
	var via string
	err := tx.QueryRow(`SELECT via FROM federation_directory WHERE ref = ?`, ref.String()).Scan(&via)
	if err != nil {
		return fmt.Errorf("read the entry of %s: %w", ref, err)
	}
	if err := tx.Exec(`DELETE FROM federation_directory WHERE ref = ?`, ref.String()); err != nil {
		return fmt.Errorf("take %s out of the directory: %w", ref, err)
	}
	return f.tellEntry(tx, ref, via, nil)
}

// enterSelf signs this division's own entry and tells it, if anything in it has changed.
func (f *Federation) enterSelf(ctx context.Context, db *service.DB) error {
	var had Entry
	e := Entry{Ref: f.o.Self, Name: f.o.Site.Name}
	if f.o.Web != nil {
		e.Web = f.o.Web()
	}
	if err := db.View(ctx, replication.Local, func(v *service.View) error {
		parent, _, err := ReadParent(v)
		if err != nil {
			return err
		}
		if e.Parent = parent.Ref; !parent.Enrolled.IsZero() {
			e.Since = parent.Enrolled.UnixMicro()
		}
		if e.Epoch, err = service.Epoch(v); err != nil {
			return err
		}
		if had, err = ReadEntry(v, f.o.Self); errors.Is(err, ErrNoDivision) {
			err = nil
		}
		return err
	}); err != nil {
		return err
	}
	e, err := f.o.Letters.Sign(e)
	if err != nil {
		return fmt.Errorf("sign the entry: %w", err)
	}
	same, err := sameEntry(e, had)
	if err != nil || same {
		return err
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return db.Update(ctx, func(tx *service.Tx) error { return f.enterEntry(tx, e, "", payload) })
}

// sameEntry compares what two signatures are about: no two signatures are alike.
func sameEntry(a, b Entry) (bool, error) {
	a.Signature, b.Signature = nil, nil
	x, err := json.Marshal(a)
	if err != nil {
		return false, err
	}
	y, err := json.Marshal(b)
	return string(x) == string(y), err
}

// stray is what a former neighbour has told.
type stray struct {
	ref    division.Ref
	silent bool // Of the silent ones, not of the directory.
}

// readStrays returns what nobody tells any more: its teller is no neighbour now. While a
// new parent has not told all, what the former one told stays, and told is false.
func readStrays(q service.Querier) (list []stray, told bool, err error) {
	parent, ok, err := ReadParent(q)
	if err != nil {
		return nil, false, err
	}
	told = !ok
	if ok {
		if err := q.QueryRow(`SELECT count(*) FROM federation_received WHERE neighbour = ? AND confirmed IS NOT NULL`,
			parent.Ref.String()).Scan(&told); err != nil {
			return nil, false, fmt.Errorf("read whether the parent has told all: %w", err)
		}
	}
	rows, err := q.Query(`SELECT ref, 0 FROM federation_directory
			WHERE ?1 AND via NOT IN ('', ?2) AND via NOT IN (SELECT ref FROM federation_child)
		UNION ALL SELECT ref, 1 FROM federation_silent
			WHERE via NOT IN ('', ?2) AND via NOT IN (SELECT ref FROM federation_child)
		ORDER BY 1, 2 LIMIT ?3`, told, parent.Ref.String(), maxChunk)
	if err != nil {
		return nil, false, fmt.Errorf("read what former neighbours told: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s stray
		var ref string
		if err := rows.Scan(&ref, &s.silent); err != nil {
			return nil, false, err
		}
		if s.ref, err = division.ParseRef(ref); err != nil {
			return nil, false, err
		}
		list = append(list, s)
	}
	return list, told, rows.Err()
}

func (f *Federation) dropStrays(tx *service.Tx, list []stray) error {
	for _, s := range list {
		if s.silent {
			if err := dropSilent(tx, s.ref); err != nil {
				return err
			}
			continue
		}
		if err := tx.Exec(`DELETE FROM federation_directory WHERE ref = ?`, s.ref.String()); err != nil {
			return fmt.Errorf("take %s out of the directory: %w", s.ref, err)
		}
		for _, stream := range []service.Stream{service.Up, service.Down} {
			if err := tx.PublishTo(stream, feedDirectory, s.ref.String(), 1, nil); err != nil {
				return err
			}
		}
		if err := f.recall(tx, s.ref); err != nil {
			return err
		}
	}
	return nil
}
