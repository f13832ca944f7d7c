package demo

import (
	"errors"
	"fmt"
	"strings"
)

// Summary is the outcome of a scripted run, in the order of its line of JSON.
type Summary struct {
	Items             int   `json:"items"`              // Published by the import.
	Quarantined       int   `json:"quarantined"`        // Held back by the import.
	Repaired          int   `json:"repaired"`           // Published by one bulk repair.
	CasesAcknowledged int   `json:"cases_acknowledged"` // Applications that got a receipt.
	CasesFound        int   `json:"cases_found"`        // Receipts whose case is on every node and in its files.
	Lost              int   `json:"lost"`               // Receipts without.
	Doubled           int   `json:"doubled"`            // Cases too many.
	FailoverMS        int64 `json:"failover_ms"`        // Worst, kill to first acknowledged write.
	CatchupMS         int64 `json:"catchup_ms"`         // Start of the killed node to all its replicas at the leaders' index.
	ChecksumsEqual    bool  `json:"checksums_equal"`    // Of every database on all nodes, at equal index.
	RestoredCases     int   `json:"restored_cases"`     // Receipts whose case is in the restored division.

	CasesAt              map[string]int64 `json:"cases_at"`                // Decided cases by code of each level, read there at the end.
	NationWhileCut       int64            `json:"nation_while_cut"`        // Decided cases that the nation showed while a line below it was cut,
	NationAge            int64            `json:"nation_age_s"`            // as of so many seconds ago.
	ServedWhileCut       int              `json:"served_while_cut"`        // Applications acknowledged, and decided, below the cut.
	BytesCrossedWhileCut int64            `json:"bytes_crossed_while_cut"` // Over all lines.
	HealMS               int64            `json:"heal_ms"`                 // Heal to equal figures at all levels.
	MailDelivered        int              `json:"mail_delivered"`          // Cases that came of the one lodged in another province during the cut.
	Seconds              float64          `json:"seconds"`                 // Of the whole run.

	before, after int64 // Decided cases before the cut, and with those during it.
	sinceCut      int64 // Seconds from the cut to the look at the nation.
	mailLost      int
}

// ageSlack is how much younger, in seconds, a figure may be said to be than the line's cut:
// both are rounded.
const ageSlack = 2

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
	say(len(s.CasesAt) < 2, "the levels were not asked for what they count")
	for code, n := range s.CasesAt {
		say(n != s.after || n == 0, "%s counts %d decided cases, %d were decided", code, n, s.after)
	}
	say(s.ServedWhileCut == 0, "nothing was served while the line was cut")
	say(s.NationWhileCut != s.before, "the nation showed %d decided cases while the line was cut; it had been told of %d", s.NationWhileCut, s.before)
	say(s.NationAge < s.sinceCut-ageSlack, "the nation said that its figure was %d s old; the line had been cut for %d s", s.NationAge, s.sinceCut)
	say(s.BytesCrossedWhileCut != 0, "%d bytes crossed a line that was cut", s.BytesCrossedWhileCut)
	say(s.HealMS <= 0, "the levels were never seen equal after the heal")
	say(s.MailDelivered != 1, "the case lodged in another province was delivered %d times", s.MailDelivered)
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
	line("levels", "%v decided cases", s.CasesAt)
	line("line cut", "%d cases served below it; the nation showed %d, as of %d s ago; %d bytes crossed", s.ServedWhileCut,
		s.NationWhileCut, s.NationAge, s.BytesCrossedWhileCut)
	line("line healed", "%d ms to equal figures at all levels; the case lodged in another province arrived %d time(s)", s.HealMS, s.MailDelivered)
	line("in all", "%.1f s", s.Seconds)
	return b.String()
}
