package calendar

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheEmbeddedDaysAreThePublishedOnes(t *testing.T) {
	const file = "cn_workday_exceptions.csv" // Date, off or work, "English,中文,number".
	f, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", file))
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
	rows = rows[1:]
	here, err := parse(published)
	if err != nil {
		t.Fatal(err)
	}
	if len(here) != len(rows) {
		t.Fatalf("%d days are embedded, %d published", len(here), len(rows))
	}
	for i, row := range rows {
		names := strings.Split(row[2], ",")
		e := here[i]
		if e.Day.Format(time.DateOnly) != row[0] || e.Work != (row[1] == "work") || len(names) != 3 || e.Name != names[1] {
			t.Errorf("%+v is embedded, published is %q", e, row)
		}
	}
}
