package portal

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"tongban/service"
)

func TestWantsJSON(t *testing.T) {
	for _, c := range []struct {
		name, accept, content string
		want                  bool
	}{
		{"a browser", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", false},
		{"a program", "application/json", "", true},
		{"a program that knows problems", "application/problem+json", "", true},
		{"anything", "*/*", "", false},
		{"nothing said", "", "", false},
		{"nothing said, JSON sent", "", "application/json; charset=utf-8", true},
		{"anything, JSON sent", "*/*", "application/json", true},
		{"a page, JSON sent", "text/html", "application/json", false},
		{"JSON before page", "text/html;q=0.5, application/json", "", true},
		{"page before JSON", "text/html, application/json;q=0.9", "", false},
		{"both alike", "text/html, application/json", "", false},
		{"malformed weight", "application/json;q=x", "", false},
		{"form sent", "", "application/x-www-form-urlencoded", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Accept", c.accept)
			r.Header.Set("Content-Type", c.content)
			if got := WantsJSON(r); got != c.want {
				t.Errorf("WantsJSON = %v", got)
			}
		})
	}
}

// ask renders a refusal.
func ask(t *testing.T, lang, accept string, err *service.Error) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/x", nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	newPortal(t).RenderError(w, r, lang, err, "01JQ8Z7M2K")
	return w.Result()
}

func TestRefusalsInWords(t *testing.T) {
	closed := service.Refuse(service.Conflict, "sink.refused").With("Name", "办件三")
	secret := errors.New("open /var/lib/x: disk I/O error")
	for _, c := range []struct {
		name, lang string
		err        *service.Error
		status     int
		want       []string
		never      []string
	}{
		{"unknown page", Chinese, service.ErrNotFound, 404, []string{"您要查看的内容不存在", "您可以", "01JQ8Z7M2K"}, nil},
		{"unknown page in English", English, service.ErrNotFound, 404, []string{"does not exist or has moved", "What you can do", "01JQ8Z7M2K"}, nil},
		{"a service's own words", Chinese, closed, 409, []string{"办件三已经办结，不能再改。", "请另交一份。"}, nil},
		{"a reason without words", English, service.Refuse(service.Conflict, "sink.unknown"), 409, []string{"The state has changed meanwhile"}, nil},
		{"our own fault", Chinese, service.ErrInternal.Because(secret), 500, []string{"系统在处理您的请求时出错"}, []string{"disk", "/var/lib"}},
		{"our own fault under another name", English, service.Refuse(service.Internal, "sink.refused").With("Name", "secret"), 500, []string{"The system failed"}, []string{"secret", "sink.refused"}},
		{"wrong fields", Chinese, service.ErrInvalid.Field("name", "sink.name_missing"), 400, []string{"请填写姓名"}, nil},
		{"not signed in", Chinese, service.ErrNotSignedIn, 401, []string{`href="/sign-in"`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, accept := range []string{"text/html", "application/json"} {
				answer := ask(t, c.lang, accept, c.err)
				body := bodyOf(t, answer)
				if answer.StatusCode != c.status {
					t.Errorf("%s: status %d, want %d", accept, answer.StatusCode, c.status)
				}
				for _, text := range c.want {
					page := strings.HasPrefix(text, "href") || text == "您可以" || text == "What you can do"
					if !strings.Contains(body, text) && !(page && accept != "text/html") {
						t.Errorf("%s: no %q in %s", accept, text, body)
					}
				}
				for _, text := range c.never {
					if strings.Contains(body, text) {
						t.Errorf("%s: %q leaks", accept, text)
					}
				}
			}
		})
	}
}

func TestProblemIsRFC9457(t *testing.T) {
	err := service.Refuse(service.TooMany, "too_many").With("retry_after", 30)
	answer := ask(t, English, "application/json", err)
	var p map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&p); err != nil {
		t.Fatal(err)
	}
	if answer.Header.Get("Content-Type") != "application/problem+json" || answer.Header.Get("Retry-After") != "30" {
		t.Errorf("headers %v", answer.Header)
	}
	if p["status"] != 429.0 || p["type"] != "about:blank" || p["title"] == "" || p["detail"] == "" ||
		p["reason"] != "too_many" || p["instance"] != "urn:tongban:ref:01JQ8Z7M2K" {
		t.Errorf("problem = %v", p)
	}
	if got := ask(t, English, "application/json", service.ErrUnavailable).Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After = %q", got)
	}
}

