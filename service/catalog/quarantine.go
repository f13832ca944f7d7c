package catalog

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"tongban/replication"
	"tongban/service"
)

// States of a row in quarantine.
const (
	stateQuarantined = "quarantined"
	stateRepaired    = "repaired" // Has a replacement code; not yet an item.
	stateReleased    = "released" // Is an item now.
)

// Quarantined is a row that could not be published.
type Quarantined struct {
	ID      int64     `json:"id"`
	Line    int       `json:"line"`
	Code    string    `json:"code"`
	Name    string    `json:"name"`
	Body    string    `json:"body"`
	Reasons []Reason  `json:"reasons"`
	State   string    `json:"state"` // quarantined, repaired, released
	NewBody string    `json:"new_body,omitempty"`
	NewCode string    `json:"new_code,omitempty"`
	Repair  int64     `json:"repair,omitempty"`
	Raw     string    `json:"raw,omitempty"` // Of a line that could not be read.
	Changed time.Time `json:"changed"`

	row Row
	rev int64
}

const quarantineColumns = `id, line, code, name, body_code, reasons, state, new_body, new_code, coalesce(repair, 0), raw, changed, rev`

func scanQuarantined(row scanner) (Quarantined, error) {
	var r Quarantined
	var reasons, raw string
	err := row.Scan(&r.ID, &r.Line, &r.Code, &r.Name, &r.Body, &reasons, &r.State, &r.NewBody, &r.NewCode, &r.Repair, &raw,
		&r.Changed, &r.rev)
	if err == nil {
		err = json.Unmarshal([]byte(reasons), &r.Reasons)
	}
	if err == nil {
		err = json.Unmarshal([]byte(raw), &r.row)
	}
	r.Raw = r.row.Raw
	return r, err
}

// repairable reports whether a body code is all that the row lacks.
func (r *Quarantined) repairable() bool {
	return r.State == stateQuarantined && hasBody(r.Reasons) && !blocked(beyondBody(r.Reasons)) && r.Code != ""
}

func hasBody(reasons []Reason) bool {
	return slices.ContainsFunc(reasons, func(r Reason) bool { return r.Kind.ofBody() })
}

// Group is the rows in quarantine that have the same wrong code for the same reasons.
type Group struct {
	Kinds      string      `json:"kinds"` // Reasons, separated by spaces.
	Body       string      `json:"body"`  // As it came.
	Rows       int         `json:"rows"`
	Repairable bool        `json:"repairable"`
	Suggestion *Suggestion `json:"suggestion,omitempty"`
	Example    string      `json:"example"` // Name of one of the items.
}

// KindList returns the group's reasons.
func (g Group) KindList() []Reason {
	var out []Reason
	for k := range strings.FieldsSeq(g.Kinds) {
		out = append(out, Reason{Kind: Kind(k)})
	}
	return out
}

// Body is a code that a department may be given in a repair.
type Body struct {
	Code     string `json:"code"`
	Items    int    `json:"items"`              // Published items of the department that carry it.
	Evidence string `json:"evidence,omitempty"` // Of a code that an operator vouched for.
}

// ReadBodies returns the department's verified codes: those of its published items, and
// those vouched for.
func ReadBodies(q service.Querier) ([]Body, error) {
	var out []Body
	err := each(q, func(rows *replication.Rows) error {
		var b Body
		err := rows.Scan(&b.Code, &b.Items, &b.Evidence)
		out = append(out, b)
		return err
	}, `SELECT code, sum(n), max(evidence) FROM (
			SELECT body_code AS code, count(*) AS n, '' AS evidence FROM catalog_item WHERE state = 'published' GROUP BY body_code
			UNION ALL SELECT code, 0, evidence FROM catalog_body)
		GROUP BY code ORDER BY sum(n) DESC, code`)
	return out, err
}

