package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tongban/division"
	"tongban/node/enrol"
	"tongban/node/exit"
	"tongban/node/trust"
)

// ChildTokensRequest asks the admin socket for a token for each row of a list: POST
// /node/child/tokens. All of them are made, or none.
type ChildTokensRequest struct {
	Rows    []enrol.Row `json:"rows"`            // At most enrol.MaxRows.
	Valid   string      `json:"valid,omitempty"` // As ChildTokenRequest's.
	Replace bool        `json:"replace,omitempty"`
	DryRun  bool        `json:"dry_run,omitempty"` // Check every row, make none.
}

// ChildTokensReply is what became of a list.
type ChildTokensReply struct {
	Parent      division.Ref      `json:"parent"`      // This division.
	Name        string            `json:"name"`        // Of it, for people.
	Fingerprint string            `json:"fingerprint"` // Of its authority.
	Made        time.Time         `json:"made"`
	DryRun      bool              `json:"dry_run"`
	Tokens      []ChildTokenReply `json:"tokens"`
	Enrolled    []ChildRow        `json:"enrolled"` // Left out: they are children already, and are not to be replaced.
	Bad         []ChildRow        `json:"bad"`      // When there is one, no token was made.
}

// ChildRow is what there is to say about a row of a list.
type ChildRow struct {
	Line    int          `json:"line"`
	Text    string       `json:"text"` // As the list has it.
	Child   division.Ref `json:"child,omitzero"`
	Problem string       `json:"problem,omitempty"` // A sentence: what is wrong and what to do.
}

// mintChildTokens makes a token for each row. The whole list is checked first.
func (n *Node) mintChildTokens(ctx context.Context, in ChildTokensRequest) (ChildTokensReply, error) {
	out := ChildTokensReply{Parent: n.ref(), Name: n.site.Full, Fingerprint: trust.Fingerprint(n.keys.Authority), Made: n.now(),
		DryRun: in.DryRun, Tokens: []ChildTokenReply{}, Enrolled: []ChildRow{}, Bad: []ChildRow{}}
	if len(in.Rows) == 0 || len(in.Rows) > enrol.MaxRows {
		return out, exit.Usagef("a list has 1 to %d divisions, this one has %d", enrol.MaxRows, len(in.Rows))
	}
	m := mint{valid: in.Valid, replace: in.Replace, onlyNew: true, dryRun: in.DryRun}
	names := namesBelow(n.ref())
	first := map[division.Ref]int{} // Line.
	var rows []ChildRow             // Of m.children.
	for _, r := range in.Rows {
		row := ChildRow{Line: r.Line, Text: r.String()}
		d, err := chooseRow(r, names)
		switch before, twice := first[d.Ref]; {
		case err != nil:
			row.Problem = err.Error()
		case twice:
			row.Problem = fmt.Sprintf("%s is in line %d already; remove one of the two", called(d.Ref), before)
		default:
			row.Child, first[d.Ref] = d.Ref, r.Line
			m.children, rows = append(m.children, d.Ref), append(rows, row)
			continue
		}
		out.Bad = append(out.Bad, row)
	}
	// With a bad row no token is made, but the others are to be told of too.
	m.dryRun = in.DryRun || len(out.Bad) > 0
	done, tokens, err := n.mintTokens(ctx, m)
	if err != nil {
		return out, err
	}
	for i, row := range rows {
		switch refusal := done.Refused[i]; {
		case refusal != nil:
			row.Problem = refusal.Detail
			out.Bad = append(out.Bad, row)
		case done.Enrolled[i] && !in.Replace:
			out.Enrolled = append(out.Enrolled, row)
		default:
			out.Tokens = append(out.Tokens, m.reply(done, tokens, i))
		}
	}
	if len(out.Bad) > 0 {
		out.Tokens = []ChildTokenReply{}
	}
	slices.SortStableFunc(out.Bad, func(a, b ChildRow) int { return a.Line - b.Line })
	return out, nil
}

// namesBelow are the divisions below this one that can have boxes, by every name that
// people write: their own, and with the names above it.
func namesBelow(ref division.Ref) map[string][]division.Division {
	names := map[string][]division.Division{}
	for d := range division.All() {
		if d.Level == division.Township {
			break // They come last.
		}
		path := division.Path(d.Ref)
		at := slices.IndexFunc(path, func(above division.Division) bool { return above.Ref == ref })
		if d.Virtual || at < 0 || d.Ref == ref {
			continue
		}
		name := d.Name
		names[name] = append(names[name], d)
		for i := len(path) - 2; i > 0; i-- {
			if path[i].Name == path[i+1].Name {
				continue
			}
			name = path[i].Name + name
			names[name] = append(names[name], d)
		}
	}
	return names
}

// chooseRow finds the division that a row is about; its errors are sentences.
func chooseRow(r enrol.Row, names map[string][]division.Division) (division.Division, error) {
	if r.Code != "" {
		d, err := chooseDivision(r.Code, r.Level)
		if err == nil && r.Name != "" && !strings.HasSuffix(d.FullName(), r.Name) {
			err = fmt.Errorf("%s is %s, not %s; correct the code or the name", r.Code, d.FullName(), r.Name)
		}
		return d, err
	}
	if r.Name == "" {
		return division.Division{}, fmt.Errorf("the row has neither a code nor a name")
	}
	found := names[r.Name]
	if r.Level != "" {
		l, err := division.ParseLevel(r.Level)
		if err != nil {
			return division.Division{}, err
		}
		found = slices.DeleteFunc(slices.Clone(found), func(d division.Division) bool { return d.Level != l })
	}
	switch len(found) {
	case 0:
		return division.Division{}, fmt.Errorf("no division below this one is named %.60s; write its full name or its code", r.Name)
	case 1:
		return found[0], nil
	}
	var list []string
	for _, d := range found {
		list = append(list, fmt.Sprintf("%s %s (%s)", d.Level, d.Code, d.FullName()))
	}
	return division.Division{}, fmt.Errorf("%s is %s; write the code, and the level where the code is two", r.Name, strings.Join(list, " and "))
}
