package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tongban/division/uscc"
	"tongban/replication"
	"tongban/service"
)

// maxRepair is how many rows one repair changes: releasing one takes 0.1 ms, of the 100 ms
// that a closure may use on a busy machine.
const maxRepair = 100

// maxEvidence is the length of the evidence for a code, in characters.
const maxEvidence = 500

// Refusals of a repair.
var (
	ErrBodyInvalid     = service.Refuse(service.Unprocessable, "catalog.body_invalid")    // The replacement fails GB 32100. Params: code.
	ErrBodyUnverified  = service.Refuse(service.Unprocessable, "catalog.body_unverified") // Not a code of the department and no evidence given. Params: code.
	ErrSelectionEmpty  = service.Refuse(service.Unprocessable, "catalog.selection_empty") // No row in quarantine is selected that a code could repair.
	ErrNoRepair        = service.Refuse(service.NotFound, "catalog.no_repair")            //
	ErrRepairUndone    = service.Refuse(service.Conflict, "catalog.repair_undone")        // It is undone already.
	ErrRepairChanged   = service.Refuse(service.Conflict, "catalog.repair_changed")       // Rows changed since. Params: rows.
	ErrRepairReleased  = service.Refuse(service.Conflict, "catalog.repair_released")      // Rows are items now: TakeBack says to take them back. Params: rows.
	ErrRepairInUse     = service.Refuse(service.Conflict, "catalog.repair_in_use")        // Cases refer to the items. Params: items.
	ErrNothingToDo     = service.Refuse(service.Conflict, "catalog.nothing_to_release")   // Every row of the repair is released or cannot be.
	ErrEvidenceInvalid = service.Refuse(service.Invalid, "catalog.evidence_long")         // Params: max.
)

// Selection says which rows a repair is for. All given conditions hold; at least one is
// given.
type Selection struct {
	Kind  Kind    `json:"kind,omitempty"`  // Rows with this reason.
	Kinds string  `json:"kinds,omitempty"` // Rows with exactly these reasons, as a Group says.
	Body  *string `json:"body,omitempty"`  // Rows with this wrong code, "" for none at all.
	IDs   []int64 `json:"ids,omitempty"`
}

func (s Selection) empty() bool {
	return s.Kind == "" && s.Kinds == "" && s.Body == nil && len(s.IDs) == 0
}

// Warning is something to look at before a repair is applied. Message "catalog.warning.<it>".
type Warning string

// Warnings of a change.
const (
	WarnUnlike  Warning = "unlike"  // The replacement does not resemble what it replaces.
	WarnTaken   Warning = "taken"   // A published item has the new code: this row cannot be released.
	WarnNoParts Warning = "noparts" // The item code follows no known scheme: it keeps its text, only the body's code is set.
)

// Change is what a repair does to a row.
type Change struct {
	Row      int64     `json:"row"`
	Line     int       `json:"line"`
	Name     string    `json:"name"`
	OldBody  string    `json:"old_body"`
	NewBody  string    `json:"new_body"`
	OldCode  string    `json:"old_code"`
	NewCode  string    `json:"new_code"`
	Warnings []Warning `json:"warnings,omitempty"`
}

// Preview is what a repair would do.
type Preview struct {
	Code      string    `json:"code"`
	Verified  bool      `json:"verified"` // The department has this code; else evidence is needed.
	Selection Selection `json:"selection"`
	Rows      []Change  `json:"rows"`
	Skipped   int       `json:"skipped"`  // Selected rows that a body code does not repair.
	Rest      int       `json:"rest"`     // Selected rows beyond the 100 that one repair takes: repair again.
	Warnings  int       `json:"warnings"` // Rows with a warning.

	revs map[int64]int64
}

