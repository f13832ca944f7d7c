package statistics

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/replication"
	"tongban/service"
)

// Figures are the two measures of cases.
type Figures struct {
	Applied int64 `json:"applied"`
	Decided int64 `json:"decided"`
}

func (f *Figures) add(measure string, n int64) {
	switch service.Measure(measure) {
	case Applications:
		f.Applied += n
	case Decisions:
		f.Decided += n
	}
}

func (f *Figures) addAll(g Figures) { f.Applied, f.Decided = f.Applied+g.Applied, f.Decided+g.Decided }

// Day is one day of a division and of all below it.
type Day struct {
	Day string `json:"day"` // "2026-03-02"
	Figures
	Partial bool `json:"partial"` // Figures of a division that is silent since are not in it.
}

// Item is an item of a division and of all below it.
type Item struct {
	Code string `json:"code"`
	Name string `json:"name"` // Empty: this division's catalog does not know the code.
	// Owner is the division whose own code it is; empty: a code that means the same in all.
	Owner string `json:"owner,omitempty"`
	Figures
}

// branches is the tree of the divisions that this one knows.
type branches struct {
	self     division.Ref
	places   map[division.Ref]federation.Place
	children map[division.Ref][]division.Ref // In the order of their references.
}

// readBranches reads the directory. A division that is in no tree yet is its own.
func (s *statistics) readBranches(q service.Querier) (branches, error) {
	b := branches{s.self, map[division.Ref]federation.Place{}, map[division.Ref][]division.Ref{}}
	list, err := s.places(q)
	for _, p := range list {
		b.places[p.Ref] = p
		b.children[p.Parent] = append(b.children[p.Parent], p.Ref)
	}
	b.places[s.self] = federation.Place{Ref: s.self, Parent: b.places[s.self].Parent, Name: s.Site.Name}
	return b, err
}

// below returns d and every division below it.
func (b branches) below(d division.Ref) []division.Ref {
	list, seen := []division.Ref{d}, map[division.Ref]bool{d: true}
	for i := 0; i < len(list); i++ {
		for _, c := range b.children[list[i]] {
			if !seen[c] { // A directory with a circle must not hang a page.
				seen[c] = true
				list = append(list, c)
			}
		}
	}
	return list
}

// find returns the division that a reader asks for by reference or code: this one or one
// below. A code of several, such as 441900, is that of the highest. service.ErrNotFound:
// there is none.
func (b branches) find(asked string) (division.Ref, error) {
	if asked == "" {
		return b.self, nil
	}
	found := division.Ref{}
	for _, d := range b.below(b.self) {
		if d.String() == asked || string(d.Code) == asked && (found.IsZero() || d.Level < found.Level) {
			found = d
		}
	}
	if found.IsZero() {
		return found, service.ErrNotFound
	}
	return found, nil
}

// path returns the divisions from this one down to d.
func (b branches) path(d division.Ref) []federation.Place {
	var list []federation.Place
	for len(list) < len(b.places) {
		list = append(list, b.places[d])
		if d == b.self {
			break
		}
		d = b.places[d].Parent
	}
	slices.Reverse(list)
	return list
}

// names are how the sums call the divisions of a branch: as one, when it is all of them.
func (b branches) names(d division.Ref) []string {
	if d == b.self {
		return []string{""}
	}
	var out []string
	for _, one := range b.below(d) {
		out = append(out, one.String())
	}
	return out
}

// readTotals returns the figures of every division alone, and of all of them under the
// zero Ref. Cost: a row for each division and measure, 6,600 at the nation.
func readTotals(q service.Querier) (map[division.Ref]Figures, error) {
	out := map[division.Ref]Figures{}
	err := each(q, func(rows *replication.Rows) error {
		var name, measure string
		var n int64
		if err := rows.Scan(&name, &measure, &n); err != nil {
			return err
		}
		var ref division.Ref
		if err := ref.UnmarshalText([]byte(name)); err != nil {
			return err
		}
		f := out[ref]
		f.add(measure, n)
		out[ref] = f
		return nil
	}, `SELECT division, measure, value FROM statistics_total WHERE day = ''`)
	return out, err
}

// readDays returns the n days up to the one of now, the oldest first. Cost: a row for each
// division of the branch, day and measure; at the root of what is here it is one division.
func readDays(q service.Querier, branch []string, now time.Time, n int) ([]Day, error) {
	days, at := make([]Day, n), map[string]int{}
	names := make([]string, n)
	for i := range days {
		days[i].Day = service.CountDay(now.AddDate(0, 0, i-n+1))
		at[days[i].Day], names[i] = i, days[i].Day
	}
	err := each(q, func(rows *replication.Rows) error {
		var day, measure string
		var value int64
		err := rows.Scan(&day, &measure, &value)
		if err == nil {
			days[at[day]].add(measure, value)
		}
		return err
	}, `SELECT day, measure, sum(value) FROM statistics_total WHERE day IN (SELECT value FROM json_each(?))
		AND division IN (SELECT value FROM json_each(?)) GROUP BY day, measure`, list(names), list(branch))
	return days, err
}

// readItems returns the items of a branch, those with most applications first. Cost: a row
// for each division of the branch, item and measure; at the root of what is here it is one
// division, some thousands of rows, and 300,000 for a province that is looked at from the
// nation.
func readItems(q service.Querier, branch []string) ([]Item, error) {
	type key struct{ code, owner string }
	at := map[key]int{}
	items := []Item{}
	err := each(q, func(rows *replication.Rows) error {
		var k key
		var measure string
		var n int64
		if err := rows.Scan(&k.code, &k.owner, &measure, &n); err != nil || n == 0 {
			return err
		}
		i, known := at[k]
		if !known {
			i = len(items)
			at[k] = i
			items = append(items, Item{Code: k.code, Owner: k.owner})
		}
		items[i].add(measure, n)
		return nil
	}, `SELECT code, owner, measure, sum(value) FROM statistics_item
		WHERE division IN (SELECT value FROM json_each(?)) GROUP BY code, owner, measure`, list(branch))
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.Applied, a.Applied), cmp.Compare(b.Decided, a.Decided),
			cmp.Compare(a.Code, b.Code), cmp.Compare(a.Owner, b.Owner))
	})
	return items, err
}

// nameItems fills in the names of items, as far as the catalog here knows them.
func (s *statistics) nameItems(q service.Querier, items []Item) error {
	codes := make([]string, len(items))
	for i := range items {
		codes[i] = items[i].Code
	}
	names, err := s.Names(q, codes)
	for i := range items {
		items[i].Name = names[items[i].Code]
	}
	return err
}

// list binds texts for json_each.
func list(texts []string) string {
	b, err := json.Marshal(texts)
	if err != nil {
		panic(err) // Texts can always be written.
	}
	return string(b)
}

// each calls fn for every row of a query.
func each(q service.Querier, fn func(rows *replication.Rows) error, sql string, args ...any) error {
	rows, err := q.Query(sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
