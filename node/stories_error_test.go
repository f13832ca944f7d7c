package node_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tongban/portal/portaltest"
)

// errorStory: what people meet when something is wrong says what and what to do.
func (d *storyDistrict) errorStory(t *testing.T, l look) {
	v := d.visitor(t, "6-errors", l)
	v.open("/no/such/page", 404)
	v.see("404")
	v.open("/t/no-such-department/items", 404)
	v.see("404-department")
	v.open("/sign-out", 405)
	v.see("405")
	v.open("/t/"+d.slug(0)+"/cases", 401)
	v.see("401")
	v.open("/sign-in", 200)
	v.fill(map[string]string{"login": "nobody", "password": "nothing-at-all", "code": "123456"})
	v.send("/sign-in", 422)
	v.see("sign-in-refused")

	v.open(d.itemPath(v, 0)+"/apply", 200)
	v.fill(map[string]string{"note": strings.Repeat("太长的说明。", 100_000)})
	v.send("/apply", 413)
	v.see("413")
	v.open("/search?"+url.Values{"q": {`"社保* NEAR(`}}.Encode(), 200)
	v.see("search-odd")

	v.signIn(d.officers[0])
	v.click(`header form[action="/sign-out"] button`, 200)
	v.see("signed-out")
	v.open("/t/"+d.slug(0)+"/cases", 401)
}

// itemPath is the path of the i-th department's item.
func (d *storyDistrict) itemPath(v *visitor, i int) string {
	v.t.Helper()
	v.open("/search?"+url.Values{"q": {departments[i].item}}.Encode(), 200)
	v.follow(departments[i].item)
	return v.path()
}

// looksStory reads pages in the dark, in large text, and in the other language.
func (d *storyDistrict) looksStory(t *testing.T) {
	dark := d.visitor(t, "6-dark", desktop(portaltest.Dark()))
	path := d.itemPath(dark, 0)
	dark.see("guide")
	dark.open("/", 200)
	dark.see("home")
	dark.open(path+"/apply", 200)
	dark.see("apply")

	large := d.visitor(t, "6-large", phone(portaltest.JSOff()))
	large.open("/?text=large", 200)
	large.see("home")
	large.open(path, 200)
	large.see("guide")
	large.open(path+"/apply", 200)
	large.see("apply")

	switched := d.visitor(t, "6-language", desktop())
	switched.open("/", 200)
	switched.see("home")
	switched.open(path, 200)
	switched.see("guide")
	switched.look.english = true
	switched.click(`a[hreflang=en]`, 200)
	if switched.path() != path {
		t.Errorf("the language switch went from %s to %s", path, switched.path())
	}
	switched.see("guide-switched")
	switched.open("/", 200)
	switched.see("home-still-english")
}

// TestRawKeysAreSeen: a check that finds nothing on a bad page would find nothing anywhere.
func TestRawKeysAreSeen(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<!DOCTYPE html><p>cases.state.lost and &lt;no value&gt;, but not <code>identity.created</code></p>`)
	}))
	defer server.Close()
	page := portaltest.Browser(t)
	page.Open(server.URL)
	if got := portaltest.Value[string](page, rawKeys); got != "cases.state.lost <no value>" {
		t.Errorf("found %q", got)
	}
}
