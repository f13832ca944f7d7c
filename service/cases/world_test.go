package cases

import (
	"net/http"
	"net/url"
	"strconv"
	"testing"
	"time"

	"tongban/division/calendar"
	"tongban/federation"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/servicetest"
)

const (
	home  = servicetest.CivilAffairs
	other = servicetest.PublicSecurity
	base  = "/t/" + home
)

// world is a division whose civil affairs department has the items of the demonstration.
type world struct {
	*servicetest.World
	tb                testing.TB
	promised, instant catalog.Row // One item of each kind, with materials.
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb}
	w.World = servicetest.New(tb, catalog.Definition(), federation.New(federation.Options{}).Definition(), Definition(Options{TenantByNumber: func(n int) (service.Tenant, bool) {
		for _, t := range w.Tenants() {
			if t.Number == n {
				return t, true
			}
		}
		return service.Tenant{}, false
	}}))
	w.promised, w.instant = row(1, "机关事业单位社会保险登记", "DEMO01200002"), row(2, "企业社会保险登记", "DEMO01200001")
	w.must("POST "+base+"/items/import", servicetest.TenantAdmin(home),
		map[string]any{"file": "demo.csv", "rows": []catalog.Row{w.promised, w.instant}})
	w.View(w.db(), func(v *service.View) error {
		for _, r := range []catalog.Row{w.promised, w.instant} {
			it, err := catalog.ReadItem(v, r.Code)
			if err != nil || it.Guide.Materials == nil || it.Guide.Instant != (r.Code == w.instant.Code) {
				tb.Fatalf("the item %s inherits %+v (%v)", r.Name, it.Guide, err)
			}
		}
		return nil
	})
	return w
}

// row is a row of the demonstration: by its name the item inherits limits and materials.
func row(line int, name, basic string) catalog.Row {
	const body = "11999999DEM000014Q"
	return catalog.Row{Line: line, Department: "区民政局", MainItem: "社会保险登记", Name: name, Basic: basic, Area: "511602000000",
		Body: body, Type: "20", Code: basic + "-511602000000-000-" + body + "-1-00"}
}

func (w *world) db() *service.DB { _, db := w.Tenant(home); return db }

// must calls a route and wants no refusal.
func (w *world) must(do string, as service.Principal, body any, cookies ...*http.Cookie) service.Response {
	w.tb.Helper()
	r, err := w.Do(servicetest.Call{Do: do, As: as, Body: body, Cookies: cookies})
	if err != nil {
		w.tb.Fatalf("%s: %v %v", do, err, service.AsError(err).Fields)
	}
	return r
}

// refused calls a route and wants the refusal.
func (w *world) refused(reason, do string, as service.Principal, body any, cookies ...*http.Cookie) service.Response {
	w.tb.Helper()
	r, err := w.Do(servicetest.Call{Do: do, As: as, Body: body, Cookies: cookies})
	if servicetest.Reason(err) != reason {
		w.tb.Fatalf("%s: refused with %q (%v), want %q", do, servicetest.Reason(err), err, reason)
	}
	return r
}

const (
	personName = "王小明"
	personID   = "11010519491231002X" // The example of GB 11643-1999.
	personTel  = "13800138000"
)

// application is a form that is filled in rightly.
func application() url.Values {
	return url.Values{"name": {personName}, "id_kind": {Resident}, "id_number": {personID}, "phone": {personTel}, "truth": {"yes"}}
}

func applyURL(code string) string { return base + "/items/" + url.PathEscape(code) + "/apply" }

// filed is a case that a citizen has filed, and how they see it.
type filed struct {
	Receipt
	cookies []*http.Cookie
}

func (w *world) file(code string) filed {
	w.tb.Helper()
	r := w.must("POST "+applyURL(code), servicetest.Citizen(), application())
	var out filed
	servicetest.Decode(w.tb, r, &out.Receipt)
	out.cookies = r.Cookies
	return out
}

// do makes the department act, on the version that the case has.
func (w *world) do(number string, a Action, extra url.Values) {
	w.tb.Helper()
	who := servicetest.Officer(home)
	if a == Extend {
		who = servicetest.TenantAdmin(home)
	}
	w.must("POST "+base+"/cases/"+number+"/"+string(a), who, w.form(number, a, extra))
}

// form is what the action needs, with the version that the case has.
func (w *world) form(number string, a Action, extra url.Values) url.Values {
	w.tb.Helper()
	n := NeedsOf(a)
	f := url.Values{"version": {strconv.Itoa(w.read(number).Version)}}
	if n.Text {
		f.Set("text", "文字 "+string(a))
	}
	if len(n.Code) > 0 {
		f.Set("code", n.Code[0])
	}
	if n.Days {
		f.Set("days", "7")
	}
	for k, v := range extra {
		f[k] = v
	}
	return f
}

func (w *world) read(number string) (c Case) {
	w.tb.Helper()
	w.View(w.db(), func(v *service.View) (err error) {
		c, err = ReadCase(v, number)
		return err
	})
	return c
}

func (w *world) verify() (r Report) {
	w.tb.Helper()
	w.View(w.db(), func(v *service.View) (err error) {
		r, err = Verify(v)
		return err
	})
	return r
}

func day(s string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04", s, calendar.Zone)
	if err != nil {
		t, err = time.ParseInLocation(time.DateOnly, s, calendar.Zone)
	}
	if err != nil {
		panic(err)
	}
	return t
}
