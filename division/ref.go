package division

import (
	"errors"
	"fmt"
	"strings"
)

// Errors of this package, for errors.Is; the text of a returned error says more.
var (
	ErrMalformed = errors.New("malformed division code") // Cannot be a code at all.
	ErrUnknown   = errors.New("unknown division code")   // Well formed, but in none of the lists.
	ErrAmbiguous = errors.New("ambiguous division code") // Means several divisions; the level is needed.
)

// codeError is one of the errors above with a sentence for the person who typed the code.
type codeError struct {
	kind error
	text string
}

func (e *codeError) Error() string { return "division: " + e.text }
func (e *codeError) Unwrap() error { return e.kind }

func codeErrorf(kind error, format string, args ...any) error {
	return &codeError{kind, fmt.Sprintf(format, args...)}
}

// Code is a division code: 6 digits from the nation (000000) to a county, 9 digits for a
// township. It does not tell the level: 441900 is a city and a county.
type Code string

const (
	areaDigits     = 6
	townshipDigits = 9
	paddedDigits   = 12
)

// Padded is the code with zeros up to 12 digits, as items and the Bureau's list write it.
func (c Code) Padded() string {
	return string(c) + strings.Repeat("0", max(0, paddedDigits-len(c)))
}

// Ref is the identity of a division. The zero Ref is no division.
type Ref struct {
	Level Level
	Code  Code
}

// Nation is the national division.
var Nation = Ref{National, "000000"}

// IsZero tells whether r is no division.
func (r Ref) IsZero() bool { return r == Ref{} }

// String is level and code, "county/511602"; the zero Ref is "".
func (r Ref) String() string {
	if r.IsZero() {
		return ""
	}
	return r.Level.String() + "/" + string(r.Code)
}

// Check tells whether the code can be one of the level, by its form alone: the division
// may be newer than the embedded list. It returns ErrMalformed.
func (r Ref) Check() error {
	want := areaDigits
	if r.Level == Township {
		want = townshipDigits
	}
	if !r.Level.Valid() {
		return codeErrorf(ErrMalformed, "%q has no valid level", r.String())
	}
	if err := checkDigits(string(r.Code)); err != nil {
		return err
	}
	if len(r.Code) != want {
		return codeErrorf(ErrMalformed, "%s has %d digits; the code of a %s has %d", r.Code, len(r.Code), r.Level, want)
	}
	zeros := r.Code[2:6] == "0000"
	fits := r.Code[:2] != "00" && !zeros
	switch r.Level {
	case National:
		fits = r.Code == Nation.Code
	case Province:
		fits = r.Code[:2] != "00" && zeros
	case City:
		fits = fits && r.Code[4:6] == "00"
	}
	if !fits {
		return codeErrorf(ErrMalformed, "%s cannot be the code of a %s", r.Code, r.Level)
	}
	return nil
}

// ParseRef reads "county/511602" (also "县级/511602"), or a code alone where it means one
// division of the embedded lists. It returns ErrMalformed, and for a code alone
// ErrUnknown or ErrAmbiguous: ask for the level then, with Lookup's candidates.
func ParseRef(s string) (Ref, error) {
	level, code, found := strings.Cut(strings.TrimSpace(s), "/")
	if found {
		l, err := ParseLevel(level)
		if err != nil {
			return Ref{}, &codeError{ErrMalformed, strings.TrimPrefix(err.Error(), "division: ")}
		}
		r := Ref{l, Code(code)}
		return r, r.Check()
	}
	candidates, err := Lookup(s)
	if err != nil {
		return Ref{}, err
	}
	if len(candidates) > 1 {
		a, b := candidates[0].Ref, candidates[1].Ref
		return Ref{}, codeErrorf(ErrAmbiguous, "%s is a %s and a %s; write %s or %s", a.Code, a.Level, b.Level, a, b)
	}
	return candidates[0].Ref, nil
}

// MarshalText writes String; the zero Ref is empty.
func (r Ref) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what String writes.
func (r *Ref) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*r = Ref{}
		return nil
	}
	if !strings.Contains(string(text), "/") {
		return codeErrorf(ErrMalformed, "%.40q has no level; write it as county/511602", text)
	}
	parsed, err := ParseRef(string(text))
	if err != nil {
		return err
	}
	*r = parsed
	return nil
}

// Lookup returns the divisions that a code may mean, the higher level first, virtual and
// former ones included and marked so. It accepts 6 digits, 9 (a township, or a code above
// padded with 000) or 12 padded with zeros. It returns ErrMalformed or ErrUnknown.
func Lookup(code string) ([]Division, error) {
	code = strings.TrimSpace(code)
	if err := checkDigits(code); err != nil {
		return nil, err
	}
	switch len(code) {
	case areaDigits, townshipDigits, paddedDigits:
	default:
		return nil, codeErrorf(ErrMalformed, "%.20s has %d digits; a division code has 6 (9 for a township, 12 when padded with zeros)", code, len(code))
	}
	var found []Division
	area, rest := code[:areaDigits], code[areaDigits:]
	if strings.Trim(rest, "0") == "" {
		for _, l := range []Level{National, Province, City, County} {
			if d, ok := ByRef(Ref{l, Code(area)}); ok {
				found = append(found, d)
			}
		}
	}
	if len(code) == paddedDigits && code[townshipDigits:] != "000" {
		return nil, codeErrorf(ErrUnknown, "%s is the code of a village; the list ends at townships: write %s", code, code[:townshipDigits])
	}
	if len(code) >= townshipDigits {
		if d, ok := ByRef(Ref{Township, Code(code[:townshipDigits])}); ok {
			found = append(found, d)
		}
	}
	if len(found) == 0 {
		return nil, codeErrorf(ErrUnknown, "%s is in none of the embedded lists (%s, %s, %s)", code, NBS2023, GB201607, GB200212)
	}
	return found, nil
}

func checkDigits(code string) error {
	if code == "" {
		return codeErrorf(ErrMalformed, "the code is empty; a division code has 6 digits")
	}
	for _, c := range code {
		if c < '0' || c > '9' {
			return codeErrorf(ErrMalformed, "%.40q has the character %q; a division code has digits only", code, c)
		}
	}
	return nil
}
