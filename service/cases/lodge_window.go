package cases

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// windows returns the routes of lodging with another division (异地代收代办).
func (h *handlers) windows() []service.Route {
	return []service.Route{
		{Pattern: "GET /lodge", Need: PermHandle, Handle: h.lodgeForm},
		{Pattern: "POST /lodge", Need: PermHandle, Handle: h.lodge},
		{Pattern: "GET /lodgings", Need: PermRead, Handle: h.lodgings},
		{Pattern: "GET /lodged/{number}", Need: service.Public, Handle: h.lodged},
		{Pattern: "GET /lodged/{number}/slip", Need: PermHandle, Handle: h.slip},
		{Pattern: "POST /lodged/leave", Need: service.Public, Handle: h.leaveLodged},
	}
}

// lodgePage is the form of a lodging.
type lodgePage struct {
	Reference string `json:"ref,omitempty"` // Empty: the form asks for it first.
	ItemName  string `json:"item_name,omitempty"`
	Division  string `json:"division,omitempty"` // Full name.
	Tenant    string `json:"tenant,omitempty"`
	Known     bool   `json:"known"` // The directory has the division.

	Search string `json:"-"` // URL of the nation's search, where references are found; empty: not known.
}

func (h *handlers) lodgeForm(ctx context.Context, r *service.Request) (service.Response, error) {
	q := r.HTTP.URL.Query()
	text, name := q.Get("ref"), line(q.Get("name"))
	if text == "" {
		web, _, err := readDivision(ctx, r, division.Nation)
		return lodgeResponse(r, lodgePage{Search: searchOf(web)}), err
	}
	page, err := readLodgePage(ctx, r, text, name)
	return lodgeResponse(r, page), err
}

// searchOf is the search of the portal at web; empty when that is no address for a link.
func searchOf(web string) string {
	if !strings.HasPrefix(web, "https://") && !strings.HasPrefix(web, "http://") {
		return ""
	}
	return strings.TrimSuffix(web, "/") + "/search"
}

func lodgeResponse(r *service.Request, page lodgePage) service.Response {
	out := service.Page("cases/lodge", "cases.lodge_title", page)
	out.Crumbs = []service.Crumb{lodgingsCrumb(r), {Title: "cases.lodge_title"}}
	return out
}

func lodgingsCrumb(r *service.Request) service.Crumb {
	return service.Crumb{Title: "cases.menu_lodgings", Path: "/t/" + r.Tenant.Slug + "/lodgings"}
}

// readLodgePage returns the form for an item, or the form that asks for one.
func readLodgePage(ctx context.Context, r *service.Request, text, name string) (lodgePage, error) {
	ref, err := ParseReference(text)
	if err != nil {
		return lodgePage{}, err
	}
	page := lodgePage{Reference: ref.String(), ItemName: name, Division: division.FullName(ref.Division), Tenant: ref.Tenant}
	_, page.Known, err = readDivision(ctx, r, ref.Division)
	if err == nil && !page.Known && page.Division == "" {
		return lodgePage{}, errNoSuchDivision
	}
	return page, err
}

// readDivision returns what the directory says of a division. This one needs no entry.
func readDivision(ctx context.Context, r *service.Request, ref division.Ref) (web string, known bool, err error) {
	err = r.ViewDivision(ctx, func(v *service.View) error {
		e, err := federation.ReadEntry(v, ref)
		if errors.Is(err, federation.ErrNoDivision) {
			known = ref.Level.String() == r.Site.Level && string(ref.Code) == r.Site.Code
			return nil
		}
		web, known = e.Web, err == nil
		return err
	})
	return web, known, err
}

func readLodging(r *service.Request) (lodging, error) {
	f := r.Form
	in := lodging{Person: Person{Name: f.Get("name"), IDKind: f.Get("id_kind"), IDNumber: f.Get("id_number"), Phone: f.Get("phone"),
		AgentName: f.Get("agent_name"), AgentID: f.Get("agent_id"), AgentPhone: f.Get("agent_phone")},
		Ref: f.Get("ref"), ItemName: f.Get("item_name"), Note: f.Get("note"), Truth: f.Get("truth") == "yes"}
	if len(r.Body) > 0 {
		if err := r.Decode(&in); err != nil {
			return in, err
		}
	}
	in.Person, in.Note, in.ItemName = in.Person.normal(), plain(in.Note), cut(line(in.ItemName), maxItemName)
	return in, nil
}

// maxItemName bounds a name that the window copies, characters.
const maxItemName = 200

func cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n])
	}
	return s
}

// Slip is what an applicant takes home from the window.
type Slip struct {
	Lodged
	Secret  string `json:"secret,omitempty"` // Shown once.
	Minutes int    `json:"-"`                // So long it can be shown again here.
}

func (h *handlers) lodge(ctx context.Context, r *service.Request) (service.Response, error) {
	in, err := readLodging(r)
	if err != nil {
		return service.Response{}, err
	}
	page, err := readLodgePage(ctx, r, in.Ref, in.ItemName)
	if wrong := in.check(r.Now()); wrong != nil && (err == nil || errors.Is(err, service.ErrInvalid)) {
		return lodgeResponse(r, page), wrong
	}
	if err != nil {
		return lodgeResponse(r, page), err
	}
	secret := newSecret() // Here: a transaction may run twice.
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		l, err := lodge(tx, r.Site, r.Tenant, in, secret, r.Principal)
		if err != nil {
			return service.Response{}, err
		}
		l.Applicant = l.Applicant.Masked()
		path := lodgedPath(r.Tenant.Slug, l.Number) + "/slip"
		out := service.SeeOther(path, Slip{Lodged: l, Secret: secret})
		out.Cookies = []*http.Cookie{h.cookie(receiptCookie, secret, path, receiptLife)}
		return out, nil
	})
}

