package portal

import (
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tongban/service"
)

// WantsJSON reports whether the caller would rather have JSON than a page: JSON has a
// higher weight in Accept (RFC 9110, 12.5.1), or Accept does not say and the caller sent
// JSON. When both weigh the same, a page it is.
func WantsJSON(r *http.Request) bool {
	page, data, said := weights(r.Header.Values("Accept"))
	if said {
		return data > page
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && isJSON(kind)
}

func isJSON(kind string) bool {
	return kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// weights returns the weight of pages and of JSON; said is false when neither was named.
func weights(accept []string) (page, data float64, said bool) {
	for _, entry := range strings.Split(strings.Join(accept, ","), ",") {
		kind, params, err := mime.ParseMediaType(strings.TrimSpace(entry))
		if err != nil {
			continue
		}
		q := 1.0
		if v, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				continue
			}
		}
		switch {
		case kind == "text/html" || kind == "application/xhtml+xml":
			page, said = max(page, q), true
		case isJSON(kind):
			data, said = max(data, q), true
		}
	}
	return page, data, said
}

// problem is the body of a refusal for programs (RFC 9457).
type problem struct {
	Type     string         `json:"type"`
	Title    string         `json:"title"`
	Status   int            `json:"status"`
	Detail   string         `json:"detail"`
	Instance string         `json:"instance,omitempty"` // urn of the reference id.
	Reason   string         `json:"reason"`
	Do       string         `json:"do,omitempty"`
	Fields   []problemField `json:"fields,omitempty"`
}

type problemField struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
	Detail string `json:"detail"`
}

// Problem answers with application/problem+json. ref names the log entry; lang is that
// of title and detail.
func (p *Portal) Problem(w http.ResponseWriter, err *service.Error, ref, lang string) {
	lang = langOf(lang)
	e := p.explain(lang, err)
	body := problem{Type: "about:blank", Title: e.heading, Status: e.status, Detail: e.what,
		Reason: e.reason, Do: e.do}
	if ref != "" {
		body.Instance = "urn:tongban:ref:" + ref
	}
	for _, f := range e.fields {
		body.Fields = append(body.Fields, problemField{Name: f.name, Reason: f.reason, Detail: f.Text})
	}
	data, jsonErr := json.Marshal(body)
	if jsonErr != nil { // Strings and an int: cannot fail.
		p.log.Error("encode a problem", "err", jsonErr)
	}
	refusalHeaders(w.Header(), err, lang)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(e.status)
	_, _ = w.Write(append(data, '\n')) // The reader left: nobody to tell.
}

func refusalHeaders(h http.Header, err *service.Error, lang string) {
	h.Set("Content-Language", lang)
	h.Set("Cache-Control", "no-store")
	h.Add("Vary", "Accept, Accept-Language, Cookie")
	if err.Code == service.TooMany || err.Code == service.Unavailable {
		after := fmt.Sprint(max(1, int(number(err.Params["retry_after"]))))
		h.Set("Retry-After", after)
	}
}

// explanation is a refusal in words.
type explanation struct {
	status                    int
	reason, heading, what, do string
	fields                    []explainedField
}

type explainedField struct{ name, reason, ID, Text string }

// explain never lets an internal error's own words through.
func (p *Portal) explain(lang string, err *service.Error) explanation {
	if err.Code == service.Internal || err.Code.Status() == 0 {
		err = service.ErrInternal
	}
	e := explanation{status: err.Code.Status(), reason: err.Reason}
	e.heading = p.messages.text(lang, fmt.Sprintf("portal.error_%d", e.status), nil)
	class := reasonOf[err.Code]
	for _, reason := range []string{err.Reason, class} {
		if e.what == "" && p.messages.has(reason) {
			e.what = p.messages.text(lang, reason, err.Params)
		}
		if e.do == "" && p.messages.has(reason+"_do") {
			e.do = p.messages.text(lang, reason+"_do", err.Params)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(err.Fields)) {
		reason := err.Fields[name]
		e.fields = append(e.fields, explainedField{name: name, reason: reason, ID: fieldID(name),
			Text: p.messages.text(lang, reason, err.Params)})
	}
	return e
}

// reasonOf is the message of a class, for a reason that has none of its own.
var reasonOf = map[service.Code]string{
	service.Internal: "internal", service.Invalid: "invalid", service.NotSignedIn: "not_signed_in",
	service.Forbidden: "forbidden", service.NotFound: "not_found", service.WrongMethod: "wrong_method",
	service.Conflict: "portal.conflict", service.TooLarge: "too_large",
	service.Unprocessable: "portal.unprocessable", service.TooMany: "too_many", service.Unavailable: "unavailable",
}
