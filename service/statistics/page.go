package statistics

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
)

const (
	perPage   = 20  // Items of a page.
	pageDays  = 30  // Days of a page.
	maxQuery  = 100 // Characters of a search.
	chartBars = 32  // Children of a picture; the table has all of them.
)

// Page is what GET /statistics answers. Figures are of the division and of all below it.
type Page struct {
	Division Named     `json:"division"`
	AsOf     time.Time `json:"as_of"` // So old is the oldest figure in it; now, where nothing comes from below.
	Age      int64     `json:"age_s"`
	Figures
	Own        Figures `json:"own"` // Of the division alone.
	Known      bool    `json:"known"`
	Silent     bool    `json:"silent"`     // Some of it cannot be heard now: see AsOf.
	Unreported int     `json:"unreported"` // Divisions below that have never reported: they are in no figure.
	Children   []Child `json:"children"`
	// Days are the last 30, the oldest first, up to the last of which anything is known;
	// empty when there are no figures at all.
	Days []Day `json:"days"`

	Items      []Item `json:"items"` // A page of them.
	ItemsTotal int    `json:"items_total"`
	PageNumber int    `json:"page"`
	PerPage    int    `json:"per_page"`
	Query      string `json:"query,omitempty"`

	Left      bool              `json:"left"`          // It has left the tree for good.
	Cut       bool              `json:"-"`             // Silent, and it is this division itself.
	Web       string            `json:"web,omitempty"` // Portal of a division below.
	Asked     string            `json:"-"`             // Its reference; empty: this division.
	AllNames  map[string]string `json:"-"`             // Names of the divisions by reference.
	DayChart  string            `json:"-"`
	BarsChart string            `json:"-"` // Empty: no child has reported anything but zero.
}

// Named is a division with its name.
type Named struct {
	Ref  division.Ref `json:"ref"`
	Name string       `json:"name"`
}

// Child is a division directly below, with the figures of all below it. Those of one that
// has never reported are null.
type Child struct {
	Named
	Applied *int64     `json:"applied"`
	Decided *int64     `json:"decided"`
	AsOf    *time.Time `json:"as_of"`
	Age     *int64     `json:"age_s"`
	Silent  bool       `json:"silent"` // It, or a division below it, cannot be heard now.
	Known   bool       `json:"known"`  // It has reported.

	Left       bool `json:"left"` // It has left the tree for good: its figures are history.
	Cut        bool `json:"-"`    // It is the one that is silent.
	Unreported int  `json:"unreported"`
}

// Ago is an age for people: a number of units (now, seconds, minutes, hours, days).
type Ago struct {
	AsOf time.Time
	Unit string
	N    int64
}

// Counts are the figures of a child that has reported.
func (c Child) Counts() Figures { return Figures{*c.Applied, *c.Decided} }

// Ago says the child's age.
func (c Child) Ago() Ago { return agoOf(*c.AsOf, *c.Age) }

// Ago says the age of the page's oldest figure.
func (p Page) Ago() Ago { return agoOf(p.AsOf, p.Age) }

func agoOf(at time.Time, seconds int64) Ago {
	switch {
	case seconds < 5:
		return Ago{at, "now", 0}
	case seconds < 60:
		return Ago{at, "seconds", seconds}
	case seconds < 2*60*60:
		return Ago{at, "minutes", seconds / 60}
	case seconds < 2*24*60*60:
		return Ago{at, "hours", seconds / 3600}
	}
	return Ago{at, "days", seconds / (24 * 3600)}
}

