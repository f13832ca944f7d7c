package demo

import (
	"errors"
	"fmt"
	"strings"
)

// Summary is the outcome of a scripted run, in the order of its line of JSON.
type Summary struct {
	Items             int     `json:"items"`              // Published by the import.
	Quarantined       int     `json:"quarantined"`        // Held back by the import.
	Repaired          int     `json:"repaired"`           // Published by one bulk repair.
	CasesAcknowledged int     `json:"cases_acknowledged"` // Applications that got a receipt.
	CasesFound        int     `json:"cases_found"`        // Receipts whose case is on every node and in its files.
	Lost              int     `json:"lost"`               // Receipts without.
	Doubled           int     `json:"doubled"`            // Cases too many.
	FailoverMS        int64   `json:"failover_ms"`        // Worst, kill to first acknowledged write.
	CatchupMS         int64   `json:"catchup_ms"`         // Start of the killed node to all its replicas at the leaders' index.
	ChecksumsEqual    bool    `json:"checksums_equal"`    // Of every database on all nodes, at equal index.
	RestoredCases     int     `json:"restored_cases"`     // Receipts whose case is in the restored division.
	Seconds           float64 `json:"seconds"`            // Of the whole run.
}

// Err says what is wrong with the outcome; nil: nothing.
func (s Summary) Err() error {
	var wrong []error
	say := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	say(s.CasesAcknowledged == 0, "no case was acknowledged")
	say(s.Lost != 0, "%d acknowledged cases are lost", s.Lost)
	say(s.Doubled != 0, "%d cases are doubled", s.Doubled)
	say(s.CasesFound != s.CasesAcknowledged, "%d cases were acknowledged, %d found", s.CasesAcknowledged, s.CasesFound)
	say(!s.ChecksumsEqual, "the replicas differ")
	say(s.RestoredCases != s.CasesAcknowledged, "%d cases were acknowledged, %d are in the restored division", s.CasesAcknowledged, s.RestoredCases)
	return errors.Join(wrong...)
}

// String is the outcome for people.
func (s Summary) String() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "%-22s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("items", "%d published, %d quarantined by the import, %d repaired", s.Items, s.Quarantined, s.Repaired)
	line("cases", "%d acknowledged, %d found, %d lost, %d doubled", s.CasesAcknowledged, s.CasesFound, s.Lost, s.Doubled)
	line("death of a node", "%d ms to the first write in the slowest database that it led", s.FailoverMS)
	line("return of the node", "%d ms from its start to having caught up", s.CatchupMS)
	line("replicas", "equal: %v", s.ChecksumsEqual)
	line("restored division", "%d cases", s.RestoredCases)
	line("in all", "%.1f s", s.Seconds)
	return b.String()
}
