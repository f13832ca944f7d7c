package catalog

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// maxChoices bounds the divisions that one filter offers: a nation's provinces, or the
// counties of the largest province.
const maxChoices = 200

// There says where an item of a division below is offered, and how old this is.
type There struct {
	Name      string    `json:"name"`           // Full name of the division: 四川省广安市广安区.
	Reference string    `json:"reference"`      // "county/511602/<tenant>/<code>": what a window lodges a case by.
	Web       string    `json:"web,omitempty"`  // URL of the item's page there; empty: not known yet.
	Silent    bool      `json:"silent"`         // The division has not been heard of for some time …
	AsOf      time.Time `json:"as_of,omitzero"` // … since then; zero: never, or not known.
	Left      bool      `json:"left"`           // It has left the tree for good: this is history.
}

// DivisionChoice is one division that the search can be narrowed to.
type DivisionChoice struct {
	Division string `json:"division"` // Reference, or OwnOnly.
	Name     string `json:"name"`     // Full name.
	Items    int    `json:"items"`    // Of it and all below it.
}

// selfOf returns the reference of the division that answers.
func selfOf(site service.Site) (division.Ref, error) {
	return division.ParseRef(site.Level + "/" + site.Code)
}

// isBelow reports whether a child may speak of a division: by the directory of the tree,
// and where that does not know the division yet, because its row comes later in the same
// stream, by the official list.
func isBelow(q service.Querier, child, ref division.Ref) (bool, error) {
	ok, err := federation.Below(q, child, ref)
	if ok || err != nil {
		return ok, err
	}
	_, err = federation.ReadEntry(q, ref)
	if !errors.Is(err, federation.ErrNoDivision) {
		return false, err
	}
	return slices.ContainsFunc(division.Path(ref), func(d division.Division) bool { return d.Ref == child }), nil
}

// tree is who offers something at this division and below.
type tree struct {
	q      service.Querier
	self   division.Ref
	name   string
	items  map[division.Ref]int            // Own items of each.
	parent map[division.Ref]division.Ref   // Of each below self.
	below  map[division.Ref][]division.Ref // By code.
}

// readTree reads who offers what. Cost: an index of catalog_offer, about 2 ms for 40,000
// items, and two columns of the directory.
func readTree(q service.Querier, site service.Site) (*tree, error) {
	self, err := selfOf(site)
	if err != nil {
		return nil, err
	}
	t := &tree{q: q, self: self, name: site.Full, items: map[division.Ref]int{},
		parent: map[division.Ref]division.Ref{}, below: map[division.Ref][]division.Ref{}}
	if err := each(q, func(rows *replication.Rows) error {
		var text string
		var n int
		if err := rows.Scan(&text, &n); err != nil {
			return err
		}
		ref, err := self, error(nil)
		if text != "" {
			ref, err = division.ParseRef(text)
		}
		t.items[ref] = n
		return err
	}, `SELECT division, count(*) FROM catalog_offer GROUP BY division`); err != nil {
		return nil, err
	}
	if t.alone() {
		return t, nil
	}
	parents, err := federation.ReadParents(q)
	if err != nil {
		return nil, err
	}
	for ref := range t.items {
		t.hang(ref, parents)
	}
	for _, list := range t.below {
		slices.SortFunc(list, compareRefs)
	}
	return t, nil
}

func compareRefs(a, b division.Ref) int {
	return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Level, b.Level))
}

// alone reports whether no division below offers anything.
func (t *tree) alone() bool {
	_, own := t.items[t.self]
	return len(t.items) == 0 || own && len(t.items) == 1
}

// hang finds the way from ref up to self. What the directory does not know hangs on self.
func (t *tree) hang(ref division.Ref, parents map[division.Ref]division.Ref) {
	for ref != t.self {
		if _, done := t.parent[ref]; done {
			return
		}
		up := parents[ref]
		if up.IsZero() || up.Level >= ref.Level || up.Level < t.self.Level {
			up = t.self
		}
		t.parent[ref] = up
		t.below[up] = append(t.below[up], ref)
		ref = up
	}
}

// nameOf is the full name of a division.
func (t *tree) nameOf(ref division.Ref) (string, error) {
	if ref == t.self {
		return t.name, nil
	}
	return fullName(t.q, ref)
}

