package portaltest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestChecksFindWhatIsWrong opens a page that breaks every promise: a checker that finds
// nothing there would find nothing anywhere.
func TestChecksFindWhatIsWrong(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	bad := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		if r.URL.Path == "/policy" {
			w.Header().Set("Content-Security-Policy", "default-src 'self'")
		}
		fmt.Fprintf(w, `<!DOCTYPE html><html><head><title>x</title></head><body><main><h1>x</h1>
			<p style="color:#aaa;background:#fff">pale</p><img src="%s/x.png">
			<script>throw new Error("thrown")</script></main></body></html>`, other.URL)
	}))
	defer bad.Close()

	page := Browser(t, JSOff())
	page.Open(bad.URL)
	found := map[string]bool{}
	for _, v := range Serious(page.Axe()) {
		found[v.ID] = true
	}
	for _, id := range []string{"image-alt", "color-contrast", "html-has-lang"} {
		if !found[id] {
			t.Errorf("axe-core did not find %s: %v", id, found)
		}
	}
	if got := page.Foreign(); len(got) == 0 || !strings.HasPrefix(got[0], other.URL) {
		t.Errorf("foreign requests: %v", got)
	}

	page = Browser(t)
	page.Open(bad.URL)
	page.Open(bad.URL + "/policy")
	console := strings.Join(page.Console(), "\n")
	for _, part := range []string{"thrown", "Content Security Policy"} {
		if !strings.Contains(console, part) {
			t.Errorf("the console lacks %q: %s", part, console)
		}
	}
}
