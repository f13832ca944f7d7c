package verdict

import (
	"cmp"
	"slices"
)

// Visit is a step of a client's session: it counts its own counter up by one, or reads it
// on any replica with the index token of all that it has seen so far.
type Visit struct {
	Span
	Wrote bool  `json:"wrote"`
	N     int64 `json:"n"` // Written, or read.
}

// Session checks read-your-writes and monotonic reads (Terry et al., PDIS 1994) of each
// client: a read finds at least what the client's acknowledged writes before it wrote, at
// least what its reads before it found, and nothing that was not begun.
func Session(visits []Visit) []string {
	byClient := map[int][]Visit{}
	for _, v := range visits {
		byClient[v.Client] = append(byClient[v.Client], v)
	}
	var wrong findings
	for _, list := range byClient {
		slices.SortFunc(list, func(a, b Visit) int { return cmp.Compare(a.Call, b.Call) })
		var written, read, begun int64
		for _, v := range list {
			switch {
			case v.Wrote:
				begun = max(begun, v.N)
				if v.Outcome == Done {
					written = max(written, v.N)
				}
			case v.Outcome != Done:
			case v.N < written:
				wrong.add("session: a client read %d after it had written %d (%s)", v.N, written, v.Span)
			case v.N < read:
				wrong.add("session: a client read %d after it had read %d (%s)", v.N, read, v.Span)
			case v.N > begun:
				wrong.add("session: a client read %d, which it never wrote (%s)", v.N, v.Span)
			default:
				read = v.N
			}
		}
	}
	return wrong.words()
}
