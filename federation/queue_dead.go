package federation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tongban/division"
	"tongban/replication"
	"tongban/service"
)

// States of a dead letter.
const (
	DeadParked  = "parked"  // A row of a neighbour whose fold fails; it is tried again by itself when other rows come.
	DeadStopped = "stopped" // A mail that the other side cannot take, for a reason that somebody there must look at; it is tried by itself.
	DeadRefused = "refused" // A mail that was sent back: that is final, until it is offered anew by command.
)

// DeadLetter is a row or a mail that does not get on by itself, with the reason.
type DeadLetter struct {
	ID     string    `json:"id"` // "mail/<tenant>/<number>", or "row/<12 hexadecimal digits>".
	State  string    `json:"state"`
	Kind   string    `json:"kind"`            // Of the mail; the name of the feed.
	Of     string    `json:"of"`              // Slug of the department whose mail it is; reference of the neighbour whose row it is.
	What   string    `json:"what"`            // Whom the mail is for; the row's key.
	Reason string    `json:"reason"`          // A message key; what the fold said, as it is.
	Where  string    `json:"where,omitempty"` // Reference of the division at which the mail stopped.
	Since  time.Time `json:"since"`           // When the mail was sent; when the row was put aside.
	Age    int64     `json:"age_s"`
}

// MaxDead bounds the dead letters that are read of one database at once.
const MaxDead = 500

// DeadLetters reads the rows and mails that do not get on by themselves, the oldest of each
// database first, at most MaxDead of one. refused: with mails that were sent back.
func (f *Federation) DeadLetters(ctx context.Context, refused bool) ([]DeadLetter, error) {
	list := []DeadLetter{}
	now := f.o.Now()
	err := f.viewDivision(ctx, func(v *service.View) (err error) {
		list, err = deadRows(v, list)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the rows that are parked: %w", err)
	}
	for _, t := range f.o.Tenants() {
		_, db, ok := f.o.Database(t.Slug)
		if !ok {
			continue
		}
		err := db.View(ctx, replication.Local, func(v *service.View) (err error) {
			list, err = deadMails(v, t.Slug, refused, list)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the mails of the tenant %s that stopped: %w", t.Slug, err)
		}
	}
	for i := range list {
		list[i].Age = int64(max(0, now.Sub(list[i].Since)).Seconds())
	}
	return list, nil
}

func deadRows(q service.Querier, list []DeadLetter) ([]DeadLetter, error) {
	rows, err := q.Query(`SELECT neighbour, feed, key, reason, at FROM federation_row INDEXED BY federation_row_state
		WHERE state <> 'folded' AND state = 'parked' ORDER BY at, neighbour, feed, key LIMIT ?`, MaxDead)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d := DeadLetter{State: DeadParked}
		var at *time.Time
		if err := rows.Scan(&d.Of, &d.Kind, &d.What, &d.Reason, &at); err != nil {
			return nil, err
		}
		if at != nil {
			d.Since = *at
		}
		d.ID = rowID(d.Of, d.Kind, d.What)
		list = append(list, d)
	}
	return list, rows.Err()
}

func deadMails(q service.Querier, slug string, refused bool, list []DeadLetter) ([]DeadLetter, error) {
	rows, err := q.Query(`SELECT * FROM (SELECT seq, kind, division || '/' || tenant, state, reason, at_division, sent FROM service_outbox
			WHERE state = 'waiting' AND reason IN `+stuckReasons+` ORDER BY seq LIMIT ?1)
		UNION ALL SELECT * FROM (SELECT seq, kind, division || '/' || tenant, state, reason, at_division, sent FROM service_outbox
			WHERE state = 'refused' AND ?2 ORDER BY seq LIMIT ?1)`, MaxDead, refused)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		d := DeadLetter{Of: slug}
		var seq int64
		if err := rows.Scan(&seq, &d.Kind, &d.What, &d.State, &d.Reason, &d.Where, &d.Since); err != nil {
			return nil, err
		}
		if d.State != DeadRefused {
			d.State, d.Reason = DeadStopped, "federation.mail."+d.Reason
		}
		d.ID = fmt.Sprintf("mail/%s/%d", slug, seq)
		list = append(list, d)
	}
	return list, rows.Err()
}

// rowID names a parked row shortly, whatever its key holds.
func rowID(neighbour, feed, key string) string {
	sum := sha256.Sum256([]byte(neighbour + "\x00" + feed + "\x00" + key))
	return "row/" + hex.EncodeToString(sum[:6])
}

// parseMailID reads the ID of a mail: the department's slug, and the mail's number.
func parseMailID(id string) (slug string, seq int64, ok bool) {
	rest, isMail := strings.CutPrefix(id, "mail/")
	slug, number, two := strings.Cut(rest, "/")
	seq, err := strconv.ParseInt(number, 10, 64)
	return slug, seq, isMail && two && err == nil
}

// BadDeadID reports whether a text cannot be the ID of a dead letter.
func BadDeadID(id string) bool {
	if _, _, ok := parseMailID(id); ok {
		return false
	}
	rest, isRow := strings.CutPrefix(id, "row/")
	_, err := hex.DecodeString(rest)
	return !isRow || err != nil || len(rest) != 12
}

// of a waiting row, its ID.
func (w waiting) id() string { return rowID(w.from.String(), w.row.Feed, w.row.Key) }

// refOf is where a page of waiting rows goes on.
func refOf(text string) division.Ref {
	ref, _ := division.ParseRef(text) // Of an order that serveRedrive itself has answered; else from the start.
	return ref
}
