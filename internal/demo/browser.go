package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tongban/node/client"
	"tongban/node/exit"
	"tongban/service"
)

const (
	// answerPatience bounds one attempt: a node tries for ten seconds itself.
	answerPatience = 15 * time.Second
	// writePatience bounds a change with all its attempts.
	writePatience = time.Minute
	// retryPause lies between attempts.
	retryPause = 20 * time.Millisecond
	// maxBody bounds an answer, bytes.
	maxBody = 16 << 20
)

// browser speaks to people's ports: it posts forms, and follows nothing by itself. It may
// be used concurrently.
type browser struct{ http *http.Client }

func newBrowser() *browser {
	return &browser{http: &http.Client{Timeout: answerPatience,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 128, DialContext: (&net.Dialer{Timeout: 2 * time.Second}).DialContext},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func (b *browser) close() { b.http.CloseIdleConnections() }

// healthy asks whether the node at base serves people.
func (b *browser) healthy(ctx context.Context, base string) error {
	_, err := b.send(ctx, http.MethodGet, base+"/healthz", nil, nil)
	return err
}

// reply is an answer to a request.
type reply struct {
	status  int
	body    []byte
	cookies []*http.Cookie
}

// cookie is the value of a cookie that the answer set.
func (r reply) cookie(name string) string {
	for _, c := range r.cookies {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// get reads path at base as JSON into out.
func (b *browser) get(ctx context.Context, base, path string, cookies []*http.Cookie, out any) error {
	r, err := b.send(ctx, http.MethodGet, base+path, nil, cookies)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(r.body, out); err != nil {
		return fmt.Errorf("read the answer to GET %s: %w", path, err)
	}
	return nil
}

// send makes one request; a form makes it a form post, as a browser's. An answer of 400 or
// more is a *client.Problem.
func (b *browser) send(ctx context.Context, method, address string, form url.Values, cookies []*http.Cookie) (reply, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return reply{}, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Accept-Language", "en")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, c := range cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	response, err := b.http.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return reply{}, fmt.Errorf("read the answer of %s: %w", address, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		p := &client.Problem{}
		if json.Unmarshal(data, p) != nil || p.Status == 0 {
			p = &client.Problem{Status: response.StatusCode, Title: http.StatusText(response.StatusCode)}
		}
		return reply{}, p
	}
	return reply{status: response.StatusCode, body: data, cookies: response.Cookies()}, nil
}

// temporary reports whether the same request, with the same key, may do better later or at
// another node: it was not answered, or with "try again".
func temporary(err error) bool {
	var p *client.Problem
	if errors.As(err, &p) {
		return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests || p.Status == http.StatusBadGateway
	}
	return err != nil
}

// insist posts the form under one idempotency key, beginning at bases[first] and going on
// to the next after each failure that is temporary, until it is answered or writePatience
// is over. bases is asked anew for each attempt.
func (b *browser) insist(ctx context.Context, bases func() []string, first int, path string, form url.Values, cookies []*http.Cookie) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	with := url.Values{}
	for k, v := range form {
		with[k] = v
	}
	if with.Get(service.KeyField) == "" {
		with.Set(service.KeyField, rand.Text())
	}
	for i := first; ; i++ {
		list := bases()
		if len(list) == 0 {
			return reply{}, errors.New("no node runs")
		}
		r, err := b.send(ctx, http.MethodPost, list[i%len(list)]+path, with, cookies)
		if err == nil || !temporary(err) {
			return r, err
		}
		select {
		case <-ctx.Done():
			return reply{}, fmt.Errorf("POST %s was not answered within %s; last: %w", path, writePatience, err)
		case <-time.After(retryPause):
		}
	}
}

func portOf(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return port
}

// temporaryCommand is temporary for what the operator's client returns.
func temporaryCommand(err error) bool { return err != nil && exit.Code(err) == exit.Temporary }
