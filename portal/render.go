package portal

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tongban/service"
)

// View is what one page is made of.
type View struct {
	service.Response // Page, Title, Data, Status and Crumbs are used here; not Location, Notice, Cookies, File.

	Lang      string            // Empty: Lang of the request.
	Principal service.Principal // For the header and the menu.
	Tenant    service.Tenant    // Zero in division scope.
	Key       string            // Idempotency key of the page's forms.
	Flash     string            // Message key of the notice that the last change left; anything else is not shown.
	Now       time.Time         // Time of the page; zero: time.Now.
	AsOf      time.Time         // Not zero: the data are that old, and a banner says so.

	// Error is the refusal that sent a form back to its user, and Values what the user
	// had typed: the page shows an error summary and fields keep their values.
	Error  *service.Error
	Values url.Values
}

// Page is the dot of a page's template.
type Page struct {
	Lang      string
	Path      string // Of the request.
	Title     string // In the page's language.
	Data      any
	Key       string
	Site      Site
	Principal service.Principal
	Tenant    service.Tenant
	Now       time.Time

	query   url.Values
	values  url.Values
	refusal *service.Error
	fields  []string // Names of the form's fields in the order of the page.
}

// frameData is the dot of the layout.
type frameData struct {
	*Page
	SiteName, Place   string
	Theme             string // "", "light" or "dark".
	LargeText         bool
	Tools             []tool
	Menu              []menuLink
	SignedIn          bool
	Who               string
	SignIn, SignOut   string
	KeyInput          template.HTML
	Crumbs            []service.Crumb
	Flash             string
	AsOf              time.Time
	AsOfText, NowText string
	Refused           bool
	Problem           string
	FieldErrors       []explainedField
	Content           template.HTML
	Heading, What, Do string // Of an error page.
	Ref               string
}

type tool struct{ Title, Path, Lang, Class string }

type menuLink struct{ Title, Path, Current string }

// Render writes the page: status, headers and body at once, so that a template that
// fails half way shows an error page and not half a page. It also keeps the choices of
// language and look that the address carries.
func (p *Portal) Render(w http.ResponseWriter, r *http.Request, v View) {
	if v.Lang == "" {
		v.Lang = Lang(r)
	}
	set := p.pages[langOf(v.Lang)]
	page, ok := set.pages[v.Page]
	if !ok {
		p.fail(w, r, v, fmt.Errorf("there is no page %q", v.Page))
		return
	}
	frame := p.frame(set, r, v)
	var content bytes.Buffer
	if err := page.Execute(&content, frame.Page); err != nil {
		p.fail(w, r, v, fmt.Errorf("render page %s: %w", v.Page, err))
		return
	}
	frame.Content = template.HTML(content.String())
	if v.Error != nil {
		e := p.explain(set.lang, v.Error)
		frame.Refused, frame.FieldErrors = true, inOrder(e.fields, frame.fields)
		// What a field says already is not said twice.
		said := slices.ContainsFunc(e.fields, func(f explainedField) bool { return f.Text == e.what })
		if len(e.fields) == 0 || e.reason != service.ErrInvalid.Reason && !said {
			frame.Problem = e.what
		}
		v.Status = cmp.Or(v.Status, e.status)
	}
	p.write(w, r, set, frame, cmp.Or(v.Status, http.StatusOK))
}

// inOrder sorts the errors as the fields stand on the page; what is wrong with a field
// that the page does not show comes last and links to nothing.
func inOrder(errs []explainedField, shown []string) []explainedField {
	place := func(e explainedField) int {
		if i := slices.Index(shown, e.name); i >= 0 {
			return i
		}
		return len(shown)
	}
	for i := range errs {
		if place(errs[i]) == len(shown) {
			errs[i].ID = ""
		}
	}
	slices.SortStableFunc(errs, func(a, b explainedField) int { return cmp.Compare(place(a), place(b)) })
	return errs
}

// RenderError answers with a page, or with problem+json if the caller prefers JSON: what
// is wrong, what to do, and the reference that leads an operator to the log.
func (p *Portal) RenderError(w http.ResponseWriter, r *http.Request, lang string, err *service.Error, ref string) {
	p.RenderRefusal(w, r, View{Lang: lang}, err, ref)
}

// RenderRefusal is RenderError with the header and menu of the view's principal.
func (p *Portal) RenderRefusal(w http.ResponseWriter, r *http.Request, v View, err *service.Error, ref string) {
	if v.Lang == "" {
		v.Lang = Lang(r)
	}
	if WantsJSON(r) {
		p.Problem(w, err, ref, v.Lang)
		return
	}
	set := p.pages[langOf(v.Lang)]
	e := p.explain(set.lang, err)
	v.Title, v.Crumbs = e.heading, nil
	frame := p.frame(set, r, v)
	frame.Heading, frame.What, frame.Do, frame.FieldErrors, frame.Ref = e.heading, e.what, e.do, e.fields, ref
	outer := *frame
	switch {
	case err.Code != service.NotSignedIn:
		frame.SignIn = ""
	case frame.SignIn != "" && r.Method == http.MethodGet:
		frame.SignIn += "?" + url.Values{"next": {r.URL.RequestURI()}}.Encode() // Back to what was asked for.
	}
	var content bytes.Buffer
	if err := set.frame.ExecuteTemplate(&content, "frame-error-page", frame); err != nil {
		p.log.Error("render the error page", "err", err)
		http.Error(w, e.what, e.status)
		return
	}
	outer.Content = template.HTML(content.String())
	refusalHeaders(w.Header(), err, set.lang)
	p.write(w, r, set, &outer, e.status)
}

func (p *Portal) fail(w http.ResponseWriter, r *http.Request, v View, err error) {
	p.log.Error("render", "page", v.Page, "err", err)
	p.RenderRefusal(w, r, v, service.ErrInternal.Because(err), "")
}

