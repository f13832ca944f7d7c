// Pack makes the embedded division list from the published lists. It reads CSV files with
// a heading line: code12,name,level,parent_code12 for the list of 2023 and code6,name for
// the two revisions of GB/T 2260; see NOTICE for where they come from. It reads its own
// result back and compares before it writes the file.
package main

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"tongban/division/internal/list"
)

func main() {
	nbs := flag.String("nbs", "divisions_nbs2023.csv", "list of the National Bureau of Statistics, 2023")
	gb2002 := flag.String("gb2002", "gb2260_200212.csv", "GB/T 2260, revision 2002-12")
	gb2016 := flag.String("gb2016", "gb2260_201607.csv", "GB/T 2260, revision 2016-07")
	out := flag.String("out", "divisions.gz", "file to write")
	flag.Parse()
	if err := pack(*gb2002, *gb2016, *nbs, *out); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(gb2002, gb2016, nbs, out string) error {
	areas := map[key]*list.Area{}
	for edition, path := range []string{gb2002, gb2016} {
		if err := addGB(areas, edition, path); err != nil {
			return err
		}
	}
	codes, names, err := addNBS(areas, list.Editions-1, nbs)
	if err != nil {
		return err
	}
	l := list.List{Townships: list.MakeTownships(codes, names)}
	for _, a := range areas {
		l.Areas = append(l.Areas, *a)
	}
	slices.SortFunc(l.Areas, func(a, b list.Area) int {
		return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Level, b.Level))
	})
	var file bytes.Buffer
	if err := list.Encode(&file, l); err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	back, err := list.Decode(file.Bytes())
	if err != nil {
		return fmt.Errorf("decode what was encoded: %w", err)
	}
	if !reflect.DeepEqual(l, back) {
		return fmt.Errorf("the decoded list differs from the encoded one")
	}
	if err := os.WriteFile(out, file.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d areas, %d townships, %d bytes\n", out, len(l.Areas), l.Townships.Len(), file.Len())
	return nil
}

type key struct {
	code  string
	level int
}

// addGB takes one revision of GB/T 2260, where the zeros of a code tell its level.
func addGB(areas map[key]*list.Area, edition int, path string) error {
	rows, err := read(path, 2)
	if err != nil {
		return err
	}
	for _, row := range rows {
		level := 4
		if strings.HasSuffix(row[0], "0000") {
			level = 2
		} else if strings.HasSuffix(row[0], "00") {
			level = 3
		}
		if err := add(areas, edition, key{row[0], level}, row[1]); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// addNBS takes the list of 2023, which names the level: 441900 is a city and a county.
// It returns the townships, sorted by code.
func addNBS(areas map[key]*list.Area, edition int, path string) (codes, names []string, err error) {
	rows, err := read(path, 4)
	if err != nil {
		return nil, nil, err
	}
	levels := map[string]int{"province": 2, "city": 3, "county": 4}
	var townships [][2]string
	for _, row := range rows {
		code, rest := row[0][:min(6, len(row[0]))], row[0][min(6, len(row[0])):]
		if row[2] == "township" {
			if len(row[0]) != 12 || row[0][9:] != "000" || row[3] != code+"000000" {
				return nil, nil, fmt.Errorf("%s: township %q", path, row)
			}
			townships = append(townships, [2]string{row[0][:9], row[1]})
			continue
		}
		if levels[row[2]] == 0 || rest != "000000" {
			return nil, nil, fmt.Errorf("%s: row %q", path, row)
		}
		if err := add(areas, edition, key{code, levels[row[2]]}, row[1]); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	slices.SortFunc(townships, func(a, b [2]string) int { return cmp.Compare(a[0], b[0]) })
	for _, t := range townships {
		codes, names = append(codes, t[0]), append(names, t[1])
	}
	return codes, names, nil
}

func add(areas map[key]*list.Area, edition int, k key, name string) error {
	a := areas[k]
	if a == nil {
		a = &list.Area{Code: k.code, Level: k.level}
		areas[k] = a
	}
	if a.Names[edition] != "" {
		return fmt.Errorf("code %s of level %d is twice", k.code, k.level)
	}
	a.Names[edition] = name
	return nil
}

func read(path string, fields int) ([][]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = fields
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return rows[1:], nil
}
