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
	maxHits      = 5000 // Candidates that are ranked; a division has fewer items.
	PerPage      = 20   // Results on a page.
	partialShare = 0.3  // Share of a query's terms that a partial hit has at least.
)

// Filter narrows a search. A zero field does not.
type Filter struct {
	Tenant   string // Slug of the department.
	Audience string // person, firm, unsaid
	Type     int    // Code of the task type.
}

// Hit is one found item.
type Hit struct {
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
	Inherited  bool      `json:"inherited"` // Promise and visits are demonstration data.
	Marked     []Segment `json:"-"`         // The name, with what was sought marked.

	rank     int
	common   int // Characters of the query that the name has: 社保 is nearer to 社会保险 than to 工伤保险.
	words    []string
	key      string
	pinyin   string
	initials string
	sounds   []string // Pinyin and initials of the words.
	former   string
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
	Unsaid  int    `json:"unsaid"`  // Items left out by the audience filter because they do not say whom they are for.
}

// Search finds items of the division for what a person typed: Chinese of any length,
// pinyin, initials, words, item codes. The text is only ever text: no character of it is
// query syntax, and no text is an error. An empty query finds everything. Ranking: code,
// whole name, beginning of the name, inside the name, everyday word, all terms anywhere,
// then, if nothing has all of them, many; shorter names first. q reads the division database. Cost: about 1 ms
// for a thousand items.
func Search(q service.Querier, text string, f Filter, page int) (Found, error) {
	query := newQuery(text)
	out := Found{Query: query.text, Page: max(page, 1)}
	hits, err := query.candidates(q, " ")
	if err != nil {
		return out, err
	}
	if len(hits) == 0 && len(query.terms) > 1 {
		if hits, err = query.candidates(q, " OR "); err != nil {
			return out, err
		}
		hits = slices.DeleteFunc(hits, func(h Hit) bool { return query.share(&h) < partialShare })
		out.Partial = len(hits) > 0
	}
	hits = slices.DeleteFunc(hits, func(h Hit) bool { return !f.keeps(&h, &out.Unsaid) })
	for i := range hits {
		hits[i].rank = query.rank(&hits[i], out.Partial)
		hits[i].common = query.common(&hits[i])
	}
	slices.SortFunc(hits, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.common, a.common), cmp.Compare(len(a.Name), len(b.Name)),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Code, b.Code))
	})
	out.Total = len(hits)
	last := max(1, (len(hits)+PerPage-1)/PerPage)
	out.Page = min(out.Page, last)
	out.Hits = hits[(out.Page-1)*PerPage : min(out.Page*PerPage, len(hits))]
	for i := range out.Hits {
		out.Hits[i].Marked = query.mark(out.Hits[i].Name)
	}
	return out, nil
}

func (f Filter) keeps(h *Hit, unsaid *int) bool {
	if f.Tenant != "" && h.Tenant != f.Tenant || f.Type != 0 && h.Type != f.Type {
		return false
	}
	switch f.Audience {
	case "person", "firm":
		if h.Audience == 0 {
			*unsaid++
		}
		return h.Audience&map[string]int{"person": 1, "firm": 2}[f.Audience] != 0
	case "unsaid":
		return h.Audience == 0
	}
	return true
}

// query is what a person typed, taken apart.
type query struct {
	text  string    // Shortened.
	whole string    // Normalised, for comparing with whole names.
	key   string    // The same without fillers, for comparing with parts of names.
	runs  []textRun // What is sought.
	terms []string  // Terms of the index, each safe inside quotation marks.
}

func newQuery(text string) query {
	q := query{text: shorten(clean(strings.ToValidUTF8(text, "")), maxQuery)}
	q.whole = nameKey(q.text)
	essence := strings.Map(foldRune, q.text)
	for _, f := range fillers {
		if rest := strings.ReplaceAll(essence, f, " "); strings.TrimSpace(rest) != "" {
			essence = rest
		}
	}
	q.runs = runsOf(essence)
	q.key = nameKey(essence)
	var terms tokenSet
	for _, run := range q.runs {
		runes := []rune(run.text)
		switch {
		case !run.han:
			terms.add(token(run.text) + "*")
		case len(runes) == 1:
			terms.add(token(run.text))
		default:
			for i := range len(runes) - 1 {
				terms.add(token(string(runes[i : i+2])))
			}
		}
	}
	q.terms = terms.list[:min(len(terms.list), maxTerms)]
	return q
}

func shorten(s string, characters int) string {
	for i := range s {
		if characters == 0 {
			return s[:i]
		}
		characters--
	}
	return s
}

