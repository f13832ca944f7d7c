package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"tongban/portal"
	"tongban/replication"
	"tongban/service"
)

const (
	// defaultBody is the largest body of a route that says nothing, in bytes.
	defaultBody = 1 << 20
	// maxKey bounds an idempotency key, in bytes.
	maxKey = 128
	// maxSeen bounds the index tokens that one client carries.
	maxSeen = 8

	keyHeader  = "Idempotency-Key"
	seenHeader = "Tongban-Index" // "<database>:<index>,…", both ways.
	seenCookie = "seen"
	// Of a proxied request; they count at the internal door only.
	asHeader     = "Tongban-As"     // operator, system
	sourceHeader = "Tongban-Source" // The client's address.
	// Of a proxied response: the receiving node should try again.
	retryHeader = "Tongban-Retry" // "not-applied" or "unknown"
)

// call is one request on its way: read once, perhaps tried more than once.
type call struct {
	door   door
	route  service.Route
	http   *http.Request
	raw    []byte // The whole body, once it is read.
	key    string
	source string
	seen   map[replication.DatabaseID]replication.Index
	slug   string // Tenant of the path, in tenant scope.
}

// newCall reads what every attempt needs but the body. Refusal: ErrInvalid.
func newCall(d door, route service.Route, r *http.Request) (*call, error) {
	c := &call{door: d, route: route, http: r, source: source(d, r), slug: r.PathValue("tenant")}
	c.key = r.Header.Get(keyHeader)
	if len(c.key) > maxKey {
		return nil, service.ErrInvalid.With("detail", "the idempotency key is too long")
	}
	c.seen = parseSeen(r)
	return c, nil
}

// limit is the length of the route's longest body in bytes.
func limit(route service.Route) int64 {
	if route.MaxBody == 0 {
		return defaultBody
	}
	return route.MaxBody
}

// source is what the client's limits are counted by.
func source(d door, r *http.Request) string {
	if d == internalDoor {
		return r.Header.Get(sourceHeader)
	}
	return Network(r.RemoteAddr)
}

// Network returns the IP address of an "address:port", or of IPv6 the /64 network that it
// is in: whoever has one address of such a network has them all (RFC 6177), and would have
// as many attempts. What is no address with a port is returned as it is.
func Network(remote string) string {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	ip := from.Addr().Unmap().WithZone("")
	if network, err := ip.Prefix(64); err == nil && ip.Is6() && !ip.IsLoopback() {
		return network.String()
	}
	return ip.String()
}

func mintKey() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// request returns what a handler gets, without principal and databases.
func (c *call) request(ctx context.Context) (*service.Request, error) {
	r := c.http.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(c.raw))
	out := &service.Request{HTTP: r, Route: c.route, Key: c.key, Source: c.source, Seen: c.seen,
		Lang: portal.Lang(r), Form: r.URL.Query()}
	kind, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	var err error
	switch {
	case !c.route.Writes():
	case kind == "application/x-www-form-urlencoded":
		out.Form, err = url.ParseQuery(string(c.raw))
	case kind == "multipart/form-data":
		out.Form, out.Files, err = readMultipart(c.raw, params["boundary"])
	default:
		out.Body = c.raw
	}
	if err != nil {
		return nil, service.ErrInvalid.With("detail", "the form cannot be read").Because(err)
	}
	if c.key == "" {
		c.key = out.Form.Get(service.KeyField)
	}
	if c.key == "" {
		c.key = mintKey()
	}
	if len(c.key) > maxKey {
		return nil, service.ErrInvalid.With("detail", "the idempotency key is too long")
	}
	out.Key = c.key
	return out, nil
}

// maxParts bounds the fields of one form.
const maxParts = 1000

func readMultipart(raw []byte, boundary string) (url.Values, map[string]service.Upload, error) {
	form, files := url.Values{}, map[string]service.Upload{}
	parts := multipart.NewReader(bytes.NewReader(raw), boundary)
	for n := 0; ; n++ {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return form, files, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if n == maxParts {
			return nil, nil, fmt.Errorf("the form has more than %d fields", maxParts)
		}
		data, err := io.ReadAll(part)
		if err != nil {
			return nil, nil, err
		}
		if name := part.FileName(); name != "" {
			files[part.FormName()] = service.Upload{Name: name, Data: data}
			continue
		}
		form.Add(part.FormName(), string(data))
	}
}

// parseSeen reads the index tokens; what is malformed is ignored: it only made reads
// fresher.
func parseSeen(r *http.Request) map[replication.DatabaseID]replication.Index {
	text := r.Header.Get(seenHeader)
	if c, err := r.Cookie(seenCookie); err == nil && text == "" {
		text = c.Value
	}
	seen := map[replication.DatabaseID]replication.Index{}
	for _, one := range strings.Split(text, "|") {
		id, index, _ := strings.Cut(one, ":")
		n, err := strconv.ParseUint(index, 10, 64)
		if err == nil && len(seen) < maxSeen {
			seen[replication.DatabaseID(id)] = replication.Index(n)
		}
	}
	return seen
}

func formatSeen(seen map[replication.DatabaseID]replication.Index) string {
	var parts []string
	for id, index := range seen {
		parts = append(parts, fmt.Sprintf("%s:%d", id, index))
	}
	return strings.Join(parts, "|")
}

// forwarded returns the request as the leader's node gets it.
func (c *call) forwarded(ctx context.Context) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, c.http.Method, "https://node"+c.http.URL.RequestURI(), bytes.NewReader(c.raw))
	if err != nil {
		return nil, err
	}
	r.Header = c.http.Header.Clone()
	for _, h := range []string{asHeader, sourceHeader, "Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		r.Header.Del(h)
	}
	r.Header.Set(keyHeader, c.key)
	r.Header.Set(sourceHeader, c.source)
	switch c.door {
	case adminDoor:
		r.Header.Set(asHeader, service.Operator.String())
	case systemDoor:
		r.Header.Set(asHeader, service.System.String())
	}
	return r, nil
}
