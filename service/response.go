package service

import (
	"bytes"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
)

type slogLogger = slog.Logger

// Response is what a handler answers. After a change it is a Location (pages get 303 See
// Other, JSON callers get Data); a read has a Page and Data. What Commit returns is
// stored as JSON and must survive that: Location, Data, Cookies, Notice.
type Response struct {
	Status   int            `json:"status,omitempty"` // 0: 200, or 303/201 with a Location.
	Page     string         `json:"page,omitempty"`   // Template, "<service>/<name>".
	Title    string         `json:"title,omitempty"`  // Message key, or text that is no key (an item's name).
	Data     any            `json:"data,omitempty"`   // The template's data and the JSON body.
	Location string         `json:"location,omitempty"`
	Notice   string         `json:"notice,omitempty"` // Message key shown on the next page.
	Cookies  []*http.Cookie `json:"cookies,omitempty"`
	Crumbs   []Crumb        `json:"-"`
	File     *Download      `json:"-"` // Instead of a page.
}

// Crumb is one step of the breadcrumb.
type Crumb struct{ Title, Path string }

// Download is a file sent as an attachment.
type Download struct {
	Name string
	Type string
	Body io.Reader
}

// Page returns a page of a read.
func Page(page, title string, data any) Response {
	return Response{Page: page, Title: title, Data: data}
}

// SeeOther returns the answer to a change: where to look now, and the data for callers
// that want JSON.
func SeeOther(location string, data any) Response { return Response{Location: location, Data: data} }

// WithNotice returns the response with a notice for the next page.
func (r Response) WithNotice(key string) Response { r.Notice = key; return r }

func newReader(b []byte) io.Reader { return bytes.NewReader(b) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