// within lists ref and all below it, as catalog_offer writes them.
func (t *tree) within(ref division.Ref) []string {
	out := []string{ref.String()}
	if ref == t.self {
		out[0] = ""
	}
	for _, child := range t.below[ref] {
		out = append(out, t.within(child)...)
	}
	return out
}

func (t *tree) count(ref division.Ref) int {
	n := t.items[ref]
	for _, child := range t.below[ref] {
		n += t.count(child)
	}
	return n
}

// narrow sets what the filter's division means. A division that is not known keeps
// nothing.
func (t *tree) narrow(f *Filter) {
	switch f.Division {
	case "", t.self.String():
		f.Division = ""
	case OwnOnly:
		f.divisions = []string{""}
	default:
		f.divisions = []string{}
		if ref, err := division.ParseRef(f.Division); err == nil {
			f.Division = ref.String()
			if _, known := t.parent[ref]; known {
				f.divisions = t.within(ref)
			}
		}
	}
}

// choices are the divisions that a search can go to from the filter's: those above it,
// itself, and those directly below it.
func (t *tree) choices(f Filter) ([]DivisionChoice, error) {
	if t.alone() {
		return nil, nil
	}
	var out []DivisionChoice
	if t.items[t.self] > 0 {
		out = append(out, DivisionChoice{OwnOnly, t.name, t.items[t.self]})
	}
	at, err := division.ParseRef(f.Division)
	if _, known := t.parent[at]; err != nil || !known {
		at = t.self
	}
	var way []division.Ref
	for ref := at; ref != t.self; ref = t.parent[ref] {
		way = append(way, ref)
	}
	slices.Reverse(way)
	way = append(way, t.below[at]...)
	for _, ref := range way[:min(len(way), maxChoices)] {
		name, err := t.nameOf(ref)
		if err != nil {
			return nil, err
		}
		out = append(out, DivisionChoice{ref.String(), name, t.count(ref)})
	}
	return out, nil
}

// departments are those among which the filter can choose: this division's, or those of
// the one below that it names.
func (t *tree) departments(f Filter) ([]DepartmentCounts, error) {
	if f.Division == "" || f.Division == OwnOnly {
		return ReadDepartments(t.q)
	}
	var out []DepartmentCounts
	err := each(t.q, func(rows *replication.Rows) error {
		var d DepartmentCounts
		err := rows.Scan(&d.Tenant, &d.Name, &d.Published)
		out = append(out, d)
		return err
	}, `SELECT tenant, max(department), count(*) FROM catalog_offer WHERE division = ? GROUP BY tenant ORDER BY 3 DESC, 2 LIMIT ?`,
		f.Division, maxChoices)
	return out, err
}

// locate fills in where the hits of divisions below are offered.
func (t *tree) locate(hits []Hit, now time.Time) error {
	if !slices.ContainsFunc(hits, func(h Hit) bool { return h.Division != "" }) {
		return nil
	}
	fresh, err := federation.ReadFreshness(t.q, t.self, now)
	if err != nil {
		return err
	}
	portals := map[string]There{} // By division, without the item.
	for i := range hits {
		h := &hits[i]
		if h.Division == "" {
			continue
		}
		there, done := portals[h.Division]
		if !done {
			if there, err = t.portal(h.Division, fresh); err != nil {
				return err
			}
			portals[h.Division] = there
		}
		there.Reference = h.Division + "/" + h.Tenant + "/" + h.Code
		there.Web = itemURL(there.Web, h.Tenant, h.Code)
		h.There = &there
	}
	return nil
}

// portal is what is known of a division below: its name, portal and age.
func (t *tree) portal(text string, fresh map[division.Ref]federation.Freshness) (There, error) {
	ref, err := division.ParseRef(text)
	if err != nil {
		return There{}, err
	}
	e, err := federation.ReadEntry(t.q, ref)
	if err != nil && !errors.Is(err, federation.ErrNoDivision) {
		return There{}, err
	}
	name, err := t.nameOf(ref)
	age := fresh[ref]
	return There{Name: name, Web: e.Web, Silent: !age.Known || age.Silent || age.Left, Left: age.Left, AsOf: age.AsOf}, err
}

// itemURL is an item's page at a portal; empty when the portal's address is none that a
// browser may be sent to.
func itemURL(web, tenant, code string) string {
	u, err := url.Parse(web)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return ""
	}
	return strings.TrimSuffix(web, "/") + "/t/" + url.PathEscape(tenant) + "/items/" + url.PathEscape(code)
}
