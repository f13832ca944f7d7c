package catalog

import (
	"slices"
	"strings"
	"unicode"
)

// minCode is how many characters of a code find it: fewer are in too many.
const minCode = 4

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

// match is the query in the index's language, its terms joined by " " or " OR ".
func (q *query) match(join string) string {
	return `"` + strings.Join(q.terms, `"`+join+`"`) + `"`
}

// mayBeCode reports whether the query can be an item code or a part of one.
func (q *query) mayBeCode() bool {
	return len(q.key) >= minCode && strings.ContainsFunc(q.text, unicode.IsDigit) &&
		!slices.ContainsFunc(q.runs, func(r textRun) bool { return r.han })
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

// wording is an item's text as it is ranked.
type wording struct {
	id       int64
	name     string
	mainItem string
	words    []string
	key      string
	pinyin   string
	initials string
	sounds   []string // Pinyin and initials of the words.
}

// rank is the tier of a text; lower is better.
func (q *query) rank(t *wording, partial bool) int {
	typed := q.key
	switch {
	case t.key == q.whole || t.key == typed:
		return 1
	case slices.Contains(t.words, typed) || slices.Contains(t.sounds, typed):
		return 2
	case strings.HasPrefix(t.key, typed):
		return 3
	case strings.Contains(t.key, typed):
		return 4
	case nameKey(t.mainItem) == typed:
		return 5
	case strings.HasPrefix(t.pinyin, typed) || strings.HasPrefix(t.initials, typed):
		return 6
	case slices.ContainsFunc(t.words, func(w string) bool { return strings.Contains(w, typed) || strings.Contains(typed, w) }):
		return 7
	case strings.Contains(nameKey(t.mainItem), typed):
		return 8
	case partial:
		return 20 + int(10*(1-q.share(t)))
	}
	return 9
}

// common counts the characters of the query that stand in the text's name: 社保 is nearer
// to 社会保险 than to 工伤保险.
func (q *query) common(t *wording) int {
	n := 0
	for _, r := range q.key {
		if strings.ContainsRune(t.key, r) {
			n++
		}
	}
	return n
}

// share is the part of the query's terms that the text's name and words contain.
func (q *query) share(t *wording) float64 {
	all := t.key + " " + nameKey(t.mainItem) + " " + strings.Join(t.words, " ") + " " + t.pinyin
	n := 0
	for _, term := range q.terms {
		if strings.Contains(all, strings.TrimSuffix(term, "*")) {
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
