package division

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestParseRef(t *testing.T) {
	for s, want := range map[string]Ref{
		"county/511602":      {County, "511602"},
		" 县级/511602 ":        {County, "511602"},
		"CITY/441900":        {City, "441900"},
		"511602":             {County, "511602"},
		"511602000000":       {County, "511602"},
		"511602001":          {Township, "511602001"},
		"township/350527000": {Township, "350527000"},
		"county/529999":      {County, "529999"}, // Newer than the list, perhaps.
		"000000":             Nation,
	} {
		if got, err := ParseRef(s); err != nil || got != want {
			t.Errorf("ParseRef(%q) is %v, %v, want %v", s, got, err, want)
		}
	}
	for s, want := range map[string]error{
		"441900":           ErrAmbiguous,
		"350527000":        ErrAmbiguous,
		"999999":           ErrUnknown,
		"":                 ErrMalformed,
		"51160":            ErrMalformed,
		"town/511602":      ErrMalformed,
		"county/":          ErrMalformed,
		"county/51160x":    ErrMalformed,
		"county/510000":    ErrMalformed,
		"city/511602":      ErrMalformed,
		"city/510000":      ErrMalformed,
		"province/511600":  ErrMalformed,
		"province/000000":  ErrMalformed,
		"county/000001":    ErrMalformed,
		"national/510000":  ErrMalformed,
		"township/511602":  ErrMalformed,
		"county/511602001": ErrMalformed,
		"county/511602/1":  ErrMalformed,
	} {
		if got, err := ParseRef(s); !errors.Is(err, want) {
			t.Errorf("ParseRef(%q) is %v, %v, want the error %v", s, got, err, want)
		}
	}
	_, err := ParseRef("441900")
	if want := "division: 441900 is a city and a county; write city/441900 or county/441900"; err == nil || err.Error() != want {
		t.Errorf("an ambiguous code says %v, want %s", err, want)
	}
}

func TestRefsAndLevelsAsJSON(t *testing.T) {
	type message struct {
		Ref   Ref
		Level Level
	}
	in := message{Ref{County, "511602"}, City}
	text, err := json.Marshal(in)
	if err != nil || string(text) != `{"Ref":"county/511602","Level":"city"}` {
		t.Errorf("JSON is %s, %v", text, err)
	}
	var out message
	if err := json.Unmarshal(text, &out); err != nil || out != in {
		t.Errorf("read back %+v, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"Ref":""}`), &out); err != nil || !out.Ref.IsZero() {
		t.Errorf("an empty ref is %+v, %v", out, err)
	}
	for _, bad := range []string{`{"Ref":"511602"}`, `{"Ref":"county/1"}`, `{"Level":"town"}`, `{"Level":""}`} {
		if err := json.Unmarshal([]byte(bad), &out); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
	if _, err := json.Marshal(message{}); err == nil {
		t.Error("a zero level is written")
	}
}

func TestLevels(t *testing.T) {
	for _, l := range Levels() {
		for _, s := range []string{l.String(), l.ZH(), l.ZH()[:len(l.ZH())-len("级")], " " + l.String() + " "} {
			if got, err := ParseLevel(s); err != nil || got != l {
				t.Errorf("ParseLevel(%q) is %v, %v, want %v", s, got, err, l)
			}
		}
	}
	for _, s := range []string{"", "级", "town", "0", "level(0)", "层级(0)"} {
		if l, err := ParseLevel(s); err == nil {
			t.Errorf("ParseLevel(%q) is %v", s, l)
		}
	}
	if Level(0).String() != "level(0)" || Level(6).ZH() != "层级(6)" {
		t.Error("an invalid level prints as a valid one")
	}
}

func TestPadded(t *testing.T) {
	if a, b := Code("511602").Padded(), Code("511602001").Padded(); a != "511602000000" || b != "511602001000" {
		t.Errorf("padded codes are %s and %s", a, b)
	}
}
