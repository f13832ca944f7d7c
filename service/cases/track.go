package cases

import (
	"context"
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"time"

	"tongban/service"
)

// findPage is the form that asks for number and secret.
type findPage struct {
	Action string `json:"action"`           // Where it posts to.
	Number string `json:"number,omitempty"` // Filled in; a number is no secret.
}

// find shows the form.
func (h *handlers) find(_ context.Context, r *service.Request) (service.Response, error) {
	number := ""
	if n, err := ParseNumber(r.HTTP.URL.Query().Get("number")); err == nil {
		number = n.String()
	}
	return findForm(r, number), nil
}

func findForm(r *service.Request, number string) service.Response {
	action := "/track"
	if r.Route.Scope == service.TenantScope {
		action = "/t/" + r.Tenant.Slug + "/track"
	}
	return service.Page("cases/find", "cases.find_title", findPage{action, number})
}

// askAgain sends somebody who may not see the case (any more) to the form.
func (h *handlers) askAgain(r *service.Request, cause error) (service.Response, error) {
	if !errors.Is(cause, ErrAskSecret) {
		return service.Response{}, cause
	}
	return findForm(r, r.PathValue("number")), cause
}

// credentials are what tracking asks for.
type credentials struct {
	Number string `json:"number"`
	Secret string `json:"secret"`
}

func readCredentials(r *service.Request) (c credentials, err error) {
	c = credentials{r.Form.Get("number"), r.Form.Get("secret")}
	if len(r.Body) > 0 {
		err = r.Decode(&c)
	}
	return c, err
}

// lead sends the form on to the tenant that the number names. 307 makes the browser post
// the same form there, so that the secret is in no address.
func (h *handlers) lead(_ context.Context, r *service.Request) (service.Response, error) {
	in, err := readCredentials(r)
	if err != nil {
		return service.Response{}, err
	}
	n, err := ParseNumber(in.Number)
	if err != nil {
		return findForm(r, ""), err
	}
	tenant, ok := h.o.TenantByNumber(n.Tenant)
	if !ok || n.Division != r.Site.Code {
		return findForm(r, ""), ErrNoSuchCase
	}
	out := service.SeeOther("/t/"+tenant.Slug+"/track", nil)
	out.Status = http.StatusTemporaryRedirect
	return out, nil
}

// enter checks number and secret, and lets this browser see the case for a while.
func (h *handlers) enter(ctx context.Context, r *service.Request) (service.Response, error) {
	in, err := readCredentials(r)
	if err != nil {
		return service.Response{}, err
	}
	n, err := ParseNumber(in.Number)
	if err != nil {
		return findForm(r, ""), err
	}
	found, refusal, err := h.guess(ctx, r, n.String(), normalSecret(in.Secret))
	if err != nil {
		return service.Response{}, err
	}
	if refusal != nil {
		return findForm(r, ""), refusal
	}
	if found.id == 0 {
		return h.enterLodged(ctx, r, n.String())
	}
	token := newToken()
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		if err := openVisit(tx, found.id, token); err != nil {
			return service.Response{}, err
		}
		c, err := ReadCase(tx, n.String())
		out := service.SeeOther(trackPath(r.Tenant.Slug, c.Number), trackOf(h, c, r.Tenant, tx.Now()))
		out.Cookies = []*http.Cookie{h.visitCookie(r.Tenant.Slug, token)}
		return out, err
	})
}

// guess counts a wrong secret, also when it is refused.
func (h *handlers) guess(ctx context.Context, r *service.Request, number, secret string) (found held, refusal *service.Error, err error) {
	id := make([]byte, 16)
	rand.Read(id)
	err = r.DB.Update(ctx, func(tx *service.Tx) (err error) {
		found, refusal, err = guess(tx, number, secret, r.Source, id, r.Principal)
		return err
	})
	return found, refusal, err
}

// leave ends the visit: for a computer that others use next.
func (h *handlers) leave(ctx context.Context, r *service.Request) (service.Response, error) {
	out := service.SeeOther("/track", nil).WithNotice("cases.left")
	out.Cookies = []*http.Cookie{h.cookie(visitCookie, "", "/t/"+r.Tenant.Slug+"/track", 0)}
	token := cookieValue(r, visitCookie)
	if token == "" {
		return out, nil
	}
	// Not a Commit: anybody could have it keep answers, and repeating it is harmless.
	return out, r.DB.Update(ctx, func(tx *service.Tx) error {
		return tx.Exec(`DELETE FROM cases_visit WHERE token = ?`, tokenHash(token))
	})
}

// visited returns the case of the path if this browser may see it, else ErrAskSecret.
func (h *handlers) visited(ctx context.Context, r *service.Request) (c Case, err error) {
	n, err := ParseNumber(r.PathValue("number"))
	if err != nil {
		return c, service.ErrNotFound
	}
	err = r.View(ctx, func(v *service.View) error {
		if err := visits(v, cookieValue(r, visitCookie), n.String()); err != nil {
			return err
		}
		c, err = ReadCase(v, n.String())
		return err
	})
	return c, err
}

func (h *handlers) track(ctx context.Context, r *service.Request) (service.Response, error) {
	c, err := h.visited(ctx, r)
	if err != nil {
		return h.askAgain(r, err)
	}
	return service.Page("cases/track", "cases.track_title", trackOf(h, c, r.Tenant, r.Now())), nil
}