// PreviewRepair returns what the repair would do, changing nothing. It returns
// ErrBodyInvalid or ErrSelectionEmpty.
func PreviewRepair(q service.Querier, s Selection, code string) (Preview, error) {
	code = strings.ToUpper(strings.TrimSpace(code))
	p := Preview{Code: code, Selection: s, revs: map[int64]int64{}}
	if !uscc.Valid(code) {
		return p, ErrBodyInvalid.With("code", code)
	}
	bodies, err := ReadBodies(q)
	if err != nil {
		return p, err
	}
	p.Verified = slices.ContainsFunc(bodies, func(b Body) bool { return b.Code == code })
	rows, err := selectRows(q, s)
	if err != nil {
		return p, err
	}
	for i := range rows {
		if !rows[i].repairable() {
			p.Skipped++
			continue
		}
		if len(p.Rows) == maxRepair {
			p.Rest++
			continue
		}
		c, err := changeOf(q, &rows[i], code)
		if err != nil {
			return p, err
		}
		if len(c.Warnings) > 0 {
			p.Warnings++
		}
		p.Rows = append(p.Rows, c)
		p.revs[c.Row] = rows[i].rev
	}
	if len(p.Rows) == 0 {
		return p, ErrSelectionEmpty
	}
	return p, nil
}

func selectRows(q service.Querier, s Selection) ([]Quarantined, error) {
	if s.empty() {
		return nil, nil
	}
	var out []Quarantined
	where, args := `state = 'quarantined'`, []any{}
	if s.Kinds != "" {
		where, args = where+` AND kinds = ?`, append(args, s.Kinds)
	}
	if s.Body != nil {
		where, args = where+` AND body_code = ?`, append(args, *s.Body)
	}
	err := each(q, func(rows *replication.Rows) error {
		r, err := scanQuarantined(rows)
		if err == nil && (s.Kind == "" || hasKind(r.Reasons, s.Kind)) && (len(s.IDs) == 0 || slices.Contains(s.IDs, r.ID)) {
			out = append(out, r)
		}
		return err
	}, `SELECT `+quarantineColumns+` FROM catalog_quarantine WHERE `+where+` ORDER BY id`, args...)
	return out, err
}

func changeOf(q service.Querier, r *Quarantined, code string) (Change, error) {
	c := Change{Row: r.ID, Line: r.Line, Name: r.Name, OldBody: r.Body, NewBody: code, OldCode: r.Code, NewCode: r.Code}
	if rewritten, ok := Rewrite(r.Code, code); ok {
		c.NewCode = rewritten
	} else {
		c.Warnings = append(c.Warnings, WarnNoParts)
	}
	if s := suggest(r.Body, r.Code, []Body{{Code: code}}); s == nil || s.Why == WhyOnly {
		c.Warnings = append(c.Warnings, WarnUnlike)
	}
	taken, err := itemExists(q, c.NewCode)
	if taken {
		c.Warnings = append(c.Warnings, WarnTaken)
	}
	return c, err
}

func itemExists(q service.Querier, code string) (bool, error) {
	n := 0
	err := q.QueryRow(`SELECT count(*) FROM catalog_item WHERE code = ?`, code).Scan(&n)
	return n > 0, err
}

// Repair is a bulk repair that was applied.
type Repair struct {
	ID        int64      `json:"id"`
	Code      string     `json:"code"`
	Selection Selection  `json:"selection"`
	Rows      int        `json:"rows"`
	Released  int        `json:"released"` // Rows that are items now.
	State     string     `json:"state"`    // applied, released (all or some rows), undone
	Account   string     `json:"account"`
	At        time.Time  `json:"at"`
	UndoneBy  string     `json:"undone_by,omitempty"`
	Undone    *time.Time `json:"undone,omitempty"`
	Changes   []Change   `json:"changes,omitempty"`
	Held      []Change   `json:"held,omitempty"` // Rows that a release left, with the warning that says why.
}

// States of a repair.
const (
	repairApplied  = "applied"
	repairReleased = "released"
	repairUndone   = "undone"
)

