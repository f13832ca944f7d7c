package catalog

import "strings"

// bodyAlphabet is the alphabet of a unified social credit code: digits and capitals
// without I, O, Z, S and V (GB 32100-2015, table 1).
const bodyAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// bodyLength is the length of a unified social credit code: registering authority 1,
// class 1, division 6, body 9, check character 1.
const bodyLength = 18

// ValidBody reports whether code is a unified social credit code with the right check
// character: 31 − Σ cᵢ·3^(i−1) mod 31 over the first 17 characters (GB 32100-2015, 5.6).
func ValidBody(code string) bool {
	return inBodyAlphabet(code) && len(code) == bodyLength && checkCharacter(code[:bodyLength-1]) == code[bodyLength-1]
}

// checkCharacter returns the check character of the first 17 characters of a code, all of
// them of the alphabet.
func checkCharacter(first string) byte {
	sum, weight := 0, 1
	for i := range len(first) {
		sum += strings.IndexByte(bodyAlphabet, first[i]) * weight
		weight = weight * 3 % 31
	}
	return bodyAlphabet[(31-sum%31)%31]
}

func inBodyAlphabet(code string) bool {
	for i := range len(code) {
		if strings.IndexByte(bodyAlphabet, code[i]) < 0 {
			return false
		}
	}
	return true
}

// bodyReasons lists everything that is wrong with the code of an implementing body; nil
// when it verifies.
func bodyReasons(code string) []Reason {
	if code == "" {
		return []Reason{because(BodyEmpty)}
	}
	if ValidBody(code) {
		return nil
	}
	var out []Reason
	n := len([]rune(code))
	if n == 10 && code[8] == '-' {
		n = 9 // An organisation code is written with or without its hyphen.
	}
	if n != bodyLength {
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
	case !inBodyAlphabet(strings.ReplaceAll(upper, "-", "")):
		out = append(out, because(BodyAlphabet))
	case len(code) == bodyLength && !ValidBody(upper):
		out = append(out, because(BodyCheck))
	}
	return out
}

// lengthKinds names the wrong lengths that real exports contain.
var lengthKinds = map[int]Kind{
	7: BodyLength7, 9: BodyLength9, 10: BodyLength10, 13: BodyLength13, 17: BodyLength17,
}