// page answers the figures of this division or of one below it (?division=).
func (s *statistics) page(ctx context.Context, r *service.Request) (service.Response, error) {
	var out Page
	var path []federation.Place
	err := r.View(ctx, func(v *service.View) error {
		b, err := s.readBranches(v)
		if err != nil {
			return err
		}
		at, err := b.find(r.Form.Get("division"))
		if err != nil {
			return err
		}
		path = b.path(at)
		out, err = s.readPage(v, b, at, r.Now())
		if err != nil || !out.hasFigures() {
			return err
		}
		out.Query, out.PageNumber = query(r), number(r.Form.Get("page"))
		return s.readItemsPage(v, &out, b.names(at))
	})
	if err != nil {
		return service.Response{}, err
	}
	if err := out.draw(); err != nil {
		return service.Response{}, err
	}
	response := service.Page("statistics/statistics", "statistics.title", out)
	for _, p := range path[:len(path)-1] {
		response.Crumbs = append(response.Crumbs, service.Crumb{Title: p.Name, Path: pathOf(p.Ref, s.self)})
	}
	if len(path) > 1 {
		response.Crumbs = append(response.Crumbs, service.Crumb{Title: out.Division.Name})
	}
	return response, nil
}

func pathOf(d, self division.Ref) string {
	if d == self {
		return "/statistics"
	}
	return "/statistics?division=" + d.String()
}

// query returns what is searched, cut to its limit.
func query(r *service.Request) string {
	text := []rune(strings.TrimSpace(r.Form.Get("q")))
	return string(text[:min(len(text), maxQuery)])
}

// number reads the number of a page; anything else is the first.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > 1_000_000 {
		return 1
	}
	return n
}

// readPage reads all but the items of a division.
func (s *statistics) readPage(q service.Querier, b branches, at division.Ref, now time.Time) (Page, error) {
	p := Page{Division: Named{at, b.places[at].Name}, AsOf: now, Children: []Child{}, Days: []Day{}, Items: []Item{},
		PageNumber: 1, PerPage: perPage, AllNames: map[string]string{}}
	totals, err := readTotals(q)
	if err != nil {
		return p, err
	}
	fresh, err := s.freshness(q, s.self, now)
	if err != nil {
		return p, err
	}
	for ref, place := range b.places {
		p.AllNames[ref.String()] = place.Name
	}
	branch := b.below(at)
	p.Own, p.Known = totals[at], true
	for _, d := range branch {
		p.addAll(totals[d])
	}
	age := ageOf(fresh, branch, s.self, now)
	p.AsOf, p.Silent, p.Unreported = age.asOf, age.silent, age.unreported
	if at == s.self {
		p.Figures = totals[division.Ref{}] // With those that have left the tree.
	} else {
		p.Web, p.Asked, p.Known, p.Left, p.Cut = b.places[at].Web, at.String(), fresh[at].Known, fresh[at].Left, fresh[at].Silent
	}
	p.Age = int64(now.Sub(p.AsOf) / time.Second)
	for _, c := range b.children[at] {
		p.Children = append(p.Children, childOf(b, c, totals, fresh, now))
	}
	if p.hasFigures() {
		p.Days, err = age.readDays(q, b.names(at), pageDays)
	}
	return p, err
}

// hasFigures reports whether anything was ever counted.
func (p Page) hasFigures() bool { return p.Figures != Figures{} }

func childOf(b branches, c division.Ref, totals map[division.Ref]Figures, fresh map[division.Ref]federation.Freshness, now time.Time) Child {
	out := Child{Named: Named{c, b.places[c].Name}, Known: fresh[c].Known, Left: fresh[c].Left, Cut: fresh[c].Silent}
	branch := b.below(c)
	age := ageOf(fresh, branch, division.Ref{}, now)
	out.Silent, out.Unreported = age.silent, age.unreported
	if !out.Known {
		return out
	}
	var sum Figures
	for _, d := range branch {
		sum.addAll(totals[d])
	}
	seconds := int64(now.Sub(age.asOf) / time.Second)
	out.Applied, out.Decided, out.AsOf, out.Age = &sum.Applied, &sum.Decided, &age.asOf, &seconds
	return out
}

// age is how old the figures of a branch are.
type age struct {
	asOf       time.Time // The oldest of it; now when nothing in it is another's.
	newest     time.Time // The newest of it.
	silent     bool
	unreported int
}

