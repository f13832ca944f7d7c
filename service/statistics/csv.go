package statistics

import (
	"bytes"
	"context"
	"encoding/csv"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"tongban/division"
	"tongban/division/calendar"
	"tongban/service"
)

// errNoTable refuses a table that there is not.
var errNoTable = service.Refuse(service.Invalid, "statistics.no_table")

// csvDays is how many days the file of days has.
const csvDays = 366

// export sends a table of the page (?table=divisions, days or items) whole, as CSV with a
// byte order mark, because spreadsheets take a file without one for GBK.
func (s *statistics) export(ctx context.Context, r *service.Request) (service.Response, error) {
	var table [][]string
	var at string
	err := r.View(ctx, func(v *service.View) error {
		b, err := s.readBranches(v)
		if err != nil {
			return err
		}
		ref, err := b.find(r.Form.Get("division"))
		if err != nil {
			return err
		}
		at = string(ref.Code)
		switch r.Form.Get("table") {
		case "divisions":
			var p Page
			p, err = s.readPage(v, b, ref, r.Now())
			table = divisionTable(p)
		case "days":
			table, err = s.dayTable(v, b, ref, r.Now())
		case "items":
			var items []Item
			items, err = s.readNamed(v, b.names(ref), query(r))
			table = itemTable(items)
		default:
			return errNoTable
		}
		return err
	})
	if err != nil {
		return service.Response{}, err
	}
	var file bytes.Buffer
	file.WriteString("\uFEFF")
	w := csv.NewWriter(&file)
	if err := w.WriteAll(table); err != nil {
		return service.Response{}, err
	}
	name := "statistics-" + r.Form.Get("table") + "-" + at + "-" + r.Now().In(calendar.Zone).Format("20060102-1504") + ".csv"
	return service.Response{File: &service.Download{Name: name, Type: "text/csv; charset=utf-8", Body: &file}}, nil
}

// divisionTable has the division itself first, then those below it; what was never
// reported is empty.
func divisionTable(p Page) [][]string {
	table := [][]string{{"division", "name", "applied", "decided", "as_of", "silent", "known"},
		{p.Division.Ref.String(), safe(p.Division.Name), count(p.Own.Applied), count(p.Own.Decided), "", "", "own"}}
	for _, c := range p.Children {
		line := []string{c.Ref.String(), safe(c.Name), "", "", "", strconv.FormatBool(c.Silent), strconv.FormatBool(c.Known)}
		if c.Known {
			line[2], line[3], line[4] = count(*c.Applied), count(*c.Decided), c.AsOf.In(calendar.Zone).Format(time.RFC3339)
		}
		table = append(table, line)
	}
	return table
}

// dayTable has a year of days, up to the newest of which anything is known.
func (s *statistics) dayTable(q service.Querier, b branches, at division.Ref, now time.Time) ([][]string, error) {
	fresh, err := s.freshness(q, s.self, now)
	if err != nil {
		return nil, err
	}
	days, err := ageOf(fresh, b.below(at), s.self, now).readDays(q, b.names(at), csvDays)
	table := [][]string{{"day", "applied", "decided", "partial"}}
	for _, d := range days {
		table = append(table, []string{d.Day, count(d.Applied), count(d.Decided), strconv.FormatBool(d.Partial)})
	}
	return table, err
}

func itemTable(items []Item) [][]string {
	table := [][]string{{"code", "owner", "name", "applied", "decided"}}
	for _, it := range items {
		table = append(table, []string{safe(it.Code), it.Owner, safe(it.Name), count(it.Applied), count(it.Decided)})
	}
	return table
}

func count(n int64) string { return strconv.FormatInt(n, 10) }

// safe puts an apostrophe before a cell that a spreadsheet would run as a formula (OWASP,
// CSV Injection): names and codes come from other divisions.
func safe(cell string) string {
	if first, _ := utf8.DecodeRuneInString(cell); strings.ContainsRune("=+-@\t\r\n＝＋－＠", first) {
		return "'" + cell
	}
	return cell
}
