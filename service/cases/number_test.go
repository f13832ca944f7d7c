package cases

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func anyNumber() *rapid.Generator[Number] {
	return rapid.Custom(func(t *rapid.T) Number {
		return Number{Division: fmt.Sprintf("%06d", rapid.IntRange(110000, 659999).Draw(t, "division")),
			Tenant: rapid.IntRange(1, 999).Draw(t, "tenant"), Day: day("2026-01-01").AddDate(0, 0, rapid.IntRange(0, 20_000).Draw(t, "day")),
			Epoch:    epochMark(fmt.Sprint(rapid.IntRange(0, 1_000_000).Draw(t, "epoch"))),
			Sequence: rapid.IntRange(1, maxSequence).Draw(t, "sequence")}
	})
}

func TestANumberIsReadBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := anyNumber().Draw(t, "number")
		got, err := ParseNumber(n.String())
		if err != nil || got.String() != n.String() || got.Tenant != n.Tenant || got.Sequence != n.Sequence || !got.Day.Equal(n.Day) {
			t.Fatalf("%s is read as %+v (%v)", n, got, err)
		}
	})
}

func TestEveryWrongAndEverySwappedCharacterIsFound(t *testing.T) {
	for _, n := range []Number{
		{"511602", 12, day("2026-11-24"), "000", 17}, {"511602", 999, day("2031-12-31"), epochMark("a7"), 99_999},
		{"110105", 1, day("2026-01-01"), epochMark("x"), 1},
	} {
		text := strings.ReplaceAll(n.String(), "-", "")
		mutants := 0
		check := func(mutant string) {
			if mutant == text {
				return
			}
			mutants++
			if got, err := ParseNumber(mutant); err == nil && got.String() != n.String() {
				t.Errorf("%s passes for %s", mutant, text)
			}
		}
		for i := range text {
			for _, c := range numberAlphabet {
				check(text[:i] + string(c) + text[i+1:])
			}
			for j := i + 1; j < len(text); j++ {
				b := []byte(text)
				b[i], b[j] = b[j], b[i]
				check(string(b))
			}
		}
		if mutants < 26*30 {
			t.Fatalf("only %d mutants", mutants)
		}
	}
}

func TestANumberIsReadAsPeopleTypeIt(t *testing.T) {
	n := Number{"511602", 12, day("2026-11-24"), "A7L", 10}
	s := n.String()
	for name, typed := range map[string]string{
		"lower case":             strings.ToLower(s),
		"without dashes":         strings.ReplaceAll(s, "-", ""),
		"with spaces":            " " + strings.ReplaceAll(s, "-", "  ") + "\n",
		"with other dashes":      strings.ReplaceAll(s, "-", "—"),
		"full width":             strings.Map(func(r rune) rune { return r - '!' + '！' }, s),
		"O for 0 and I for 1":    strings.NewReplacer("0", "o", "1", "I").Replace(s),
		"l for 1 between digits": strings.Replace(s, "511602", "5ll602", 1),
	} {
		if got, err := ParseNumber(typed); err != nil || got.String() != s {
			t.Errorf("%s: %q is read as %q (%v)", name, typed, got, err)
		}
	}
	for name, typed := range map[string]string{
		"nothing": "", "too short": s[:20], "too long": s + "1", "a letter for a digit": "A" + s[1:],
		"no such day": withCheck("511602" + "012" + "20261324" + "000" + "00017"), "tenant 0": withCheck("511602" + "000" + "20261124" + "000" + "00017"),
		"sequence 0": withCheck("511602" + "012" + "20261124" + "000" + "00000"), "SQL": "' OR 1=1 --", "endless": strings.Repeat("1", 1_000_000),
		"a character outside of the alphabet": withCheck("511602" + "012" + "20261124" + "0V0" + "00017"),
	} {
		if got, err := ParseNumber(typed); !errors.Is(err, ErrBadNumber) {
			t.Errorf("%s: read as %q (%v)", name, got, err)
		}
	}
}

func withCheck(body string) string { return body + string(checkOf(strings.ReplaceAll(body, "V", "0"))) }

func FuzzParseNumber(f *testing.F) {
	f.Add("511602-012-20261124-000-00017-8")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseNumber(s)
		if err != nil {
			return
		}
		if again, err := ParseNumber(n.String()); err != nil || again.String() != n.String() {
			t.Fatalf("%q is read as %q, and that as %q (%v)", s, n, again, err)
		}
	})
}

func TestAnEpochHasThreeCharactersOfItsOwn(t *testing.T) {
	if got := epochMark("0"); got != "000" {
		t.Errorf("a founded database has %q", got)
	}
	seen := map[string]bool{"000": true}
	for i := range 100 {
		m := epochMark(fmt.Sprintf("epoch-%d", i))
		if len(m) != 3 || m == "000" || strings.Trim(m, numberAlphabet) != "" {
			t.Fatalf("%q is no mark", m)
		}
		seen[m] = true
	}
	if len(seen) < 98 { // Of 29,790: a pair of a hundred is a chance of 1 in 6.
		t.Errorf("only %d marks", len(seen))
	}
}
