package identity

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"tongban/replication"
	"tongban/service"
)

// ErrSignIn is the one answer to an unknown login, a wrong password, a wrong or used
// code, and an account that is disabled or not activated.
var ErrSignIn = service.Refuse(service.Unprocessable, "identity.sign_in_refused")

// signInForm is what the page and the answer to a refusal show.
type signInForm struct {
	Next string `json:"next,omitempty"`
}

func (h *handlers) signInPage(_ context.Context, r *service.Request) (service.Response, error) {
	return signInResponse(r.Form.Get("next")), nil
}

func signInResponse(next string) service.Response {
	return service.Page("identity/sign-in", "identity.sign_in", signInForm{Next: localPath(next)})
}

// localPath returns a path of this site, or "": an address from outside must not lead
// people away after they signed in.
func localPath(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") ||
		strings.ContainsAny(s, "\\\r\n\t") {
		return ""
	}
	return s
}

type signInFields struct {
	Login    string `json:"login"`
	Password string `json:"password"`
	Code     string `json:"code"`
	Next     string `json:"next"`
}

func (h *handlers) signIn(ctx context.Context, r *service.Request) (service.Response, error) {
	var in signInFields
	err := decode(r, &in, func(f url.Values) {
		in = signInFields{Login: f.Get("login"), Password: f.Get("password"), Code: f.Get("code"), Next: f.Get("next")}
	})
	if err != nil {
		return service.Response{}, err
	}
	response, err := h.tryToSignIn(ctx, r, in)
	if err != nil {
		r.Form.Del("code") // Used up or wrong: nothing to send back into the field.
		return signInResponse(in.Next), err
	}
	return response, nil
}

// tryToSignIn counts the attempt, does the slow work outside of the transaction, and
// decides inside it.
func (h *handlers) tryToSignIn(ctx context.Context, r *service.Request, in signInFields) (service.Response, error) {
	login := normalLogin(in.Login)
	try := attempt{id: newID("t"), who: digest("login", login), source: r.Source}
	account, err := h.lookUp(ctx, r, login, &try)
	if err != nil {
		return service.Response{}, err
	}
	session, replaced := prepareSession(r), r.Principal.Session
	// Who they say they are: a refusal's row in the audit names the account. The page that
	// follows is again that of whoever asked.
	asked := r.Principal
	defer func() { r.Principal = asked }()
	r.Principal = service.Principal{Kind: service.Anonymous, Account: account.Login}
	if err := h.begin(ctx, r, try); err != nil {
		return service.Response{}, err
	}
	ok, err := h.hasher.verify(ctx, account.password, in.Password)
	if err != nil {
		return service.Response{}, err
	}
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		if !ok {
			return service.Response{}, ErrSignIn
		}
		now, err := read(tx, account.Login)
		if err != nil {
			return service.Response{}, err
		}
		step, codeOK := totpStep(now.totp, normalCode(in.Code), now.totpStep, tx.Now())
		if now.State != Active || now.password != account.password || !codeOK {
			return service.Response{}, ErrSignIn
		}
		if err := succeed(tx, try); err != nil {
			return service.Response{}, err
		}
		return h.signedIn(tx, now, step, session, replaced, try.known, localPath(in.Next))
	})
}

// begin counts the attempt before the slow work. Of the refusals of one lock of an account
// the first is recorded.
func (h *handlers) begin(ctx context.Context, r *service.Request, try attempt) error {
	var refusal error
	err := r.DB.Update(ctx, func(tx *service.Tx) error {
		refusal = nil // It may run again.
		until, err := begin(tx, try)
		if !errors.Is(err, ErrTryLater) || r.Principal.Account == "" {
			return err
		}
		refusal = err
		first, err := firstOf(tx, try, until)
		if err != nil || !first {
			return errors.Join(err, refusal)
		}
		return tx.Record(service.Event{What: r.Route.FullPattern(), Subject: r.HTTP.URL.Path, Who: r.Principal,
			Refused: ErrTryLater.Reason})
	})
	if err == nil {
		return refusal
	}
	return err
}

// lookUp reads the account (a zero one when there is none) and completes the attempt's
// source.
func (h *handlers) lookUp(ctx context.Context, r *service.Request, login string, try *attempt) (Account, error) {
	var account Account
	device, err := r.HTTP.Cookie(cookieName(deviceCookie, h.Secure))
	if err != nil {
		device = &http.Cookie{}
	}
	hash := digest("device", device.Value)
	err = r.View(ctx, func(v *service.View) error {
		var err error
		if account, err = read(v, login); err != nil && !errors.Is(err, service.ErrNotFound) {
			return err
		}
		var owner string
		err = v.QueryRow(`SELECT account FROM identity_device WHERE hash = ?`, hash).Scan(&owner)
		if errors.Is(err, replication.ErrNoRows) {
			return nil
		}
		if try.known = err == nil && owner == account.Login; try.known {
			try.source = "device " + hex.EncodeToString(hash)
		}
		return err
	})
	return account, err
}

// signedIn opens the session of an account that has proved itself.
func (h *handlers) signedIn(tx *service.Tx, a Account, step int64, s newSession, replaced string, known bool, next string) (service.Response, error) {
	if err := tx.Exec(`UPDATE identity_account SET totp_step = ? WHERE login = ?`, step, a.Login); err != nil {
		return service.Response{}, err
	}
	cookies, err := h.open(tx, a.Login, s, replaced, known)
	if err != nil {
		return service.Response{}, err
	}
	who := service.Principal{Kind: service.Staff, Account: a.Login}
	if err := record(tx, "identity.signed_in", a.Login, who, nil); err != nil {
		return service.Response{}, err
	}
	if next == "" {
		next = home
	}
	response := service.SeeOther(next, map[string]any{"account": a})
	response.Cookies = cookies
	return response, nil
}

// home is where somebody lands who asked for no page: the menu leads on from there.
const home = "/account"

// normalCode drops the blanks that apps show in a code.
func normalCode(s string) string { return strings.ReplaceAll(strings.TrimSpace(s), " ", "") }

// signOut ends the session that the request carries. Without one there is nothing to do,
// and nothing is kept.
func (h *handlers) signOut(ctx context.Context, r *service.Request) (service.Response, error) {
	response := service.SeeOther("/", map[string]any{}).WithNotice("identity.signed_out")
	response.Cookies = []*http.Cookie{goneCookie(Cookie, h.Secure)}
	if r.Principal.Session == "" {
		return response, nil
	}
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		if err := tx.Exec(`DELETE FROM identity_session WHERE id = ?`, r.Principal.Session); err != nil {
			return service.Response{}, err
		}
		return response, record(tx, "identity.signed_out", r.Principal.Account, r.Principal, nil)
	})
}
