package division

import (
	_ "embed"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"

	"tongban/division/internal/list"
)

//go:embed divisions.gz
var packed []byte

//go:embed successors.txt
var successors string

// tables decodes the embedded data once. What is embedded is tested, so that an error
// means a damaged binary.
var tables = sync.OnceValue(func() *data {
	t, err := load(packed, successors)
	if err != nil {
		panic(fmt.Sprintf("division: the embedded data is damaged: %v", err))
	}
	return t
})

// data is the decoded content; it never changes.
type data struct {
	list list.List
	ends map[string]end // By former code.
}

// end is how a former code ended.
type end struct {
	year       int // 0: unknown.
	successors []Ref
	inferred   bool // The successors come from the names; see infer.
}

func load(packed []byte, successors string) (*data, error) {
	l, err := list.Decode(packed)
	if err != nil {
		return nil, err
	}
	t := &data{list: l, ends: map[string]end{}}
	for line := range strings.Lines(successors) {
		facts, _, _ := strings.Cut(line, "#")
		fields := strings.Fields(facts)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 3 {
			return nil, fmt.Errorf("successors: line %q", line)
		}
		var e end
		if fields[1] != "-" {
			if e.year, err = strconv.Atoi(fields[1]); err != nil {
				return nil, fmt.Errorf("successors: line %q: %w", line, err)
			}
		}
		for _, code := range fields[2:] {
			ref, ok := t.successor(fields[0], code)
			if !ok {
				return nil, fmt.Errorf("successors: %s is not in the list of 2023", code)
			}
			e.successors = append(e.successors, ref)
		}
		if _, twice := t.ends[fields[0]]; twice {
			return nil, fmt.Errorf("successors: %s is twice", fields[0])
		}
		t.ends[strings.Clone(fields[0])] = e
	}
	t.infer()
	return t, nil
}

// successor finds the level of a successor's code: that of the former division where the
// code has it, as 儋州 460400 has two.
func (t *data) successor(former, code string) (Ref, bool) {
	levels := []Level{County, City}
	if strings.HasSuffix(former, "00") {
		levels = []Level{City, County}
	}
	for _, l := range levels {
		if i, ok := t.area(Ref{l, Code(code)}); ok && t.list.Areas[i].Names[NBS2023] != "" {
			return Ref{l, Code(t.list.Areas[i].Code)}, true
		}
	}
	return Ref{}, false
}

// firstArea is the index of the first area whose code is not below prefix.
func (t *data) firstArea(prefix string) int {
	return sort.Search(len(t.list.Areas), func(i int) bool { return t.list.Areas[i].Code >= prefix })
}

func (t *data) area(r Ref) (int, bool) {
	for i := t.firstArea(string(r.Code)); i < len(t.list.Areas) && t.list.Areas[i].Code == string(r.Code); i++ {
		if t.list.Areas[i].Level == int(r.Level) {
			return i, true
		}
	}
	return 0, false
}

func (t *data) township(c Code) (int, bool) {
	i := t.list.Townships.Search(string(c))
	return i, i < t.list.Townships.Len() && t.list.Townships.Code(i) == string(c)
}

func (t *data) townshipAt(i int) Division {
	code := Code(t.list.Townships.Code(i))
	return Division{
		Ref:      Ref{Township, code},
		Name:     t.list.Townships.Name(i),
		Parent:   Ref{County, code[:areaDigits]},
		Status:   Current,
		Validity: Validity{First: NBS2023, Last: NBS2023},
	}
}

func (t *data) areaAt(i int) Division {
	a := t.list.Areas[i]
	d := Division{Ref: Ref{Level(a.Level), Code(a.Code)}, Virtual: virtual(a)}
	d.Validity.First = Edition(slices.IndexFunc(a.Names[:], func(name string) bool { return name != "" }))
	d.Name = newestName(a)
	for e, name := range a.Names {
		if name != "" {
			d.Validity.Last = Edition(e)
		}
	}
	d.Parent = t.parent(d.Ref)
	d.Status = t.status(d)
	if e, ok := t.ends[a.Code]; ok && d.Status == Former {
		d.Validity.Withdrawn, d.Successors, d.Inferred = e.year, slices.Clone(e.successors), e.inferred
	}
	return d
}

// parent is the nearest division above that is not virtual.
func (t *data) parent(r Ref) Ref {
	switch r.Level {
	case Province:
		return Nation
	case County:
		if i, ok := t.area(Ref{City, r.Code[:4] + "00"}); ok && !virtual(t.list.Areas[i]) {
			return Ref{City, Code(t.list.Areas[i].Code)}
		}
	}
	i, _ := t.area(Ref{Province, r.Code[:2] + "0000"}) // A test holds that each has one.
	return Ref{Province, Code(t.list.Areas[i].Code)}
}

// status applies the two reasons why the list of 2023 does not have a living division: it
// leaves out the three provinces that the Bureau does not survey, and the groups 市辖区.
func (t *data) status(d Division) Status {
	if d.Validity.Last == NBS2023 {
		return Current
	}
	if d.Validity.Last == GB201607 {
		if d.Level == Province {
			return Unlisted
		}
		if i, ok := t.area(d.Parent); d.Virtual && d.Level == County && ok && t.list.Areas[i].Names[NBS2023] != "" {
			return Unlisted
		}
	}
	return Former
}

// virtual tells whether an area only groups others, by its newest name: no real division
// is called 市辖区, 县 or 市 alone, or 直辖.
func virtual(a list.Area) bool {
	name := newestName(a)
	switch name {
	case "市辖区", "县", "市":
		return a.Level > int(Province)
	}
	return a.Level == int(City) && strings.Contains(name, "直辖")
}

func newestName(a list.Area) string {
	name := ""
	for _, n := range a.Names {
		if n != "" {
			name = n
		}
	}
	return name
}
