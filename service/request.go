package service

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"tongban/replication"
)

// Request is one call of a route.
type Request struct {
	HTTP      *http.Request // Path values, query, headers. Its body is already read: use Form, File and Body.
	Route     Route
	Principal Principal
	Site      Site
	Tenant    Tenant // Zero in division scope.
	DB        *DB    // The route's one database.
	Division  *DB    // The division database, to View only.
	Lang      string // "zh-CN" or "en".
	Now       Clock
	Log       *slogLogger

	Key    string     // Idempotency key.
	Form   url.Values // Parsed form or query; JSON bodies: see Decode.
	Body   []byte     // Raw body of a call that is not a form.
	Files  map[string]Upload
	Source string // Address of the client (of IPv6: its /64 network), for throttling; no personal data is derived from it.

	// Seen are the index tokens that came with the request; Commit adds its own.
	Seen map[replication.DatabaseID]replication.Index
}

// Upload is a file of a form, held in memory below the route's MaxBody.
type Upload struct {
	Name string
	Data []byte
}

// PathValue returns a wildcard of the pattern, unescaped.
func (r *Request) PathValue(name string) string { return r.HTTP.PathValue(name) }

// Decode reads a JSON body into v, refusing unknown fields and trailing data.
func (r *Request) Decode(v any) error {
	d := json.NewDecoder(newReader(r.Body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return ErrInvalid.With("detail", err.Error()).Because(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return ErrInvalid.With("detail", "there is more after the JSON value")
	}
	return nil
}

// View reads this replica of the route's database, not before it has what the caller
// has already seen.
func (r *Request) View(ctx context.Context, fn func(v *View) error) error {
	return r.view(ctx, r.DB, fn)
}

// ViewDivision reads this replica of the division database, likewise.
func (r *Request) ViewDivision(ctx context.Context, fn func(v *View) error) error {
	return r.view(ctx, r.Division, fn)
}

func (r *Request) view(ctx context.Context, db *DB, fn func(v *View) error) error {
	if i, ok := r.Seen[db.ID()]; ok {
		ctx = replication.WithIndex(ctx, i)
	}
	return db.View(ctx, replication.Local, fn)
}

// Commit runs fn in one transaction of the route's database and stores its response
// under the request's idempotency key in the same transaction: a repeated request gets
// the first one's response and changes nothing. The same key with another body is
// ErrKeyReused. A refusal by fn changes nothing and is recorded in the audit, unless nobody
// knows whom it names: anybody could fill the audit with such rows.
func (r *Request) Commit(ctx context.Context, fn func(tx *Tx) (Response, error)) (Response, error) {
	var out Response
	scope, body := r.scope(), r.bodyHash()
	index, err := r.DB.update(ctx, func(tx *Tx) error {
		stored, found, err := readRequest(tx, scope, body, r.seal())
		if err != nil || found {
			out = stored
			return err
		}
		if out, err = fn(tx); err != nil {
			return err
		}
		return writeRequest(tx, scope, body, r.seal(), out)
	})
	var refusal *Error
	nobody := r.Principal.Kind == Anonymous && r.Principal.Account == ""
	if errors.As(err, &refusal) && refusal.Code != Internal && !nobody {
		r.recordRefusal(ctx, refusal)
	}
	if err != nil {
		return Response{}, err
	}
	if r.Seen == nil {
		r.Seen = map[replication.DatabaseID]replication.Index{}
	}
	r.Seen[r.DB.ID()] = index
	return out, nil
}

func (r *Request) recordRefusal(ctx context.Context, refusal *Error) {
	err := r.DB.Update(ctx, func(tx *Tx) error {
		return tx.Record(Event{What: r.Route.FullPattern(), Subject: r.HTTP.URL.Path,
			Who: r.Principal, Refused: refusal.Reason})
	})
	if err != nil {
		r.Log.Error("record a refusal", "database", r.DB.ID(), "reason", refusal.Reason, "err", err)
	}
}

// scope is who asked for what under which key.
func (r *Request) scope() []byte {
	h := sha256.New()
	for _, part := range []string{r.Principal.Kind.String(), r.Principal.Account, r.Route.FullPattern(), r.HTTP.URL.Path, r.Key} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return h.Sum(nil)
}

// bodyHash is over what the request says, not over how: a browser that posts a form
// again chooses another multipart boundary. It is keyed with the request's key, which is
// stored nowhere: bodies hold passwords, which a plain hash would give away to guessing.
func (r *Request) bodyHash() []byte {
	h := hmac.New(sha256.New, []byte(r.Key))
	form := url.Values{}
	for k, v := range r.Form {
		if k != KeyField {
			form[k] = v
		}
	}
	h.Write([]byte(form.Encode()))
	for _, name := range sortedKeys(r.Files) {
		sum := sha256.Sum256(r.Files[name].Data)
		h.Write([]byte("\x00" + name))
		h.Write(sum[:])
	}
	h.Write([]byte{0})
	h.Write(r.Body)
	return h.Sum(nil)
}

// seal encrypts what is stored of an answer under the request's key, which is stored
// nowhere: answers hold session cookies, activation codes and the secrets of cases, which
// only the caller that asks again may read.
func (r *Request) seal() cipher.AEAD {
	h := hmac.New(sha256.New, []byte(r.Key))
	h.Write([]byte("tongban stored response 1"))
	block, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		panic(err) // A key of 32 bytes is always valid.
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// KeyField is the form field that carries the idempotency key; calls that are not forms
// use the header Idempotency-Key.
const KeyField = "_key"

// keepRequests is how long a stored response answers repeats.
const keepRequests = 7 * 24 * time.Hour

func readRequest(tx *Tx, scope, body []byte, seal cipher.AEAD) (out Response, found bool, err error) {
	var prev, data []byte
	err = tx.QueryRow(`SELECT body, response FROM service_request WHERE scope = ?`, scope).Scan(&prev, &data)
	if errors.Is(err, replication.ErrNoRows) {
		return out, false, nil
	}
	if err != nil {
		return out, false, err
	}
	if string(prev) != string(body) {
		return out, true, ErrKeyReused
	}
	if data, err = seal.Open(nil, nil, data, scope); err != nil {
		return out, true, fmt.Errorf("open a stored response: %w", err)
	}
	return out, true, json.Unmarshal(data, &out)
}

func writeRequest(tx *Tx, scope, body []byte, seal cipher.AEAD, out Response) error {
	data, err := json.Marshal(out)
	if err != nil {
		return err
	}
	if err := tx.Exec(`DELETE FROM service_request WHERE at < ?`, tx.Now().Add(-keepRequests)); err != nil {
		return err
	}
	return tx.Exec(`INSERT INTO service_request (scope, body, at, response) VALUES (?, ?, ?, ?)`,
		scope, body, tx.Now(), seal.Seal(nil, nil, data, scope))
}
