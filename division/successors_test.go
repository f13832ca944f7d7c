package division

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

func TestSuccessorsAreCurrentAndOfTheSameProvince(t *testing.T) {
	known, inferred, unknown := 0, 0, ""
	for d := range Historic() {
		switch {
		case len(d.Successors) == 0:
			if d.Inferred || d.Validity.Withdrawn != 0 {
				t.Errorf("%+v has no successor to infer or to date", d.Validity)
			}
			if d.Status == Former && !d.Virtual {
				unknown += string(d.Code) + d.Name + " "
			}
		case d.Status != Former || d.Virtual:
			t.Errorf("%s is %s, virtual %v, and has successors", d.Ref, d.Status, d.Virtual)
		case d.Inferred:
			inferred++
			if d.Level != County || len(d.Successors) != 1 || d.Validity.Withdrawn != 0 {
				t.Errorf("%s %s has the inferred successors %v, withdrawn %d", d.Ref, d.Name, d.Successors, d.Validity.Withdrawn)
			}
		default:
			known++
		}
		for _, r := range d.Successors {
			s, ok := ByRef(r)
			if !ok || s.Status != Current || s.Virtual || s.Zone() || s.Level != d.Level || s.Code[:2] != d.Code[:2] {
				t.Errorf("%s %s has the successor %s %s (%s)", d.Ref, d.Name, r, s.Name, s.Status)
			}
		}
	}
	// The figures and names of the package comment and NOTICE.
	if known != 181 || inferred != 316 || len(tables().ends) != known+inferred {
		t.Errorf("%d successors are known and %d inferred, the table has %d; want 181, 316 and all of them used", known, inferred, len(tables().ends))
	}
	if want := "130421邯郸县 230802永红区 320304九里区 450104城北区 450106永新区 450411市郊区 "; unknown != want {
		t.Errorf("without successor are %s, want %s", unknown, want)
	}
}

func TestCitiesAgreeWithTheirCounties(t *testing.T) {
	byCity := map[Ref]map[Ref]bool{}
	for d := range Historic() {
		if d.Level != County || d.Virtual {
			continue
		}
		if byCity[d.Parent] == nil {
			byCity[d.Parent] = map[Ref]bool{}
		}
		for _, r := range d.Successors {
			s, _ := ByRef(r)
			byCity[d.Parent][s.Parent] = true
		}
	}
	cities := 0
	for d := range Historic() {
		if d.Level != City || d.Virtual {
			continue
		}
		cities++
		counties := slices.SortedFunc(maps.Keys(byCity[d.Ref]), func(a, b Ref) int { return strings.Compare(string(a.Code), string(b.Code)) })
		if !slices.Equal(counties, d.Successors) {
			t.Errorf("%s %s has the successors %v, its counties went to %v", d.Ref, d.Name, d.Successors, counties)
		}
	}
	if cities != 19 {
		t.Errorf("%d former cities, want 19", cities)
	}
}

// TestTheTableNamesWhatItsCodesMean guards the codes against slips of the pen: each line
// repeats the names.
func TestTheTableNamesWhatItsCodesMean(t *testing.T) {
	before, undated := "", 0
	for line := range strings.Lines(successors) {
		facts, names, found := strings.Cut(strings.TrimSpace(line), " # ")
		if !found {
			continue
		}
		fields := strings.Fields(facts)
		level := County
		if strings.HasSuffix(fields[0], "00") {
			level = City
		}
		d, _ := ByRef(Ref{level, Code(fields[0])})
		want := d.Name + " →"
		for _, r := range d.Successors {
			want += " " + NameIn(r, NBS2023)
		}
		if names != want {
			t.Errorf("%s is described as %q, the lists say %q", facts, names, want)
		}
		if fields[0] <= before {
			t.Errorf("%s is out of order", facts)
		}
		before = fields[0]
		// A year fits the editions that list the code: after the last, before the next.
		switch year := d.Validity.Withdrawn; {
		case year == 0:
			undated++
		case year < 2003 || year > 2023 || d.Validity.Last == GB201607 && year < 2016 || d.Validity.Last == GB200212 && year > 2016:
			t.Errorf("%s ended in %d and was last listed in %s", facts, year, d.Validity.Last)
		}
	}
	if undated != 8 {
		t.Errorf("%d lines have no year, want 8", undated)
	}
}

func TestSuccessorsAreInferredFromNamesOnly(t *testing.T) {
	tests := []struct{ name, code, table, want string }{
		{"a county that became a district", "110228", "", "[county/110118]"},
		{"a county that became a city", "130823", "", "[county/130881]"},
		{"a county of the group 县 of a city-province", "500228", "", "[county/500155]"},
		{"an autonomous county that was renumbered", "469035", "", "[county/469029]"},
		{"a special district of a city with a successor", "522230", "522200 2011 520600\n", "[county/520603]"},
		{"a county of a city that went to three", "341423", "341400 2011 340100 340200 340500\n", "[county/340522]"},
		{"nothing where the city has no known successor", "522230", "", "[]"},
		{"nothing for a stem of one character", "142325", "142300 2003 141100\n", "[]"},
		{"nothing where an edition lists both, as 宣化县 and 宣化区", "130721", "", "[]"},
		{"nothing where the code was another's, as 偃师 has 洛龙's", "410381", "", "[]"},
		{"nothing where no name fits", "110103", "", "[]"},
		{"nothing in another city, as 寿县 and 枞阳县 moved", "340823", "", "[]"},
		{"nothing that the table knows better", "110228", "110228 2015 110101\n", "[county/110101]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			loaded, err := load(packed, test.table)
			if err != nil {
				t.Fatal(err)
			}
			e := loaded.ends[test.code]
			if got := fmt.Sprint(e.successors); got != test.want {
				t.Errorf("%s has the successors %s, want %s", test.code, got, test.want)
			}
			if byRule := len(e.successors) > 0 && !strings.HasPrefix(test.table, test.code); e.inferred != byRule {
				t.Errorf("%s is marked inferred %v, want %v", test.code, e.inferred, byRule)
			}
		})
	}
}

func TestTwoCandidatesAreNoSuccessor(t *testing.T) {
	loaded, err := load(packed, "")
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range loaded.list.Areas {
		if a.Code == "110119" { // 延庆区 takes the name of 密云区: two stems 密云 in Beijing.
			loaded.list.Areas[i].Names[NBS2023] = "密云市"
		}
	}
	loaded.ends = map[string]end{}
	loaded.infer()
	if e, found := loaded.ends["110228"]; found {
		t.Errorf("密云县 has the successors %v of two candidates", e.successors)
	}
	if e := loaded.ends["120221"]; len(e.successors) != 1 {
		t.Errorf("宁河县 has the successors %v, want one", e.successors)
	}
}

func TestStem(t *testing.T) {
	for name, want := range map[string]string{
		"密云县": "密云", "玉屏侗族自治县": "玉屏侗族", "莫力达瓦达斡尔族自治旗": "莫力达瓦达斡尔族", "乌拉特前旗": "乌拉特前",
		"神农架林区": "神农架", "万山特区": "万山", "市": "", "西沙群岛": "西沙群岛", "林区": "",
	} {
		if got := stem(name); got != want {
			t.Errorf("stem of %s is %s, want %s", name, got, want)
		}
	}
}
