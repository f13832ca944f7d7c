package list

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func encode(t testing.TB, l List) []byte {
	t.Helper()
	var file bytes.Buffer
	if err := Encode(&file, l); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// name draws names without the three separators; the characters matter little.
var name = rapid.StringMatching(`[东西南北中市县区a-z0-9]{1,5}`)

func TestDecodeReturnsWhatWasEncoded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l List
		for code := 0; code < rapid.IntRange(0, 20).Draw(t, "areas"); code++ {
			a := Area{Code: fmt.Sprintf("%06d", 110000+code*7), Level: rapid.IntRange(2, 4).Draw(t, "level")}
			for e := range a.Names {
				if rapid.Bool().Draw(t, "listed") {
					a.Names[e] = name.Draw(t, "name")
				}
			}
			if a.Names == [Editions]string{} {
				a.Names[1] = "城"
			}
			l.Areas = append(l.Areas, a)
		}
		var codes, names []string
		for _, c := range rapid.SliceOfNDistinct(rapid.IntRange(1e8, 1e9-1), 0, 30, rapid.ID).Draw(t, "codes") {
			codes, names = append(codes, fmt.Sprint(c)), append(names, name.Draw(t, "name"))
		}
		slices.Sort(codes)
		l.Townships = MakeTownships(codes, names)

		var file bytes.Buffer
		if err := Encode(&file, l); err != nil {
			t.Fatal(err)
		}
		back, err := Decode(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(l.Areas, back.Areas) || !reflect.DeepEqual(l.Townships, back.Townships) {
			t.Fatalf("encoded %+v, decoded %+v", l, back)
		}
		text := rapid.StringMatching(`[东西南北中]{1,2}`).Draw(t, "text")
		var found, want []int
		back.Townships.Containing(text, func(i int) { found = append(found, i) })
		for i := range names {
			if back.Townships.Code(i) != codes[i] || back.Townships.Name(i) != names[i] {
				t.Fatalf("township %d is %s %s", i, back.Townships.Code(i), back.Townships.Name(i))
			}
			if bytes.Contains([]byte(names[i]), []byte(text)) {
				want = append(want, i)
			}
		}
		if !slices.Equal(found, want) {
			t.Fatalf("%q is in the names %v, found in %v", text, want, found)
		}
	})
}

func TestEncodeRefusesWhatItCouldNotGiveBack(t *testing.T) {
	named := [Editions]string{"", "", "甲"}
	for what, l := range map[string]List{
		"a short code":           {Areas: []Area{{"11000", 2, named}}},
		"a letter in a code":     {Areas: []Area{{"11000x", 2, named}}},
		"a level out of range":   {Areas: []Area{{"110000", 5, named}}},
		"an area twice":          {Areas: []Area{{"110000", 2, named}, {"110000", 2, named}}},
		"areas out of order":     {Areas: []Area{{"120000", 2, named}, {"110000", 2, named}}},
		"an area without a name": {Areas: []Area{{"110000", 2, [Editions]string{}}}},
		"a separator in a name":  {Areas: []Area{{"110000", 2, [Editions]string{"甲|乙"}}}},
		"a township twice":       {Townships: MakeTownships([]string{"110101001", "110101001"}, []string{"甲", "乙"})},
		"a township unnamed":     {Townships: MakeTownships([]string{"110101001"}, []string{""})},
		"a line break in a name": {Townships: MakeTownships([]string{"110101001"}, []string{"甲\n乙"})},
		"a missing name":         {Townships: MakeTownships([]string{"110101001", "110101002"}, []string{"甲"})},
	} {
		if err := Encode(&bytes.Buffer{}, l); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
}

func TestDecodeRefusesADamagedFile(t *testing.T) {
	good := encode(t, List{
		Areas:     []Area{{"110000", 2, [Editions]string{"甲", "甲", "乙"}}},
		Townships: MakeTownships([]string{"110101001", "110101002"}, []string{"丙", "丁"}),
	})
	if _, err := Decode(good); err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := Decode(good[:n]); err == nil {
			t.Errorf("a file cut after %d of %d bytes is accepted", n, len(good))
		}
	}
	if _, err := Decode([]byte("no gzip")); err == nil {
		t.Error("a text is accepted")
	}
}
