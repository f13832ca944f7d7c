package identity

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
)

// enrolmentLife is how long the second step of an activation may take.
const enrolmentLife = 30 * time.Minute

// Refusals.
var (
	ErrActivation     = service.Refuse(service.Unprocessable, "identity.activation_refused")
	ErrCodeExpired    = service.Refuse(service.Unprocessable, "identity.code_expired")
	ErrEnrolmentGone  = service.Refuse(service.Conflict, "identity.enrolment_gone")
	ErrWrongTOTP      = service.Refuse(service.Unprocessable, "identity.wrong_totp").Field("code", "identity.wrong_totp")
	ErrFirstBootDone  = service.Refuse(service.Conflict, "identity.first_boot_done")
	ErrFirstBootWrong = service.Refuse(service.Unprocessable, "identity.first_boot_wrong").Field("code", "identity.first_boot_wrong")
)

// SetFirstBoot stores the hash of the code (see [NewCode]) that makes the first
// administrator; a later call replaces it until it was used. Refusal: ErrFirstBootDone.
func SetFirstBoot(tx *service.Tx, codeHash []byte) error {
	res, err := tx.ExecResult(`INSERT INTO identity_first_boot (id, hash, at) VALUES (1, ?, ?)
		ON CONFLICT (id) DO UPDATE SET hash = excluded.hash, at = excluded.at WHERE used IS NULL`, codeHash, tx.Now())
	if err != nil {
		return err
	}
	if res.RowsAffected == 0 {
		return ErrFirstBootDone
	}
	return nil
}

// firstBootOpen returns the hash of the unused code, or service.ErrNotFound.
func firstBootOpen(q service.Querier) (hash []byte, err error) {
	err = q.QueryRow(`SELECT hash FROM identity_first_boot WHERE used IS NULL`).Scan(&hash)
	if errors.Is(err, replication.ErrNoRows) {
		return nil, service.ErrNotFound
	}
	return hash, err
}

func (h *handlers) firstBootPage(ctx context.Context, r *service.Request) (service.Response, error) {
	err := r.View(ctx, func(v *service.View) error {
		_, err := firstBootOpen(v)
		return err
	})
	if err != nil {
		return service.Response{}, err
	}
	return service.Page("identity/first-boot", "identity.first_boot", map[string]any{}), nil
}

type activateFields struct {
	Login    string `json:"login"`
	Name     string `json:"name,omitempty"` // First boot only.
	Code     string `json:"code"`
	Password string `json:"password"`
	Again    string `json:"again,omitempty"`
}

// readActivation reads the fields of both forms; a script need not say the password twice.
func readActivation(r *service.Request) (in activateFields, err error) {
	err = decode(r, &in, func(f url.Values) {
		in = activateFields{Login: f.Get("login"), Name: f.Get("name"), Code: f.Get("code"),
			Password: f.Get("password"), Again: f.Get("again")}
	})
	if len(r.Body) > 0 && in.Again == "" {
		in.Again = in.Password
	}
	in.Login, in.Name = normalLogin(in.Login), strings.TrimSpace(in.Name)
	return in, err
}

func (in activateFields) checkPassword(name string, wrong *service.Error) *service.Error {
	if reason := checkPassword(in.Password, in.Login, name); reason != "" {
		wrong = wrong.Field("password", reason)
	}
	if in.Again != in.Password {
		wrong = wrong.Field("again", "identity.password_differs")
	}
	return wrong
}

