// Package page is the one page of the demonstration: the live tree, whose lines can be cut
// and whose boxes can be killed, and what that does to its figures.
//
// It is a handler of a few files of its own, without a word of the portal's. What it shows
// is a [State] that a [Tree] keeps; what people press becomes an [Order].
//
// # Guarantees
//
//   - Whoever does not have the page's address, with the key in it, sees and does nothing;
//     a page of another site, or one that resolved its name to this machine, does nothing
//     even then.
//   - A figure is shown with its age; a division that does not answer keeps its last one.
package page

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Tree is what the page shows and changes. Its methods may be called concurrently and
// never wait.
type Tree interface {
	// State is what was last seen.
	State() State
	// Do begins to carry out an order. It returns ErrUnknown or ErrBusy.
	Do(o Order) error
	// Accounts are lines about who can sign in where.
	Accounts() string
}

// Errors of an order.
var (
	ErrUnknown = errors.New("page: there is no such thing to do")
	ErrBusy    = errors.New("page: that is being done already")
)

// Order is one thing to do.
type Order struct {
	Do string // One of Orders.
	At string // ID of a line or box; empty for load and lodge.
}

// Orders.
const (
	Cut   = "cut"   // A line.
	Heal  = "heal"  // A line.
	Kill  = "kill"  // A box.
	Start = "start" // A box.
	Load  = "load"  // Applications to the district.
	Lodge = "lodge" // A case for the district, at another division's window.
)

var orders = []string{Cut, Heal, Kill, Start, Load, Lodge}

// State is what is known of the tree. Ages and durations are in seconds.
type State struct {
	Divisions []Division `json:"divisions"` // Parents before their children.
	Lines     []Line     `json:"lines"`
	Cases     Cases      `json:"cases"`
	Lodged    []Lodged   `json:"lodged"` // The newest first.
	Jobs      []Job      `json:"jobs"`   // What is being done, or failed lately.
}

// Division is one of the tree.
type Division struct {
	Code    string   `json:"code"`
	Parent  string   `json:"parent,omitempty"` // Code.
	Level   string   `json:"level"`            // national, province, city, county
	Name    string   `json:"name"`
	Full    string   `json:"full"` // Name, with those of the divisions above.
	English string   `json:"english"`
	Boxes   []Box    `json:"boxes"`
	Figures *Figures `json:"figures,omitempty"` // Nil: none was ever read.
	Mute    float64  `json:"mute,omitempty"`    // Since when no box has told its figures; 0: one has.
}

// Box is one node's process.
type Box struct {
	ID   string `json:"id"` // "511602/n1"
	Name string `json:"name"`
	Web  string `json:"web"`
	PID  int    `json:"pid"`
	Runs bool   `json:"runs"`
}

// Figures are what a division itself says about its subtree.
type Figures struct {
	Applied  int     `json:"applied"`
	Decided  int     `json:"decided"`
	Age      float64 `json:"age"` // Of the oldest figure in it.
	Children []Child `json:"children,omitempty"`
}

// Child is what a division says about one of its children.
type Child struct {
	Code    string  `json:"code"`
	Decided int     `json:"decided"`
	Age     float64 `json:"age"`
	Silent  bool    `json:"silent"`
	Known   bool    `json:"known"` // False: nothing was ever heard of it.
}

// Line is the line between a division and its parent.
type Line struct {
	ID       string  `json:"id"` // The child's code.
	Parent   string  `json:"parent"`
	Cut      bool    `json:"cut"`
	For      float64 `json:"for"` // Since when it is cut or whole.
	Up       int64   `json:"up"`  // Bytes from child to parent.
	Down     int64   `json:"down"`
	WhileCut int64   `json:"while_cut"`
}

// Cases is what became of the applications that the page made.
type Cases struct {
	Acknowledged int `json:"acknowledged"` // Applicants who got a receipt.
	Found        int `json:"found"`        // Of these: whose case the district's office finds, once.
	Lost         int `json:"lost"`
	Doubled      int `json:"doubled"`
}

// Lodged is a case that was lodged at another division's window.
type Lodged struct {
	ID     string  `json:"id"`
	State  string  `json:"state"`            // Waiting, Delivered or Refused.
	Reason string  `json:"reason,omitempty"` // Why it waits: a reason of a mail.
	Where  string  `json:"where,omitempty"`  // Full name of the division at which it stopped.
	Number string  `json:"number,omitempty"` // Of its receipt, when delivered.
	For    float64 `json:"for"`              // Since it was lodged, or until it was delivered.
}

// States of a lodged case.
const (
	Waiting   = "waiting"
	Delivered = "delivered"
	Refused   = "refused"
)

// Job is an order on its way. A failed one is shown for a while.
type Job struct {
	Do    string  `json:"do"`
	At    string  `json:"at,omitempty"`
	Done  int     `json:"done"`
	Total int     `json:"total"` // 0: it cannot be counted.
	For   float64 `json:"for"`
	Err   string  `json:"err,omitempty"`
}

//go:embed files
var files embed.FS

// Page is the handler. It is safe for concurrent use.
type Page struct {
	tree  Tree
	key   string
	texts map[string]map[string]string
	html  *template.Template
	mux   http.Handler
}

