package verdict

import (
	"fmt"
	"maps"
	"slices"
)

// Insert is the insertion of a value that nobody else inserts.
type Insert struct {
	Span
	Value string `json:"value"`
	Keyed bool   `json:"keyed"` // With a request id, and repeated until its outcome was known.
}

// SetVerdict is what replicas lack and have too often.
type SetVerdict struct {
	Lost    int // Acknowledged values that a replica lacks, each counted once.
	Doubled int // Values that a replica has more than once, each counted once.
	Wrong   []string
}

// Set compares what was inserted with what each replica holds in the end: value → how
// often. what names the values in words.
func Set(what string, inserts []Insert, replicas map[string]map[string]int) SetVerdict {
	known := make(map[string]Insert, len(inserts))
	for _, op := range inserts {
		known[op.Value] = op
	}
	lost, doubled := map[string]bool{}, map[string]bool{}
	var missing, twice, phantom findings
	for _, node := range slices.Sorted(maps.Keys(replicas)) {
		held := replicas[node]
		for _, op := range inserts {
			if op.Outcome == Done && held[op.Value] == 0 {
				lost[op.Value] = true
				missing.add("lost: %s lacks %s %s, which was acknowledged (%s)", node, what, op.Value, op.Span)
			}
		}
		for value, n := range held {
			op, ok := known[value]
			switch {
			case n > 1:
				doubled[value] = true
				twice.add("doubled: %s has %s %s %d times (%s)", node, what, value, n, op.Span)
			case !ok:
				phantom.add("phantom: %s has %s %s, which nobody wrote", node, what, value)
			case op.Outcome == Refused:
				phantom.add("phantom: %s has %s %s, which was refused (%s)", node, what, value, op.Span)
			}
		}
	}
	return SetVerdict{Lost: len(lost), Doubled: len(doubled), Wrong: slices.Concat(missing.words(), twice.words(), phantom.words())}
}

// Unequal says which replicas hold other content than the first, in words; none: all agree.
func Unequal(what string, checksums map[string]string) []string {
	names := slices.Sorted(maps.Keys(checksums))
	var list []string
	for _, name := range names {
		if checksums[name] != checksums[names[0]] {
			list = append(list, fmt.Sprintf("unequal: %s of %s differs from that of %s: %s, %s", what, name, names[0], checksums[name], checksums[names[0]]))
		}
	}
	return list
}