// firstBoot makes the first administrator; the code is then its activation code, so that
// somebody who loses the second step can start it again.
func (h *handlers) firstBoot(ctx context.Context, r *service.Request) (service.Response, error) {
	page := service.Page("identity/first-boot", "identity.first_boot", map[string]any{})
	in, err := readActivation(r)
	if err != nil {
		return page, err
	}
	code := HashCode(in.Code)
	err = r.View(ctx, func(v *service.View) error { return checkFirstBoot(v, code) })
	if errors.Is(err, service.ErrNotFound) {
		return service.Response{}, err // No form: there is nothing to fill in any more.
	}
	if err != nil {
		return page, err
	}
	wrong := checkAccount(in.Login, in.Name)
	if wrong == nil {
		wrong = service.ErrInvalid
	}
	if wrong = in.checkPassword(in.Name, wrong); len(wrong.Fields) > 0 {
		return page, wrong
	}
	e, err := h.prepareEnrolment(ctx, in.Password)
	if err != nil {
		return page, err
	}
	n := newAccount{login: in.Login, name: in.Name, codeHash: code,
		grants: []service.Grant{{Role: service.RoleDivisionAdmin}}}
	response, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		if err := checkFirstBoot(tx, code); errors.Is(err, service.ErrNotFound) {
			return service.Response{}, ErrFirstBootDone
		} else if err != nil {
			return service.Response{}, err
		}
		a, err := create(tx, n, r.Principal)
		if err != nil {
			return service.Response{}, err
		}
		return h.enrol(tx, a, e, issuer(r.Site))
	})
	if err != nil {
		return page, err
	}
	return response, nil
}

func checkFirstBoot(q service.Querier, code []byte) error {
	hash, err := firstBootOpen(q)
	if err != nil {
		return err
	}
	if !same(hash, code) {
		return ErrFirstBootWrong
	}
	return nil
}

func (h *handlers) activatePage(_ context.Context, r *service.Request) (service.Response, error) {
	return activateResponse(r.Form.Get("login")), nil
}

func activateResponse(login string) service.Response {
	return service.Page("identity/activate", "identity.activate", map[string]any{"login": login})
}

// activate is the first step: login, code and a new password.
func (h *handlers) activate(ctx context.Context, r *service.Request) (service.Response, error) {
	in, err := readActivation(r)
	page := activateResponse(in.Login)
	if err != nil {
		return page, err
	}
	code := HashCode(in.Code)
	var a Account
	if err := r.View(ctx, func(v *service.View) (err error) {
		a, err = checkActivation(v, in.Login, code)
		return err
	}); err != nil {
		return page, err
	}
	if wrong := in.checkPassword(a.Name, service.ErrInvalid); len(wrong.Fields) > 0 {
		return page, wrong
	}
	e, err := h.prepareEnrolment(ctx, in.Password)
	if err != nil {
		return page, err
	}
	response, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		a, err := checkActivation(tx, in.Login, code)
		if err != nil {
			return service.Response{}, err
		}
		return h.enrol(tx, a, e, issuer(r.Site))
	})
	if err != nil {
		return page, err
	}
	return response, nil
}

// checkActivation returns the account whose activation code that is. Only who has the
// code learns that it expired.
func checkActivation(q service.Querier, login string, code []byte) (Account, error) {
	a, err := read(q, login)
	if err != nil && !errors.Is(err, service.ErrNotFound) {
		return a, err
	}
	if !same(a.code, code) || a.State == Disabled {
		return a, ErrActivation
	}
	if a.codeUntil == nil || !q.Now().Before(*a.codeUntil) {
		return a, ErrCodeExpired
	}
	return a, nil
}

// enrolment is what the first step chose; its secrets are made outside the transaction.
type enrolment struct {
	password string
	totp     []byte
	token    string
	hash     []byte
}

func (h *handlers) prepareEnrolment(ctx context.Context, password string) (e enrolment, err error) {
	e.totp = newTOTP()
	e.token, e.hash = newToken("activation")
	e.password, err = h.hasher.hash(ctx, password)
	return e, err
}

// enrol keeps what the first step chose until the second and says how to go on.
func (h *handlers) enrol(tx *service.Tx, a Account, e enrolment, issuer string) (service.Response, error) {
	if err := tx.Exec(`INSERT OR REPLACE INTO identity_enrolment (account, hash, password, totp, until) VALUES (?, ?, ?, ?, ?)`,
		a.Login, e.hash, e.password, e.totp, tx.Now().Add(enrolmentLife)); err != nil {
		return service.Response{}, err
	}
	response := service.SeeOther("/activate/code", map[string]any{"activation": e.token,
		"secret": totpText(e.totp), "uri": totpURI(issuer, a.Login, e.totp)})
	response.Cookies = []*http.Cookie{newCookie(enrolmentCookie, e.token, enrolmentLife, h.Secure)}
	return response, nil
}

// issuer is the name under which an authenticator shows the account.
func issuer(s service.Site) string { return "通办 " + s.Name }