// Tracking is a case as its applicant sees it.
type Tracking struct {
	Number     string    `json:"number"`
	Item       string    `json:"item"`
	Department string    `json:"department"`
	Instant    bool      `json:"instant"`
	State      State     `json:"state"`
	Version    int       `json:"version"`
	Holder     string    `json:"holder,omitempty"` // department, applicant; empty: it is over.
	Submitted  time.Time `json:"submitted"`
	Silent     bool      `json:"silent"`
	Applicant  Person    `json:"applicant"` // Masked.
	Clocks     Clocks    `json:"clocks"`
	Next       *Deadline `json:"next,omitempty"`
	Steps      []Step    `json:"steps"`

	Correction  *Event `json:"correction,omitempty"` // What is to be corrected, while it is.
	Outcome     *Event `json:"outcome,omitempty"`    // Granted, denied, refused, void.
	Procedure   *Event `json:"procedure,omitempty"`  // The special procedure that is on.
	Extension   *Event `json:"extension,omitempty"`
	Delivery    *Event `json:"delivery,omitempty"`
	CanWithdraw bool   `json:"can_withdraw"`
}

// Step is one step of the timeline.
type Step struct {
	Title string    `json:"title"` // Message key.
	State string    `json:"state"` // done, current, todo, bad
	At    time.Time `json:"at"`
	Note  string    `json:"note,omitempty"`
}

func trackOf(h *handlers, c Case, tenant service.Tenant, now time.Time) Tracking {
	out := Tracking{Number: c.Number, Item: c.ItemName, Department: tenant.Name, Instant: c.Instant,
		State: c.State, Version: c.Version, Submitted: c.Submitted, Silent: c.Silent, Applicant: c.Applicant.Masked(),
		Clocks: c.Clocks(h.cal, now), Steps: stepsOf(c)}
	out.Next = out.Clocks.Next(c.ExtensionDays > 0)
	_, out.CanWithdraw = find(c.State, Withdraw, Applicant, c.Instant)
	switch {
	case c.State == Correction:
		out.Holder = "applicant"
		out.Correction = shown(c, Correct)
	case !c.State.Final() && c.State != Delivered:
		out.Holder = "department"
	}
	out.Outcome = shown(c, Grant, Deny, Refuse, Annul)
	out.Extension, out.Delivery = shown(c, Extend), shown(c, Deliver)
	if c.State == Special {
		out.Procedure = shown(c, Stop)
	}
	return out
}

// shown is the newest of the events without the names of staff: the department answers,
// not a person.
func shown(c Case, actions ...Action) *Event {
	e, ok := c.Last(actions...)
	if !ok {
		return nil
	}
	e.Account, e.Name = "", ""
	return &e
}

// ahead are the steps that a case still meets, in order.
var ahead = []struct {
	before []State
	title  string
}{
	{judging, "cases.step_accept"},
	{[]State{Accepted, Review, Special, Paused}, "cases.step_decide"},
	{[]State{Granted, Denied}, "cases.step_close"},
	{[]State{Closed}, "cases.step_deliver"},
}

// stepsOf returns what happened, where the case stands, and what is still to come.
func stepsOf(c Case) []Step {
	var out []Step
	for _, e := range c.Events {
		s := Step{Title: "cases.event." + string(e.Action), State: "done", At: e.At, Note: e.Text}
		if slices.Contains([]Action{Refuse, Deny, Withdraw, Annul}, e.Action) {
			s.State = "bad"
		}
		out = append(out, s)
	}
	if c.State.Final() || c.State == Delivered {
		return out
	}
	if c.State == Correction {
		out = append(out, Step{Title: "cases.your_turn", State: "current"})
	}
	reached := false
	for _, a := range ahead {
		here := slices.Contains(a.before, c.State)
		if here || reached || c.State == Correction {
			state := "todo"
			if here {
				state = "current"
			}
			out = append(out, Step{Title: a.title, State: state})
		}
		reached = reached || here
	}
	return out
}

// citizenAct is what an applicant does to their case.
func (h *handlers) citizenAct(action Action) service.Handler {
	field := map[Action]string{Resubmit: "answer", Withdraw: "why"}[action]
	return func(ctx context.Context, r *service.Request) (service.Response, error) {
		n, err := ParseNumber(r.PathValue("number"))
		if err != nil {
			return service.Response{}, service.ErrNotFound
		}
		in, err := readAct(r, field)
		if err != nil {
			return service.Response{}, err
		}
		in.Action, in.by = action, by{r.Principal, Applicant}
		token := cookieValue(r, visitCookie)
		out, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
			if err := visits(tx, token, n.String()); err != nil {
				return service.Response{}, err
			}
			c, err := act(tx, h.cal, n.String(), in)
			if err != nil {
				return service.Response{}, err
			}
			return service.SeeOther(trackPath(r.Tenant.Slug, c.Number), movedOf(h, c, tx.Now())).
				WithNotice("cases.done_" + string(action)), nil
		})
		return h.citizenAgain(ctx, r, out, err, field)
	}
}

// citizenAgain shows the case as it is now with what was wrong about the act.
func (h *handlers) citizenAgain(ctx context.Context, r *service.Request, out service.Response, cause error, field string) (service.Response, error) {
	var refusal *service.Error
	if !errors.As(cause, &refusal) {
		return out, cause
	}
	if errors.Is(cause, ErrAskSecret) {
		return h.askAgain(r, cause)
	}
	if refusal.Code != service.Invalid && refusal.Code != service.Conflict {
		return out, cause
	}
	if reason := refusal.Fields["text"]; reason != "" {
		refusal = refusal.Field(field, reason)
		delete(refusal.Fields, "text")
	}
	page, err := h.track(ctx, r)
	if err != nil {
		return page, err
	}
	return page, refusal
}
