// Pack makes days.txt from the published days off and make-up working days: a CSV file
// with the heading date,kind,name, where kind is off or work and name is
// "English,中文,number"; see NOTICE for where it comes from. Days that follow each other
// become one line.
package main

import (
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	in := flag.String("in", "cn_workday_exceptions.csv", "CSV file to read")
	out := flag.String("out", "days.txt", "file to write")
	flag.Parse()
	if err := pack(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

// run is consecutive days of one kind and name.
type run struct {
	first, last time.Time
	kind, name  string
}

func pack(in, out string) error {
	f, err := os.Open(in)
	if err != nil {
		return err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	if len(rows) == 0 {
		return fmt.Errorf("%s is empty", in)
	}
	var runs []run
	for _, row := range rows[1:] {
		names := strings.Split(row[2], ",")
		day, err := time.Parse(time.DateOnly, row[0])
		if err != nil || len(names) != 3 || (row[1] != "off" && row[1] != "work") {
			return fmt.Errorf("%s: row %q", in, row)
		}
		if n := len(runs); n > 0 {
			before := &runs[n-1]
			if !day.After(before.last) {
				return fmt.Errorf("%s: row %q is out of order", in, row)
			}
			if day.Equal(before.last.AddDate(0, 0, 1)) && before.kind == row[1] && before.name == names[1] {
				before.last = day
				continue
			}
		}
		runs = append(runs, run{day, day, row[1], names[1]})
	}
	var text strings.Builder
	text.WriteString("# Published days off and make-up working days; NOTICE has the origin. First day, last day, kind, name.\n")
	for _, r := range runs {
		fmt.Fprintf(&text, "%s %s %s %s\n", r.first.Format(time.DateOnly), r.last.Format(time.DateOnly), r.kind, r.name)
	}
	if err := os.WriteFile(out, []byte(text.String()), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d days in %d lines\n", out, len(rows)-1, len(runs))
	return nil
}
