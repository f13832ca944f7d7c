package cases

import (
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"tongban/division/calendar"
	"tongban/division/uscc"
	"tongban/service"
)

// Kinds of identity document. Their messages are "cases.id.<kind>".
const (
	Resident = "resident" // GB 11643-1999
	Company  = "uscc"     // GB 32100-2015
	Passport = "passport"
	OtherID  = "other"
)

var idKinds = []string{Resident, Company, Passport, OtherID}

// Person is who applies, and who acts for them. It is personal data.
type Person struct {
	Name       string `json:"name"`
	IDKind     string `json:"id_kind"`
	IDNumber   string `json:"id_number"`
	Phone      string `json:"phone"`
	AgentName  string `json:"agent_name,omitempty"`
	AgentID    string `json:"agent_id,omitempty"` // Resident id number.
	AgentPhone string `json:"agent_phone,omitempty"`
}

const (
	maxName = 60    // characters
	maxText = 2_000 // characters of a reason, notice, answer or result
)

var (
	phonePattern = regexp.MustCompile(`^\+?[0-9]{7,15}$`)
	paperPattern = regexp.MustCompile(`^[A-Z0-9]{5,20}$`)
)

// normal returns the person with spaces, dashes, case and full-width characters set right.
func (p Person) normal() Person {
	squeeze := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsSpace(r) || r == '-' {
				return -1
			}
			return unicode.ToUpper(r)
		}, norm.NFKC.String(s))
	}
	p.Name, p.AgentName = line(p.Name), line(p.AgentName)
	p.IDKind = strings.TrimSpace(p.IDKind)
	p.IDNumber, p.AgentID = squeeze(p.IDNumber), squeeze(p.AgentID)
	p.Phone, p.AgentPhone = squeeze(p.Phone), squeeze(p.AgentPhone)
	return p
}

// check returns what is wrong with a normal person's fields, nil for nothing.
func (p Person) check(now time.Time) *service.Error {
	wrong := service.ErrInvalid
	if !goodName(p.Name) {
		wrong = wrong.Field("name", "cases.bad_name")
	}
	if reason := wrongID(p.IDKind, p.IDNumber, now); reason != "" {
		field := "id_number"
		if reason == "cases.bad_id_kind" {
			field = "id_kind"
		}
		wrong = wrong.Field(field, reason)
	}
	if !phonePattern.MatchString(p.Phone) {
		wrong = wrong.Field("phone", "cases.bad_phone")
	}
	if p.AgentName != "" || p.AgentID != "" || p.AgentPhone != "" {
		if !goodName(p.AgentName) {
			wrong = wrong.Field("agent_name", "cases.bad_name")
		}
		if !ValidResidentID(p.AgentID, now) {
			wrong = wrong.Field("agent_id", "cases.bad_resident")
		}
		if !phonePattern.MatchString(p.AgentPhone) {
			wrong = wrong.Field("agent_phone", "cases.bad_phone")
		}
	}
	if len(wrong.Fields) == 0 {
		return nil
	}
	return wrong
}

func goodName(s string) bool {
	n := utf8.RuneCountInString(s)
	return n > 0 && n <= maxName && strings.ContainsFunc(s, unicode.IsLetter)
}

func wrongID(kind, number string, now time.Time) string {
	switch kind {
	case Resident:
		if !ValidResidentID(number, now) {
			return "cases.bad_resident"
		}
	case Company:
		if !uscc.Valid(number) {
			return "cases.bad_uscc"
		}
	case Passport, OtherID:
		if !paperPattern.MatchString(number) {
			return "cases.bad_paper"
		}
	default:
		return "cases.bad_id_kind"
	}
	return ""
}

// ValidResidentID reports whether the number is one of a resident identity card: 18
// characters, a date of birth that is not in the future, and the check character of ISO
// 7064 MOD 11-2 (GB 11643-1999).
func ValidResidentID(number string, now time.Time) bool {
	if len(number) != 18 {
		return false
	}
	sum := 0
	for i := range 17 {
		if number[i] < '0' || number[i] > '9' {
			return false
		}
		sum += int(number[i]-'0') * residentWeights[i]
	}
	if number[17] != "10X98765432"[sum%11] || number[0] == '0' {
		return false
	}
	born, err := time.ParseInLocation("20060102", number[6:14], calendar.Zone)
	return err == nil && born.Year() >= 1850 && !born.After(now)
}

var residentWeights = [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}

// Mask hides the middle of an identity or telephone number: 110***********1234.
func Mask(number string) string {
	r := []rune(number)
	head, tail := 3, 4
	if len(r) < 10 {
		head, tail = 1, 1
	}
	if len(r) <= head+tail {
		return strings.Repeat("*", len(r))
	}
	return string(r[:head]) + strings.Repeat("*", len(r)-head-tail) + string(r[len(r)-tail:])
}

// MaskName keeps the first character of a person's name: 张**.
func MaskName(name string) string {
	r := []rune(name)
	if len(r) < 2 {
		return strings.Repeat("*", len(r))
	}
	return string(r[:1]) + strings.Repeat("*", len(r)-1)
}

// Masked returns the person as lists and tracking pages show it. The name and code of a
// company are public and stay.
func (p Person) Masked() Person {
	if p.IDKind != Company {
		p.Name, p.IDNumber = MaskName(p.Name), Mask(p.IDNumber)
	}
	p.Phone = Mask(p.Phone)
	p.AgentName, p.AgentID, p.AgentPhone = MaskName(p.AgentName), Mask(p.AgentID), Mask(p.AgentPhone)
	return p
}

// line is a text of one line without control and direction characters.
func line(s string) string { return strings.Join(strings.Fields(plain(s)), " ") }

// plain is a text of several lines without control and direction characters.
func plain(s string) string {
	s = strings.ReplaceAll(norm.NFC.String(strings.ToValidUTF8(s, "")), "\r\n", "\n")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Cf, r)) {
			return -1
		}
		return r
	}, s))
}
