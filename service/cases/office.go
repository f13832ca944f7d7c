package cases

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"tongban/service"
)

// File is a case as the department sees it.
type File struct {
	Case
	Full    bool        `json:"full"`            // Applicant is not masked.
	Chain   string      `json:"chain,omitempty"` // What is wrong with the events; empty: nothing.
	Clocks  Clocks      `json:"clocks"`
	Next    *Deadline   `json:"next,omitempty"`
	Actions []actionNow `json:"actions"` // What this person can do now.
}

// actionNow is an action that the table and the person's role allow.
type actionNow struct {
	Action Action `json:"action"`
	Needs  Needs  `json:"needs"`
	Simple bool   `json:"-"` // Needs nothing: a button does it.
}

func (h *handlers) fileOf(c Case, r *service.Request, now time.Time) File {
	f := File{Case: c, Full: r.Principal.May(PermHandle, r.Tenant.Slug), Chain: checkChain(c),
		Clocks: c.Clocks(h.cal, now), Actions: []actionNow{}}
	if !f.Full {
		f.Applicant = c.Applicant.Masked()
	}
	f.Next = f.Clocks.Next(c.ExtensionDays > 0)
	for _, s := range staffActions() {
		need := PermHandle
		if s.who == Head {
			need = PermHead
		}
		if !r.Principal.May(need, r.Tenant.Slug) {
			continue
		}
		n := NeedsOf(s.action)
		a := Act{Action: s.action, by: by{r.Principal, s.who}}
		if _, err := allowed(c, a, h.cal, now); err == nil {
			f.Actions = append(f.Actions, actionNow{s.action, n, !n.Text && !n.Days && len(n.Code) == 0})
		}
	}
	return f
}

func (h *handlers) readFile(ctx context.Context, r *service.Request) (File, error) {
	var c Case
	err := r.View(ctx, func(v *service.View) (err error) {
		c, err = ReadCase(v, r.PathValue("number"))
		return err
	})
	if errors.Is(err, ErrBadNumber) {
		err = service.ErrNotFound
	}
	if err != nil {
		return File{}, err
	}
	return h.fileOf(c, r, r.Now()), nil
}

func (h *handlers) show(ctx context.Context, r *service.Request) (service.Response, error) {
	f, err := h.readFile(ctx, r)
	return withCrumbs(service.Page("cases/case", f.Number, f), r, f.Number), err
}

func casePath(tenant, number string) string { return "/t/" + tenant + "/cases/" + number }

func withCrumbs(out service.Response, r *service.Request, number string) service.Response {
	out.Crumbs = []service.Crumb{{Title: "cases.menu", Path: "/t/" + r.Tenant.Slug + "/cases"},
		{Title: number, Path: casePath(r.Tenant.Slug, number)}}
	return out
}

// actPage is the form of one action.
type actPage struct {
	File
	Action Action `json:"action"`
	Needs  Needs  `json:"needs"`
	Seen   int    `json:"seen"` // Version of the case that the person decides on.
}

// actForm shows the form of an action, made from the version of the case that the person
// was looking at.
func (h *handlers) actForm(a staffAction) service.Handler {
	return func(ctx context.Context, r *service.Request) (service.Response, error) {
		f, err := h.readFile(ctx, r)
		if err != nil {
			return service.Response{}, err
		}
		seen := f.Version
		if v, err := strconv.Atoi(r.HTTP.URL.Query().Get("version")); err == nil {
			seen = v
		}
		if seen != f.Version {
			return h.stale(f, a, seen, r), ErrStale
		}
		if _, err := allowed(f.Case, Act{Action: a.action, by: by{r.Principal, a.who}}, h.cal, r.Now()); err != nil {
			return h.stale(f, a, seen, r), err
		}
		return h.actPage(f, a, seen, r), nil
	}
}

func (h *handlers) actPage(f File, a staffAction, seen int, r *service.Request) service.Response {
	return withCrumbs(service.Page("cases/act", "cases.do."+string(a.action), actPage{f, a.action, NeedsOf(a.action), seen}), r, f.Number)
}

// stalePage says what changed since the person looked.
type stalePage struct {
	File
	Action Action  `json:"action"`
	Since  []Event `json:"since"`
	Typed  string  `json:"typed,omitempty"` // What the person wrote is not lost.
}

func (h *handlers) stale(f File, a staffAction, seen int, r *service.Request) service.Response {
	page := stalePage{File: f, Action: a.action, Since: []Event{}, Typed: r.Form.Get("text")}
	for _, e := range f.Events {
		if e.Seq > seen {
			page.Since = append(page.Since, e)
		}
	}
	return withCrumbs(service.Page("cases/stale", "cases.stale_title", page), r, f.Number)
}

// readAct reads the form, whose text is in the named field, or JSON.
func readAct(r *service.Request, textField string) (Act, error) {
	var a Act
	if len(r.Body) > 0 {
		if err := r.Decode(&a); err != nil {
			return a, err
		}
	} else {
		a.Code, a.Text = r.Form.Get("code"), r.Form.Get(textField)
		a.Version, _ = strconv.Atoi(r.Form.Get("version")) // Else 0, which check refuses, as it does days.
		a.Days, _ = strconv.Atoi(strings.TrimSpace(r.Form.Get("days")))
	}
	a.Text = plain(a.Text)
	return a, nil
}

// Moved is the answer to an act.
type Moved struct {
	Number  string `json:"number"`
	State   State  `json:"state"`
	Version int    `json:"version"`
	Clocks  Clocks `json:"clocks"`
}

func movedOf(h *handlers, c Case, now time.Time) Moved {
	return Moved{c.Number, c.State, c.Version, c.Clocks(h.cal, now)}
}

// act does what an officer or head asks for.
func (h *handlers) act(a staffAction) service.Handler {
	return func(ctx context.Context, r *service.Request) (service.Response, error) {
		n, err := ParseNumber(r.PathValue("number"))
		if err != nil {
			return service.Response{}, service.ErrNotFound
		}
		in, err := readAct(r, "text")
		if err != nil {
			return service.Response{}, err
		}
		in.Action, in.by = a.action, by{r.Principal, a.who}
		out, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
			c, err := act(tx, h.cal, n.String(), in)
			if err != nil {
				return service.Response{}, err
			}
			return service.SeeOther(casePath(r.Tenant.Slug, c.Number), movedOf(h, c, tx.Now())).
				WithNotice("cases.done_" + string(a.action)), nil
		})
		return h.actAgain(ctx, r, a, in, out, err)
	}
}

// actAgain sends the form back with what is wrong in it, or says what changed.
func (h *handlers) actAgain(ctx context.Context, r *service.Request, a staffAction, in Act, out service.Response, cause error) (service.Response, error) {
	var refusal *service.Error
	if !errors.As(cause, &refusal) || refusal.Code != service.Invalid && refusal.Code != service.Conflict {
		return out, cause
	}
	f, err := h.readFile(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	if refusal.Code == service.Conflict {
		return h.stale(f, a, in.Version, r), cause
	}
	return h.actPage(f, a, in.Version, r), cause
}
