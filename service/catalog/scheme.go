package catalog

import (
	"regexp"
	"strings"
)

// A scheme is one way of composing an item code. Schemes are data: provinces differ and
// change them (DOMAIN.md §2.8), and a code that follows none is kept as it is.
type scheme struct {
	name    string
	pattern *regexp.Regexp // Groups: basic, body; optional: area.
	whole   bool           // All parts are there; else the export is taken as not taken apart.
}

// schemes are tried in order.
var schemes = []scheme{
	// basic-area12-seg3-body-seg1-seg2: the provincial portal's. The body may contain a
	// hyphen, when it is an old organisation code.
	{name: "segments", whole: true, pattern: regexp.MustCompile(`^(?P<basic>.+)-(?P<area>\d{12})-\d{3}-(?P<body>[0-9A-Za-z][0-9A-Za-z-]*)-\d-\d{2}$`)},
	// body 18 + level 1 + basic 12, as the public example of a national code shows.
	{name: "national", whole: true, pattern: regexp.MustCompile(`^(?P<body>[0-9A-HJ-NPQRTUWXY]{18})\d(?P<basic>[0-9A-Z]{12})$`)},
	// basic-body: rows that the portal exports short.
	{name: "short", pattern: regexp.MustCompile(`^(?P<basic>[A-Z]-\d{6}-\d{3})-(?P<body>[0-9A-Za-z]+)$`)},
}

// parts is what a scheme reads from an item code.
type parts struct {
	scheme            string
	whole             bool
	basic, area, body string
	from, to          int // Where the body stands in the code.
}

// takeApart reads an item code by the first scheme that fits.
func takeApart(code string) (parts, bool) {
	for _, s := range schemes {
		m := s.pattern.FindStringSubmatchIndex(code)
		if m == nil {
			continue
		}
		p := parts{scheme: s.name, whole: s.whole}
		for i, group := range s.pattern.SubexpNames() {
			if group == "" || m[2*i] < 0 {
				continue
			}
			text := code[m[2*i]:m[2*i+1]]
			switch group {
			case "basic":
				p.basic = text
			case "area":
				p.area = text
			case "body":
				p.body, p.from, p.to = text, m[2*i], m[2*i+1]
			}
		}
		return p, true
	}
	return parts{}, false
}

// Rewrite returns the item code with another body's code in the place of its own. ok is
// false when the code follows no scheme.
func Rewrite(code, body string) (rewritten string, ok bool) {
	p, ok := takeApart(code)
	if !ok {
		return "", false
	}
	return code[:p.from] + body + code[p.to:], true
}

// codePattern is what an item code may consist of.
var codePattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._()-]*$`)

// judge lists everything that is wrong with a row of the division with the given 6-digit
// code, after what reading it had found.
func judge(r Row, division string) []Reason {
	out := append([]Reason(nil), r.Reasons...)
	if hasKind(out, Oversized) || hasKind(out, NotUTF8) || hasKind(out, Quotes) {
		return out // There is nothing to judge in it.
	}
	out = append(out, bodyReasons(r.Body)...)
	p, ok := takeApart(r.Code)
	switch {
	case r.Code == "":
		out = append(out, because(CodeEmpty))
	case len(r.Code) > MaxCode:
		out = append(out, because(CodeLong, "n", len(r.Code)))
	case !codePattern.MatchString(r.Code):
		out = append(out, because(CodeForm))
	case !ok || !p.whole || r.Body == "" && r.Basic == "":
		out = append(out, because(Unparsed))
		if ok && r.Body == "" && p.body != strings.ToUpper(p.body) {
			out = append(out, because(BodyLowerCase))
		}
	case p.body != r.Body && r.Body != "":
		out = append(out, because(BodyMismatch, "code", p.body))
	}
	if n := len([]rune(r.Name)); n == 0 {
		out = append(out, because(NameEmpty))
	} else if n > MaxName {
		out = append(out, because(NameLong, "n", n))
	}
	if r.Area != "" && !strings.HasPrefix(r.Area, division) {
		out = append(out, because(AreaOther, "area", r.Area))
	}
	if r.Basic == "" {
		out = append(out, because(NoBasicCode))
	}
	if _, known := taskTypes[r.Type]; !known {
		out = append(out, because(TypeUnknown, "type", r.Type))
	}
	return out
}

// taskTypes are the types of item that people apply for, by the code of the national item
// model. The message of a type is "catalog.type.<number>".
var taskTypes = map[string]int{
	"1": 1, "5": 5, "7": 7, "8": 8, "9": 9, "10": 10, "20": 20,
	"01": 1, "05": 5, "07": 7, "08": 8, "09": 9,
}
