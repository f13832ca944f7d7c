package catalog

import (
	"cmp"
	"slices"
	"strings"

	"tongban/replication"
	"tongban/service"
)

// Limits of a search.
const (
	maxQuery     = 60   // Characters of a query that count; the rest is left out.
	maxTerms     = 30   // Terms of a query.
	maxTexts     = 5000 // Different texts that are ranked: five counties without a name in common.
	maxCodes     = 200  // Items that are found by their code.
	PerPage      = 20   // Results on a page.
	partialShare = 0.3  // Share of a query's terms that a partial hit has at least.
)

// Filter narrows a search. A zero field does not.
type Filter struct {
	Division string // Reference: this division and all below it; Own: without those below.
	Tenant   string // Slug of the department, of this division or of the one that Division names.
	Audience string // person, firm, unsaid
	Type     int    // Code of the task type.

	divisions []string // What Division means, as catalog_offer writes it; nil: all.
}

// OwnOnly is the Division of a Filter that leaves out the divisions below.
const OwnOnly = "own"

// Hit is one found item.
type Hit struct {
	Division   string    `json:"division,omitempty"` // Reference of the division below that offers it; empty: this one.
	Tenant     string    `json:"tenant"`
	Department string    `json:"department"`
	Code       string    `json:"code"`
	Name       string    `json:"name"`
	MainItem   string    `json:"main_item,omitempty"`
	Type       int       `json:"type"`
	Audience   int       `json:"audience"` // 1 persons, 2 firms, 3 both, 0 not said.
	Promise    int       `json:"promise"`  // Working days; 0: not known.
	Instant    bool      `json:"instant"`
	Visits     *int      `json:"visits"`
	Inherited  bool      `json:"inherited"`       // Promise and visits are demonstration data.
	There      *There    `json:"there,omitempty"` // Of an item of a division below; filled in by Locate.
	Marked     []Segment `json:"-"`               // The name, with what was sought marked.
}

// Segment is a piece of a text; Hit: it was sought.
type Segment struct {
	Text string
	Hit  bool
}

// Found is a page of results.
type Found struct {
	Query   string `json:"query"`
	Total   int    `json:"total"`
	Page    int    `json:"page"` // From 1.
	Hits    []Hit  `json:"hits"`
	Partial bool   `json:"partial"` // No item has all of the query: these have much of it.
	Capped  bool   `json:"capped"`  // More texts match than are ranked: the query is too wide.
	Unsaid  int    `json:"unsaid"`  // Items left out by the audience filter because they do not say whom they are for.
}

// group is a text with its offers, or one offer that was found by its code.
type group struct {
	wording
	offer  int64 // 0: all offers of the text.
	n      int   // Offers that the filter keeps.
	unsaid int   // Offers that the audience filter leaves out for want of a word.
	rank   int
	common int
}

// Search finds items of this division and of those below for what a person typed: Chinese
// of any length, pinyin, initials, words, item codes. The text is only ever text: no
// character of it is query syntax, and no text is an error. An empty query finds
// everything. Ranking: code, whole name, beginning of the name, inside the name, everyday
// word, all terms anywhere, then, if nothing has all of them, many; shorter names first,
// and of one name this division's before others'. q reads the division database. Cost: 1
// to 10 ms for 40,000 items of 1,000 texts.
func Search(q service.Querier, typed string, f Filter, page int) (Found, error) {
	query := newQuery(typed)
	out := Found{Query: query.text, Page: max(page, 1)}
	if strings.TrimSpace(query.text) == "" {
		err := listAll(q, f, &out)
		return out, err
	}
	if len(query.terms) == 0 {
		out.Page = 1
		return out, nil // Nothing but signs finds nothing.
	}
	groups, err := query.candidates(q, f, &out)
	if err != nil {
		return out, err
	}
	for _, g := range groups {
		out.Total += g.n
		out.Unsaid += g.unsaid
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.common, a.common), cmp.Compare(len(a.name), len(b.name)),
			cmp.Compare(a.name, b.name), cmp.Compare(a.id, b.id), cmp.Compare(a.offer, b.offer))
	})
	out.clampPage()
	skip := (out.Page - 1) * PerPage
	for _, g := range groups {
		if skip >= g.n {
			skip -= g.n
			continue
		}
		if out.Hits, err = g.read(q, f, out.Hits, skip); err != nil {
			return out, err
		}
		if skip = 0; len(out.Hits) == PerPage {
			break
		}
	}
	for i := range out.Hits {
		out.Hits[i].Marked = query.mark(out.Hits[i].Name)
	}
	return out, nil
}

