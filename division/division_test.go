package division

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func ref(t testing.TB, s string) Ref {
	t.Helper()
	r, err := ParseRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func get(t testing.TB, s string) Division {
	t.Helper()
	d, ok := ByRef(ref(t, s))
	if !ok {
		t.Fatalf("the lists do not have %s", s)
	}
	return d
}

func refs(divisions []Division) string {
	var s []string
	for _, d := range divisions {
		s = append(s, d.Ref.String())
	}
	return strings.Join(s, " ")
}

func TestTheListOf2023IsComplete(t *testing.T) {
	count := map[Level]int{}
	seen := map[Ref]bool{}
	for d := range All() {
		count[d.Level]++
		if seen[d.Ref] {
			t.Errorf("%s is twice", d.Ref)
		}
		seen[d.Ref] = true
		if d.Status != Current || d.Validity.Last != NBS2023 || d.Name == "" || len(d.Successors) > 0 {
			t.Errorf("%+v is in the list of 2023", d)
		}
	}
	want := map[Level]int{Province: 31, City: 342, County: 2978, Township: 41352}
	if fmt.Sprint(count) != fmt.Sprint(want) {
		t.Errorf("counts are %v, want %v", count, want)
	}
}

func TestCodesOutsideTheListOf2023(t *testing.T) {
	status, in2016, in2002, unlisted := map[Status]int{}, 0, 0, ""
	for d := range Historic() {
		status[d.Status]++
		if NameIn(d.Ref, GB201607) != "" {
			in2016++
		} else {
			in2002++
		}
		if d.Status == Unlisted && !d.Virtual {
			unlisted += d.Name
		}
	}
	if in2016 != 427 || in2002 != 366 {
		t.Errorf("%d codes end with the revision of 2016 and %d with that of 2002; the lists differ by 427 and 366", in2016, in2002)
	}
	if unlisted != "台湾省香港特别行政区澳门特别行政区" {
		t.Errorf("unlisted: %s", unlisted)
	}
	if status[Current] != 0 {
		t.Errorf("%d current divisions are historic", status[Current])
	}
}

// walk yields every division of every list, the nation included.
func walk(yield func(Division) bool) {
	nation, _ := ByRef(Nation)
	if !yield(nation) {
		return
	}
	for d := range All() {
		if !yield(d) {
			return
		}
	}
	for d := range Historic() {
		if !yield(d) {
			return
		}
	}
}

func TestEveryDivisionHangsOnARealOneOfAHigherLevel(t *testing.T) {
	for d := range walk {
		if err := d.Check(); err != nil {
			t.Error(err)
		}
		if d.Ref == Nation {
			continue
		}
		parent, ok := ByRef(d.Parent)
		if !ok || parent.Virtual || parent.Level >= d.Level {
			t.Errorf("%s %s has the parent %s %+v", d.Ref, d.Name, d.Parent, parent)
		}
		if d.Status != Former && parent.Status != Current {
			t.Errorf("%s is %s and its parent %s is %s", d.Ref, d.Status, parent.Ref, parent.Status)
		}
		if got, ok := ByRef(d.Ref); !ok || got.Name != d.Name {
			t.Errorf("ByRef(%s) is %q, not %q", d.Ref, got.Name, d.Name)
		}
	}
}

func TestChildrenAndParentsAgree(t *testing.T) {
	children := 0
	for d := range walk {
		below := Children(d.Ref)
		if d.Virtual || d.Status == Former {
			continue
		}
		children += len(below)
		for _, c := range below {
			if c.Parent != d.Ref || c.Virtual || c.Status == Former {
				t.Errorf("%s has the child %+v", d.Ref, c)
			}
		}
	}
	// All but the nine virtual cities, and with the three unlisted provinces.
	if want := 44703 - 9 + 3; children != want {
		t.Errorf("the tree has %d divisions below the nation, want %d", children, want)
	}
}

func TestVirtualDivisionsOfTheListOf2023(t *testing.T) {
	var got []string
	for d := range All() {
		if d.Virtual {
			got = append(got, string(d.Code)+d.Name)
		}
	}
	want := []string{
		"110100市辖区", "120100市辖区", "310100市辖区", "419000省直辖县级行政区划", "429000省直辖县级行政区划",
		"469000省直辖县级行政区划", "500100市辖区", "500200县", "659000自治区直辖县级行政区划",
	}
	if !slices.Equal(got, want) {
		t.Errorf("virtual divisions are %v, want %v", got, want)
	}
}

func TestIrregularPartsOfTheTree(t *testing.T) {
	tests := []struct {
		name, ref, division, parent, full string
		children                          int
		virtual, zone                     bool
	}{
		{"an ordinary district", "511602", "广安区", "city/511600", "四川省广安市广安区", 25, false, false},
		{"东莞 is a city", "city/441900", "东莞市", "province/440000", "广东省东莞市", 1, false, false},
		{"东莞 is its own county", "county/441900", "东莞市", "city/441900", "广东省东莞市", 36, false, false},
		{"a township of 东莞 belongs to the county", "441900003", "东城街道", "county/441900", "广东省东莞市东城街道", 0, false, false},
		{"中山 is a city", "city/442000", "中山市", "province/440000", "广东省中山市", 1, false, false},
		{"中山 is its own county", "county/442000", "中山市", "city/442000", "广东省中山市", 23, false, false},
		{"儋州 is a city", "city/460400", "儋州市", "province/460000", "海南省儋州市", 1, false, false},
		{"儋州 is its own county", "county/460400", "儋州市", "city/460400", "海南省儋州市", 18, false, false},
		{"嘉峪关 is a city", "620200", "嘉峪关市", "province/620000", "甘肃省嘉峪关市", 1, false, false},
		{"嘉峪关 is a county with a code of its own", "620201", "嘉峪关市", "city/620200", "甘肃省嘉峪关市", 5, false, false},
		{"金门 is a county", "county/350527", "金门县", "city/350500", "福建省泉州市金门县", 1, false, false},
		{"金门 is its own township", "township/350527000", "金门县", "county/350527", "福建省泉州市金门县", 0, false, false},
		{"a development zone", "130171", "石家庄高新技术产业开发区", "city/130100", "河北省石家庄市石家庄高新技术产业开发区", 4, false, true},
		{"the group of Beijing's districts", "110100", "市辖区", "province/110000", "北京市市辖区", 16, true, false},
		{"a district of Beijing hangs on the city-province", "110101", "东城区", "province/110000", "北京市东城区", 17, false, false},
		{"a county of Chongqing", "500229", "城口县", "province/500000", "重庆市城口县", 25, false, false},
		{"济源 hangs on its province", "419001", "济源市", "province/410000", "河南省济源市", 16, false, false},
		{"仙桃 hangs on its province", "429004", "仙桃市", "province/420000", "湖北省仙桃市", 25, false, false},
		{"五指山 hangs on its province", "469001", "五指山市", "province/460000", "海南省五指山市", 8, false, false},
		{"the group of the Corps' cities", "659000", "自治区直辖县级行政区划", "province/650000", "新疆维吾尔自治区自治区直辖县级行政区划", 12, true, false},
		{"石河子, a city of the Corps", "659001", "石河子市", "province/650000", "新疆维吾尔自治区石河子市", 8, false, false},
		{"三沙 has counties and their townships", "460300", "三沙市", "province/460000", "海南省三沙市", 3, false, false},
		{"Hong Kong is outside the Bureau's list", "810000", "香港特别行政区", "national/000000", "香港特别行政区", 0, false, false},
		{"the nation", "000000", "中华人民共和国", "", "中华人民共和国", 34, false, false},
		{"Beijing has districts as children", "110000", "北京市", "national/000000", "北京市", 16, false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := get(t, test.ref)
			if d.Name != test.division || d.Parent.String() != test.parent || d.Virtual != test.virtual || d.Zone() != test.zone {
				t.Errorf("got %+v (zone %v), want %+v", d, d.Zone(), test)
			}
			if full := FullName(d.Ref); full != test.full {
				t.Errorf("full name is %s, want %s", full, test.full)
			}
			if c := Children(d.Ref); len(c) != test.children {
				t.Errorf("%d children, want %d: %s", len(c), test.children, refs(c))
			}
		})
	}
}

