package portal

import (
	"fmt"
	"html/template"
	"math"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
	xmessage "golang.org/x/text/message"
)

// shanghai is the civil time of the whole country; it has no daylight saving, so that
// no zone file is needed.
var shanghai = time.FixedZone("CST", 8*3600)

// funcs are the template functions of one language; doc.go describes them.
func (p *Portal) funcs(set *pageSet) template.FuncMap {
	f := formatter{lang: set.lang, messages: p.messages, number: xmessage.NewPrinter(language.English)}
	return template.FuncMap{
		"t": f.t, "tn": f.tn, "text": f.textOrHTML, "label": f.label,
		"date": f.date, "datetime": f.datetime, "clock": f.clock,
		"number": f.formatNumber, "percent": f.percent, "code": code,
		"lamp_colour": lampColour, "lamp_text": f.lampText, "share": share,
		"path": escapePath, "url": buildURL, "with_query": withQuery,
		"args": args, "list": list, "choice": f.choice, "pages": pages,
		"key": key, "lang": func() string { return set.lang },
		"asset": p.assets.url,
		"field": func(page *Page, kind, name, label string, more ...any) (template.HTML, error) {
			return f.field(set, page, kind, name, label, more)
		},
	}
}

// formatter writes values in one language.
type formatter struct {
	lang     string
	messages *messages
	number   *xmessage.Printer
}

func (f formatter) t(key string, more ...any) (string, error) {
	params, err := args(more...)
	return f.messages.text(f.lang, key, params), err
}

func (f formatter) tn(key string, count any, more ...any) (string, error) {
	params, err := args(more...)
	return f.messages.plural(f.lang, key, count, params), err
}

// text returns the message if v is a key, else v itself. Keys of services have a dot;
// the reasons of the contract have none and could be a word that somebody typed.
func (f formatter) text(v any) string {
	if v == nil {
		return ""
	}
	s := fmt.Sprint(v)
	if !strings.Contains(s, ".") {
		return s
	}
	return f.messages.text(f.lang, s, nil)
}

// textOrHTML is text for templates: what a function such as code has made stays HTML.
func (f formatter) textOrHTML(v any) any {
	if html, ok := v.(template.HTML); ok {
		return html
	}
	return f.text(v)
}

// label returns the name of a value of a dictionary, or the value if it has none: a code
// that is newer than this program still shows.
func (f formatter) label(dictionary string, value any) string {
	s := fmt.Sprint(value)
	if k := dictionary + "." + s; f.messages.has(k) {
		return f.messages.text(f.lang, k, nil)
	}
	return s
}

const none = "—"

// instant reads a time.Time, *time.Time or Unix seconds; ok is false for "no time".
func instant(v any) (time.Time, bool) {
	switch v := v.(type) {
	case time.Time:
		return v.In(shanghai), !v.IsZero()
	case *time.Time:
		if v == nil {
			return time.Time{}, false
		}
		return v.In(shanghai), !v.IsZero()
	case int64:
		return time.Unix(v, 0).In(shanghai), v != 0
	}
	return time.Time{}, false
}

func (f formatter) when(v any, zh, en string) string {
	at, ok := instant(v)
	if !ok {
		return none
	}
	if f.lang == English {
		return at.Format(en)
	}
	return at.Format(zh)
}

func (f formatter) date(v any) string { return f.when(v, "2006年1月2日", "2 January 2006") }

func (f formatter) datetime(v any) string {
	return f.when(v, "2006年1月2日 15:04", "2 January 2006, 15:04")
}

func (f formatter) clock(v any) string { return f.when(v, "15:04", "15:04") }

func (f formatter) formatNumber(v any) string {
	switch n := v.(type) {
	case nil:
		return none
	case float64, float32:
		return f.number.Sprintf("%.1f", n)
	case int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64:
		return f.number.Sprintf("%d", n)
	}
	return fmt.Sprint(v)
}

// percent writes a share of one; what cannot be computed is no number.
func (f formatter) percent(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return none
	}
	return strings.TrimSuffix(strconv.FormatFloat(v*100, 'f', 1, 64), ".0") + "%"
}

// share returns value in hundredths of most, 0 to 100, for a meter's text.
func share(value, most any) int {
	v, m := number(value), number(most)
	if m <= 0 || v <= 0 {
		return 0
	}
	return int(math.Floor(math.Min(v/m, 1) * 100)) // Never 100 before all is there.
}

func number(v any) float64 {
	r := reflect.ValueOf(v)
	switch {
	case !r.IsValid():
		return 0
	case r.CanInt():
		return float64(r.Int())
	case r.CanUint():
		return float64(r.Uint())
	case r.CanFloat():
		return r.Float()
	}
	return 0
}

func code(v any) template.HTML {
	return template.HTML(`<code class="tb-code">` + template.HTMLEscapeString(fmt.Sprint(v)) + `</code>`)
}

// lampColour is the old lamp of the electronic supervision desks: red when the time is
// over, yellow from warn days on, else green.
func lampColour(days, warn any) string {
	switch d := number(days); {
	case d < 0:
		return "red"
	case d <= number(warn):
		return "yellow"
	}
	return "green"
}

func (f formatter) lampText(days any) string {
	d := int(number(days))
	switch {
	case d < 0:
		return f.messages.plural(f.lang, "portal.days_over", -d, nil)
	case d == 0:
		return f.messages.text(f.lang, "portal.days_today", nil)
	}
	return f.messages.plural(f.lang, "portal.days_left", d, nil)
}

// escapePath fills each {} of the pattern with an escaped segment. Dots alone would
// climb, so they are refused.
func escapePath(pattern string, segments ...any) (string, error) {
	if strings.Count(pattern, "{}") != len(segments) {
		return "", fmt.Errorf("path %q: %d values for its {}", pattern, len(segments))
	}
	for _, v := range segments {
		s := fmt.Sprint(v)
		if s == "" || s == "." || s == ".." {
			return "", fmt.Errorf("path %q: a segment is %q", pattern, s)
		}
		pattern = strings.Replace(pattern, "{}", url.PathEscape(s), 1)
	}
	return pattern, nil
}

// buildURL adds a query to a path; empty and zero values are left out.
func buildURL(path string, pairs ...any) (string, error) {
	params, err := args(pairs...)
	if err != nil {
		return "", err
	}
	query := url.Values{}
	for name, v := range params {
		if r := reflect.ValueOf(v); r.IsValid() && !r.IsZero() {
			query.Set(name, fmt.Sprint(v))
		}
	}
	if len(query) == 0 {
		return path, nil
	}
	return path + "?" + query.Encode(), nil
}

// withQuery returns the page's own address with some values of its query changed.
func withQuery(page *Page, pairs ...any) (string, error) {
	params, err := args(pairs...)
	if err != nil {
		return "", err
	}
	query := url.Values{}
	for name, v := range page.query {
		query[name] = v
	}
	for name := range preferences {
		query.Del(name)
	}
	for name, v := range params {
		query.Del(name)
		if s := fmt.Sprint(v); s != "" {
			query.Set(name, s)
		}
	}
	if len(query) == 0 {
		return page.Path, nil
	}
	return page.Path + "?" + query.Encode(), nil
}

// args makes a map of pairs; its names are strings.
func args(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("%d values are no pairs", len(pairs))
	}
	out := make(map[string]any, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("%v is no name of a pair", pairs[i])
		}
		out[name] = pairs[i+1]
	}
	return out, nil
}

func list(items ...any) []any { return items }
