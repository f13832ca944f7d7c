package cases

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"tongban/service"
	"tongban/service/catalog"
)

// applyPage is what the form of an application shows.
type applyPage struct {
	Code        string         `json:"code"`
	Item        string         `json:"item"`
	Department  string         `json:"department"`
	Instant     bool           `json:"instant"`
	Statutory   int            `json:"statutory_days"`
	Promise     int            `json:"promise_days"`
	JudgeDays   int            `json:"judge_days"`
	Materials   []materialTick `json:"materials"`
	Shared      []string       `json:"shared"` // Fetched by the department itself.
	GuideFilled bool           `json:"materials_known"`
}

// materialTick is a choice of the form.
type materialTick struct {
	Value    string `json:"name"`
	Text     string `json:"-"`
	Kind     string `json:"kind,omitempty"`
	Required bool   `json:"required"`
}

func (h *handlers) applyForm(ctx context.Context, r *service.Request) (service.Response, error) {
	page, err := readApplyPage(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	out := service.Page("cases/apply", "cases.apply_title", page)
	out.Crumbs = []service.Crumb{{Title: page.Item, Path: itemPath(r.Tenant.Slug, page.Code)}, {Title: "cases.apply_title"}}
	return out, nil
}

func itemPath(tenant, code string) string { return "/t/" + tenant + "/items/" + url.PathEscape(code) }

func readApplyPage(ctx context.Context, r *service.Request) (applyPage, error) {
	var item catalog.Item
	err := r.View(ctx, func(v *service.View) (err error) {
		item, err = catalog.ReadItem(v, r.PathValue("code"))
		return err
	})
	page := applyPage{Code: item.Code, Item: item.Name, Department: r.Tenant.Name, Instant: item.Guide.Instant,
		JudgeDays: JudgeDays, Materials: []materialTick{}, Shared: []string{}, GuideFilled: item.Guide.Materials != nil}
	page.Statutory, page.Promise = limitsOf(item.Guide.Statutory, item.Guide.Promise, item.Guide.Instant)
	if item.Guide.Materials == nil {
		return page, err
	}
	for _, m := range *item.Guide.Materials {
		if m.Shared {
			page.Shared = append(page.Shared, m.Name)
			continue
		}
		page.Materials = append(page.Materials, materialTick{m.Name, m.Name, m.Kind, m.Required})
	}
	return page, err
}

// readApplication reads the form, or the same names as JSON.
func readApplication(r *service.Request) (Application, error) {
	a := Application{Person: Person{Name: r.Form.Get("name"), IDKind: r.Form.Get("id_kind"), IDNumber: r.Form.Get("id_number"),
		Phone: r.Form.Get("phone"), AgentName: r.Form.Get("agent_name"), AgentID: r.Form.Get("agent_id"),
		AgentPhone: r.Form.Get("agent_phone")}, Materials: r.Form["materials"], Note: r.Form.Get("note"), Truth: r.Form.Get("truth") == "yes"}
	if len(r.Body) > 0 {
		if err := r.Decode(&a); err != nil {
			return a, err
		}
	}
	a.Item, a.Person, a.Note = r.PathValue("code"), a.Person.normal(), plain(a.Note)
	return a, nil
}

// Receipt is what an applicant gets: how to find the case again and what happens next.
type Receipt struct {
	Number      string    `json:"number"`
	Secret      string    `json:"secret,omitempty"` // Shown once.
	Item        string    `json:"item"`
	Department  string    `json:"department"`
	Instant     bool      `json:"instant"`
	Submitted   time.Time `json:"submitted"`
	Judge       *Deadline `json:"judge"` // By then the department has answered, or accepted by law.
	PromiseDays int       `json:"promise_days"`
	Statutory   int       `json:"statutory_days"`
	Applicant   Person    `json:"applicant"` // Masked.
	Minutes     int       `json:"-"`         // So long the secret can be shown again here.
}

func receiptOf(h *handlers, c Case, tenant service.Tenant, now time.Time, secret string) Receipt {
	return Receipt{Number: c.Number, Secret: secret, Item: c.ItemName, Department: tenant.Name, Instant: c.Instant,
		Submitted: c.Submitted, Judge: c.Clocks(h.cal, now).Judge, PromiseDays: c.PromiseDays, Statutory: c.StatutoryDays,
		Applicant: c.Applicant.Masked(), Minutes: int(receiptLife / time.Minute)}
}

func (h *handlers) apply(ctx context.Context, r *service.Request) (service.Response, error) {
	a, err := readApplication(r)
	if err != nil {
		return service.Response{}, err
	}
	if wrong := a.check(r.Now()); wrong != nil {
		form, err := h.applyForm(ctx, r)
		if err != nil {
			return service.Response{}, err
		}
		return form, wrong
	}
	secret, token := newSecret(), newToken() // Here: a transaction may run twice.
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		c, err := apply(tx, h.cal, r.Site.Code, r.Tenant, a, func(number string) []byte { return secretHash(number, secret) },
			by{r.Principal, Applicant})
		if err != nil {
			return service.Response{}, err
		}
		if err := openVisit(tx, c.ID, token); err != nil {
			return service.Response{}, err
		}
		path := trackPath(r.Tenant.Slug, c.Number)
		out := service.SeeOther(path+"/receipt", receiptOf(h, c, r.Tenant, tx.Now(), secret))
		out.Cookies = []*http.Cookie{h.visitCookie(r.Tenant.Slug, token),
			h.cookie(receiptCookie, secret, path+"/receipt", receiptLife)}
		return out, nil
	})
}

const (
	visitCookie   = "case"         // A token of cases_visit; only below /t/{tenant}/track.
	receiptCookie = "case-receipt" // The secret; only to the receipt's own page.

	// receiptLife is how long the receipt's page shows the secret in this browser: long
	// enough to print, to reload or to change the language, short enough for a computer
	// that others use next.
	receiptLife = 10 * time.Minute
)

func (h *handlers) visitCookie(tenant, token string) *http.Cookie {
	return h.cookie(visitCookie, token, "/t/"+tenant+"/track", visitLife)
}

func (h *handlers) cookie(name, value, path string, life time.Duration) *http.Cookie {
	c := &http.Cookie{Name: name, Value: value, Path: path, MaxAge: int(life / time.Second), HttpOnly: true,
		Secure: h.o.Secure, SameSite: http.SameSiteLaxMode}
	if value == "" {
		c.MaxAge = -1
	}
	return c
}

func trackPath(tenant, number string) string { return "/t/" + tenant + "/track/" + number }

// receipt shows number and secret after an application.
func (h *handlers) receipt(ctx context.Context, r *service.Request) (service.Response, error) {
	c, err := h.visited(ctx, r)
	if err != nil {
		return h.askAgain(r, err)
	}
	out := receiptOf(h, c, r.Tenant, r.Now(), "")
	if secret := cookieValue(r, receiptCookie); string(secretHash(c.Number, secret)) == string(c.secret) {
		out.Secret = secret
	}
	return service.Page("cases/receipt", "cases.receipt_title", out), nil
}

func cookieValue(r *service.Request, name string) string {
	c, err := r.HTTP.Cookie(name)
	if err != nil {
		return ""
	}
	return c.Value
}