// ageOf says how old the figures of some divisions are; this one's own are of now.
func ageOf(fresh map[division.Ref]federation.Freshness, branch []division.Ref, self division.Ref, now time.Time) age {
	out := age{asOf: now.Truncate(time.Second)}
	for _, d := range branch {
		f := fresh[d]
		switch {
		case f.Left && !fresh[branch[0]].Left: // History makes nothing that goes on old.
		case d == self:
			out.newest = now
		case !f.Known:
			out.unreported++
		default:
			out.silent = out.silent || f.Silent
			if f.AsOf.Before(out.asOf) {
				out.asOf = f.AsOf.Truncate(time.Second)
			}
			if f.AsOf.After(out.newest) {
				out.newest = f.AsOf
			}
		}
	}
	if out.newest.IsZero() {
		out.newest = now
	}
	return out
}

// readDays reads n days of the branch of this age. It ends with the newest that is known
// of it, so that a silent division's days are not shown as days without work.
func (a age) readDays(q service.Querier, branch []string, n int) ([]Day, error) {
	days, err := readDays(q, branch, a.newest, n)
	for i := range days {
		days[i].Partial = a.silent && days[i].Day >= service.CountDay(a.asOf)
	}
	return days, err
}

// PartialFrom is the first day that lacks figures of a silent division; empty: none does.
func (p Page) PartialFrom() string {
	for _, d := range p.Days {
		if d.Partial {
			return d.Day
		}
	}
	return ""
}

// readItemsPage reads the page of items that was asked for.
func (s *statistics) readItemsPage(q service.Querier, p *Page, branch []string) error {
	items, err := s.readNamed(q, branch, p.Query)
	if err != nil {
		return err
	}
	p.ItemsTotal = len(items)
	p.PageNumber = min(p.PageNumber, max(1, (len(items)+perPage-1)/perPage))
	p.Items = items[(p.PageNumber-1)*perPage : min(len(items), p.PageNumber*perPage)]
	return nil
}

// readNamed returns the items of a branch whose name or code contains what is searched.
func (s *statistics) readNamed(q service.Querier, branch []string, text string) ([]Item, error) {
	items, err := readItems(q, branch)
	if err != nil {
		return nil, err
	}
	if err := s.nameItems(q, items); err != nil {
		return nil, err
	}
	found := items[:0]
	for _, it := range items {
		if strings.Contains(strings.ToLower(it.Name), strings.ToLower(text)) || strings.Contains(strings.ToLower(it.Code), strings.ToLower(text)) {
			found = append(found, it)
		}
	}
	return found, nil
}

// chart is what chart.js draws.
type chart struct {
	Type       string    `json:"type"` // days, bar
	Categories []string  `json:"categories"`
	Series     [][]int64 `json:"series"`
}

// draw makes the pictures of the page.
func (p *Page) draw() error {
	days := chart{Type: "days", Series: make([][]int64, 2)}
	for _, d := range p.Days {
		days.Categories = append(days.Categories, d.Day[len("2006-"):])
		days.Series[0], days.Series[1] = append(days.Series[0], d.Applied), append(days.Series[1], d.Decided)
	}
	bars, high := chart{Type: "bar", Series: make([][]int64, 2)}, int64(0)
	for _, c := range p.Children {
		if !c.Known || len(bars.Categories) == chartBars {
			continue
		}
		high = max(high, *c.Applied, *c.Decided)
		bars.Categories = append(bars.Categories, c.Name)
		bars.Series[0], bars.Series[1] = append(bars.Series[0], *c.Applied), append(bars.Series[1], *c.Decided)
	}
	text, err := json.Marshal(days)
	if err != nil {
		return err
	}
	p.DayChart = string(text)
	if high > 0 {
		text, err = json.Marshal(bars)
		p.BarsChart = string(text)
	}
	return err
}

// NewestFirst returns the days as the table shows them.
func (p Page) NewestFirst() []Day {
	days := slices.Clone(p.Days)
	slices.Reverse(days)
	return days
}
