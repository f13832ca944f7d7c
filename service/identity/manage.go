package identity

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tongban/service"
)

// perPage is the number of accounts on a page.
const perPage = 50

// Listing is a page of accounts.
type Listing struct {
	Accounts []Account `json:"accounts"`
	Total    int       `json:"total"`
	Page     int       `json:"page"`
	PerPage  int       `json:"per_page"`
	Text     string    `json:"-"`

	Names map[string]string `json:"-"` // Of departments, by tenant.
}

// names returns the departments' names by tenant, for people: a slug is for addresses.
func (h *handlers) names(q service.Querier) (map[string]string, error) {
	tenants, err := h.Tenants(q)
	out := make(map[string]string, len(tenants))
	for _, one := range tenants {
		out[one.Slug] = one.Name
	}
	return out, err
}

func (h *handlers) readListing(ctx context.Context, r *service.Request, s Search) (Listing, error) {
	page, err := strconv.Atoi(r.Form.Get("page"))
	if err != nil || page < 1 || page > 1_000_000 {
		page = 1
	}
	s.Text, s.Offset, s.Limit = strings.TrimSpace(r.Form.Get("q")), (page-1)*perPage, perPage
	out := Listing{Page: page, PerPage: perPage, Text: s.Text}
	err = r.ViewDivision(ctx, func(v *service.View) (err error) {
		if out.Accounts, out.Total, err = List(v, s); err != nil {
			return err
		}
		out.Names, err = h.names(v)
		return err
	})
	if out.Accounts == nil {
		out.Accounts = []Account{}
	}
	return out, err
}

func (h *handlers) list(ctx context.Context, r *service.Request) (service.Response, error) {
	out, err := h.readListing(ctx, r, Search{})
	return service.Page("identity/accounts", "identity.accounts", out), err
}

// StaffMember is an account as the administrator of one of its tenants sees it: only what
// it holds there.
type StaffMember struct {
	Account
	Managed bool `json:"managed"` // The administrator may change it.
}

// StaffListing is a page of a tenant's staff.
type StaffListing struct {
	Staff []StaffMember `json:"staff"`
	Listing
}

func (h *handlers) staff(ctx context.Context, r *service.Request) (service.Response, error) {
	list, err := h.readListing(ctx, r, Search{Tenants: []string{r.Tenant.Slug}})
	out := StaffListing{Staff: []StaffMember{}, Listing: list}
	out.Accounts = nil
	for _, a := range list.Accounts {
		m := StaffMember{Account: a, Managed: mayManage(r.Principal, a) == nil}
		m.Grants = slices.DeleteFunc(slices.Clone(a.Grants), func(g service.Grant) bool { return g.Tenant != r.Tenant.Slug })
		out.Staff = append(out.Staff, m)
	}
	return service.Page("identity/staff", "identity.staff", out), err
}

func (h *handlers) newOfficerPage(_ context.Context, r *service.Request) (service.Response, error) {
	return newOfficerResponse(r.Tenant.Slug), nil
}

func newOfficerResponse(tenant string) service.Response {
	return service.Page("identity/new-officer", "identity.new_officer", map[string]any{"tenant": tenant})
}

// grantForm is what the pages show that let grants be chosen.
type grantForm struct {
	Account *Account         `json:"account,omitempty"`
	Tenants []service.Tenant `json:"-"`
	// Own says that it is the administrator's own account, which only others change.
	Own    bool            `json:"-"`
	Grants []service.Grant `json:"-"` // Chosen in the form.
}

// Chosen reports whether a grant is ticked.
func (g grantForm) Chosen(tenant, role string) bool {
	return slices.Contains(g.Grants, service.Grant{Tenant: tenant, Role: service.Role(role)})
}

func (h *handlers) newPage(ctx context.Context, r *service.Request) (service.Response, error) {
	var form grantForm
	err := r.View(ctx, func(v *service.View) (err error) {
		form.Tenants, err = h.Tenants(v)
		return err
	})
	return service.Page("identity/new", "identity.new", form), err
}

func (h *handlers) show(ctx context.Context, r *service.Request) (service.Response, error) {
	var form grantForm
	err := r.View(ctx, func(v *service.View) error {
		a, err := read(v, r.PathValue("login"))
		if err != nil {
			return err
		}
		form.Account, form.Own, form.Grants = &a, a.Login == r.Principal.Account, a.Grants
		form.Tenants, err = h.Tenants(v)
		return err
	})
	if err != nil {
		return service.Response{}, err
	}
	return service.Page("identity/account", form.Account.Name, form), nil
}

func (h *handlers) create(ctx context.Context, r *service.Request) (service.Response, error) {
	var in struct {
		Login  string          `json:"login"`
		Name   string          `json:"name"`
		Grants []service.Grant `json:"grants"`
	}
	err := decode(r, &in, func(f url.Values) {
		in.Login, in.Name, in.Grants = f.Get("login"), f.Get("name"), parseGrants(f["grant"])
	})
	if err != nil {
		return service.Response{}, err
	}
	response, err := h.createAccount(ctx, r, in.Login, in.Name, in.Grants)
	if err != nil {
		page, pageErr := h.newPage(ctx, r)
		if pageErr != nil {
			return service.Response{}, err
		}
		return ticked(page, in.Grants), err
	}
	return response, nil
}

// ticked returns the page of a grantForm with what was chosen in the form.
func ticked(page service.Response, grants []service.Grant) service.Response {
	form := page.Data.(grantForm)
	form.Grants = grants
	page.Data = form
	return page
}