func TestDevelopmentZonesAre124(t *testing.T) {
	zones := 0
	for d := range All() {
		if d.Zone() {
			zones++
		}
	}
	if zones != 124 {
		t.Errorf("%d zones, want 124", zones)
	}
}

func TestPathLeavesOutVirtualDivisions(t *testing.T) {
	for s, want := range map[string]string{
		"110101001":       "national/000000 province/110000 county/110101 township/110101001",
		"441900003":       "national/000000 province/440000 city/441900 county/441900 township/441900003",
		"city/110100":     "national/000000 province/110000 city/110100",
		"511602":          "national/000000 province/510000 city/511600 county/511602",
		"371202":          "national/000000 province/370000 city/371200 county/371202",
		"national/000000": "national/000000",
	} {
		if got := refs(Path(ref(t, s))); got != want {
			t.Errorf("path of %s is %s, want %s", s, got, want)
		}
	}
	if Path(Ref{County, "999999"}) != nil || FullName(Ref{}) != "" || Children(Ref{County, "1"}) != nil {
		t.Error("an unknown division has a path, a name or children")
	}
}

func TestLookup(t *testing.T) {
	for code, want := range map[string]string{
		"511602":       "county/511602",
		" 511602\n":    "county/511602",
		"511602000":    "county/511602",
		"511602000000": "county/511602",
		"511602001":    "township/511602001",
		"511602001000": "township/511602001",
		"441900":       "city/441900 county/441900",
		"441900000000": "city/441900 county/441900",
		"350527":       "county/350527",
		"350527000":    "county/350527 township/350527000",
		"350527000000": "county/350527 township/350527000",
		"110100":       "city/110100",
		"000000":       "national/000000",
		"130421":       "county/130421",
	} {
		found, err := Lookup(code)
		if got := refs(found); err != nil || got != want {
			t.Errorf("Lookup(%q) is %s, %v, want %s", code, got, err, want)
		}
	}
	if found, _ := Lookup("110100"); len(found) != 1 || !found[0].Virtual {
		t.Errorf("110100 is not flagged virtual: %+v", found)
	}
}

