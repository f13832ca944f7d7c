package catalog

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mozillazg/go-pinyin"

	"tongban/division/uscc"
)

// A Department is the part of a file that belongs to one tenant.
type Department struct {
	Name  string   `json:"name"`
	Slug  string   `json:"slug"`  // Of the name's pinyin: [a-z0-9-]{1,40}, unique among the result.
	Codes []string `json:"codes"` // Body codes that verify, most frequent first.
	Rows  []Row    `json:"-"`
}

// unassigned is the department of rows of a file in which no department could be read.
const unassigned = "未知部门"

// maxSlug is the length of a tenant's slug.
const maxSlug = 40

// Split groups rows by department, in the order in which the departments first occur.
// taken are slugs that are in use by other departments, by name; a department that is
// among them keeps its slug.
func Split(rows []Row, taken map[string]string) []Department {
	var out []Department
	at := map[string]int{}
	used := map[string]bool{}
	for slug := range maps.Values(taken) {
		used[slug] = true
	}
	for _, r := range rows {
		name := r.Department
		if name == "" {
			name = unassigned
		}
		i, ok := at[name]
		if !ok {
			i, at[name] = len(out), len(out)
			slug := taken[name]
			if slug == "" {
				slug = freeSlug(name, used)
			}
			used[slug] = true
			out = append(out, Department{Name: name, Slug: slug})
		}
		out[i].Rows = append(out[i].Rows, r)
	}
	for i := range out {
		out[i].Codes = validBodies(out[i].Rows)
	}
	return out
}

// freeSlug returns the pinyin of the name, shortened to initials when it is too long and
// numbered when it is in use.
func freeSlug(name string, used map[string]bool) string {
	slug := slugOf(name)
	for n := 2; used[slug]; n++ {
		end := "-" + strconv.Itoa(n)
		slug = slugOf(name)
		slug = slug[:min(len(slug), maxSlug-len(end))] + end
	}
	return slug
}

func slugOf(name string) string {
	var syllables, initials []string
	for _, run := range runsOf(name) {
		if !run.han {
			syllables, initials = append(syllables, ascii(run.text)), append(initials, ascii(run.text))
			continue
		}
		for _, s := range syllablesOf(run.text) {
			syllables, initials = append(syllables, s), append(initials, s[:1])
		}
	}
	slug := strings.Trim(strings.Join(syllables, ""), "-")
	if len(slug) > maxSlug {
		slug = strings.Join(initials, "")
	}
	slug = slug[:min(len(slug), maxSlug)]
	if slug == "" {
		return "department"
	}
	return slug
}

// ascii keeps the letters and digits of ASCII.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}

// syllablesOf returns the toneless pinyin of each Chinese character that has one.
func syllablesOf(han string) []string {
	args := pinyin.NewArgs()
	out := make([]string, 0, len(han)/3)
	for _, r := range han {
		if s := pinyin.SinglePinyin(r, args); len(s) > 0 && s[0] != "" {
			out = append(out, ascii(strings.ReplaceAll(s[0], "ü", "v")))
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

func validBodies(rows []Row) []string {
	count := map[string]int{}
	for _, r := range rows {
		if uscc.Valid(r.Body) {
			count[r.Body]++
		}
	}
	codes := slices.Sorted(maps.Keys(count))
	slices.SortStableFunc(codes, func(a, b string) int { return count[b] - count[a] })
	return codes
}