// ReadGroups returns what waits in quarantine, the largest groups first, each with the
// code that would repair it where one stands to reason.
func ReadGroups(q service.Querier) ([]Group, error) {
	bodies, err := ReadBodies(q)
	if err != nil {
		return nil, err
	}
	var out []Group
	err = each(q, func(rows *replication.Rows) error {
		var g Group
		var code, reasons string
		if err := rows.Scan(&g.Kinds, &g.Body, &g.Rows, &code, &g.Example, &reasons); err != nil {
			return err
		}
		one := Quarantined{State: stateQuarantined, Code: code}
		if err := json.Unmarshal([]byte(reasons), &one.Reasons); err != nil {
			return err
		}
		if g.Repairable = one.repairable(); g.Repairable {
			g.Suggestion = suggest(g.Body, code, bodies)
		}
		out = append(out, g)
		return nil
	}, `SELECT kinds, body_code, count(*), min(code), min(name), min(reasons) FROM catalog_quarantine
		WHERE state = 'quarantined' GROUP BY kinds, body_code ORDER BY count(*) DESC, kinds, body_code`)
	return out, err
}

// Why says what speaks for a suggested code. Its message is "catalog.why.<why>".
type Why string

// What speaks for a code.
const (
	WhyContained Why = "contained" // It stands in the row's item code.
	WhyOneOff    Why = "one_off"   // It differs in one character.
	WhyBody      Why = "body"      // The row has its organisation code: characters 9 to 17.
	WhyOnly      Why = "only"      // It is the department's only verified code.
)

// Suggestion is a verified code that probably is the right one.
type Suggestion struct {
	Code string `json:"code"`
	Why  Why    `json:"why"`
}

// suggest returns the verified code that the wrong one stands for, or nil when nothing
// speaks for one more than for another.
func suggest(wrong, itemCode string, bodies []Body) *Suggestion {
	upper := strings.ToUpper(itemCode)
	for _, b := range bodies {
		if wrong == "" && strings.Contains(upper, b.Code) {
			return &Suggestion{b.Code, WhyContained}
		}
	}
	for _, b := range bodies {
		if wrong != "" && near(strings.ToUpper(wrong), b.Code) {
			return &Suggestion{b.Code, WhyOneOff}
		}
	}
	organisation := strings.ToUpper(strings.ReplaceAll(wrong, "-", ""))
	for _, b := range bodies {
		if len(organisation) == 9 && b.Code[8:17] == organisation {
			return &Suggestion{b.Code, WhyBody}
		}
	}
	if len(bodies) == 1 {
		return &Suggestion{bodies[0].Code, WhyOnly}
	}
	return nil
}

// near reports whether a becomes b by one character added, left out or changed.
func near(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	if len(b)-len(a) > 1 {
		return false
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i == len(a) || a[i+1:] == b[i+1:]
	}
	return a[i:] == b[i+1:]
}

// ReadQuarantined returns the rows in the given states, filtered by kinds and body (nil:
// any), a page of perPage, and how many there are.
func ReadQuarantined(q service.Querier, states []string, kinds, body *string, page, perPage int) ([]Quarantined, int, error) {
	where, args := `state IN (?`+strings.Repeat(`, ?`, len(states)-1)+`)`, []any{}
	for _, s := range states {
		args = append(args, s)
	}
	if kinds != nil {
		where, args = where+` AND kinds = ?`, append(args, *kinds)
	}
	if body != nil {
		where, args = where+` AND body_code = ?`, append(args, *body)
	}
	total := 0
	if err := q.QueryRow(`SELECT count(*) FROM catalog_quarantine WHERE `+where, args...).Scan(&total); err != nil {
		return nil, 0, err
	}
	var out []Quarantined
	err := each(q, func(rows *replication.Rows) error {
		r, err := scanQuarantined(rows)
		out = append(out, r)
		return err
	}, `SELECT `+quarantineColumns+` FROM catalog_quarantine WHERE `+where+` ORDER BY id LIMIT ? OFFSET ?`,
		append(args, perPage, (page-1)*perPage)...)
	return out, total, err
}
