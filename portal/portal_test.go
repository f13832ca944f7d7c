package portal

import (
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// get asks the kitchen sink for a page.
func get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	return serve(t, httptest.NewRequest(http.MethodGet, path, nil), header...)
}

func serve(t *testing.T, r *http.Request, header ...string) *http.Response {
	t.Helper()
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	sinkHandler(t, newPortal(t)).ServeHTTP(w, r)
	return w.Result()
}

func bodyOf(t *testing.T, r *http.Response) string {
	t.Helper()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// elements walks a page.
func elements(t *testing.T, page string) []*html.Node {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var out []*html.Node
	for n := range root.Descendants() {
		if n.Type == html.ElementNode {
			out = append(out, n)
		}
	}
	return out
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// postForm sends a form as a browser does.
func postForm(t *testing.T, path string, values map[string]string) *http.Request {
	t.Helper()
	var body strings.Builder
	w := multipart.NewWriter(&body)
	for name, v := range values {
		if err := w.WriteField(name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body.String()))
	r.Header.Set("Content-Type", w.FormDataContentType())
	return r
}

func TestEveryPageKeepsTheFramesPromises(t *testing.T) {
	for _, lang := range langs {
		pages := map[string]string{
			"everything": bodyOf(t, get(t, "/", "Accept-Language", lang)),
			"form":       bodyOf(t, get(t, "/form", "Accept-Language", lang)),
			"refusal":    bodyOf(t, get(t, "/refused", "Accept-Language", lang)),
			"errors":     bodyOf(t, serve(t, postForm(t, "/form", nil), "Accept-Language", lang)),
		}
		for name, page := range pages {
			t.Run(name+" in "+lang, func(t *testing.T) { checkPromises(t, lang, page) })
		}
	}
}

func checkPromises(t *testing.T, lang, page string) {
	if strings.Contains(page, "no value") || strings.Contains(page, "ZgotmplZ") || regexp.MustCompile(`>(portal|sink)\.`).MatchString(page) {
		t.Error("something was not filled in")
	}
	count, ids := map[string]int{}, map[string]bool{}
	for _, n := range elements(t, page) {
		count[n.Data]++
		for _, a := range n.Attr {
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") {
				t.Errorf("<%s> has the attribute %s", n.Data, a.Key)
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && !local(a.Val) {
				t.Errorf("<%s %s=%q> leaves the site", n.Data, a.Key, a.Val)
			}
		}
		switch n.Data {
		case "html":
			if attr(n, "lang") != lang {
				t.Errorf("lang = %q, want %q", attr(n, "lang"), lang)
			}
		case "script":
			if attr(n, "src") == "" || n.FirstChild != nil {
				t.Error("a script stands in the page")
			}
		case "style":
			t.Error("a style stands in the page")
		}
		if id := attr(n, "id"); id != "" {
			if ids[id] {
				t.Errorf("two elements have the id %s", id)
			}
			ids[id] = true
		}
	}
	if count["h1"] != 1 || count["main"] != 1 || count["title"] != 1 {
		t.Errorf("h1, main, title = %d, %d, %d; want one of each", count["h1"], count["main"], count["title"])
	}
	for _, n := range elements(t, page) {
		if target := attr(n, "href"); strings.HasPrefix(target, "#") && !ids[target[1:]] {
			t.Errorf("the link %s leads nowhere", target)
		}
		if target := attr(n, "for"); target != "" && !ids[target] {
			t.Errorf("the label for %s has no field", target)
		}
		for _, id := range strings.Fields(attr(n, "aria-describedby") + " " + attr(n, "aria-labelledby")) {
			if !ids[id] {
				t.Errorf("<%s> refers to the missing id %s", n.Data, id)
			}
		}
	}
	if first := firstLink(t, page); first != "#main-content" {
		t.Errorf("the first link leads to %q, not past the header", first)
	}
}

func local(address string) bool {
	return strings.HasPrefix(address, "/") && !strings.HasPrefix(address, "//") || strings.HasPrefix(address, "#")
}

func firstLink(t *testing.T, page string) string {
	for _, n := range elements(t, page) {
		if n.Data == "a" {
			return attr(n, "href")
		}
	}
	return ""
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	for _, path := range []string{"/", "/refused", AssetsPath + "x/app.css", "/nowhere"} {
		h := get(t, path).Header
		policy := h.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'self'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, part) {
				t.Errorf("%s: the policy lacks %s: %s", path, part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: the policy has a hole: %s", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: headers = %v", path, h)
		}
	}
}

func TestHostileTextStaysText(t *testing.T) {
	hostile := `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}`
	page := bodyOf(t, serve(t, postForm(t, "/form", map[string]string{"name": hostile, "why": "</textarea><svg/onload=alert(1)>"})))
	for _, n := range elements(t, page) {
		if n.Data == "script" && attr(n, "src") == "" || n.Data == "img" || n.Data == "svg" {
			t.Errorf("the page holds <%s> from the user's text", n.Data)
		}
	}
	if !strings.Contains(page, "{{.}}") {
		t.Error("the user's text is not shown as it was typed")
	}
	link := bodyOf(t, get(t, `/?q=%22%3E%3Cscript%3E&x=javascript:alert(1)`))
	if strings.Contains(link, "<script>") || strings.Contains(link, `href="javascript`) {
		t.Error("the query got into the page unescaped")
	}
}

func TestStyleSheetNamesNoOtherHost(t *testing.T) {
	p := newPortal(t)
	for name, file := range p.assets.files {
		text := string(file.plain)
		for _, word := range []string{"url(http", "@import", "//# sourceMappingURL", "GDS Transport", "crown"} {
			if strings.HasSuffix(name, ".txt") {
				continue
			}
			if strings.Contains(text, word) {
				t.Errorf("%s contains %q", name, word)
			}
		}
	}
	if len(p.assets.files) < 6 {
		t.Errorf("only %d assets are embedded", len(p.assets.files))
	}
}

func TestAssetsAreKeptForEverUnderTheirHash(t *testing.T) {
	p := newPortal(t)
	own, err := p.assets.url("app.css")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path, cache string
		status            int
	}{
		{"own hash", own, "public, max-age=31536000, immutable", 200},
		{"another build's hash", AssetsPath + "0123456789abcdef/app.css", "no-cache", 200},
		{"no such file", AssetsPath + p.assets.hash + "/none.css", "", 404},
		{"a climb", AssetsPath + p.assets.hash + "/../portal.go", "", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			p.Assets().ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.path, nil))
			if w.Code != c.status || w.Header().Get("Cache-Control") != c.cache {
				t.Errorf("status, cache = %d, %q; want %d, %q", w.Code, w.Header().Get("Cache-Control"), c.status, c.cache)
			}
		})
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, own, nil)
	r.Header.Set("Accept-Encoding", "gzip")
	p.Assets().ServeHTTP(w, r)
	if w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > len(p.assets.files["app.css"].plain)/3 {
		t.Errorf("encoding %q, %d bytes", w.Header().Get("Content-Encoding"), w.Body.Len())
	}
	if _, err := p.assets.url("none.css"); err == nil {
		t.Error("a template can name an asset that does not exist")
	}
}
