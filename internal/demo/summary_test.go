package demo

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tongban/replication"
	"tongban/service/cases"
)

func good() Summary {
	return Summary{Items: 981, Quarantined: 154, Repaired: 63, CasesAcknowledged: 217, CasesFound: 217, FailoverMS: 2500,
		CatchupMS: 2000, ChecksumsEqual: true, RestoredCases: 217,
		CasesAt: map[string]int64{"000000": 217, "511602": 217}, NationWhileCut: 100, NationAge: 9, ServedWhileCut: 117,
		HealMS: 900, MailDelivered: 1, Seconds: 34.5, before: 100, after: 217, sinceCut: 10}
}

func TestAnOutcomeIsBadForEachThingThatWentWrong(t *testing.T) {
	if err := good().Err(); err != nil {
		t.Errorf("a good outcome: %v", err)
	}
	for name, spoil := range map[string]func(*Summary){
		"lost":                        func(s *Summary) { s.Lost = 1 },
		"doubled":                     func(s *Summary) { s.Doubled = 1 },
		"found less":                  func(s *Summary) { s.CasesFound-- },
		"found more":                  func(s *Summary) { s.CasesFound++ },
		"replicas differ":             func(s *Summary) { s.ChecksumsEqual = false },
		"a level counts less":         func(s *Summary) { s.CasesAt["000000"]-- },
		"no level was asked":          func(s *Summary) { s.CasesAt = nil },
		"the nation was ahead":        func(s *Summary) { s.NationWhileCut = 217 },
		"the nation hid its age":      func(s *Summary) { s.NationAge = 1 },
		"nothing was served":          func(s *Summary) { s.ServedWhileCut = 0 },
		"something crossed":           func(s *Summary) { s.BytesCrossedWhileCut = 1 },
		"the levels never were equal": func(s *Summary) { s.HealMS = 0 },
		"the lodged case never came":  func(s *Summary) { s.MailDelivered = 0 },
		"the lodged case came twice":  func(s *Summary) { s.MailDelivered = 2 },
		"restored less":               func(s *Summary) { s.RestoredCases-- },
		"nothing was tried":           func(s *Summary) { s.CasesAcknowledged, s.CasesFound, s.RestoredCases = 0, 0, 0 },
		"the run stopped halfway":     func(s *Summary) { *s = Summary{Items: 981, Quarantined: 154} },
	} {
		s := good()
		if spoil(&s); s.Err() == nil {
			t.Errorf("%s: the outcome passes", name)
		}
	}
}

func TestTheLineOfJSONHasTheNamesThatWerePromised(t *testing.T) {
	line, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"items":981,"quarantined":154,"repaired":63,"cases_acknowledged":217,"cases_found":217,"lost":0,"doubled":0,` +
		`"failover_ms":2500,"catchup_ms":2000,"checksums_equal":true,"restored_cases":217,"cases_at":{"000000":217,"511602":217},"nation_while_cut":100,"nation_age_s":9,` +
		`"served_while_cut":117,"bytes_crossed_while_cut":0,"heal_ms":900,"mail_delivered":1,"seconds":34.5}`
	if string(line) != want {
		t.Errorf("got  %s\nwant %s", line, want)
	}
}

func TestACaseIsFoundOnceAndForItsApplicantOnly(t *testing.T) {
	f := found{numbers: map[string]int{"A": 1, "B": 1, "C": 1}, markers: map[string]int{"甲1": 2, "甲2": 1}}
	if f.doubled() != 1 {
		t.Errorf("an applicant with two cases counts %d doubled", f.doubled())
	}
	f.numbers["A"] = 2
	if f.doubled() != 2 {
		t.Errorf("and a number given twice: %d", f.doubled())
	}
	for _, c := range []struct {
		r    Receipt
		want bool
	}{
		{Receipt{Number: "B", Marker: "甲2"}, true},
		{Receipt{Number: "A", Marker: "甲1"}, false}, // Twice.
		{Receipt{Number: "D", Marker: "甲2"}, false}, // No such number.
		{Receipt{Number: "B", Marker: "甲9"}, false}, // Somebody else's.
	} {
		if f.has(c.r) != c.want {
			t.Errorf("has(%+v) = %v", c.r, !c.want)
		}
	}
}

func TestReplicasAreComparedAtEqualIndexOnly(t *testing.T) {
	one := map[replication.DatabaseID]state{"a/main": {at: 5}, "b/main": {at: 7}}
	if id := unequal([]map[replication.DatabaseID]state{one, one}); id != "" {
		t.Errorf("equal replicas: %s", id)
	}
	if id := unequal([]map[replication.DatabaseID]state{one, {"a/main": {at: 5}, "b/main": {at: 8}}}); id != "b/main" {
		t.Errorf("another index: %q", id)
	}
	if id := unequal([]map[replication.DatabaseID]state{{"a/main": {at: 5}}, one}); id != "b/main" {
		t.Errorf("a missing replica: %q", id)
	}
}

func TestApplicantsAreWellFormedAndNobody(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range []int{0, 1, 999, 1000, 123_456, 9_999_999} {
		id := residentID(n)
		if !cases.ValidResidentID(id, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)) {
			t.Errorf("applicant %d has the number %s, which no portal takes", n, id)
		}
		if seen[id] || !strings.HasPrefix(id, "999999") {
			t.Errorf("applicant %d: %s", n, id)
		}
		seen[id] = true
	}
	a := newApplication(Offer{"t", "item"}, "甲00001", 1)
	if markerOf(a.form.Get("name")) != "甲00001" {
		t.Errorf("the marker of %q is %q", a.form.Get("name"), markerOf(a.form.Get("name")))
	}
}

func TestTheCodeOfTheFirstBootIsReadFromWhatInitShows(t *testing.T) {
	code, err := codeIn("Node n1 is in /x.\n\nCode for the first administrator; shown once:\n\n    ABCD-EFGH\n\nStart it: …\n")
	if code != "ABCD-EFGH" || err != nil {
		t.Errorf("%q, %v", code, err)
	}
	if _, err := codeIn("Node n1 is in /x.\n"); err == nil {
		t.Error("no code, no error")
	}
}

func TestOffersOfDifferentTenantsAlternate(t *testing.T) {
	got := Spread(map[string][]Offer{"a": {{"a", "1"}, {"a", "2"}, {"a", "3"}}, "b": {{"b", "1"}}, "c": nil})
	want := []Offer{{"a", "1"}, {"b", "1"}, {"a", "2"}, {"a", "3"}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("got %v", got)
		}
	}
}

func TestFailoverNamesItsWorstDatabase(t *testing.T) {
	f := failover{waits: []wait{{"a/main", time.Second}, {"b/main", 3 * time.Second}}}
	if f.worst() != 3*time.Second || !strings.Contains(f.String(), "worst 3s (b/main)") {
		t.Errorf("%v: %s", f.worst(), f)
	}
	if (failover{}).worst() != 0 {
		t.Error("a node that led nothing")
	}
}