// createOfficer lets a tenant's administrator make officers of that tenant.
func (h *handlers) createOfficer(ctx context.Context, r *service.Request) (service.Response, error) {
	var in struct {
		Tenant string `json:"tenant"`
		Login  string `json:"login"`
		Name   string `json:"name"`
	}
	err := decode(r, &in, func(f url.Values) {
		in.Tenant, in.Login, in.Name = f.Get("tenant"), f.Get("login"), f.Get("name")
	})
	if err != nil {
		return service.Response{}, err
	}
	if in.Tenant == "" || !r.Principal.May(PermStaff, in.Tenant) {
		refusal := service.ErrForbidden
		if !r.Principal.Holds(in.Tenant) {
			refusal = service.ErrNotFound
		}
		return r.Commit(ctx, func(*service.Tx) (service.Response, error) { return service.Response{}, refusal })
	}
	response, err := h.createAccount(ctx, r, in.Login, in.Name, []service.Grant{{Tenant: in.Tenant, Role: service.RoleOfficer}})
	if err != nil {
		return newOfficerResponse(in.Tenant), err
	}
	return response, nil
}

func (h *handlers) createAccount(ctx context.Context, r *service.Request, login, name string, grants []service.Grant) (service.Response, error) {
	code, hash := NewCode()
	n := newAccount{login: normalLogin(login), name: strings.TrimSpace(name), codeHash: hash}
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		tenants, err := h.Tenants(tx)
		if err != nil {
			return service.Response{}, err
		}
		wrong := checkAccount(n.login, n.name)
		if n.grants, err = checkGrants(grants, tenants); err != nil {
			wrong = also(wrong, service.AsError(err)) // Everything that is wrong is said at once.
		}
		if wrong != nil {
			return service.Response{}, wrong
		}
		a, err := create(tx, n, r.Principal)
		return codeResponse(a, code, tx.Now().Add(codeLife)), err
	})
}

// also adds the fields of more to wrong, which may be nil.
func also(wrong, more *service.Error) *service.Error {
	if wrong == nil {
		return more
	}
	for name, reason := range more.Fields {
		wrong = wrong.Field(name, reason)
	}
	return wrong
}

// beijing is the civil time of the division; the country has no daylight saving.
var beijing = time.FixedZone("CST", 8*3600)

// codeResponse shows an activation code, once: a page that is no redirect, and whose
// repeat (the same form sent again) shows the same.
func codeResponse(a Account, code string, until time.Time) service.Response {
	response := service.Page("identity/code", "identity.code_title", map[string]any{
		"login": a.Login, "name": a.Name, "grants": a.Grants, "code": code,
		"until": until.In(beijing).Format(time.RFC3339), "until_text": until.In(beijing).Format("2006-01-02 15:04")})
	response.Status = http.StatusCreated
	return response
}

func (h *handlers) reset(ctx context.Context, r *service.Request) (service.Response, error) {
	code, hash := NewCode()
	return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		a, err := h.managed(tx, r)
		if err != nil {
			return service.Response{}, err
		}
		return codeResponse(a, code, tx.Now().Add(codeLife)), reset(tx, a, hash, r.Principal)
	})
}

// managed returns the account of the path, if the caller may change it.
func (h *handlers) managed(tx *service.Tx, r *service.Request) (Account, error) {
	a, err := read(tx, r.PathValue("login"))
	if err != nil {
		return a, err
	}
	return a, mayManage(r.Principal, a)
}

// change returns the handler of a change that needs nothing but the account.
func (h *handlers) change(do func(*service.Tx, Account, service.Principal) error, notice string) service.Handler {
	return func(ctx context.Context, r *service.Request) (service.Response, error) {
		return r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
			a, err := h.managed(tx, r)
			if err != nil {
				return service.Response{}, err
			}
			if err := do(tx, a, r.Principal); err != nil {
				return service.Response{}, err
			}
			if a, err = read(tx, a.Login); err != nil {
				return service.Response{}, err
			}
			return service.SeeOther(placeOf(r, a), a).WithNotice(notice), nil
		})
	}
}

// placeOf is where the caller manages the account.
func placeOf(r *service.Request, a Account) string {
	if r.Principal.May(PermAccounts, "") {
		return "/accounts/" + a.Login
	}
	return "/t/" + a.Grants[0].Tenant + "/staff" // mayManage: there is one.
}

func signOutAll(tx *service.Tx, a Account, by service.Principal) error {
	if err := endSessions(tx, a.Login, ""); err != nil {
		return err
	}
	return record(tx, "identity.sessions_ended", a.Login, by, nil)
}

func (h *handlers) setGrants(ctx context.Context, r *service.Request) (service.Response, error) {
	var in struct {
		Grants []service.Grant `json:"grants"`
	}
	if err := decode(r, &in, func(f url.Values) { in.Grants = parseGrants(f["grant"]) }); err != nil {
		return service.Response{}, err
	}
	response, err := r.Commit(ctx, func(tx *service.Tx) (service.Response, error) {
		a, err := h.managed(tx, r)
		if err != nil {
			return service.Response{}, err
		}
		tenants, err := h.Tenants(tx)
		if err != nil {
			return service.Response{}, err
		}
		grants, err := checkGrants(in.Grants, tenants)
		if err != nil {
			return service.Response{}, err
		}
		if slices.Equal(grants, a.Grants) {
			return service.Response{}, ErrNotDone
		}
		if err := setGrants(tx, a, grants, r.Principal); err != nil {
			return service.Response{}, err
		}
		a.Grants = grants
		return service.SeeOther("/accounts/"+a.Login, a).WithNotice("identity.granted_done"), nil
	})
	if err != nil && len(service.AsError(err).Fields) > 0 {
		if page, pageErr := h.show(ctx, r); pageErr == nil {
			return ticked(page, in.Grants), err
		}
	}
	return response, err
}
