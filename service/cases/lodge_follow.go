package cases

import (
	"context"
	"errors"
	"net/http"

	"tongban/service"
)

// lodgedCookie is a token of cases_lodged_visit; only below /t/{tenant}/lodged.
const lodgedCookie = "case-lodged"

// lodged shows how a lodged case stands: to staff of the window, and to a browser to which
// its secret was shown a while ago.
func (h *handlers) lodged(ctx context.Context, r *service.Request) (service.Response, error) {
	n, err := ParseNumber(r.PathValue("number"))
	if err != nil {
		return service.Response{}, service.ErrNotFound
	}
	if !r.Principal.May(PermRead, r.Tenant.Slug) {
		err := r.View(ctx, func(v *service.View) error { return visitsLodged(v, cookieValue(r, lodgedCookie), n.String()) })
		if err != nil {
			return h.askAgain(r, err)
		}
	}
	l, err := h.readLodged(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	out := lodgedView{Lodged: l, Staff: r.Principal.May(PermRead, r.Tenant.Slug)}
	if !r.Principal.May(PermHandle, r.Tenant.Slug) {
		out.Applicant = l.Applicant.Masked()
	}
	page := service.Page("cases/lodged", "cases.lodged_title", out)
	if out.Staff {
		page.Crumbs = []service.Crumb{lodgingsCrumb(r), {Title: l.Number}}
	}
	return page, nil
}

// lodgedView is a lodged case as its window or its applicant sees it.
type lodgedView struct {
	Lodged
	Staff bool `json:"-"`
}

// visitsLodged is visits for a lodged case.
func visitsLodged(q service.Querier, token, number string) error {
	var n int
	err := q.QueryRow(`SELECT count(*) FROM cases_lodged_visit AS v JOIN cases_lodged AS l ON l.id = v.lodged_id
		WHERE v.token = ? AND l.number = ? AND v.until >= ?`, tokenHash(token), number, q.Now()).Scan(&n)
	if err == nil && n == 0 {
		return ErrAskSecret
	}
	return err
}

// enterLodged lets this browser see a lodged case for a while.
func (h *handlers) enterLodged(ctx context.Context, r *service.Request, number string) (service.Response, error) {
	token := newToken()
	out, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		if err := tx.Exec(`DELETE FROM cases_lodged_visit WHERE until < ?`, tx.Now()); err != nil {
			return service.Response{}, err
		}
		l, err := readLodged(tx, number)
		if err != nil {
			return service.Response{}, err
		}
		if err := tx.Exec(`INSERT OR REPLACE INTO cases_lodged_visit (token, lodged_id, until) VALUES (?, ?, ?)`,
			tokenHash(token), l.ID, tx.Now().Add(visitLife)); err != nil {
			return service.Response{}, err
		}
		l.Applicant = l.Applicant.Masked()
		out := service.SeeOther(lodgedPath(r.Tenant.Slug, number), l)
		out.Cookies = []*http.Cookie{h.cookie(lodgedCookie, token, "/t/"+r.Tenant.Slug+"/lodged", visitLife)}
		return out, nil
	})
	if l, ok := out.Data.(Lodged); ok && err == nil {
		out.Data, err = l.located(ctx, r) // After the transaction: it sees one database.
	}
	return out, err
}

// leaveLodged ends the visit, as leave does.
func (h *handlers) leaveLodged(ctx context.Context, r *service.Request) (service.Response, error) {
	out := service.SeeOther("/track", nil).WithNotice("cases.left")
	out.Cookies = []*http.Cookie{h.cookie(lodgedCookie, "", "/t/"+r.Tenant.Slug+"/lodged", 0)}
	token := cookieValue(r, lodgedCookie)
	if token == "" {
		return out, nil
	}
	return out, r.DB.Update(ctx, func(tx *service.Tx) error { // Not a Commit: see leave.
		return tx.Exec(`DELETE FROM cases_lodged_visit WHERE token = ?`, tokenHash(token))
	})
}

// held is what a number and its secret open: a case of this department, or one that it
// has lodged with another.
type held struct {
	id     int64 // Of the case; 0: it was lodged with another.
	secret []byte
	number string // With which the secret is hashed.
}

// readHeld finds what a number means; service.ErrNotFound.
func readHeld(q service.Querier, number string) (held, error) {
	c, err := readWhere(q, `number = ?`, number)
	if errors.Is(err, service.ErrNotFound) {
		l, err := readLodged(q, number)
		return held{0, l.secret, number}, err
	}
	if err != nil {
		return held{}, err
	}
	ch, err := readChannel(q, c.ID)
	if ch != nil {
		number = ch.Number
	}
	return held{c.ID, c.secret, number}, err
}
