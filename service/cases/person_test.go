package cases

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestResidentIDs(t *testing.T) {
	now := day("2026-03-02")
	for number, want := range map[string]bool{
		"11010519491231002X": true, "440524188001010014": true, // The standard's own examples.
		"110105194912310021": false, "11010519491231002x": false, "": false, "1101051949123100": false,
		"11010519491331002X": false, "010105194912310020": false, "一二三四五六七八九十一二三四五六七八": false,
	} {
		if got := ValidResidentID(number, now); got != want {
			t.Errorf("%q: %v", number, got)
		}
	}
	if ValidResidentID("11010519491231002X", day("1949-12-30")) {
		t.Error("somebody who is not born yet has a card")
	}
}

func TestOneWrongDigitOfAResidentIDIsFound(t *testing.T) {
	for i := range personID {
		for _, c := range "0123456789X" {
			if mutant := personID[:i] + string(c) + personID[i+1:]; mutant != personID && ValidResidentID(mutant, day("2026-03-02")) {
				t.Errorf("%s passes", mutant)
			}
		}
	}
}

func TestAMaskHidesTheMiddle(t *testing.T) {
	for in, want := range map[string]string{personID: "110***********002X", "13800138000": "138****8000", "E1234567": "E******7", "12": "**", "": ""} {
		if got := Mask(in); got != want {
			t.Errorf("%q is masked as %q, want %q", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[0-9A-Z]{1,20}`).Draw(t, "number")
		if m := Mask(s); len(m) != len(s) || len(s) > 3 && strings.Count(m, "*") < len(s)-7 {
			t.Fatalf("%q is masked as %q", s, m)
		}
	})
	if got := MaskName("欧阳小明"); got != "欧***" {
		t.Errorf("a name is masked as %q", got)
	}
}

func TestAPersonIsReadAsPeopleType(t *testing.T) {
	p := Person{Name: " 王\u202e 小明\n", IDKind: Resident, IDNumber: "１１０105 1949-1231 002x", Phone: "138-0013 8000"}.normal()
	if p.Name != "王 小明" || p.IDNumber != personID || p.Phone != personTel {
		t.Errorf("read as %+v", p)
	}
	if wrong := p.check(day("2026-03-02")); wrong != nil {
		t.Errorf("refused: %v", wrong.Fields)
	}
	bad := Person{IDKind: "dog", Phone: "12", AgentName: "1"}.normal().check(day("2026-03-02"))
	for _, field := range []string{"name", "id_kind", "phone", "agent_name", "agent_id", "agent_phone"} {
		if bad == nil || bad.Fields[field] == "" {
			t.Errorf("%s passes", field)
		}
	}
}