const hitColumns = `e.tenant, coalesce(d.name, e.tenant), e.code, e.name, e.main_item, e.type, e.audience, e.promise, e.instant,
	e.visits, e.inherited, e.words, e.pinyin, e.initials, e.sounds, e.former`

// candidates returns the entries that match the terms, joined by join. A query that
// holds nothing but signs finds nothing; an empty one finds all.
func (q *query) candidates(db service.Querier, join string) ([]Hit, error) {
	from, args := `FROM catalog_entry e`, []any{}
	switch {
	case len(q.terms) > 0:
		from = `FROM catalog_search s JOIN catalog_entry e ON e.id = s.docid`
		args = append(args, `"`+strings.Join(q.terms, `"`+join+`"`)+`"`)
	case strings.TrimSpace(q.text) != "":
		return nil, nil
	}
	sql := `SELECT ` + hitColumns + ` ` + from + ` LEFT JOIN catalog_department d ON d.tenant = e.tenant`
	if len(args) > 0 {
		sql += ` WHERE catalog_search MATCH ?`
	}
	var out []Hit
	err := each(db, func(rows *replication.Rows) error {
		var h Hit
		var words, sounds string
		err := rows.Scan(&h.Tenant, &h.Department, &h.Code, &h.Name, &h.MainItem, &h.Type, &h.Audience, &h.Promise, &h.Instant,
			&h.Visits, &h.Inherited, &words, &h.pinyin, &h.initials, &sounds, &h.former)
		h.words, h.sounds, h.key = strings.Fields(words), strings.Fields(sounds), nameKey(h.Name)
		out = append(out, h)
		return err
	}, sql+` ORDER BY e.id LIMIT ?`, append(args, maxHits)...)
	return out, err
}

// rank is the tier of a hit; lower is better.
func (q *query) rank(h *Hit, partial bool) int {
	typed := q.key
	switch {
	case typed == "":
		return 0
	case strings.EqualFold(h.Code, q.text) || slices.Contains(strings.Fields(h.former), q.text):
		return 0
	case h.key == q.whole || h.key == typed:
		return 1
	case slices.Contains(h.words, typed) || slices.Contains(h.sounds, typed):
		return 2
	case strings.HasPrefix(h.key, typed):
		return 3
	case strings.Contains(h.key, typed):
		return 4
	case nameKey(h.MainItem) == typed:
		return 5
	case strings.HasPrefix(h.pinyin, typed) || strings.HasPrefix(h.initials, typed):
		return 6
	case slices.ContainsFunc(h.words, func(w string) bool { return strings.Contains(w, typed) || strings.Contains(typed, w) }):
		return 7
	case strings.Contains(nameKey(h.MainItem), typed):
		return 8
	case partial:
		return 20 + int(10*(1-q.share(h)))
	}
	return 9
}

// common counts the characters of the query that stand in the hit's name.
func (q *query) common(h *Hit) int {
	n := 0
	for _, r := range q.key {
		if strings.ContainsRune(h.key, r) {
			n++
		}
	}
	return n
}

// share is the part of the query's terms that the hit's name and words contain.
func (q *query) share(h *Hit) float64 {
	text := h.key + " " + nameKey(h.MainItem) + " " + strings.Join(h.words, " ") + " " + h.pinyin
	n := 0
	for _, t := range q.terms {
		if strings.Contains(text, strings.TrimSuffix(t, "*")) {
			n++
		}
	}
	return float64(n) / float64(max(len(q.terms), 1))
}

// mark cuts a name into what was sought and the rest.
func (q *query) mark(name string) []Segment {
	runes := []rune(name)
	folded := make([]rune, len(runes))
	for i, r := range runes {
		folded[i] = foldRune(r)
	}
	hit := make([]bool, len(runes))
	for _, run := range q.runs {
		if !markAll(folded, []rune(run.text), hit) && run.han {
			want := []rune(run.text)
			for i := 0; i+2 <= len(want); i++ {
				markAll(folded, want[i:i+2], hit)
			}
		}
	}
	var out []Segment
	for i, r := range runes {
		if n := len(out); n > 0 && out[n-1].Hit == hit[i] {
			out[n-1].Text += string(r)
		} else {
			out = append(out, Segment{string(r), hit[i]})
		}
	}
	return out
}

// markAll marks every place where want stands in text and reports whether there is one.
func markAll(text, want []rune, hit []bool) bool {
	found := false
	for i := 0; len(want) > 0 && i+len(want) <= len(text); i++ {
		if slices.Equal(text[i:i+len(want)], want) {
			found = true
			for j := range want {
				hit[i+j] = true
			}
		}
	}
	return found
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
