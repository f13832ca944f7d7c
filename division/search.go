package division

import (
	"cmp"
	"slices"
	"strings"
)

// MaxSearch is the most divisions that one Search returns: a person reads no longer list.
const MaxSearch = 200

// Search returns at most limit (1 to MaxSearch) divisions whose name contains text: equal
// names first, then names that begin with it, then the others, each by level from the
// nation down and by code. Virtual and former divisions are left out: Lookup finds them
// by code. An empty text finds nothing. It takes about 1 ms.
func Search(text string, limit int) []Division {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil
	}
	type hit struct {
		rank  int // 0 equal, 1 prefix, 2 inside.
		level Level
		index int // Of the area or township; both are sorted by code.
	}
	rank := func(name string) int {
		switch {
		case name == text:
			return 0
		case strings.HasPrefix(name, text):
			return 1
		}
		return 2
	}
	t := tables()
	var hits []hit
	for i, a := range t.list.Areas {
		if !strings.Contains(newestName(a), text) {
			continue
		}
		if d := t.areaAt(i); !d.Virtual && d.Status != Former {
			hits = append(hits, hit{rank(d.Name), d.Level, i})
		}
	}
	t.list.Townships.Containing(text, func(i int) {
		hits = append(hits, hit{rank(t.list.Townships.Name(i)), Township, i})
	})
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.level, b.level), cmp.Compare(a.index, b.index))
	})
	hits = hits[:min(len(hits), max(1, min(limit, MaxSearch)))]
	found := make([]Division, 0, len(hits))
	for _, h := range hits {
		if h.level == Township {
			found = append(found, t.townshipAt(h.index))
		} else {
			found = append(found, t.areaAt(h.index))
		}
	}
	return found
}