func (p *Portal) write(w http.ResponseWriter, r *http.Request, set *pageSet, frame *frameData, status int) {
	var out bytes.Buffer
	if err := set.frame.ExecuteTemplate(&out, "layout.html", frame); err != nil {
		p.log.Error("render the layout", "err", err)
		http.Error(w, p.messages.text(set.lang, "internal", nil), http.StatusInternalServerError)
		return
	}
	keep(w, r)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", set.lang)
	h.Set("Cache-Control", "no-store") // A page carries a key of its own, and perhaps a person's data.
	h.Set("Vary", "Accept, Accept-Language, Cookie")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(out.Bytes()) // The reader left: nobody to tell.
	}
}

func (p *Portal) frame(set *pageSet, r *http.Request, v View) *frameData {
	f := formatter{lang: set.lang, messages: p.messages}
	site := p.opts.Site
	name := site.Name
	if set.lang == English && site.NameEN != "" {
		name = site.NameEN
	}
	if v.Now.IsZero() {
		v.Now = time.Now()
	}
	page := &Page{Lang: set.lang, Path: r.URL.Path, Title: f.text(v.Title), Data: v.Data, Key: v.Key,
		Site: site, Principal: v.Principal, Tenant: v.Tenant, Now: v.Now,
		query: r.URL.Query(), values: v.Values, refusal: v.Error}
	// The notice comes from a cookie: only our own words are shown as ours.
	flash := ""
	if f.messages.has(v.Flash) {
		flash = f.text(v.Flash)
	}
	out := &frameData{Page: page, Flash: flash, AsOf: v.AsOf,
		SiteName: f.messages.text(set.lang, "portal.site_name", map[string]any{"Division": name}),
		SignIn:   p.opts.SignIn, SignOut: p.opts.SignOut, KeyInput: key(page),
		SignedIn: v.Principal.Kind != service.Anonymous, Who: cmp.Or(v.Principal.Name, v.Principal.Account),
		AsOfText: f.asOf(v.AsOf, v.Now), NowText: f.datetime(v.Now)}
	if site.Full != site.Name {
		out.Place = site.Full
	}
	if v.Tenant.Name != "" {
		out.Place = v.Tenant.Name
	}
	if theme, _ := chosen(r, "theme"); theme != "auto" {
		out.Theme = theme
	}
	text, _ := chosen(r, "text")
	out.LargeText = text == "large"
	out.Tools = p.tools(f, r, out)
	out.Menu = p.menuFor(f, r, v)
	for _, c := range v.Crumbs {
		out.Crumbs = append(out.Crumbs, service.Crumb{Title: f.text(c.Title), Path: c.Path})
	}
	return out
}

// asOf is a clock on the same day and a date with the clock on any other.
func (f formatter) asOf(at, now time.Time) string {
	if f.date(at) == f.date(now) {
		return f.clock(at)
	}
	return f.datetime(at)
}

// tools are the links that change language and look; each keeps the page. A page that
// answers a form is asked for again by its address.
func (p *Portal) tools(f formatter, r *http.Request, frame *frameData) []tool {
	link := func(name, value string) string {
		query := r.URL.Query()
		for other := range preferences {
			query.Del(other)
		}
		query.Set(name, value)
		return (&url.URL{Path: r.URL.Path, RawQuery: query.Encode()}).String()
	}
	out := []tool{{Title: "English", Path: link("lang", English), Lang: "en"}}
	if f.lang == English {
		out[0] = tool{Title: "中文", Path: link("lang", Chinese), Lang: "zh-CN"}
	}
	size := tool{Title: f.text("portal.text_large"), Path: link("text", "large")}
	if frame.LargeText {
		size = tool{Title: f.text("portal.text_normal"), Path: link("text", "normal")}
	}
	out = append(out, size,
		tool{Title: f.text("portal.theme_dark"), Path: link("theme", "dark"), Class: "tb-in-light"},
		tool{Title: f.text("portal.theme_light"), Path: link("theme", "light"), Class: "tb-in-dark"})
	return out
}

// menuFor returns the entries that the principal may see, the tenant's with its prefix.
func (p *Portal) menuFor(f formatter, r *http.Request, v View) []menuLink {
	tenant := cmp.Or(v.Tenant.Slug, onlyTenant(v.Principal))
	var out []menuLink
	best := -1
	for _, m := range p.menu {
		path, scope := m.Path, ""
		if m.Scope == service.TenantScope {
			if tenant == "" {
				continue
			}
			path, scope = "/t/"+tenant+m.Path, tenant
		}
		if !v.Principal.May(m.Need, scope) {
			continue
		}
		out = append(out, menuLink{Title: f.text(m.Title), Path: path})
		if below(r.URL.Path, path) && (best < 0 || len(path) > len(out[best].Path)) {
			best = len(out) - 1
		}
	}
	if best >= 0 {
		out[best].Current = "true" // Inside this part of the site.
		if out[best].Path == r.URL.Path {
			out[best].Current = "page"
		}
	}
	return out
}

// below reports whether at is the path or inside it; the front page holds itself only.
func below(at, path string) bool {
	return at == path || path != "/" && strings.HasPrefix(at, strings.TrimSuffix(path, "/")+"/")
}

// onlyTenant is the one department that somebody works for, if it is one: its menu shows
// on the division's pages too.
func onlyTenant(who service.Principal) string {
	var tenants []string
	for _, g := range who.Grants {
		if g.Tenant != "" && !slices.Contains(tenants, g.Tenant) {
			tenants = append(tenants, g.Tenant)
		}
	}
	if len(tenants) == 1 {
		return tenants[0]
	}
	return ""
}
