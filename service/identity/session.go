package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
)

// Limits of a session.
const (
	sessionIdle      = 30 * time.Minute
	sessionIdleAdmin = 15 * time.Minute // Of whoever administers the division or a tenant.
	sessionLife      = 12 * time.Hour
	// touchAfter saves a write per page: how old "seen" may be before it is refreshed. A
	// session may therefore end up to so much earlier than its idle limit, never later.
	touchAfter = 5 * time.Minute

	deviceLife = 400 * 24 * time.Hour // What browsers keep a cookie at most.
	maxDevices = 10                   // of one account; the oldest is forgotten
	maxAgent   = 200                  // bytes
)

// Names of the cookies over TLS. "__Host-" binds them to this host and to https, so that
// no other host or plain page can set them.
const (
	Cookie           = "__Host-session"
	deviceCookie     = "__Host-device"
	enrolmentCookie  = "__Host-activation"
	hostCookiePrefix = "__Host-"
)

// CookieName returns the name of the session cookie: without the prefix on plain http,
// which exists on loopback only.
func CookieName(secure bool) string { return cookieName(Cookie, secure) }

func cookieName(name string, secure bool) string {
	if secure {
		return name
	}
	return strings.TrimPrefix(name, hostCookiePrefix)
}

func newCookie(name, value string, life time.Duration, secure bool) *http.Cookie {
	return &http.Cookie{Name: cookieName(name, secure), Value: value, Path: "/", HttpOnly: true, Secure: secure,
		SameSite: http.SameSiteLaxMode, MaxAge: int(life / time.Second)}
}

func goneCookie(name string, secure bool) *http.Cookie {
	c := newCookie(name, "", 0, secure)
	c.MaxAge = -1
	return c
}

// Session is one browser that is signed in, as its owner sees it.
type Session struct {
	ID     string    `json:"id"`
	Opened time.Time `json:"opened"`
	Seen   time.Time `json:"seen"`
	Until  time.Time `json:"until"`
	Agent  string    `json:"agent"`
}

// Authenticate returns who holds the session token: an anonymous principal when there is
// no such session or it has ended. touch asks for a call of [TouchPath] with the session's
// id. It reads this replica (see replication.WithIndex); cost: two indexed reads.
func Authenticate(ctx context.Context, division *service.DB, token string, now time.Time) (who service.Principal, touch bool, err error) {
	if len(token) != tokenLength {
		return service.Principal{}, false, nil
	}
	hash := digest("session", token)
	err = division.View(ctx, replication.Local, func(v *service.View) error {
		who, touch = service.Principal{}, false
		var p service.Principal
		var seen, until time.Time
		err := v.QueryRow(`SELECT s.id, s.seen, s.until, a.login, a.name FROM identity_session AS s
			JOIN identity_account AS a ON a.login = s.account WHERE s.hash = ? AND a.disabled = 0`, hash).
			Scan(&p.Session, &seen, &until, &p.Account, &p.Name)
		if errors.Is(err, replication.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Grants, err = readGrants(v, p.Account); err != nil {
			return err
		}
		if ended(p.Grants, seen, until, now) {
			return nil
		}
		p.Kind = service.Staff
		who, touch = p, now.Sub(seen) >= touchAfter
		return nil
	})
	if err != nil {
		return service.Principal{}, false, fmt.Errorf("authenticate a session: %w", err)
	}
	return who, touch, nil
}

func ended(grants []service.Grant, seen, until, now time.Time) bool {
	idle := sessionIdle
	if isAdmin(grants) {
		idle = sessionIdleAdmin
	}
	return !now.Before(until) || now.Sub(seen) >= idle
}

// newSession is a session about to be opened; its secrets are made outside the
// transaction.
type newSession struct {
	id, token, device string
	hash, deviceHash  []byte
	agent             string
}

func prepareSession(r *service.Request) newSession {
	s := newSession{id: newID("s"), agent: r.HTTP.UserAgent()}
	s.token, s.hash = newToken("session")
	s.device, s.deviceHash = newToken("device")
	if len(s.agent) > maxAgent {
		s.agent = s.agent[:maxAgent]
	}
	s.agent = strings.ToValidUTF8(s.agent, "")
	return s
}

// open writes the session and returns its cookies. replaced is the session that the same
// browser had before: it ends. A device that is known keeps its cookie.
func (h *handlers) open(tx *service.Tx, account string, s newSession, replaced string, knownDevice bool) ([]*http.Cookie, error) {
	if err := tx.Exec(`DELETE FROM identity_session WHERE id = ? OR until < ? OR seen < ?`,
		replaced, tx.Now(), tx.Now().Add(-sessionIdle)); err != nil {
		return nil, err
	}
	if err := tx.Exec(`INSERT INTO identity_session (hash, id, account, opened, seen, until, agent) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		s.hash, s.id, account, tx.Now(), tx.Now(), tx.Now().Add(sessionLife), s.agent); err != nil {
		return nil, fmt.Errorf("open a session: %w", err)
	}
	cookies := []*http.Cookie{newCookie(Cookie, s.token, 0, h.Secure)}
	if knownDevice {
		return cookies, nil
	}
	if err := tx.Exec(`INSERT INTO identity_device (hash, account, since) VALUES (?, ?, ?)`,
		s.deviceHash, account, tx.Now()); err != nil {
		return nil, fmt.Errorf("remember a device: %w", err)
	}
	if err := tx.Exec(`DELETE FROM identity_device WHERE since < ? OR account = ? AND hash NOT IN (
		SELECT hash FROM identity_device WHERE account = ? ORDER BY since DESC, hash LIMIT ?)`,
		tx.Now().Add(-deviceLife), account, account, maxDevices); err != nil {
		return nil, err
	}
	return append(cookies, newCookie(deviceCookie, s.device, deviceLife, h.Secure)), nil
}

// endSessions ends the account's sessions except one ("": all).
func endSessions(tx *service.Tx, account, except string) error {
	return tx.Exec(`DELETE FROM identity_session WHERE account = ? AND id <> ?`, account, except)
}

func readSessions(q service.Querier, account string) ([]Session, error) {
	rows, err := q.Query(`SELECT id, opened, seen, until, agent FROM identity_session WHERE account = ? ORDER BY opened DESC`, account)
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	return collect(rows, func(r *replication.Rows) (s Session, err error) {
		return s, r.Scan(&s.ID, &s.Opened, &s.Seen, &s.Until, &s.Agent)
	})
}

// TouchPath is where a node asks, as the program itself, that a session be kept alive:
// POST, JSON {"session"}.
const TouchPath = "/sessions/touch"

// touch refreshes when a session was seen. One that has ended stays ended. It keeps no
// answer (no Commit): repeating it is harmless.
func touch(ctx context.Context, r *service.Request) (service.Response, error) {
	var in struct {
		Session string `json:"session"`
	}
	if err := r.Decode(&in); err != nil {
		return service.Response{}, err
	}
	err := r.DB.Update(ctx, func(tx *service.Tx) error {
		var account string
		var seen, until time.Time
		err := tx.QueryRow(`SELECT account, seen, until FROM identity_session WHERE id = ?`, in.Session).Scan(&account, &seen, &until)
		if errors.Is(err, replication.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		grants, err := readGrants(tx, account)
		if err != nil || ended(grants, seen, until, tx.Now()) {
			return err
		}
		return tx.Exec(`UPDATE identity_session SET seen = ? WHERE id = ?`, tx.Now(), in.Session)
	})
	return service.Response{}, err
}
