package calendar

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"
	"time"
)

//go:embed days.txt
var published string

// The years that days.txt covers.
const (
	firstYear = 2004
	lastYear  = 2026
)

// english has the English names of the holidays in days.txt.
var english = map[string]string{
	"元旦":  "New Year's Day",
	"春节":  "Spring Festival",
	"清明":  "Tomb-sweeping Day",
	"劳动节": "Labour Day",
	"端午":  "Dragon Boat Festival",
	"中秋":  "Mid-autumn Festival",
	"国庆节": "National Day",
	"中国人民抗日战争暨世界反法西斯战争胜利70周年纪念日": "70th Anniversary of the Victory of the Chinese People's War of Resistance against Japanese Aggression and the World Anti-Fascist War",
}

// Default is the calendar of the published days, 2004 to 2026.
func Default() Calendar { return defaultCalendar() }

// What is embedded is tested, so that an error means a damaged binary.
var defaultCalendar = sync.OnceValue(func() Calendar {
	exceptions, err := parse(published)
	if err != nil {
		panic(fmt.Sprintf("calendar: the embedded days are damaged: %v", err))
	}
	c := Calendar{first: firstYear, years: lastYear - firstYear + 1}
	return c.With(exceptions...)
})

// parse reads lines "2026-01-01 2026-01-03 off 元旦": first day, last day, kind, name.
func parse(text string) ([]Exception, error) {
	var exceptions []Exception
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 4 || (fields[2] != "off" && fields[2] != "work") {
			return nil, fmt.Errorf("line %q", line)
		}
		first, err := time.ParseInLocation(time.DateOnly, fields[0], Zone)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		last, err := time.ParseInLocation(time.DateOnly, fields[1], Zone)
		if err != nil || last.Before(first) || first.AddDate(0, 0, 30).Before(last) {
			return nil, fmt.Errorf("line %q: the last day is wrong", line)
		}
		name := english[fields[3]]
		if name == "" {
			return nil, fmt.Errorf("line %q: the holiday has no English name", line)
		}
		for day := first; !day.After(last); day = day.AddDate(0, 0, 1) {
			exceptions = append(exceptions, Exception{day, fields[2] == "work", fields[3], name})
		}
	}
	return exceptions, nil
}