// ApplyRepair gives the selected rows the code, keeping what undoes it. evidence vouches
// for a code that the department does not have yet; it is kept. Errors: those of
// PreviewRepair, ErrBodyUnverified, ErrEvidenceInvalid.
func ApplyRepair(tx *service.Tx, s Selection, code, evidence string, who service.Principal) (Repair, error) {
	p, err := PreviewRepair(tx, s, code)
	if err != nil {
		return Repair{}, err
	}
	evidence = clean(evidence)
	if !p.Verified {
		if evidence == "" {
			return Repair{}, ErrBodyUnverified.With("code", p.Code)
		}
		if err := AddBody(tx, p.Code, evidence, who); err != nil {
			return Repair{}, err
		}
	}
	id, err := tx.Next("catalog_repair")
	if err != nil {
		return Repair{}, err
	}
	selection, err := json.Marshal(s)
	if err != nil {
		return Repair{}, err
	}
	if err := tx.Exec(`INSERT INTO catalog_repair (id, code, selection, rows, released, state, account, at, undone_by)
		VALUES (?, ?, ?, ?, 0, ?, ?, ?, '')`, id, p.Code, string(selection), len(p.Rows), repairApplied, who.Account, tx.Now()); err != nil {
		return Repair{}, err
	}
	for _, c := range p.Rows {
		if err := tx.Exec(`INSERT INTO catalog_repair_row (repair, row, line, name, old_body, old_code, new_code, rev)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, id, c.Row, c.Line, c.Name, c.OldBody, c.OldCode, c.NewCode, p.revs[c.Row]); err != nil {
			return Repair{}, err
		}
		if err := tx.Exec(`UPDATE catalog_quarantine SET state = 'repaired', repair = ?, new_body = ?, new_code = ?, changed = ? WHERE id = ?`,
			id, p.Code, c.NewCode, tx.Now(), c.Row); err != nil {
			return Repair{}, err
		}
	}
	if err := publishCounts(tx); err != nil {
		return Repair{}, err
	}
	if err := recordRepair(tx, "catalog.repair_applied", id, len(p.Rows), who); err != nil {
		return Repair{}, err
	}
	return ReadRepair(tx, id)
}

// AddBody records that an operator vouches for a code of the department, with the
// evidence. Errors: ErrBodyInvalid, ErrEvidenceInvalid.
func AddBody(tx *service.Tx, code, evidence string, who service.Principal) error {
	if !uscc.Valid(code) {
		return ErrBodyInvalid.With("code", code)
	}
	if n := len([]rune(evidence)); n == 0 || n > maxEvidence {
		return ErrEvidenceInvalid.With("max", maxEvidence)
	}
	if err := tx.Exec(`INSERT INTO catalog_body (code, evidence, account, at) VALUES (?, ?, ?, ?)
		ON CONFLICT (code) DO UPDATE SET evidence = excluded.evidence, account = excluded.account, at = excluded.at`,
		code, evidence, who.Account, tx.Now()); err != nil {
		return err
	}
	return tx.Record(service.Event{What: "catalog.body_added", Subject: code, Who: who})
}

func recordRepair(tx *service.Tx, what string, id int64, rows int, who service.Principal) error {
	return tx.Record(service.Event{What: what, Subject: fmt.Sprint(id), Who: who, Detail: map[string]string{"rows": fmt.Sprint(rows)}})
}

// ReadRepair returns a repair with its changes, or ErrNoRepair.
func ReadRepair(q service.Querier, id int64) (Repair, error) {
	r, err := scanRepair(q.QueryRow(`SELECT `+repairColumns+` FROM catalog_repair WHERE id = ?`, id))
	if errors.Is(err, replication.ErrNoRows) {
		return r, ErrNoRepair
	}
	if err != nil {
		return r, err
	}
	err = each(q, func(rows *replication.Rows) error {
		c := Change{NewBody: r.Code}
		err := rows.Scan(&c.Row, &c.Line, &c.Name, &c.OldBody, &c.OldCode, &c.NewCode)
		r.Changes = append(r.Changes, c)
		return err
	}, `SELECT row, line, name, old_body, old_code, new_code FROM catalog_repair_row WHERE repair = ? ORDER BY row`, id)
	return r, err
}

const repairColumns = `id, code, selection, rows, released, state, account, at, undone_by, undone`

func scanRepair(row scanner) (Repair, error) {
	var r Repair
	var selection string
	err := row.Scan(&r.ID, &r.Code, &selection, &r.Rows, &r.Released, &r.State, &r.Account, &r.At, &r.UndoneBy, &r.Undone)
	if err == nil {
		err = json.Unmarshal([]byte(selection), &r.Selection)
	}
	return r, err
}

// ReadRepairs returns the department's repairs, newest first, at most maxHistory.
func ReadRepairs(q service.Querier) ([]Repair, error) {
	var out []Repair
	err := each(q, func(rows *replication.Rows) error {
		r, err := scanRepair(rows)
		out = append(out, r)
		return err
	}, `SELECT `+repairColumns+` FROM catalog_repair ORDER BY id DESC LIMIT ?`, maxHistory)
	return out, err
}

// maxHistory is how many repairs and imports the pages list.
const maxHistory = 100
