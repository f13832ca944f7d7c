package node_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"golang.org/x/sync/errgroup"

	"tongban/node/nodetest"
	"tongban/portal/portaltest"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
)

// codeStep is how long one code of an authenticator holds (RFC 6238).
const codeStep = 30 * time.Second

// person is somebody with an account, who remembers the password and holds the authenticator.
type person struct{ login, name, password, secret string }

// storyDistrict is a division with the demonstration catalog. Its clock can be moved: nobody
// waits for the next code of an authenticator, or for a session to end.
type storyDistrict struct {
	*nodetest.Cluster
	ahead   atomic.Int64 // Nanoseconds that its clock is ahead of ours.
	signing sync.Mutex   // One uses an authenticator at a time: each moves the clock.
	slugs   map[string]string

	admin, auditor *person
	head           *person // Administers the first and the second department.
	officers       [2]*person
	spare          [2]*person // Accounts to be reset and disabled.
}

// departments are the two that the stories play in: names, and the item people apply for.
var departments = [2]struct{ name, query, item, dirty string }{
	{"演示县人力资源和社会保障局", "社保", "企业职工基本养老保险关系转移接续申请", "就业见习补贴申领"},
	{"演示县公安局", "户口", "户口迁移审批", "旅馆业特种行业变更备案"},
}

// newStoryDistrict starts a division of one node and imports the demonstration catalog with its
// dirty rows through the admin socket, as `tongban items import` does.
func newStoryDistrict(t *testing.T) *storyDistrict {
	t.Helper()
	d := &storyDistrict{slugs: map[string]string{}}
	d.Cluster = nodetest.Division(t, 1, nodetest.Clock(d.now))
	rows, err := catalog.ParseCSV(bytes.NewReader(demo.CSV(true)))
	must(t, err)
	admin := d.Admin(0)
	defer admin.Close()
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(4)
	for _, one := range catalog.Split(rows, nil) {
		d.slugs[one.Name] = one.Slug
		g.Go(func() error {
			if err := admin.Post(ctx, "/tenants", map[string]any{"slug": one.Slug, "name": one.Name, "codes": one.Codes}, nil); err != nil {
				return fmt.Errorf("create %s: %w", one.Name, err)
			}
			in := map[string]any{"file": "演示数据.csv", "rows": one.Rows}
			return admin.Post(ctx, "/t/"+one.Slug+"/items/import", in, nil)
		})
	}
	must(t, g.Wait())
	return d
}

func (d *storyDistrict) now() time.Time { return time.Now().Add(time.Duration(d.ahead.Load())) }

// slug is the tenant of the i-th department of the stories.
func (d *storyDistrict) slug(i int) string { return d.slugs[departments[i].name] }

// withCode moves the clock to the next code of the authenticator and hands it to use.
func (d *storyDistrict) withCode(t *testing.T, p *person, use func(code string)) {
	t.Helper()
	d.signing.Lock()
	defer d.signing.Unlock()
	d.ahead.Add(int64(codeStep))
	code, err := totp.GenerateCode(strings.ReplaceAll(p.secret, " ", ""), d.now())
	must(t, err)
	use(code)
}

// look is how a visitor sees the pages.
type look struct {
	name    string
	options []portaltest.Option
	english bool
}

func desktop(more ...portaltest.Option) look { return look{"desktop-zh", more, false} }

func desktopEnglish(more ...portaltest.Option) look {
	return look{"desktop-en", append(more, portaltest.Language("en")), true}
}

func phone(more ...portaltest.Option) look {
	return look{"phone-zh", append(more, portaltest.Phone()), false}
}

func phoneEnglish(more ...portaltest.Option) look {
	return look{"phone-en", append(more, portaltest.Phone(), portaltest.Language("en")), true}
}

// visitor is a person at a browser.
type visitor struct {
	*portaltest.Page
	t     *testing.T
	d     *storyDistrict
	look  look
	story string
	pages int
}

func (d *storyDistrict) visitor(t *testing.T, story string, l look) *visitor {
	t.Helper()
	return &visitor{Page: portaltest.Browser(t, l.options...), t: t, d: d, look: l, story: story}
}

// tab is another tab of the same browser.
func (v *visitor) tab(story string) *visitor {
	v.t.Helper()
	return &visitor{Page: v.Tab(), t: v.t, d: v.d, look: v.look, story: story}
}

