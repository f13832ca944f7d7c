package databases

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"tongban/replication"
)

// exchange is a request and its answer, whoever carries them: net/http, or this package's own
// reader of connections.
type exchange struct {
	ctx    context.Context
	method string
	path   string
	query  string // Of the address, as it came.
	// Headers; empty: there is none.
	authorization, contentType, index, division string

	length int64                             // Of the body, -1: not known.
	body   func(into []byte) ([]byte, error) // Reads all of it, once; errLarge.
	reply  reply
}

var errLarge = errors.New("databases: the body is too large")

// reply is an answer. A zero field is a header that is not sent.
type reply struct {
	status       int
	contentType  string
	outcome      string
	allow        string
	retry        bool // Retry-After.
	authenticate bool // WWW-Authenticate.
	index        replication.Index
	body         []byte
}

// What headers say.
const (
	typeJSON   = "application/json; charset=utf-8"
	typeText   = "text/plain; charset=utf-8"
	retryAfter = "1"
	challenge  = `Basic realm="tongban", charset="UTF-8"`
)

// refuse answers with a sentence.
func (x *exchange) refuse(status int, text string) {
	x.reply.status, x.reply.contentType = status, typeText
	x.reply.body = append([]byte(text), '\n')
}

// exchangeOf makes an exchange of a request of net/http.
func exchangeOf(r *http.Request, path string) *exchange {
	h := r.Header
	x := &exchange{ctx: r.Context(), method: r.Method, path: path, query: r.URL.RawQuery,
		authorization: h.Get("Authorization"), contentType: h.Get("Content-Type"), index: h.Get(HeaderIndex),
		division: h.Get(headerDivision), length: r.ContentLength}
	x.body = func(into []byte) ([]byte, error) { return readBody(r.Body, into, r.ContentLength) }
	return x
}

// readBody reads to the end of r, behind into.
func readBody(r io.Reader, into []byte, length int64) ([]byte, error) {
	if int(length) >= cap(into) {
		into = make([]byte, 0, length+1)
	}
	for {
		if len(into) == cap(into) {
			into = append(into, 0)[:len(into)]
		}
		n, err := r.Read(into[len(into):cap(into)])
		into = into[:len(into)+n]
		switch {
		case len(into) > maxBody:
			return into, errLarge
		case errors.Is(err, io.EOF):
			return into, nil
		case err != nil:
			return into, err
		}
	}
}

// send gives the answer to net/http.
func (a *reply) send(w http.ResponseWriter) {
	h := w.Header()
	set := func(name, value string) {
		if value != "" {
			h[name] = []string{value}
		}
	}
	set("Content-Type", a.contentType)
	set("Content-Length", strconv.Itoa(len(a.body)))
	set(HeaderOutcome, a.outcome)
	set("Allow", a.allow)
	if a.retry {
		set("Retry-After", retryAfter)
	}
	if a.authenticate {
		set("Www-Authenticate", challenge)
	}
	if a.index != 0 {
		set(HeaderIndex, strconv.FormatUint(uint64(a.index), 10))
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // The client went away: nobody to tell.
}

// append writes the answer as HTTP/1.1 has it. last: the connection ends with it.
func (a *reply) append(b []byte, date string, last bool) []byte {
	if a.status == http.StatusOK {
		b = append(b, "HTTP/1.1 200 OK\r\nContent-Type: "...)
	} else {
		b = append(strconv.AppendInt(append(b, "HTTP/1.1 "...), int64(a.status), 10), ' ')
		b = append(append(b, http.StatusText(a.status)...), "\r\nContent-Type: "...)
	}
	b = append(b, a.contentType...)
	b = strconv.AppendInt(append(b, "\r\nContent-Length: "...), int64(len(a.body)), 10)
	b = append(append(b, "\r\nDate: "...), date...)
	line := func(name, value string) {
		b = append(append(append(append(b, "\r\n"...), name...), ": "...), value...)
	}
	if a.index != 0 {
		b = strconv.AppendUint(append(b, "\r\n"+HeaderIndex+": "...), uint64(a.index), 10)
	}
	if a.outcome != "" {
		line(HeaderOutcome, a.outcome)
	}
	if a.allow != "" {
		line("Allow", a.allow)
	}
	if a.retry {
		line("Retry-After", retryAfter)
	}
	if a.authenticate {
		line("Www-Authenticate", challenge)
	}
	if last {
		line("Connection", "close")
	}
	return append(append(b, "\r\n\r\n"...), a.body...)
}
