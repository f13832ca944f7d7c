package division

import (
	"iter"
	"slices"
	"strings"
)

// Edition is one of the embedded code lists, oldest first.
type Edition int

// The editions.
const (
	GB200212 Edition = iota // GB/T 2260, revision 2002-12.
	GB201607                // GB/T 2260, revision 2016-07.
	NBS2023                 // List of the National Bureau of Statistics as of 2023-06-30.
)

// String is the name of the list and its date.
func (e Edition) String() string {
	switch e {
	case GB200212:
		return "GB/T 2260 of 2002-12"
	case GB201607:
		return "GB/T 2260 of 2016-07"
	case NBS2023:
		return "NBS list of 2023"
	}
	return "no edition"
}

// Status tells whether a division is in force, as far as the embedded lists know.
type Status int

const (
	// Current: the list of 2023 has it.
	Current Status = iota + 1
	// Unlisted: outside what the list of 2023 covers (台湾, 香港, 澳门, and the groups
	// 市辖区 xx01 of cities), in GB/T 2260 of 2016-07, and nothing known against it.
	Unlisted
	// Former: an older edition has it and the list of 2023 does not.
	Former
)

// String is "current", "unlisted" or "former".
func (s Status) String() string {
	switch s {
	case Current:
		return "current"
	case Unlisted:
		return "unlisted"
	case Former:
		return "former"
	}
	return "no status"
}

// Validity is what the embedded lists tell about the time of a code. It existed from
// First to Last at least; the days are not known.
type Validity struct {
	First, Last Edition // The oldest and the newest edition that list the code at its level.
	Withdrawn   int     // Year in which the code was withdrawn; 0: unknown or in force.
}

// Division is one entry of the lists.
type Division struct {
	Ref
	Name       string // In the newest edition that lists it.
	Parent     Ref    // The nearest division above that is not virtual; zero for the nation.
	Virtual    bool   // Only groups others in the code list; never has boxes.
	Status     Status
	Validity   Validity
	Successors []Ref // What holds the ground of a Former division in 2023; empty: unknown.
	Inferred   bool  // Successors rests on the names alone, not on a known decision: say so to people.
}

// Zone tells whether d is a development zone that only the Bureau of Statistics counts as
// a county (xx71 to xx79, absent from GB/T 2260).
func (d Division) Zone() bool {
	return d.Level == County && d.Validity.First == NBS2023 && "71" <= d.Code[4:6] && d.Code[4:6] <= "79"
}

// FullName is FullName(d.Ref).
func (d Division) FullName() string { return FullName(d.Ref) }

// ByRef returns one division: current, unlisted or former, virtual or not. False: the
// lists do not have it.
func ByRef(r Ref) (Division, bool) {
	t := tables()
	if r == Nation {
		return Division{Ref: Nation, Name: "中华人民共和国", Status: Current, Validity: Validity{First: GB200212, Last: NBS2023}}, true
	}
	if r.Level == Township {
		if i, ok := t.township(r.Code); ok {
			return t.townshipAt(i), true
		}
		return Division{}, false
	}
	if i, ok := t.area(r); ok {
		return t.areaAt(i), true
	}
	return Division{}, false
}

// NameIn is the name that an edition gives to r; empty where it does not list it. A code
// may have been another division's in an older edition.
func NameIn(r Ref, e Edition) string {
	t := tables()
	if e < GB200212 || e > NBS2023 {
		return ""
	}
	if i, ok := t.area(r); ok {
		return t.list.Areas[i].Names[e]
	}
	if d, ok := ByRef(r); ok && d.Validity.First <= e {
		return d.Name
	}
	return ""
}

// Children returns the divisions whose Parent is r, in the order of their codes: 34
// provinces (three of them unlisted), a county's townships, none of a township. Virtual
// and former divisions are left out; of a virtual r it returns what the group holds.
func Children(r Ref) []Division {
	t := tables()
	parent, ok := ByRef(r)
	if !ok || r.Level == Township {
		return nil
	}
	var children []Division
	if r.Level == County {
		for i := t.list.Townships.Search(string(r.Code)); i < t.list.Townships.Len(); i++ {
			if !strings.HasPrefix(t.list.Townships.Code(i), string(r.Code)) {
				break
			}
			children = append(children, t.townshipAt(i))
		}
		return children
	}
	prefix := map[Level]int{National: 0, Province: 2, City: 4}[r.Level]
	for i := t.firstArea(string(r.Code[:prefix])); i < len(t.list.Areas); i++ {
		if !strings.HasPrefix(t.list.Areas[i].Code, string(r.Code[:prefix])) {
			break
		}
		d := t.areaAt(i)
		below := d.Parent == r || (parent.Virtual && d.Level > r.Level)
		if below && !d.Virtual && d.Status != Former {
			children = append(children, d)
		}
	}
	return children
}

// Path returns the divisions from the nation down to r itself, without the virtual ones
// above it. It is nil when the lists do not have r.
func Path(r Ref) []Division {
	var path []Division
	for d, ok := ByRef(r); ok; d, ok = ByRef(d.Parent) {
		path = append(path, d)
	}
	slices.Reverse(path)
	return path
}

// FullName is the name with all names above it but the nation's: 四川省广安市广安区. A name
// that repeats the one above (东莞市 in 东莞市) is written once. It is empty when the lists
// do not have r.
func FullName(r Ref) string {
	path := Path(r)
	if len(path) == 1 {
		return path[0].Name
	}
	var name strings.Builder
	for i, d := range path {
		if i > 0 && d.Name != path[i-1].Name {
			name.WriteString(d.Name)
		}
	}
	return name.String()
}

// All yields the 44,703 divisions of the list of 2023: those of county level and above by
// code, then the townships by code. The nation is not among them.
func All() iter.Seq[Division] {
	return func(yield func(Division) bool) {
		t := tables()
		for i, a := range t.list.Areas {
			if a.Names[NBS2023] != "" && !yield(t.areaAt(i)) {
				return
			}
		}
		for i := range t.list.Townships.Len() {
			if !yield(t.townshipAt(i)) {
				return
			}
		}
	}
}

// Historic yields, by code, the divisions that only an edition before 2023 lists: the
// former and the unlisted ones.
func Historic() iter.Seq[Division] {
	return func(yield func(Division) bool) {
		t := tables()
		for i, a := range t.list.Areas {
			if a.Names[NBS2023] == "" && !yield(t.areaAt(i)) {
				return
			}
		}
	}
}
