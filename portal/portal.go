package portal

import (
	"cmp"
	"fmt"
	"html/template"
	"log/slog"
	"slices"

	"tongban/service"
)

// Site is the division whose portal this is.
type Site struct {
	service.Site
	NameEN string // Name in English; empty: the Chinese name.
}

// Options are the parts of a Portal. A zero field takes the default stated beside it.
type Options struct {
	Site        Site
	Definitions []service.Definition
	SignIn      string       // Path of the sign-in page; empty: no link.
	SignOut     string       // Path that a form posts to for signing out; empty: no button.
	Log         *slog.Logger // slog.Default().
}

// Portal renders pages. Safe for concurrent use.
type Portal struct {
	opts     Options
	log      *slog.Logger
	messages *messages
	pages    map[string]*pageSet // By language.
	menu     []menuEntry
	assets   *assets
}

type menuEntry struct {
	service.MenuEntry
	service string
}

// New parses every template and message of the frame and of the definitions. It returns
// an error that names the file or key when a template does not parse, when a page uses a
// message that nobody defines, when two definitions define one key, or when a key or
// parameter is there in one language only.
func New(opts Options) (*Portal, error) {
	p := &Portal{opts: opts, log: opts.Log}
	if p.log == nil {
		p.log = slog.Default()
	}
	var err error
	if p.assets, err = loadAssets(); err != nil {
		return nil, err
	}
	if p.messages, err = loadMessages(opts.Definitions); err != nil {
		return nil, err
	}
	if p.pages, err = p.loadPages(); err != nil {
		return nil, err
	}
	for _, d := range opts.Definitions {
		for _, m := range d.Menu {
			if !p.messages.has(m.Title) {
				return nil, fmt.Errorf("service %s: menu entry %s names the message %q, which is nowhere", d.Name, m.Path, m.Title)
			}
			p.menu = append(p.menu, menuEntry{MenuEntry: m, service: d.Name})
		}
	}
	slices.SortStableFunc(p.menu, func(a, b menuEntry) int { return cmp.Compare(a.Order, b.Order) })
	return p, nil
}

// Has reports whether there is a page of that name ("<service>/<file without .html>").
func (p *Portal) Has(page string) bool {
	_, ok := p.pages[langs[0]].pages[page]
	return ok
}

// Text returns the message of the key in the language with its parameters, or the key
// itself when nobody defines it.
func (p *Portal) Text(lang, key string, params map[string]any) string {
	return p.messages.text(lang, key, params)
}

// pageSet is every template in one language: functions such as t are bound to it.
type pageSet struct {
	lang  string
	frame *template.Template            // layout, error and the components.
	pages map[string]*template.Template // "<service>/<page>"; each knows the components.
}
