package portal

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"tongban/portal/portaltest"
)

// TestFrameInBrowser looks at the kitchen sink as people do: wide and on a phone, light,
// dark and in large text, in both languages, with scripts and without.
func TestFrameInBrowser(t *testing.T) {
	server := httptest.NewServer(sinkHandler(t, newPortal(t)))
	t.Cleanup(server.Close) // After the parallel looks.

	for _, look := range []struct {
		name    string
		query   string
		options []portaltest.Option
	}{
		{"desktop-light-zh", "lang=zh-CN", nil},
		{"desktop-dark-en", "lang=en&theme=dark", nil},
		{"desktop-large-zh", "lang=zh-CN&text=large", []portaltest.Option{portaltest.JSOff()}},
		{"phone-light-zh", "lang=zh-CN", []portaltest.Option{portaltest.Phone()}},
		{"phone-system-dark-en", "lang=en", []portaltest.Option{portaltest.Phone(), portaltest.Dark(), portaltest.JSOff()}},
		{"phone-large-zh", "lang=zh-CN&text=large", []portaltest.Option{portaltest.Phone()}},
	} {
		t.Run(look.name, func(t *testing.T) {
			t.Parallel()
			page := portaltest.Browser(t, look.options...)
			for _, path := range []string{"/", "/form", "/refused"} {
				page.Open(server.URL + path + "?" + look.query)
				name := look.name + "-" + strings.Trim(path+"sink", "/")
				page.Screenshot(name)
				page.MustBeClean(name)
				if wide := page.SticksOut(); wide != "" {
					t.Errorf("%s: the page is wider than its window: %s", name, wide)
				}
			}
			page.Open(server.URL + "/form?" + look.query)
			page.Fill("#f-why", "x")
			page.Click("main button[type=submit]")
			name := look.name + "-errors"
			page.Screenshot(name)
			page.MustBeClean(name)
			if got := page.Text(".govuk-error-summary__list"); strings.Count(got, "\n") < 2 {
				t.Errorf("%s: the summary shows %q, not three errors", name, got)
			}
		})
	}
}

// TestDraftSurvivesLanguageSwitch types into a form, changes the language and finds what
// was typed, but not the password.
func TestDraftSurvivesLanguageSwitch(t *testing.T) {
	server := httptest.NewServer(sinkHandler(t, newPortal(t)))
	defer server.Close()
	page := portaltest.Browser(t)

	page.Open(server.URL + "/form")
	page.Fill("#f-name", "王敏")
	page.Fill("#f-secret", "secret")
	page.Click(`a[hreflang=en]`)

	got := portaltest.Value[[4]string](page, `[document.documentElement.lang, document.querySelector("#f-name").value,
		document.querySelector("#f-secret").value, location.search]`)
	if want := [4]string{"en", "王敏", "", ""}; got != want {
		t.Errorf("language, name, password, query = %q, want %q", fmt.Sprint(got), fmt.Sprint(want))
	}
}

// TestPaperShowsTheMatterAlone prints a page that is dark on the screen: black on white,
// without menu, search and buttons.
func TestPaperShowsTheMatterAlone(t *testing.T) {
	server := httptest.NewServer(sinkHandler(t, newPortal(t)))
	defer server.Close()
	page := portaltest.Browser(t, portaltest.Dark())

	page.Open(server.URL + "/?theme=dark")
	page.OnPaper(func() {
		page.Screenshot("paper")
		page.MustBeClean("paper")
		if got := portaltest.Value[string](page, `getComputedStyle(document.body).backgroundColor + " " +
			getComputedStyle(document.querySelector(".tb-receipt")).color`); got != "rgb(255, 255, 255) rgb(0, 0, 0)" {
			t.Errorf("colours on paper: %s", got)
		}
		if got := portaltest.Value[string](page, `[...document.querySelectorAll(".tb-menu, .tb-tools, .tb-search, button")]
			.filter(e => e.getClientRects().length).map(e => e.outerHTML).join("\n")`); got != "" {
			t.Errorf("on paper one sees %s", got)
		}
	})
}

// TestChoicesLast changes size and scheme by the links of the header, without scripts,
// and finds them kept on the next page.
func TestChoicesLast(t *testing.T) {
	server := httptest.NewServer(sinkHandler(t, newPortal(t)))
	defer server.Close()
	page := portaltest.Browser(t, portaltest.JSOff())

	page.Open(server.URL + "/form")
	normal := portaltest.Value[float64](page, fontSize)
	page.Click(`a[href*="text=large"]`)
	page.Click(`a[href*="theme=dark"]`)
	page.Open(server.URL + "/")
	if large := portaltest.Value[float64](page, fontSize); large < 1.5*normal {
		t.Errorf("large text is %g px, not half as large again as %g px", large, normal)
	}
	if scheme := portaltest.Value[string](page, "getComputedStyle(document.documentElement).colorScheme"); scheme != "dark" {
		t.Errorf("the scheme is %s", scheme)
	}
	if portaltest.Value[bool](page, `!!document.querySelector("[data-print]").getClientRects().length`) {
		t.Error("without scripts there is a button that needs one")
	}
	page.Click(`a[href*="theme=light"]`)
	page.Click(`a[href*="text=normal"]`)
	if back := portaltest.Value[float64](page, fontSize); back != normal {
		t.Errorf("normal text is %g px after %g px", back, normal)
	}
}

const fontSize = `parseFloat(getComputedStyle(document.body).fontSize)`