func TestRefusedFormKeepsWhatWasTyped(t *testing.T) {
	answer := serve(t, postForm(t, "/form", map[string]string{
		"name": "王敏", "phone": "12", "how": "window", "have": "book", "kind": "b", "why": "因为", "secret": "hunter2", "amount": "7"}))
	page := bodyOf(t, answer)
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("status %d", answer.StatusCode)
	}
	byID := map[string]*html.Node{}
	var summary []string
	for _, n := range elements(t, page) {
		byID[attr(n, "id")] = n
		if n.Data == "a" && strings.HasPrefix(attr(n, "href"), "#f-") {
			summary = append(summary, attr(n, "href"))
		}
	}
	for id, want := range map[string]string{"f-name": "王敏", "f-phone": "12", "f-amount": "7"} {
		if got := attr(byID[id], "value"); got != want {
			t.Errorf("%s = %q, want %q", id, got, want)
		}
	}
	for _, id := range []string{"f-how-2", "f-have-2"} {
		if !slices.ContainsFunc(byID[id].Attr, func(a html.Attribute) bool { return a.Key == "checked" }) {
			t.Errorf("%s is not checked", id)
		}
	}
	if !strings.Contains(page, `<option value="b" selected>`) || !strings.Contains(page, ">因为</textarea>") {
		t.Error("the select or the textarea lost its value")
	}
	if strings.Contains(page, "hunter2") {
		t.Error("the password was sent back")
	}
	if want := []string{"#f-name", "#f-phone", "#f-how"}; !slices.Equal(summary, want) {
		t.Errorf("the summary links to %v, want %v in the order of the page", summary, want)
	}
	if attr(byID["f-name"], "aria-invalid") != "true" || !strings.Contains(attr(byID["f-name"], "aria-describedby"), "f-name-error") {
		t.Errorf("the wrong field is not marked: %v", byID["f-name"].Attr)
	}
	if !strings.Contains(page, "<title>错误：") || !strings.Contains(page, `name="_key" value="k2"`) {
		t.Error("the title or the form's key is wrong")
	}
}

func TestFailingPageIsAnErrorPage(t *testing.T) {
	const hello = `"a.hello" = "x"`
	p, err := New(Options{Definitions: []service.Definition{definition("a", `<h1>begun</h1>{{.Data.None.At}}`, hello, hello)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range map[string]string{"a page that fails half way": "a/p", "a page that is not there": "a/none"} {
		w := httptest.NewRecorder()
		p.Render(w, httptest.NewRequest(http.MethodGet, "/", nil), View{Response: service.Page(page, "a.hello", struct{}{})})
		if w.Code != 500 || strings.Contains(w.Body.String(), "begun") || !strings.Contains(w.Body.String(), "系统在处理您的请求时出错") {
			t.Errorf("%s: status %d: %s", name, w.Code, w.Body)
		}
	}
}

func TestMenuShowsWhatThePrincipalMaySee(t *testing.T) {
	p := newPortal(t)
	other := officer()
	other.Grants = []service.Grant{{Tenant: "sbj", Role: service.RoleAuditor}}
	for _, c := range []struct {
		name string
		who  service.Principal
		path string
		want []string // Paths; the current one with its aria-current.
	}{
		{"a citizen on the front page", service.Principal{}, "/", []string{"/ page", "/rows "}},
		{"a citizen inside a part", service.Principal{}, "/rows/7", []string{"/ ", "/rows true"}},
		{"a path that only begins alike", service.Principal{}, "/rowsandmore", []string{"/ ", "/rows "}},
		{"an officer", officer(), "/t/sbj/own", []string{"/ ", "/rows ", "/t/sbj/own page"}},
		{"an auditor", other, "/", []string{"/ page", "/rows "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := formatter{lang: Chinese, messages: p.messages}
			var got []string
			for _, m := range p.menuFor(f, httptest.NewRequest(http.MethodGet, c.path, nil), View{Principal: c.who}) {
				got = append(got, m.Path+" "+m.Current)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("menu %q, want %q", got, c.want)
			}
		})
	}
}

func TestNoticeShowsOurWordsOnly(t *testing.T) {
	p := newPortal(t)
	for flash, want := range map[string]bool{"sink.saved": true, "call 0900-123 now": false} {
		w := httptest.NewRecorder()
		p.Render(w, httptest.NewRequest(http.MethodGet, "/form", nil),
			View{Response: service.Page("sink/form", "sink.form", sinkContent("")), Flash: flash})
		if shown := strings.Contains(w.Body.String(), "notification-banner"); shown != want || strings.Contains(w.Body.String(), "0900") {
			t.Errorf("notice %q: shown %v, want %v", flash, shown, want)
		}
	}
}