func TestBadCodesAreRefusedInOneSentence(t *testing.T) {
	for code, want := range map[string]string{
		"":             "division: the code is empty; a division code has 6 digits",
		"51160":        "division: 51160 has 5 digits; a division code has 6 (9 for a township, 12 when padded with zeros)",
		"5116020":      "division: 5116020 has 7 digits; a division code has 6 (9 for a township, 12 when padded with zeros)",
		"51160x":       `division: "51160x" has the character 'x'; a division code has digits only`,
		"５１１６０２":       `division: "５１１６０２" has the character '５'; a division code has digits only`,
		"广安区":          `division: "广安区" has the character '广'; a division code has digits only`,
		"999999":       "division: 999999 is in none of the embedded lists (NBS list of 2023, GB/T 2260 of 2016-07, GB/T 2260 of 2002-12)",
		"511602999":    "division: 511602999 is in none of the embedded lists (NBS list of 2023, GB/T 2260 of 2016-07, GB/T 2260 of 2002-12)",
		"511602001201": "division: 511602001201 is the code of a village; the list ends at townships: write 511602001",
	} {
		found, err := Lookup(code)
		if err == nil || err.Error() != want || found != nil {
			t.Errorf("Lookup(%q) says %v (%v), want %s", code, err, found, want)
		}
	}
}

func TestHistory(t *testing.T) {
	tests := []struct {
		name, ref, division string
		status              Status
		first, last         Edition
		withdrawn           int
		successors          string
	}{
		{"a district that was merged", "110103", "崇文区", Former, GB200212, GB200212, 2010, "[county/110101]"},
		{"a county that became a district, as its name says", "131181", "冀州市", Former, GB200212, GB200212, 0, "[county/131103] inferred"},
		{"a county that was divided", "130521", "邢台县", Former, GB200212, GB201607, 2020, "[county/130502 county/130503]"},
		{"a city that was merged", "371200", "莱芜市", Former, GB200212, GB201607, 2018, "[city/370100]"},
		{"a prefecture that became a city", "542400", "那曲地区", Former, GB200212, GB201607, 2017, "[city/540600]"},
		{"a city that was divided", "341400", "巢湖市", Former, GB200212, GB200212, 2011, "[city/340100 city/340200 city/340500]"},
		{"a county whose successor moved on", "320802", "清河区", Former, GB200212, GB200212, 2016, "[county/320812]"},
		{"a code without known successor", "130421", "邯郸县", Former, GB200212, GB201607, 0, "[]"},
		{"a code that was only renumbered", "469031", "昌江黎族自治县", Former, GB200212, GB200212, 0, "[county/469026]"},
		{"a county that became city and county", "469003", "儋州市", Former, GB200212, GB200212, 2015, "[county/460400]"},
		{"a virtual group of a living city", "130101", "市辖区", Unlisted, GB200212, GB201607, 0, "[]"},
		{"a virtual group of a former city", "371201", "市辖区", Former, GB200212, GB201607, 0, "[]"},
		{"a district since 2017", "330112", "临安区", Current, NBS2023, NBS2023, 0, "[]"},
		{"a county in all three", "511602", "广安区", Current, GB200212, NBS2023, 0, "[]"},
		{"台湾", "710000", "台湾省", Unlisted, GB200212, GB201607, 0, "[]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := get(t, test.ref)
			want := Validity{test.first, test.last, test.withdrawn}
			successors := fmt.Sprint(d.Successors)
			if d.Inferred {
				successors += " inferred"
			}
			if d.Name != test.division || d.Status != test.status || d.Validity != want || successors != test.successors {
				t.Errorf("got %s %s %s %+v %s, want %+v", d.Ref, d.Name, d.Status, d.Validity, successors, test)
			}
		})
	}
}

