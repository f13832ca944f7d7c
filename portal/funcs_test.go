package portal

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"tongban/service"
)

// render returns what a page of one template makes of data, in the language.
func render(t *testing.T, lang, text string, data any) (string, int) {
	t.Helper()
	const messages = `"a.hello" = "hi {{.Name}}"` + "\n" + `"a.kind.x" = "kind x"`
	p, err := New(Options{Definitions: []service.Definition{{Name: "a",
		Templates: fstest.MapFS{"p.html": {Data: []byte("[[" + text + "]]")}},
		Messages:  fstest.MapFS{"active.zh.toml": {Data: []byte(messages)}, "active.en.toml": {Data: []byte(messages)}}}}})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	p.Render(w, httptest.NewRequest(http.MethodGet, "/here?q=a%26b&page=2&lang=en", nil),
		View{Response: service.Page("a/p", "a.hello", data), Lang: lang})
	_, rest, _ := strings.Cut(w.Body.String(), "[[")
	body, _, _ := strings.Cut(rest, "]]")
	return body, w.Code
}

func TestTemplateFunctions(t *testing.T) {
	noonAt := time.Date(2026, 11, 24, 16, 20, 0, 0, time.UTC) // After midnight in Shanghai.
	for _, c := range []struct {
		name, text string
		data       any
		zh, en     string
	}{
		{"date", `{{date .Data}}`, noonAt, "2026年11月25日", "25 November 2026"},
		{"date of Unix seconds", `{{datetime .Data}}`, noonAt.Unix(), "2026年11月25日 00:20", "25 November 2026, 00:20"},
		{"clock", `{{clock .Data}}`, &noonAt, "00:20", "00:20"},
		{"no time", `{{date .Data}}{{clock .Data}}`, time.Time{}, "——", "——"},
		{"number", `{{number .Data}}`, 1234567, "1,234,567", "1,234,567"},
		{"share", `{{percent .Data}}`, 0.274, "27.4%", "27.4%"},
		{"share of nothing", `{{percent .Data}}`, math.NaN(), "—", "—"},
		{"message with a parameter", `{{t "a.hello" "Name" .Data}}`, "<b>", "hi &lt;b&gt;", "hi &lt;b&gt;"},
		{"label", `{{label "a.kind" "x"}}, {{label "a.kind" "newer"}}`, nil, "kind x, newer", "kind x, newer"},
		{"text that is a word of the contract", `{{text .Data}}`, "internal", "internal", "internal"},
		{"plural", `{{tn "portal.days_left" 1}}`, nil, "剩 1 个工作日", "1 working day left"},
		{"plural of two", `{{tn "portal.days_left" 2}}`, nil, "剩 2 个工作日", "2 working days left"},
		{"lamp on the day", `{{lamp_text 0}} {{lamp_colour 0 2}}`, nil, "今天到期 yellow", "Due today yellow"},
		{"lamp after the day", `{{lamp_text -1}} {{lamp_colour -1 2}}`, nil, "超期 1 个工作日 red", "1 working day overdue red"},
		{"lamp before the day", `{{lamp_colour 3 2}}`, nil, "green", "green"},
		{"code", `{{code .Data}}`, "<1>", `<code class="tb-code">&lt;1&gt;</code>`, `<code class="tb-code">&lt;1&gt;</code>`},
		{"path", `{{path "/a/{}/b" .Data}}`, "社/保?", "/a/%E7%A4%BE%2F%E4%BF%9D%3F/b", "/a/%E7%A4%BE%2F%E4%BF%9D%3F/b"},
		{"address", `{{url "/a" "q" .Data "page" 0}}`, "a&b", "/a?q=a%26b", "/a?q=a%26b"},
		{"own address", `{{with_query $ "page" 3}}`, nil, "/here?page=3&amp;q=a%26b", "/here?page=3&amp;q=a%26b"},
		{"own address without", `{{with_query $ "page" "" "q" ""}}`, nil, "/here", "/here"},
		{"never a hundred before all is there", `{{share 999 1000}} {{share 3 3}} {{share 1 0}} {{share 9 3}}`, nil, "99 100 0 100", "99 100 0 100"},
		{"language", `{{lang}}`, nil, "zh-CN", "en"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for lang, want := range map[string]string{Chinese: c.zh, English: c.en} {
				if got, status := render(t, lang, c.text, c.data); got != want || status != 200 {
					t.Errorf("%s: %d %q, want %q", lang, status, got, want)
				}
			}
		})
	}
}

func TestMistakesOfATemplateShow(t *testing.T) {
	for name, text := range map[string]string{
		"a segment that climbs":       `{{path "/a/{}" ".."}}`,
		"an empty segment":            `{{path "/a/{}" ""}}`,
		"too few segments":            `{{path "/a/{}/{}" "x"}}`,
		"a parameter without a value": `{{t "a.hello" "Name"}}`,
		"a kind that is none":         `{{field $ "slider" "n" "a.hello"}}`,
		"an option that is none":      `{{field $ "text" "n" "a.hello" "colour" "red"}}`,
		"choices that are none":       `{{field $ "select" "n" "a.hello" "choices" 7}}`,
		"a missing asset":             `{{asset "none.css"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, status := render(t, Chinese, text, nil); status != 500 {
				t.Errorf("status %d", status)
			}
		})
	}
}

func TestPagination(t *testing.T) {
	for _, c := range []struct {
		page, total int
		want        string
	}{
		{1, 0, "[1] rows 0-0"},
		{1, 20, "[1] rows 1-20"},
		{1, 21, "[1] 2 > rows 1-20"},
		{7, 1051, "< 1 … 5 6 [7] 8 9 … 53 > rows 121-140"},
		{3, 1051, "< 1 2 [3] 4 5 … 53 > rows 41-60"},
		{53, 1051, "< 1 … 51 52 [53] rows 1041-1051"},
		{99, 1051, "< 1 … 51 52 [53] rows 1041-1051"},
		{-1, 50, "[1] 2 3 > rows 1-20"},
	} {
		got, err := pages(&Page{Path: "/x", query: url.Values{"q": {"a"}}}, c.page, 20, c.total)
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		if got.Previous != "" {
			parts = append(parts, "<")
		}
		for _, l := range got.Links {
			switch {
			case l.Path != "":
				parts = append(parts, fmt.Sprint(l.Number))
			case l.Number != 0:
				parts = append(parts, fmt.Sprintf("[%d]", l.Number))
			default:
				parts = append(parts, "…")
			}
		}
		if got.Forward != "" {
			parts = append(parts, ">")
		}
		parts = append(parts, fmt.Sprintf("rows %d-%d", got.First, got.To))
		if text := strings.Join(parts, " "); text != c.want {
			t.Errorf("page %d of %d rows: %s, want %s", c.page, c.total, text, c.want)
		}
	}
}

func TestChoicesOfAHandlersOwnType(t *testing.T) {
	type row struct{ Value, Text, Other string }
	for name, v := range map[string]any{
		"structs":  []row{{"1", "一", "x"}, {"2", "二", "y"}},
		"pointers": []*row{{"1", "一", "x"}, {"2", "二", "y"}},
	} {
		got, err := choicesOf(v)
		if err != nil || len(got) != 2 || got[1].Value != "2" || got[1].Text != "二" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := choicesOf([]string{"x"}); err != nil || !slices.Equal(got, []choiceOption{{Value: "x", Text: "x"}}) {
		t.Errorf("texts: %v, %v", got, err)
	}
	if _, err := choicesOf([]struct{ A int }{{1}}); err == nil {
		t.Error("structs without Value and Text are taken")
	}
}