// New returns the page of the tree, with a key of its own in its address.
func New(t Tree) (*Page, error) {
	p := &Page{tree: t, key: strings.ToLower(rand.Text()[:16]), texts: map[string]map[string]string{}}
	for _, lang := range languages {
		data, err := files.ReadFile("files/" + lang + ".json")
		if err != nil {
			return nil, err
		}
		one := map[string]string{}
		if err := json.Unmarshal(data, &one); err != nil {
			return nil, fmt.Errorf("read the page's texts %s: %w", lang, err)
		}
		p.texts[lang] = one
	}
	var err error
	if p.html, err = template.ParseFS(files, "files/*.html"); err != nil {
		return nil, fmt.Errorf("read the page: %w", err)
	}
	mux, base := http.NewServeMux(), "/"+p.key
	mux.HandleFunc("GET "+base+"/{$}", p.show("tree.html", func() string { return "" }))
	mux.HandleFunc("GET "+base+"/accounts", p.show("accounts.html", t.Accounts))
	mux.HandleFunc("GET "+base+"/state", p.state)
	mux.HandleFunc("POST "+base+"/do", p.do)
	for name, kind := range map[string]string{"tree.js": "text/javascript", "tree.css": "text/css"} {
		mux.HandleFunc("GET "+base+"/"+name, func(rw http.ResponseWriter, _ *http.Request) {
			data, _ := files.ReadFile("files/" + name) // Embedded above.
			rw.Header().Set("Content-Type", kind+"; charset=utf-8")
			_, _ = rw.Write(data)
		})
	}
	p.mux = http.NewCrossOriginProtection().Handler(mux)
	return p, nil
}

// Path is the page's path, with the key.
func (p *Page) Path() string { return "/" + p.key + "/" }

// policy lets the page load its own files and speak to its own address, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// ServeHTTP serves the page. A request under another name than this machine's own is
// refused: a foreign name that was made to resolve to it (DNS rebinding).
func (p *Page) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	h := rw.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // The address holds the key.
	h.Set("Cache-Control", "no-store")
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		http.Error(rw, "this page is for this machine alone", http.StatusMisdirectedRequest)
		return
	}
	p.mux.ServeHTTP(rw, r)
}

// languages, the first by default.
var languages = []string{"zh", "en"}

// language is what the address asks for, or else the browser.
func language(r *http.Request) string {
	asked := r.URL.Query().Get("lang")
	if asked == "" {
		asked, _, _ = strings.Cut(r.Header.Get("Accept-Language"), ",")
	}
	for _, lang := range languages[1:] {
		if strings.HasPrefix(strings.ToLower(asked), lang) {
			return lang
		}
	}
	return languages[0]
}

// view is what a template is given.
type view struct {
	Lang, Key string // zh-CN or en; the token of orders.
	Other     string // The other language.
	T         map[string]string
	Texts     template.JS // T for the script; JSON, with < escaped.
	Text      string
}

func (p *Page) show(name string, text func() string) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		lang := language(r)
		v := view{Lang: "zh-CN", Other: "en", Key: p.key, T: p.texts[lang], Text: text()}
		if lang == "en" {
			v.Lang, v.Other = "en", "zh"
		}
		encoded, err := json.Marshal(v.T)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		v.Texts = template.JS(encoded)
		var b bytes.Buffer
		if err := p.html.ExecuteTemplate(&b, name, v); err != nil {
			http.Error(rw, err.Error(), http.StatusInternalServerError)
			return
		}
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = rw.Write(b.Bytes())
	}
}

func (p *Page) state(rw http.ResponseWriter, _ *http.Request) {
	answer(rw, http.StatusOK, p.tree.State())
}

// tokenHeader holds the key once more in an order: a form of another page cannot set it.
const tokenHeader = "X-Page-Key"

// maxOrder bounds an order, bytes.
const maxOrder = 4 << 10

func (p *Page) do(rw http.ResponseWriter, r *http.Request) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(tokenHeader)), []byte(p.key)) != 1 {
		answer(rw, http.StatusForbidden, problem{"no_key"})
		return
	}
	r.Body = http.MaxBytesReader(rw, r.Body, maxOrder)
	if err := r.ParseForm(); err != nil {
		answer(rw, http.StatusBadRequest, problem{"malformed"})
		return
	}
	o := Order{Do: r.PostForm.Get("do"), At: r.PostForm.Get("at")}
	err := ErrUnknown
	if slices.Contains(orders, o.Do) {
		err = p.tree.Do(o)
	}
	switch {
	case errors.Is(err, ErrUnknown):
		answer(rw, http.StatusNotFound, problem{"unknown"})
	case errors.Is(err, ErrBusy):
		answer(rw, http.StatusConflict, problem{"busy"})
	case err != nil:
		answer(rw, http.StatusInternalServerError, problem{err.Error()})
	default:
		answer(rw, http.StatusAccepted, p.tree.State())
	}
}

// problem says why an order was not taken.
type problem struct {
	Reason string `json:"reason"`
}

func answer(rw http.ResponseWriter, status int, v any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_ = json.NewEncoder(rw).Encode(v)
}

// Seconds is a duration as the page is given it.
func Seconds(d time.Duration) float64 { return d.Round(100 * time.Millisecond).Seconds() }