// enrolled returns the account and secret of an enrolment, or ErrEnrolmentGone.
func enrolled(q service.Querier, token string) (a Account, password string, secret []byte, err error) {
	var account string
	var until time.Time
	err = q.QueryRow(`SELECT account, password, totp, until FROM identity_enrolment WHERE hash = ?`,
		digest("activation", token)).Scan(&account, &password, &secret, &until)
	if errors.Is(err, replication.ErrNoRows) || err == nil && !q.Now().Before(until) {
		return a, "", nil, ErrEnrolmentGone
	}
	if err == nil {
		a, err = read(q, account)
	}
	return a, password, secret, err
}

func (h *handlers) enrolmentToken(r *service.Request) string {
	if c, err := r.HTTP.Cookie(cookieName(enrolmentCookie, h.Secure)); err == nil {
		return c.Value
	}
	return ""
}

func (h *handlers) confirmPage(ctx context.Context, r *service.Request) (service.Response, error) {
	uri, secret, err := h.secretOf(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	return service.Page("identity/confirm", "identity.confirm",
		map[string]any{"secret": totpText(secret), "uri": uri}), nil
}

func (h *handlers) secretOf(ctx context.Context, r *service.Request) (uri string, secret []byte, err error) {
	err = r.View(ctx, func(v *service.View) error {
		a, _, s, err := enrolled(v, h.enrolmentToken(r))
		uri, secret = totpURI(issuer(r.Site), a.Login, s), s
		return err
	})
	return uri, secret, err
}

func (h *handlers) confirmImage(ctx context.Context, r *service.Request) (service.Response, error) {
	uri, _, err := h.secretOf(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	image, err := totpImage(uri)
	return service.Response{File: &service.Download{Name: "totp.png", Type: "image/png", Body: bytes.NewReader(image)}}, err
}

// confirm is the second step: the first code of the authenticator. It signs in, because
// that code cannot be used again.
func (h *handlers) confirm(ctx context.Context, r *service.Request) (service.Response, error) {
	in := struct {
		Activation string `json:"activation"`
		Code       string `json:"code"`
	}{}
	if err := decode(r, &in, func(f url.Values) { in.Code = f.Get("code") }); err != nil {
		return service.Response{}, err
	}
	if in.Activation == "" {
		in.Activation = h.enrolmentToken(r)
	}
	session, replaced := prepareSession(r), r.Principal.Session
	var shown service.Response // The page again, with its secret.
	response, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		a, password, secret, err := enrolled(tx, in.Activation)
		if err != nil {
			return service.Response{}, err
		}
		step, ok := totpStep(secret, normalCode(in.Code), 0, tx.Now())
		if !ok {
			shown = service.Page("identity/confirm", "identity.confirm",
				map[string]any{"secret": totpText(secret), "uri": totpURI(issuer(r.Site), a.Login, secret)})
			return service.Response{}, ErrWrongTOTP
		}
		return h.finish(tx, a, password, secret, step, session, replaced)
	})
	if err != nil {
		return shown, err
	}
	return response, nil
}

// finish makes the account work with the enrolled password and authenticator, and opens
// its first session.
func (h *handlers) finish(tx *service.Tx, a Account, password string, secret []byte, step int64, s newSession, replaced string) (service.Response, error) {
	if a.State == Disabled {
		return service.Response{}, ErrEnrolmentGone
	}
	if err := tx.Exec(`UPDATE identity_account SET password = ?, totp = ?, code = NULL, code_until = NULL WHERE login = ?`,
		password, secret, a.Login); err != nil {
		return service.Response{}, err
	}
	if err := tx.Exec(`DELETE FROM identity_enrolment WHERE account = ?`, a.Login); err != nil {
		return service.Response{}, err
	}
	who := service.Principal{Kind: service.Staff, Account: a.Login}
	if err := record(tx, "identity.activated", a.Login, who, nil); err != nil {
		return service.Response{}, err
	}
	a.State = Active
	response, err := h.signedIn(tx, a, step, s, replaced, false, "")
	response.Cookies = append(response.Cookies, goneCookie(enrolmentCookie, h.Secure))
	return response.WithNotice("identity.activated"), err
}
