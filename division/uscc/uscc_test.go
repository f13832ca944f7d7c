package uscc_test

import (
	"testing"

	"tongban/division/uscc"
)

func TestValid(t *testing.T) {
	for name, c := range map[string]struct {
		code string
		want bool
	}{
		"the example of the standard's own issuer": {"91350100M000100Y43", true},
		"a changed check character":                {"91350100M000100Y44", false},
		"two digits swapped":                       {"91350010M000100Y43", false},
		"17 characters":                            {"91350100M000100Y4", false},
		"19 characters":                            {"91350100M000100Y433", false},
		"a letter outside the alphabet":            {"91350100I000100Y43", false},
		"a lower-case letter":                      {"91350100m000100Y43", false},
		"a Chinese character":                      {"九1350100M000100Y43", false},
		"letters of no code":                       {"IIIIIIIIIIIIIIIIII", false},
		"nothing":                                  {"", false},
	} {
		if got := uscc.Valid(c.code); got != c.want {
			t.Errorf("%s: Valid(%q) = %v, want %v", name, c.code, got, c.want)
		}
	}
}

func TestEveryValidCodeFailsWhenOneCharacterChanges(t *testing.T) {
	const code, alphabet = "91350100M000100Y43", "0123456789ABCDEFGHJKLMNPQRTUWXY"
	for i := range code {
		for _, c := range alphabet {
			changed := code[:i] + string(c) + code[i+1:]
			if changed != code && uscc.Valid(changed) {
				t.Errorf("%q differs from %q in character %d and is taken for valid", changed, code, i)
			}
		}
	}
}