func lodgedPath(tenant, number string) string { return "/t/" + tenant + "/lodged/" + number }

// slip shows number and secret after a lodging.
func (h *handlers) slip(ctx context.Context, r *service.Request) (service.Response, error) {
	l, err := h.readLodged(ctx, r)
	if err != nil {
		return service.Response{}, err
	}
	out := Slip{Lodged: l, Minutes: int(receiptLife / time.Minute)}
	if secret := cookieValue(r, receiptCookie); string(secretHash(l.Number, secret)) == string(l.secret) {
		out.Secret = secret
	}
	out.Applicant = l.Applicant.Masked()
	page := service.Page("cases/slip", "cases.slip_title", out)
	page.Crumbs = []service.Crumb{lodgingsCrumb(r), {Title: l.Number, Path: lodgedPath(r.Tenant.Slug, l.Number)}, {Title: "cases.slip_title"}}
	return page, nil
}

// readLodged returns the lodged case of the path, with what the directory adds.
func (h *handlers) readLodged(ctx context.Context, r *service.Request) (l Lodged, err error) {
	n, err := ParseNumber(r.PathValue("number"))
	if err != nil {
		return l, service.ErrNotFound
	}
	if err := r.View(ctx, func(v *service.View) error {
		l, err = readLodged(v, n.String())
		return err
	}); err != nil {
		return l, err
	}
	return l.located(ctx, r)
}

// located adds where the owner's portal is.
func (l Lodged) located(ctx context.Context, r *service.Request) (Lodged, error) {
	web, known, err := readDivision(ctx, r, l.to)
	l.Known = known
	if l.Case != "" && (strings.HasPrefix(web, "https://") || strings.HasPrefix(web, "http://")) {
		l.Follow = strings.TrimSuffix(web, "/") + "/track?number=" + url.QueryEscape(l.Case)
	}
	return l, err
}

// lodgings lists what the window has lodged.
type lodgings struct {
	State string   `json:"state,omitempty"` // Of the mail; empty: all.
	Query string   `json:"query,omitempty"` // Part of a number, item or name.
	Page  int      `json:"page"`
	Per   int      `json:"per_page"`
	Total int      `json:"total"`
	Rows  []Lodged `json:"rows"` // Applicants are masked.
	Views []Tab    `json:"views"`
}

var lodgedStates = []string{"", string(service.MailWaiting), string(service.MailDelivered), string(service.MailRefused)}

func (h *handlers) lodgings(ctx context.Context, r *service.Request) (service.Response, error) {
	q := r.HTTP.URL.Query()
	l := lodgings{State: q.Get("state"), Query: line(q.Get("q")), Page: 1, Per: perPage, Rows: []Lodged{}}
	if !slices.Contains(lodgedStates, l.State) {
		return service.Response{}, ErrBadFilter
	}
	if p := q.Get("page"); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 1_000_000 {
			return service.Response{}, ErrBadFilter
		}
		l.Page = n
	}
	names := r.Principal.May(PermHandle, r.Tenant.Slug)
	err := r.View(ctx, func(v *service.View) error { return l.fill(v, names) })
	return service.Page("cases/lodgings", "cases.menu_lodgings", l), err
}

// fill reads the page. names: Query may match people's names, see Listing. Cost: a scan of
// what was lodged.
func (l *lodgings) fill(q service.Querier, names bool) error {
	for _, state := range lodgedStates {
		t := Tab{View: state}
		if err := q.QueryRow(`SELECT count(*)`+lodgedFrom+`WHERE ?1 = '' OR m.state = ?1`, state).Scan(&t.Count); err != nil {
			return err
		}
		l.Views = append(l.Views, t)
	}
	number := strings.ToUpper(l.Query)
	if n, err := ParseNumber(l.Query); err == nil {
		number = n.String()
	}
	const cond = `WHERE (?1 = '' OR m.state = ?1) AND (?2 = '' OR instr(l.number, ?2) > 0 OR l.case_number = ?2
		OR instr(l.item_name, ?3) > 0 OR instr(l.item, ?3) > 0 OR (?4 OR l.id_kind = 'uscc') AND instr(l.name, ?3) > 0)`
	if err := q.QueryRow(`SELECT count(*)`+lodgedFrom+cond, l.State, number, l.Query, names).Scan(&l.Total); err != nil {
		return err
	}
	rows, err := collect(q, func(rows *replication.Rows) (o Lodged, err error) {
		err = o.scan(rows)
		o.Applicant = o.Applicant.Masked()
		return o, err
	}, `SELECT `+lodgedColumns+lodgedFrom+cond+` ORDER BY l.id DESC LIMIT ?5 OFFSET ?6`,
		l.State, number, l.Query, names, l.Per, (l.Page-1)*l.Per)
	l.Rows = append(l.Rows, rows...)
	return err
}
