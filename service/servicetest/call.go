package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tongban/replication"
	"tongban/service"
)

// Call is one call of a route. A zero field takes the default stated beside it.
type Call struct {
	Do      string            // "POST /t/civil-affairs/cases/7/accept?x=1": method and path.
	As      service.Principal // Zero: a citizen who is not signed in.
	Body    any               // url.Values: a form; nil: none (or the query of a GET); else sent as JSON.
	Files   map[string]service.Upload
	Key     string         // Idempotency key; "": a new one.
	Cookies []*http.Cookie //
	Source  string         // "192.0.2.1".
	Lang    string         // "zh-CN".
}

// Call runs the route that the method and path match. The error is the handler's, or the
// refusal with which the node answers before the handler: service.ErrNotFound,
// ErrNotSignedIn, ErrForbidden, ErrTooLarge.
func (w *World) Call(do string, as service.Principal, body any) (service.Response, error) {
	w.tb.Helper()
	return w.Do(Call{Do: do, As: as, Body: body})
}

// Do is Call with all that a request can carry.
func (w *World) Do(c Call) (service.Response, error) {
	w.tb.Helper()
	method, target, ok := strings.Cut(c.Do, " ")
	if !ok {
		w.tb.Fatalf("servicetest: %q is no method and path", c.Do)
	}
	a := &answer{call: c}
	ctx := context.WithValue(w.tb.Context(), answerKey{}, a)
	req := httptest.NewRequestWithContext(ctx, method, target, nil)
	for _, cookie := range c.Cookies {
		req.AddCookie(cookie)
	}
	w.mux.ServeHTTP(httptest.NewRecorder(), req)
	if !a.done {
		return service.Response{}, service.ErrNotFound
	}
	return a.response, a.err
}

type answerKey struct{}

// answer travels through the mux in the request's context, because the mux is what fills
// in the path values.
type answer struct {
	call     Call
	done     bool
	response service.Response
	err      error
}

func (w *World) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, d := range w.defs {
		for _, route := range d.Routes {
			mux.HandleFunc(route.FullPattern(), func(_ http.ResponseWriter, req *http.Request) {
				a := req.Context().Value(answerKey{}).(*answer)
				a.done = true
				a.response, a.err = w.serve(req, route, a.call)
			})
		}
	}
	return mux
}

func (w *World) serve(req *http.Request, route service.Route, c Call) (service.Response, error) {
	r := &service.Request{
		HTTP: req, Route: route, Principal: c.As, Site: w.Site, DB: w.Division, Division: w.Division,
		Lang: or(c.Lang, "zh-CN"), Now: w.Clock.Now, Log: w.Log, Files: c.Files, Source: or(c.Source, "192.0.2.1"),
		Key:  or(c.Key, fmt.Sprintf("key-%d", w.calls.Add(1))),
		Seen: map[replication.DatabaseID]replication.Index{},
	}
	slug := ""
	if route.Scope == service.TenantScope {
		slug = req.PathValue("tenant")
		t, ok := w.tenants[slug]
		if !ok {
			return service.Response{}, service.ErrNotFound
		}
		r.Tenant, r.DB = t.Tenant, t.db
	}
	if err := authorise(c.As, route.Need, slug); err != nil {
		return service.Response{}, err
	}
	if err := fill(r, c.Body); err != nil {
		return service.Response{}, err
	}
	return route.Handle(req.Context(), r)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// authorise is the node's decision: who is not signed in is asked to, a tenant at which
// the principal holds nothing does not exist.
func authorise(p service.Principal, need service.Permission, slug string) error {
	switch {
	case p.May(need, slug):
		return nil
	case p.Kind == service.Anonymous:
		return service.ErrNotSignedIn
	case slug != "" && !p.Holds(slug):
		return service.ErrNotFound
	}
	return service.ErrForbidden
}

func fill(r *service.Request, body any) error {
	limit := r.Route.MaxBody
	if limit == 0 {
		limit = 1 << 20
	}
	size := 0
	for _, f := range r.Files {
		size += len(f.Data)
	}
	switch b := body.(type) {
	case nil:
		r.Form = r.HTTP.URL.Query()
	case url.Values:
		r.Form = b
		size += len(b.Encode())
	case []byte:
		r.Form, r.Body = url.Values{}, b
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return err
		}
		r.Form, r.Body = url.Values{}, data
	}
	if int64(size+len(r.Body)) > limit {
		return service.ErrTooLarge
	}
	return nil
}

// Scenario is one line of a table: a call and what comes of it.
type Scenario struct {
	Name string // A sentence: "an officer of another department sees nothing".
	Call
	Before func(w *World)                     // Runs first.
	Want   string                             // Reason of the refusal; "": it is answered.
	Has    []string                           // What the answer (its data as JSON, location, notice) contains …
	HasNot []string                           // … and what it must not.
	After  func(w *World, r service.Response) // Checks more.
}

// Run runs the scenarios in order, each as a subtest, against this one World.
func (w *World) Run(t *testing.T, table []Scenario) {
	t.Helper()
	for _, s := range table {
		t.Run(s.Name, func(t *testing.T) {
			if s.Before != nil {
				s.Before(w)
			}
			r, err := w.Do(s.Call)
			if got := Reason(err); got != s.Want {
				t.Fatalf("%s: refused with %q (%v), want %q", s.Do, got, err, s.Want)
			}
			text := Text(t, r)
			if err != nil {
				text = fmt.Sprint(service.AsError(err).Params, service.AsError(err).Fields)
			}
			for _, want := range s.Has {
				if !strings.Contains(text, want) {
					t.Errorf("%s: the answer lacks %q: %s", s.Do, want, text)
				}
			}
			for _, not := range s.HasNot {
				if strings.Contains(text, not) {
					t.Errorf("%s: the answer holds %q: %s", s.Do, not, text)
				}
			}
			if s.After != nil {
				s.After(w, r)
			}
		})
	}
}

// Reason returns the reason of a refusal, "" for nil, "internal" for any other error.
func Reason(err error) string {
	if err == nil {
		return ""
	}
	return service.AsError(err).Reason
}

// Text returns what an answer says: its data as JSON (readable, not escaped), location
// and notice.
func Text(tb testing.TB, r service.Response) string {
	tb.Helper()
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r.Data); err != nil {
		tb.Fatalf("the data of the answer is no JSON: %v", err)
	}
	return b.String() + " " + r.Location + " " + r.Notice
}

// Decode reads an answer's data into v as a JSON caller would: a stored answer that
// came back for a repeated request is JSON already.
func Decode(tb testing.TB, r service.Response, v any) {
	tb.Helper()
	data, err := json.Marshal(r.Data)
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		tb.Fatalf("decode the answer's data: %v", err)
	}
}
