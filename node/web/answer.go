package web

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"tongban/portal"
	"tongban/service"
)

// answer is a response in memory: an attempt that has to be repeated leaves no trace at
// the client. A download's body is streamed.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
	stream io.Reader
	retry  string // Why the call should be tried again; empty: it is answered.
}

func newAnswer() *answer { return &answer{status: http.StatusOK, header: http.Header{}} }

// Header, WriteHeader and Write make an answer an http.ResponseWriter.
func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(p []byte) (int, error) { return a.body.Write(p) }

func (a *answer) write(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	var body io.Reader = &a.body
	if a.stream != nil {
		body = a.stream
	}
	_, _ = io.Copy(w, body) // The client left: nobody to tell.
}

// noticeCookie carries a message key to the page after a change.
const noticeCookie = "notice"

// render writes a handler's response: a download, JSON, a page, or the way to one.
func (w *Web) render(a *answer, r *service.Request, response service.Response) {
	for _, c := range response.Cookies {
		http.SetCookie(a, c)
	}
	if len(r.Seen) > 0 && r.Route.Writes() {
		seen := formatSeen(r.Seen)
		a.header.Set(seenHeader, seen)
		http.SetCookie(a, w.cookie(r, seenCookie, seen))
	}
	switch {
	case response.File != nil:
		a.header.Set("Content-Type", response.File.Type)
		a.header.Set("Cache-Control", "no-store") // The audit, an authenticator's secret: not for the next user of the computer.
		a.header.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": response.File.Name}))
		a.stream = response.File.Body
	case portal.WantsJSON(r.HTTP) || r.Principal.Kind >= service.Operator:
		w.renderJSON(a, response)
	case response.Location != "":
		if response.Notice != "" {
			http.SetCookie(a, w.cookie(r, noticeCookie, response.Notice))
		}
		a.header.Set("Location", response.Location)
		a.status = cmp.Or(response.Status, http.StatusSeeOther)
	default:
		view := w.view(r, response)
		if c, err := r.HTTP.Cookie(noticeCookie); err == nil {
			view.Flash = c.Value
			gone := w.cookie(r, noticeCookie, "")
			gone.MaxAge = -1
			http.SetCookie(a, gone)
		}
		w.o.Portal.Render(a, r.HTTP, view)
	}
}

func (w *Web) view(r *service.Request, response service.Response) portal.View {
	return portal.View{Response: response, Lang: r.Lang, Principal: r.Principal, Tenant: r.Tenant,
		Key: mintKey(), Now: w.o.Now()}
}

// cookie lives until the browser closes; it holds nothing secret.
func (w *Web) cookie(r *service.Request, name, value string) *http.Cookie {
	return &http.Cookie{Name: name, Value: value, Path: "/", HttpOnly: true,
		Secure: strings.HasPrefix(w.o.Cookie, "__Host-"), SameSite: http.SameSiteLaxMode}
}

func (w *Web) renderJSON(a *answer, response service.Response) {
	a.header.Set("Content-Type", "application/json")
	a.header.Set("Cache-Control", "no-store")
	if response.Location != "" {
		a.header.Set("Location", response.Location)
		a.status = http.StatusCreated
	}
	if response.Status != 0 && response.Status != http.StatusSeeOther {
		a.status = response.Status
	}
	if err := json.NewEncoder(a).Encode(response.Data); err != nil {
		w.log.Error("encode an answer", "page", response.Page, "err", err)
		a.status = http.StatusInternalServerError
	}
}

// refuseRequest answers with a refusal. Somebody who is not signed in and wants a page
// goes to the sign-in page first; a form goes back to its user with what is wrong in it,
// unless what is wrong is our fault: that needs a reference and the log.
func (w *Web) refuseRequest(a *answer, r *service.Request, response service.Response, refusal *service.Error) {
	page := !portal.WantsJSON(r.HTTP) && r.Principal.Kind < service.Operator
	if page && response.Page != "" && refusal.Code != service.Internal {
		view := w.view(r, response)
		view.Error, view.Values = refusal, r.Form
		w.o.Portal.Render(a, r.HTTP, view)
		return
	}
	if page && refusal.Reason == service.ErrNotSignedIn.Reason && !r.Route.Writes() && w.o.SignIn != "" {
		a.header.Set("Location", w.o.SignIn+"?next="+url.QueryEscape(r.HTTP.URL.RequestURI()))
		a.status = http.StatusSeeOther
		return
	}
	w.refuseView(a, r.HTTP, portal.View{Lang: r.Lang, Principal: r.Principal, Tenant: r.Tenant, Now: w.o.Now()}, refusal)
}

// refuse answers with a refusal before there is a request.
func (w *Web) refuse(rw http.ResponseWriter, r *http.Request, who service.Principal, refusal *service.Error) {
	w.refuseView(rw, r, portal.View{Lang: portal.Lang(r), Principal: who, Now: w.o.Now()}, refusal)
}

func (w *Web) refuseView(rw http.ResponseWriter, r *http.Request, view portal.View, refusal *service.Error) {
	ref := newReference()
	w.logInternal(ref, r, refusal)
	if view.Principal.Kind >= service.Operator {
		w.o.Portal.Problem(rw, refusal, ref, view.Lang)
		return
	}
	w.o.Portal.RenderRefusal(rw, r, view, refusal, ref)
}

// newReference is what a user tells an operator, who finds it in the log: 8 characters
// that survive a telephone.
func newReference() string {
	var b [5]byte
	rand.Read(b[:])
	return base32.NewEncoding("ABCDEFGHJKMNPQRSTVWXYZ0123456789").EncodeToString(b[:])
}
