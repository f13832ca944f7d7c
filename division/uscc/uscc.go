// Package uscc checks unified social credit codes (统一社会信用代码, GB 32100-2015): 18
// characters, of which the last is computed from the others.
package uscc

import "strings"

// Length is the length of a code: registering authority 1, class 1, division 6, body 9,
// check character 1.
const Length = 18

// alphabet is the code's alphabet without I, O, Z, S and V (GB 32100-2015, table 1).
const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// Valid reports whether code has 18 characters of the alphabet and the right check
// character: 31 − Σ alphabet(c_i)·3^(i−1) mod 31 over the first 17 (GB 32100-2015, 5.6).
func Valid(code string) bool {
	if len(code) != Length || !InAlphabet(code) {
		return false
	}
	sum, weight := 0, 1
	for i := range Length - 1 {
		sum += strings.IndexByte(alphabet, code[i]) * weight
		weight = weight * 3 % 31
	}
	return alphabet[(31-sum%31)%31] == code[Length-1]
}

// InAlphabet reports whether text has no other characters than those of a code.
func InAlphabet(text string) bool {
	for i := range len(text) {
		if strings.IndexByte(alphabet, text[i]) < 0 {
			return false
		}
	}
	return true
}
