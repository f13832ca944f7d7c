package cases

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"testing"
	"time"

	"tongban/division/calendar"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
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
	tb                 testing.TB
	promised, instant  demo.Item // One item of each kind, with materials.
	promisedAt, instAt string    // Their codes.
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{tb: tb}
	w.World = servicetest.New(tb, catalog.Definition(), Definition(Options{TenantByNumber: func(n int) (service.Tenant, bool) {
		for _, t := range w.Tenants() {
			if t.Number == n {
				return t, true
			}
		}
		return service.Tenant{}, false
	}}))
	c := chosen()
	w.promised, w.instant, w.promisedAt, w.instAt = c.promised, c.instant, c.rows[0].Code, c.rows[1].Code
	w.must("POST "+base+"/items/import", servicetest.TenantAdmin(home), map[string]any{"file": "demo.csv", "rows": c.rows})
	return w
}

// choice is one promised and one instant item of the demonstration that ask for
// materials, and their rows in that order.
type choice struct {
	promised, instant demo.Item
	rows              []catalog.Row
}

var chosen = sync.OnceValue(func() choice {
	rows, err := catalog.ParseCSV(bytes.NewReader(demo.CSV(false)))
	if err != nil {
		panic(err)
	}
	var c choice
	pick := func(instant bool) demo.Item {
		for _, i := range demo.Items() {
			if len(i.Materials) == 0 || (i.ProjectType == demo.Instant) != instant {
				continue
			}
			for _, r := range rows {
				if r.Name == i.Name {
					r.Department = "区民政局"
					c.rows = append(c.rows, r)
					return i
				}
			}
		}
		panic("the demonstration lacks an item that the tests need")
	}
	c.promised, c.instant = pick(false), pick(true)
	return c
})

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
