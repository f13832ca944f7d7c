package identity

import (
	"context"
	"encoding/hex"
	"net/url"

	"tongban/service"
)

// ErrWrongPassword is the refusal of a change whose current password is wrong.
var ErrWrongPassword = service.Refuse(service.Unprocessable, "identity.wrong_password").Field("current", "identity.wrong_password")

// own returns the caller's account; an operator has none.
func own(q service.Querier, p service.Principal) (Account, error) {
	if p.Kind != service.Staff {
		return Account{}, service.ErrNotFound
	}
	return read(q, p.Account)
}

// Mine is the page about one's own account.
type Mine struct {
	Account  Account   `json:"account"`
	Sessions []Session `json:"sessions"`
	Current  string    `json:"current"` // Id of the session that asks.

	Names map[string]string `json:"-"` // Of departments, by tenant.
}

func (h *handlers) mine(ctx context.Context, r *service.Request) (service.Response, error) {
	out := Mine{Current: r.Principal.Session}
	err := r.View(ctx, func(v *service.View) (err error) {
		if out.Account, err = own(v, r.Principal); err != nil {
			return err
		}
		if out.Sessions, err = readSessions(v, out.Account.Login); err != nil {
			return err
		}
		out.Names, err = h.names(v)
		return err
	})
	if err != nil {
		return service.Response{}, err
	}
	return service.Page("identity/mine", "identity.account", out), nil
}

func (h *handlers) passwordPage(ctx context.Context, r *service.Request) (service.Response, error) {
	err := r.View(ctx, func(v *service.View) error {
		_, err := own(v, r.Principal)
		return err
	})
	if err != nil {
		return service.Response{}, err
	}
	return service.Page("identity/password", "identity.change_password", map[string]any{}), nil
}

// changePassword asks for the current password, with the same limits as signing in, and
// ends all other sessions.
func (h *handlers) changePassword(ctx context.Context, r *service.Request) (service.Response, error) {
	var in struct {
		Current  string `json:"current"`
		Password string `json:"password"`
		Again    string `json:"again"`
	}
	page := service.Page("identity/password", "identity.change_password", map[string]any{})
	err := decode(r, &in, func(f url.Values) {
		in.Current, in.Password, in.Again = f.Get("current"), f.Get("password"), f.Get("again")
	})
	if err != nil {
		return page, err
	}
	var a Account
	if err := r.View(ctx, func(v *service.View) (err error) { a, err = own(v, r.Principal); return err }); err != nil {
		return service.Response{}, err
	}
	fields := activateFields{Login: a.Login, Password: in.Password, Again: in.Again}
	if wrong := fields.checkPassword(a.Name, service.ErrInvalid); len(wrong.Fields) > 0 {
		return page, wrong
	}
	try := attempt{id: newID("t"), who: digest("login", a.Login), known: true,
		source: "session " + hex.EncodeToString(digest("attempt", r.Principal.Session))}
	if err := h.begin(ctx, r, try); err != nil {
		return page, err
	}
	ok, err := h.hasher.verify(ctx, a.password, in.Current)
	if err != nil {
		return page, err
	}
	hash, err := h.hasher.hash(ctx, in.Password)
	if err != nil {
		return page, err
	}
	response, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		now, err := own(tx, r.Principal)
		if err != nil {
			return service.Response{}, err
		}
		if !ok || now.password != a.password {
			return service.Response{}, ErrWrongPassword
		}
		if err := succeed(tx, try); err != nil {
			return service.Response{}, err
		}
		if err := tx.Exec(`UPDATE identity_account SET password = ? WHERE login = ?`, hash, a.Login); err != nil {
			return service.Response{}, err
		}
		if err := endSessions(tx, a.Login, r.Principal.Session); err != nil {
			return service.Response{}, err
		}
		if err := record(tx, "identity.password_changed", a.Login, r.Principal, nil); err != nil {
			return service.Response{}, err
		}
		return service.SeeOther("/account", map[string]any{}).WithNotice("identity.password_changed"), nil
	})
	if err != nil {
		return page, err
	}
	return response, nil
}

// signOutOthers ends all of one's sessions but this one.
func (h *handlers) signOutOthers(ctx context.Context, r *service.Request) (service.Response, error) {
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		a, err := own(tx, r.Principal)
		if err != nil {
			return service.Response{}, err
		}
		if err := endSessions(tx, a.Login, r.Principal.Session); err != nil {
			return service.Response{}, err
		}
		if err := record(tx, "identity.sessions_ended", a.Login, r.Principal, nil); err != nil {
			return service.Response{}, err
		}
		return service.SeeOther("/account", map[string]any{}).WithNotice("identity.signed_out_done"), nil
	})
}
