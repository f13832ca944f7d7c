package catalog

import (
	"strings"

	"tongban/division/uscc"
)

// bodyReasons lists everything that is wrong with the code of an implementing body; nil
// when it verifies.
func bodyReasons(code string) []Reason {
	if code == "" {
		return []Reason{because(BodyEmpty)}
	}
	if uscc.Valid(code) {
		return nil
	}
	var out []Reason
	n := len([]rune(code))
	if n == 10 && code[8] == '-' {
		n = 9 // An organisation code is written with or without its hyphen.
	}
	if n != uscc.Length {
		reason := because(BodyLength, "n", n)
		if kind, named := lengthKinds[n]; named {
			reason = because(kind)
		}
		out = append(out, reason)
	}
	if strings.HasPrefix(strings.ToUpper(code), "TE") || strings.Count(code, code[:1]) == len(code) {
		out = append(out, because(BodyPseudo))
	}
	upper := strings.ToUpper(code)
	if upper != code {
		out = append(out, because(BodyLowerCase))
	}
	switch {
	case !uscc.InAlphabet(strings.ReplaceAll(upper, "-", "")):
		out = append(out, because(BodyAlphabet))
	case len(code) == uscc.Length && !uscc.Valid(upper):
		out = append(out, because(BodyCheck))
	}
	return out
}

// lengthKinds names the wrong lengths that real exports contain.
var lengthKinds = map[int]Kind{
	7: BodyLength7, 9: BodyLength9, 10: BodyLength10, 13: BodyLength13, 17: BodyLength17,
}