func (f *Found) clampPage() { f.Page = min(f.Page, max(1, (f.Total+PerPage-1)/PerPage)) }

// conditions are what the filter asks of catalog_offer, named o, but for the audience.
func (f *Filter) conditions() (sql string, args []any) {
	if f.divisions != nil {
		sql += ` AND o.division IN (` + strings.Repeat(`?, `, max(0, len(f.divisions)-1)) + `?)`
		for _, d := range f.divisions {
			args = append(args, d)
		}
		if len(f.divisions) == 0 {
			args = append(args, nil) // Is nothing's division.
		}
	}
	if f.Tenant != "" {
		sql, args = sql+` AND o.tenant = ?`, append(args, f.Tenant)
		if f.Division == "" {
			sql += ` AND o.division = ''`
		}
	}
	if f.Type != 0 {
		sql, args = sql+` AND o.type = ?`, append(args, f.Type)
	}
	return sql, args
}

// audience is what the filter asks of the audience.
func (f *Filter) audience() string {
	switch f.Audience {
	case "person":
		return ` AND o.audience & 1`
	case "firm":
		return ` AND o.audience & 2`
	case "unsaid":
		return ` AND o.audience = 0`
	}
	return ""
}

// leavesUnsaid reports whether the filter leaves out what says nothing of its audience.
func (f *Filter) leavesUnsaid() bool { return f.Audience == "person" || f.Audience == "firm" }

// candidates returns what matches, ranked: texts that have all terms, offers whose codes
// have them, and if there are none, texts that have many.
func (q *query) candidates(db service.Querier, f Filter, out *Found) ([]group, error) {
	groups, err := q.texts(db, f, " ", out)
	if err != nil {
		return nil, err
	}
	if q.mayBeCode() {
		if groups, err = q.codes(db, f, groups); err != nil {
			return nil, err
		}
	}
	if len(groups) > 0 || len(q.terms) < 2 {
		return groups, nil
	}
	if groups, err = q.texts(db, f, " OR ", out); err != nil {
		return nil, err
	}
	out.Partial = len(groups) > 0
	return groups, nil
}

// texts returns the texts that match and have an offer that the filter keeps, or that it
// leaves out for want of a word about its audience.
func (q *query) texts(db service.Querier, f Filter, join string, out *Found) ([]group, error) {
	where, filter := f.conditions()
	count := `(SELECT count(*) FROM catalog_offer o WHERE o.text = t.id` + where
	sql, args := `SELECT t.id, t.name, t.main_item, t.words, t.pinyin, t.initials, t.sounds, `+count+f.audience()+`)`, slices.Clone(filter)
	if f.leavesUnsaid() {
		sql, args = sql+`, `+count+` AND o.audience = 0)`, append(args, filter...)
	} else {
		sql += `, 0`
	}
	sql += ` FROM catalog_text_search s CROSS JOIN catalog_text t ON t.id = s.docid WHERE catalog_text_search MATCH ? LIMIT ?`
	var groups []group
	seen, partial := 0, join != " "
	err := each(db, func(rows *replication.Rows) error {
		var g group
		var words, sounds string
		if err := rows.Scan(&g.id, &g.name, &g.mainItem, &words, &g.pinyin, &g.initials, &sounds, &g.n, &g.unsaid); err != nil {
			return err
		}
		if seen++; g.n == 0 && g.unsaid == 0 {
			return nil
		}
		g.words, g.sounds, g.key = strings.Fields(words), strings.Fields(sounds), nameKey(g.name)
		if partial && q.share(&g.wording) < partialShare {
			return nil
		}
		g.rank, g.common = q.rank(&g.wording, partial), q.common(&g.wording)
		groups = append(groups, g)
		return nil
	}, sql, append(args, q.match(join), maxTexts)...)
	out.Capped = seen == maxTexts
	return groups, err
}

