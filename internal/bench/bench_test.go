package bench

import (
	"strings"
	"testing"

	"tongban/internal/bench/proc"
	"tongban/internal/demo"
	"tongban/service/catalog"
)

func TestTheTablesHaveEveryFigure(t *testing.T) {
	text := Report{Machine: proc.Machine{CPU: "a CPU", Cores: 2}, Binary: 47_000_000, Tenants: Tenants{34, 7.25}, Import: Import{1135, 0.5, 0.25},
		Idle: []Idle{{"n1", 20, 3.5, 111, 10, 200}}, Loads: []Load{{1, 1, 900, 180, 5.1, 20.2}, {64, 33, 900, 450, 130.4, 260.6}},
		Restart: Restart{1.5, 0.75, 1.25, 5000}}.String()
	for _, wanted := range []string{"a CPU, 2 cores", "47.0 MB", "34 tenants created", "7.2 s", "1135 rows", "500 ms", "250 ms", "1.5 s", "0.8 s", "5000 raft entries",
		"| one tenant | 1 | 180 | 5.1 ms | 20.2 ms |", "| 33 tenants | 64 | 450 | 130.4 ms | 260.6 ms |", "| n1 | 20 | 3.5 % | 111 MiB | 10 | 200 |"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the tables lack %q:\n%s", wanted, text)
		}
	}
}

func TestTheTablesSayWhichGoalOfALineIsMissed(t *testing.T) {
	f := &Federation{Seed: 7, Drains: []Drain{{"rows of a kind", 20_000, 5, 0.5, 4, 5000, 1 << 20, 2.5, 0.5}, {"others", 100, 1, 0.1, 1, 100, 1 << 10, 0, 0}},
		Lines: []IdleLine{{"511602", 1, 120, 40, 60, 0.5, 0}, {"511603", 3, 120, 60, 41, 1, 2}}, Latency: Latency{100, 12.5, 40.4},
		Boxes: []Idle{{"511600/n1", 1, 0.5, 87, 9, 40}},
		Slow:  SlowSync{1135, 981, 2.5, 600, 50 << 10, 15 << 10, 3, 1, 64_000, 800}}
	text := Report{Federation: f}.String()
	for _, wanted := range []string{"20000 rows of a kind", "0.5 s after the heal", "1024 KB; CPU: parent 2.5 s, child 0.5 s", "| 5000 rows/s | ≥ 5000 | met |", "| 100 rows/s | ≥ 5000 | MISSED |",
		"| 100 bytes/s | ≤ 100 | met |", "| 101 bytes/s | ≤ 100 | MISSED |", "| 152 bytes/s | | |", "| p50 12 ms, p99 40 ms |", "| 511600/n1 | 1 | 0.5 % | 87 MiB |",
		"1135 rows (981 items) over 64 kbit/s and 800 ms, seed 7", "3 connections, 1 broken by the line | 600 s | < 600 s | MISSED |"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the tables lack %q:\n%s", wanted, text)
		}
	}
	if strings.Contains(text, "tenants created") {
		t.Errorf("the tables have a district that was not measured:\n%s", text)
	}
}

func TestVariantsOfItemsAreItems(t *testing.T) {
	c, err := demo.ReadCatalog("")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{} // Codes, and names.
	for _, d := range c.Departments {
		for _, r := range d.Rows {
			have[r.Code], have[r.Name] = true, true
		}
	}
	for _, renamed := range []bool{false, true} {
		const n = 3000
		more, offers, err := multiply(c, childCode, n, renamed)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		for _, d := range more.Departments {
			for _, j := range catalog.Judge(d.Rows, childCode) {
				rows++
				if j.Blocked || have[j.Row.Code] || renamed == have[j.Row.Name] {
					t.Fatalf("renamed %v: %+v", renamed, j)
				}
				have[j.Row.Code], have[j.Row.Name] = true, true
			}
		}
		if rows != n || len(offers) != n || more.Rows != n {
			t.Errorf("renamed %v: %d rows, %d offers of %d", renamed, rows, len(offers), n)
		}
	}
	if _, _, err := multiply(c, childCode, 1_000_000, false); err == nil {
		t.Error("a million variants came of it")
	}
}

func TestNothingElseIsMeasured(t *testing.T) {
	if _, err := Run(t.Context(), Options{Only: "weather"}); err == nil || !strings.Contains(err.Error(), OnlyFederation) {
		t.Errorf("%v", err)
	}
}
