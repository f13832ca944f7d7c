package portal

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"

	"tongban/service"
)

func TestLanguageOfARequest(t *testing.T) {
	for _, c := range []struct{ name, query, cookie, accept, want string }{
		{"nothing said", "", "", "", Chinese},
		{"browser in English", "", "", "en-GB,en;q=0.9,zh;q=0.5", English},
		{"browser in Chinese", "", "", "zh-CN,zh;q=0.9,en;q=0.8", Chinese},
		{"browser in Hong Kong", "", "", "zh-HK", Chinese},
		{"browser in a third language", "", "", "fr-FR", Chinese},
		{"third language, then English", "", "", "fr-FR,en;q=0.3", English},
		{"malformed header", "", "", ";;;q=x", Chinese},
		{"endless header", "", "", strings.Repeat("en,", 1000), Chinese},
		{"cookie over browser", "", "zh-CN", "en", Chinese},
		{"address over cookie", "?lang=en", "zh-CN", "", English},
		{"address in nonsense", "?lang=xx", "en", "", English},
		{"cookie in nonsense", "", "<script>", "en", English},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/"+c.query, nil)
			if c.cookie != "" {
				r.Header.Set("Cookie", "lang="+c.cookie)
			}
			r.Header.Set("Accept-Language", c.accept)
			if got := Lang(r); got != c.want {
				t.Errorf("Lang = %s, want %s", got, c.want)
			}
		})
	}
}

func TestSwitchesKeepThePage(t *testing.T) {
	answer := get(t, "/?q=%E7%A4%BE%E4%BF%9D&page=3&lang=en&text=large&theme=dark")
	page := bodyOf(t, answer)
	want := map[string]bool{
		"/?lang=zh-CN&page=3&q=%E7%A4%BE%E4%BF%9D":  false,
		"/?page=3&q=%E7%A4%BE%E4%BF%9D&text=normal": false,
		"/?page=3&q=%E7%A4%BE%E4%BF%9D&theme=light": false,
	}
	for _, n := range elements(t, page) {
		if n.Data == "html" && (attr(n, "lang") != "en" || attr(n, "data-theme") != "dark" || attr(n, "data-text") != "large") {
			t.Errorf("<html> = %v", n.Attr)
		}
		if _, ok := want[attr(n, "href")]; ok {
			want[attr(n, "href")] = true
		}
	}
	for link, seen := range want {
		if !seen {
			t.Errorf("no switch leads to %s", link)
		}
	}
	cookies := map[string]string{}
	for _, c := range answer.Cookies() {
		cookies[c.Name] = c.Value
		if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
			t.Errorf("cookie %v", c)
		}
	}
	if cookies["lang"] != "en" || cookies["text"] != "large" || cookies["theme"] != "dark" {
		t.Errorf("cookies = %v", cookies)
	}
	if got := get(t, "/?lang=xx&theme=%3Cscript%3E").Cookies(); len(got) != 0 {
		t.Errorf("nonsense was kept: %v", got)
	}
}

// definition makes a service of one page and its messages.
func definition(name, page, zh, en string) service.Definition {
	return service.Definition{Name: name,
		Templates: fstest.MapFS{"templates/p.html": {Data: []byte(page)}},
		Messages:  fstest.MapFS{"messages/active.zh.toml": {Data: []byte(zh)}, "messages/active.en.toml": {Data: []byte(en)}}}
}

func TestNewRefusesWhatDoesNotFitTogether(t *testing.T) {
	const hello = `"a.hello" = "x"`
	for _, c := range []struct {
		name string
		defs []service.Definition
		want string // Part of the error; empty: accepted.
	}{
		{"all is well", []service.Definition{definition("a", `{{t "a.hello"}}`, hello, hello)}, ""},
		{"key missing in English", []service.Definition{definition("a", ``, hello+"\n\"a.b\" = \"x\"", hello)}, `"a.b" is missing in active.en.toml`},
		{"key missing in Chinese", []service.Definition{definition("a", ``, hello, hello+"\n\"a.b\" = \"x\"")}, `"a.b" is missing in active.zh.toml`},
		{"empty text", []service.Definition{definition("a", ``, `"a.hello" = " "`, hello)}, `"a.hello" is empty`},
		{"other parameters", []service.Definition{definition("a", ``, `"a.hello" = "{{.Name}}"`, hello)}, `parameters [Name] in one language and [] in the other`},
		{"key of another service", []service.Definition{definition("a", ``, hello, hello), definition("b", ``, hello, hello)}, `"a.hello" is already a message of a`},
		{"key of the frame", []service.Definition{definition("a", ``, `"internal" = "x"`, `"internal" = "x"`)}, `already a message of portal`},
		{"broken messages", []service.Definition{definition("a", ``, `"a.hello = `, hello)}, `parse active.zh.toml`},
		{"page with an unknown key", []service.Definition{definition("a", `{{if .Data}}{{else}}{{printf "%s" (t "a.none")}}{{end}}`, hello, hello)}, `names the message "a.none"`},
		{"field with an unknown key", []service.Definition{definition("a", `{{field $ "text" "n" "a.none"}}`, hello, hello)}, `names the message "a.none"`},
		{"page that does not parse", []service.Definition{definition("a", `{{if}}`, hello, hello)}, `missing value for if`},
		{"page with an unknown function", []service.Definition{definition("a", `{{nonsense}}`, hello, hello)}, `function "nonsense" not defined`},
		{"page that redefines a component", []service.Definition{definition("a", `{{define "tag"}}x{{end}}`, hello, hello)}, `"tag" is a component of the frame`},
		{"menu entry with an unknown key", []service.Definition{{Name: "a", Menu: []service.MenuEntry{{Path: "/x", Title: "a.none"}}}}, `names the message "a.none"`},
		{"two services, one define", []service.Definition{
			definition("a", `{{define "row"}}a{{end}}`, hello, hello),
			definition("b", `{{define "row"}}b{{end}}`, `"b.x" = "x"`, `"b.x" = "x"`)}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(Options{Definitions: c.defs})
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
