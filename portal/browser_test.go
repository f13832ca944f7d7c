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
	defer server.Close()

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
			page := portaltest.Browser(t, look.options...)
			for _, path := range []string{"/", "/form", "/refused"} {
				page.Open(server.URL + path + "?" + look.query)
				name := look.name + "-" + strings.Trim(path+"sink", "/")
				page.Screenshot(name)
				page.MustBeClean(name)
				if !noSidewaysScroll(page) {
					t.Errorf("%s: the page is wider than its window", name)
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

func noSidewaysScroll(page *portaltest.Page) bool {
	return portaltest.Value[int](page, "document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
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
