// Package uscc checks unified social credit codes (统一社会信用代码, GB 32100-2015): 18
// characters, of which the last is computed from the others.
package uscc

import "strings"

// alphabet is the code's alphabet without I, O, Z, S and V (GB 32100-2015, table 1).
const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// Valid reports whether code has 18 characters of the alphabet and its check character
// verifies: 31 − Σ alphabet(c_i)·3^i mod 31 (GB 32100-2015, annex A).
func Valid(code string) bool {
	c, ok := CheckCharacter(code)
	return ok && len(code) == 18 && code[17] == c
}

// CheckCharacter returns the check character of the first 17 characters; ok is false when
// there are fewer or one is not of the alphabet.
func CheckCharacter(code string) (c byte, ok bool) {
	if len(code) < 17 {
		return 0, false
	}
	sum, weight := 0, 1
	for i := range 17 {
		v := strings.IndexByte(alphabet, code[i])
		if v < 0 {
			return 0, false
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return alphabet[(31-sum%31)%31], true
}