// rawKeys finds message keys that were not translated, and what templates print for
// nothing. What is marked as code is left out: the audit shows actions by their names.
const rawKeys = `(() => { const body = document.body.cloneNode(true); body.querySelectorAll("code, script").forEach(e => e.remove());
	return (body.innerText.match(/\b(portal|cases|catalog|identity|audit|tenancy)\.[a-z_][a-z_.]*|<no value>|%!|<nil>|map\[/g) || []).join(" ") })()`

// see looks at the page: it keeps a screenshot, and the page must be clean, no wider than
// its window, in the visitor's language and without raw keys.
func (v *visitor) see(page string) {
	v.t.Helper()
	v.pages++
	name := fmt.Sprintf("%s-%s-%02d-%s", v.story, v.look.name, v.pages, page)
	v.Screenshot(name)
	v.MustBeClean(name)
	if wide := v.SticksOut(); wide != "" {
		v.t.Errorf("%s: the page is wider than its window: %s", name, wide)
	}
	if raw := portaltest.Value[string](v.Page, rawKeys); raw != "" {
		v.t.Errorf("%s: not translated: %s", name, raw)
	}
	want := "zh-CN"
	if v.look.english {
		want = "en"
	}
	if lang := portaltest.Value[string](v.Page, "document.documentElement.lang"); lang != want {
		v.t.Errorf("%s: the language is %s, want %s", name, lang, want)
	}
}

// open goes to a path and expects a status.
func (v *visitor) open(path string, want int) {
	v.t.Helper()
	if got := v.Open(v.d.URL(0) + path); got != want {
		v.t.Fatalf("GET %s: %d, want %d: %s", path, got, want, v.Text("body"))
	}
}

// click follows a link or sends a form and expects a status.
func (v *visitor) click(selector string, want int) {
	v.t.Helper()
	if got := v.Click(selector); got != want {
		v.t.Fatalf("click %s: %d, want %d: %s", selector, got, want, v.Text("body"))
	}
}

// send presses the button of the form that posts to a path ending so.
func (v *visitor) send(action string, want int) {
	v.t.Helper()
	v.click(fmt.Sprintf(`main form[method=post][action$=%q] button[type=submit]`, action), want)
}

// follow clicks the first link with this text in the page's main part.
func (v *visitor) follow(text string) {
	v.t.Helper()
	href := portaltest.Value[string](v.Page, fmt.Sprintf(`(([...document.querySelectorAll("main a")].find(a => a.textContent.trim() === %q) || {getAttribute: () => ""}).getAttribute("href"))`, text))
	if href == "" {
		v.t.Fatalf("there is no link %q: %s", text, v.Text("main"))
	}
	v.click(fmt.Sprintf(`main a[href=%q]`, href), 200)
}

// reads expects texts on the page.
func (v *visitor) reads(texts ...string) {
	v.t.Helper()
	body := v.Text("body")
	for _, text := range texts {
		if !strings.Contains(body, text) {
			v.t.Errorf("the page does not say %q: %s", text, body)
		}
	}
}

// either is zh or en, whichever the visitor reads.
func (v *visitor) either(zh, en string) string {
	if v.look.english {
		return en
	}
	return zh
}

// path is where the visitor is.
func (v *visitor) path() string {
	v.t.Helper()
	return portaltest.Value[string](v.Page, "location.pathname")
}

// complains expects that the form came back with these fields wrong, and with what was
// typed into others.
func (v *visitor) complains(wrong []string, typed map[string]string) {
	v.t.Helper()
	for _, field := range wrong {
		if v.Text("#f-"+field+"-error") == "" {
			v.t.Errorf("the field %s has no error", field)
		}
	}
	if n := portaltest.Value[int](v.Page, `document.querySelectorAll(".govuk-error-message").length`); n != len(wrong) {
		v.t.Errorf("%d fields are wrong, want %d (%s): %s", n, len(wrong), wrong, v.Text("main"))
	}
	for field, want := range typed {
		if got := portaltest.Value[string](v.Page, fmt.Sprintf(`document.querySelector("#f-%s").value`, field)); got != want {
			v.t.Errorf("the field %s has %q, was typed %q", field, got, want)
		}
	}
}

// fill fills fields of forms by their names.
func (v *visitor) fill(values map[string]string) {
	v.t.Helper()
	for name, value := range values {
		v.Fill("#f-"+name, value)
	}
}

// signIn signs in on the sign-in page.
func (v *visitor) signIn(p *person) {
	v.t.Helper()
	v.open("/sign-in", 200)
	v.signInHere(p)
}

func (v *visitor) signInHere(p *person) {
	v.t.Helper()
	v.d.withCode(v.t, p, func(code string) {
		v.fill(map[string]string{"login": p.login, "password": p.password, "code": code})
		v.send("/sign-in", 200)
	})
}