func TestNamesByEdition(t *testing.T) {
	for _, test := range []struct {
		ref  string
		want [3]string
	}{
		{"469025", [3]string{"定安县", "白沙黎族自治县", "白沙黎族自治县"}}, // Given to another county.
		{"410307", [3]string{"洛龙区", "", "偃师区"}},            // Withdrawn, then given to another.
		{"420600", [3]string{"襄樊市", "襄阳市", "襄阳市"}},
		{"511602001", [3]string{"", "", "浓洄街道"}},
		{"000000", [3]string{"中华人民共和国", "中华人民共和国", "中华人民共和国"}},
	} {
		r := ref(t, test.ref)
		got := [3]string{NameIn(r, GB200212), NameIn(r, GB201607), NameIn(r, NBS2023)}
		if got != test.want {
			t.Errorf("%s is called %q, want %q", r, got, test.want)
		}
	}
	if NameIn(Nation, -1) != "" || NameIn(Nation, 3) != "" {
		t.Error("an edition that does not exist has names")
	}
}

func TestSearch(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"广安区", "county/511602"},
		{"东莞市", "city/441900 county/441900"},
		{"  四川省 ", "province/510000"},
		{"台湾省", "province/710000"},
		{"邯郸县", ""}, // Former.
		{"市辖区", ""}, // Virtual.
		{"", ""},
		{"a\nb", ""},
		{"11", ""}, // Codes are not names.
	} {
		limit := max(1, len(strings.Fields(test.want)))
		if got := refs(Search(test.text, limit)); got != test.want {
			t.Errorf("Search(%q) begins %q, want %q", test.text, got, test.want)
		}
	}
	many := Search("镇", 1<<30)
	if len(many) != MaxSearch {
		t.Errorf("a search for 镇 returns %d, want %d", len(many), MaxSearch)
	}
	found := Search("广安", MaxSearch)
	if len(found) < 3 || found[0].Ref != (Ref{City, "511600"}) || found[1].Ref != (Ref{County, "511602"}) {
		t.Errorf("Search(广安) is %s", refs(found))
	}
	for _, d := range found {
		if !strings.Contains(d.Name, "广安") {
			t.Errorf("Search(广安) finds %s %s", d.Ref, d.Name)
		}
	}
}

func TestSearchFindsEveryTownshipByItsName(t *testing.T) {
	i := 0
	for d := range All() {
		if i++; d.Level != Township || i%97 != 0 {
			continue
		}
		found := Search(d.Name, MaxSearch)
		if len(found) < MaxSearch && !slices.ContainsFunc(found, func(f Division) bool { return f.Ref == d.Ref }) {
			t.Errorf("Search(%s) does not find %s", d.Name, d.Ref)
		}
	}
}

func TestDamagedDataIsRefused(t *testing.T) {
	if _, err := load(packed, "# comment\n130421 2016 130402\n"); err != nil {
		t.Errorf("a good table: %v", err)
	}
	for _, table := range []string{"130421 2016\n", "130421 x 130402\n", "130421 2016 999999\n", "130421 - 130402\n130421 - 130403\n"} {
		if _, err := load(packed, table); err == nil {
			t.Errorf("the table %q is accepted", table)
		}
	}
	broken := slices.Clone(packed)
	broken[len(broken)/2] ^= 1
	if _, err := load(broken, ""); err == nil {
		t.Error("a changed byte in the list is accepted")
	}
}

func BenchmarkLoad(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := load(packed, successors); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for _, code := range []string{"511602", "441900", "511602001"} {
		b.Run(code, func(b *testing.B) {
			tables()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Lookup(code); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSearch(b *testing.B) {
	tables()
	for b.Loop() {
		Search("广安", 20)
	}
}

func BenchmarkChildrenOfTheNation(b *testing.B) {
	for b.Loop() {
		Children(Nation)
	}
}