// codes adds the offers whose item codes, of now or former, have the terms: first those
// that have just this code, last those that have a part of it.
func (q *query) codes(db service.Querier, f Filter, groups []group) ([]group, error) {
	found := map[int64]int{}
	for i, g := range groups {
		found[g.id] = i
	}
	where, filter := f.conditions()
	err := each(db, func(rows *replication.Rows) error {
		g := group{n: 1, rank: 9}
		var code, former string
		if err := rows.Scan(&g.offer, &g.id, &g.name, &code, &former); err != nil {
			return err
		}
		if strings.EqualFold(code, q.text) || slices.Contains(strings.Fields(former), q.text) {
			g.rank = 0
		}
		if i, ok := found[g.id]; ok { // It is there with its text.
			groups[i].rank = min(groups[i].rank, g.rank)
		} else {
			groups = append(groups, g)
		}
		return nil
	}, `SELECT o.id, o.text, t.name, o.code, o.former FROM catalog_code_search s CROSS JOIN catalog_offer o ON o.id = s.docid
		JOIN catalog_text t ON t.id = o.text WHERE catalog_code_search MATCH ?`+where+f.audience()+` LIMIT ?`,
		append(append([]any{q.match(" ")}, filter...), maxCodes)...)
	return groups, err
}

const hitColumns = `SELECT o.division, o.tenant, CASE WHEN o.division = '' THEN coalesce(d.name, o.tenant) ELSE o.department END,
	o.code, t.name, t.main_item, o.type, o.audience, o.promise, o.instant, o.visits, o.inherited `

const hitDepartment = ` LEFT JOIN catalog_department d ON o.division = '' AND d.tenant = o.tenant WHERE 1`

const hitOrder = `o.division, o.tenant, o.code LIMIT ? OFFSET ?`

// read appends the group's offers to hits, from the skipth on, until a page is full.
func (g *group) read(db service.Querier, f Filter, hits []Hit, skip int) ([]Hit, error) {
	where, args := f.conditions()
	if g.offer != 0 {
		where, args = where+` AND o.id = ?`, append(args, g.offer)
	} else {
		where, args = where+` AND o.text = ?`, append(args, g.id)
	}
	return readHits(db, hits, hitColumns+`FROM catalog_offer o JOIN catalog_text t ON t.id = o.text`+hitDepartment+
		where+f.audience()+` ORDER BY `+hitOrder, append(args, PerPage-len(hits), skip)...)
}

func readHits(db service.Querier, hits []Hit, sql string, args ...any) ([]Hit, error) {
	err := each(db, func(rows *replication.Rows) error {
		var h Hit
		err := rows.Scan(&h.Division, &h.Tenant, &h.Department, &h.Code, &h.Name, &h.MainItem, &h.Type, &h.Audience,
			&h.Promise, &h.Instant, &h.Visits, &h.Inherited)
		hits = append(hits, h)
		return err
	}, sql, args...)
	return hits, err
}

// listAll is the search without a query: everything, shorter names first.
func listAll(db service.Querier, f Filter, out *Found) error {
	where, args := f.conditions()
	count := func(audience string) (n int, err error) {
		err = db.QueryRow(`SELECT count(*) FROM catalog_offer o WHERE 1`+where+audience, args...).Scan(&n)
		return n, err
	}
	var err error
	if out.Total, err = count(f.audience()); err != nil {
		return err
	}
	if f.leavesUnsaid() {
		if out.Unsaid, err = count(` AND o.audience = 0`); err != nil {
			return err
		}
	}
	out.clampPage()
	// The texts in the order of their index, and each one's offers in that of theirs: nothing is sorted.
	out.Hits, err = readHits(db, nil, hitColumns+`FROM catalog_text t CROSS JOIN catalog_offer o ON o.text = t.id`+hitDepartment+
		where+f.audience()+` ORDER BY t.size, t.name, t.id, `+hitOrder, append(args, PerPage, (out.Page-1)*PerPage)...)
	for i := range out.Hits {
		out.Hits[i].Marked = []Segment{{Text: out.Hits[i].Name}}
	}
	return err
}

// ReadDepartments returns every department's numbers, those with most items first. q
// reads the division database.
func ReadDepartments(q service.Querier) ([]DepartmentCounts, error) {
	var out []DepartmentCounts
	err := each(q, func(rows *replication.Rows) error {
		var d DepartmentCounts
		err := rows.Scan(&d.Tenant, &d.Name, &d.Published, &d.Quarantined, &d.Repaired,
			&d.Completeness.Own, &d.Completeness.Inherited, &d.Completeness.Missing)
		out = append(out, d)
		return err
	}, `SELECT tenant, name, published, quarantined, repaired, own, inherited, missing FROM catalog_department
		ORDER BY published DESC, name`)
	return out, err
}

// DepartmentCounts are the numbers of one department.
type DepartmentCounts struct {
	Tenant string `json:"tenant"`
	Name   string `json:"name"`
	Counts
}
