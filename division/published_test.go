package division

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// published reads a published list from the data folder beside the checkout, without its
// heading. The lists are too large to keep here.
func published(t *testing.T, file string) [][]string {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "shared", "data", file))
	if os.IsNotExist(err) {
		t.Skip("not run: " + file + " is not there; put the data folder beside the checkout")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows[1:]
}

func TestTheEmbeddedListOf2023IsThePublishedOne(t *testing.T) {
	levels := map[string]Level{"province": Province, "city": City, "county": County, "township": Township}
	rows := published(t, "divisions_nbs2023.csv")
	for _, row := range rows { // Code of 12 digits, name, level, parent's code.
		r := Ref{levels[row[2]], Code(row[0][:areaDigits])}
		if r.Level == Township {
			r.Code = Code(row[0][:townshipDigits])
		}
		d, ok := ByRef(r)
		if !ok || d.Status != Current || NameIn(r, NBS2023) != row[1] || r.Code.Padded() != row[0] {
			t.Errorf("%s is %s %s here, published is %q", r, d.Name, d.Status, row)
		}
		// The published parent may be a virtual division; ours is then the one above it.
		parent := d.Parent.Code.Padded()
		if up, ok := ByRef(Ref{City, Code(row[3][:min(areaDigits, len(row[3]))])}); ok && up.Virtual {
			parent = up.Code.Padded()
		}
		if r.Level != Province && parent != row[3] {
			t.Errorf("%s %s has the parent %s, published is %s", r, d.Name, d.Parent, row[3])
		}
	}
	here := 0
	for range All() {
		here++
	}
	if here != len(rows) {
		t.Errorf("%d divisions are embedded, %d published", here, len(rows))
	}
}

func TestTheEmbeddedRevisionsOfGB2260AreThePublishedOnes(t *testing.T) {
	for edition, file := range map[Edition]string{GB200212: "gb2260_200212.csv", GB201607: "gb2260_201607.csv"} {
		t.Run(edition.String(), func(t *testing.T) {
			rows := published(t, file)
			for _, row := range rows { // Code of 6 digits, name.
				level := County
				switch {
				case strings.HasSuffix(row[0], "0000"):
					level = Province
				case strings.HasSuffix(row[0], "00"):
					level = City
				}
				if got := NameIn(Ref{level, Code(row[0])}, edition); got != row[1] {
					t.Errorf("%s is %q here, published is %q", row[0], got, row[1])
				}
			}
			here := 0
			for _, a := range tables().list.Areas {
				if a.Names[edition] != "" {
					here++
				}
			}
			if here != len(rows) {
				t.Errorf("%d codes are embedded, %d published", here, len(rows))
			}
		})
	}
}
