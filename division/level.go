package division

import (
	"fmt"
	"strings"
)

// Level 行使层级 is a level of administration; a smaller number is nearer to the nation.
type Level int

// The levels. Boxes are installed from National to County; a township is an outlet of its
// county.
const (
	National Level = iota + 1
	Province
	City
	County
	Township
)

var levels = [...]struct{ en, zh string }{
	National: {"national", "国家级"},
	Province: {"province", "省级"},
	City:     {"city", "市级"},
	County:   {"county", "县级"},
	Township: {"township", "乡级"},
}

// Levels are all levels, from the nation down.
func Levels() []Level { return []Level{National, Province, City, County, Township} }

// Valid tells whether l is one of the five levels.
func (l Level) Valid() bool { return National <= l && l <= Township }

// String is the English name in lower case: "national", "province", "city", "county",
// "township".
func (l Level) String() string {
	if !l.Valid() {
		return fmt.Sprintf("level(%d)", int(l))
	}
	return levels[l].en
}

// ZH is the Chinese name: 国家级, 省级, 市级, 县级, 乡级.
func (l Level) ZH() string {
	if !l.Valid() {
		return fmt.Sprintf("层级(%d)", int(l))
	}
	return levels[l].zh
}

// ParseLevel reads a level's English name in any case or its Chinese name, with or
// without 级 ("县级", "县").
func ParseLevel(s string) (Level, error) {
	name := strings.TrimSpace(s)
	for _, l := range Levels() {
		if strings.EqualFold(name, l.String()) || name == l.ZH() || name+"级" == l.ZH() {
			return l, nil
		}
	}
	return 0, fmt.Errorf("division: %.40q is not a level; write national, province, city, county or township", s)
}

// MarshalText writes String; an invalid level is an error.
func (l Level) MarshalText() ([]byte, error) {
	if !l.Valid() {
		return nil, fmt.Errorf("division: %d is not a level", int(l))
	}
	return []byte(l.String()), nil
}

// UnmarshalText reads what ParseLevel reads.
func (l *Level) UnmarshalText(text []byte) error {
	parsed, err := ParseLevel(string(text))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}
