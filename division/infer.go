package division

import (
	"strings"
	"unicode/utf8"

	"tongban/division/internal/list"
)

// minStem is the least characters of a stem that names one division: a single one (岚县,
// 郊区) is too often a word.
const minStem = 2

// kinds are the endings that tell the kind of a county, not which one it is; the longer
// before those that they end with.
var kinds = [...]string{"自治县", "自治旗", "特区", "林区", "县", "市", "区", "旗"}

// stem is a county's name without its kind: 密云 of 密云县 and 密云区.
func stem(name string) string {
	for _, kind := range kinds {
		if s, found := strings.CutSuffix(name, kind); found {
			return s
		}
	}
	return name
}

// infer completes the table of successors by a rule. The successor of a former county is
// the one county of today whose name has the same stem and which hangs on the same city,
// or on what succeeded that city. It is refused where an edition lists both codes: then
// they were two divisions, such as 宣化县 and 宣化区, and more than the kind has changed.
func (t *data) infer() {
	type place struct {
		parent Ref
		stem   string
	}
	today := map[place][]int{}
	var former []int
	for i, a := range t.list.Areas {
		if Level(a.Level) != County {
			continue
		}
		if a.Names[NBS2023] != "" {
			p := place{t.parent(Ref{County, Code(a.Code)}), stem(a.Names[NBS2023])}
			today[p] = append(today[p], i)
		} else if _, known := t.ends[a.Code]; !known && !virtual(a) {
			former = append(former, i)
		}
	}
	inferred := map[string]end{} // Apart, so that no inference rests on another.
	for _, i := range former {
		a := t.list.Areas[i]
		s := stem(newestName(a))
		if utf8.RuneCountInString(s) < minStem {
			continue
		}
		var candidates []int
		for _, city := range t.heirs(t.parent(Ref{County, Code(a.Code)})) {
			candidates = append(candidates, today[place{city, s}]...)
		}
		if len(candidates) != 1 || beside(a, t.list.Areas[candidates[0]]) {
			continue
		}
		r := Ref{County, Code(t.list.Areas[candidates[0]].Code)}
		inferred[a.Code] = end{successors: []Ref{r}, inferred: true}
	}
	for code, e := range inferred {
		t.ends[code] = e
	}
}

// heirs is what succeeded a city, or the city itself.
func (t *data) heirs(r Ref) []Ref {
	if e, ok := t.ends[string(r.Code)]; ok && r.Level == City {
		return e.successors
	}
	return []Ref{r}
}

// beside tells whether an edition lists both codes.
func beside(a, b list.Area) bool {
	for e := range a.Names {
		if a.Names[e] != "" && b.Names[e] != "" {
			return true
		}
	}
	return false
}
