package cases

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"tongban/division/calendar"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/statistics"
)

// Application is what a citizen applies with. It is personal data.
type Application struct {
	Person
	Item      string   `json:"-"`                   // Code of the item.
	Materials []string `json:"materials,omitempty"` // Names of those that the applicant has.
	Note      string   `json:"note,omitempty"`
	Truth     bool     `json:"truth"` // The applicant confirms that all of it is true.
}

// check returns what is wrong with a normal application, nil for nothing.
func (a Application) check(now time.Time) *service.Error {
	wrong := a.Person.check(now)
	if wrong == nil {
		wrong = service.ErrInvalid
	}
	if utf8.RuneCountInString(a.Note) > maxText {
		wrong = wrong.Field("note", "cases.too_long").With("max", maxText)
	}
	if !a.Truth {
		wrong = wrong.Field("truth", "cases.truth_missing")
	}
	if len(wrong.Fields) == 0 {
		return nil
	}
	return wrong
}

// by is who acts, and for which line of the table.
type by struct {
	service.Principal
	who Who
}

// apply makes a case of an application that was checked. secret is the hash of the case's
// secret. Refusals: catalog.ErrNoItem, ErrDayFull.
func apply(tx *service.Tx, cal calendar.Calendar, division string, tenant service.Tenant, a Application, secret func(number string) []byte, who by) (Case, error) {
	item, err := catalog.ReadItem(tx, a.Item)
	if err != nil {
		return Case{}, err
	}
	if err := catalog.Refer(tx, item.Code); err != nil {
		return Case{}, err
	}
	number, err := nextNumber(tx, division, tenant.Number)
	if err != nil {
		return Case{}, err
	}
	c := Case{Number: number.String(), Item: item.Code, ItemName: item.Name, Instant: item.Guide.Instant, Applicant: a.Person,
		Note: a.Note, Submitted: tx.Now(), Received: tx.Now(), Materials: materialsOf(item, a.Materials)}
	c.StatutoryDays, c.PromiseDays = limitsOf(item.Guide.Statutory, item.Guide.Promise, item.Guide.Instant)
	c.secret = secret(c.Number)
	if err := insert(tx, &c); err != nil {
		return c, fmt.Errorf("write case %s: %w", c.Number, err)
	}
	content, err := contentSum(c)
	if err != nil {
		return c, err
	}
	return c, c.move(tx, cal, Move{None, Submit, Submitted, Applicant, nil}, Act{Action: Submit, by: who}, content)
}

func materialsOf(item catalog.Item, given []string) []Material {
	var out []Material
	if item.Guide.Materials == nil {
		return nil
	}
	for _, m := range *item.Guide.Materials {
		out = append(out, Material{Name: m.Name, Kind: m.Kind, Required: m.Required, Shared: m.Shared,
			Given: !m.Shared && slices.Contains(given, m.Name)})
	}
	return out
}

func insert(tx *service.Tx, c *Case) error {
	p := c.Applicant
	r, err := tx.ExecResult(`INSERT INTO cases_case (number, secret, item, item_name, instant, statutory, promise, extension, name,
		id_kind, id_number, phone, agent_name, agent_id, agent_phone, note, state, version, submitted, received, silent,
		corrected, provisional) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, ?, ?, 0, 0, 0)`,
		c.Number, c.secret, c.Item, c.ItemName, c.Instant, c.StatutoryDays, c.PromiseDays, p.Name, p.IDKind, p.IDNumber, p.Phone,
		p.AgentName, p.AgentID, p.AgentPhone, c.Note, c.Submitted, c.Received)
	if err != nil {
		return err
	}
	c.ID = r.LastInsertID
	for i, m := range c.Materials {
		if err := tx.Exec(`INSERT INTO cases_material (case_id, seq, name, kind, required, shared, given)
			VALUES (?, ?, ?, ?, ?, ?, ?)`, c.ID, i+1, m.Name, m.Kind, m.Required, m.Shared, m.Given); err != nil {
			return err
		}
	}
	return nil
}

// Act is one thing that somebody does to a case.
type Act struct {
	Action  Action `json:"-"`
	Version int    `json:"version"` // Of the case that the actor has seen.
	Code    string `json:"code,omitempty"`
	Text    string `json:"text,omitempty"`
	Days    int    `json:"days,omitempty"`

	by by
}

// maxDays bounds how long a special procedure may be said to take, in working days.
const maxDays = 365

// check returns what is wrong with what the act says, nil for nothing.
func (a Act) check() *service.Error {
	n, wrong := NeedsOf(a.Action), service.ErrInvalid
	if n.Text && a.Text == "" {
		wrong = wrong.Field("text", "cases.text_missing")
	}
	if utf8.RuneCountInString(a.Text) > maxText {
		wrong = wrong.Field("text", "cases.too_long").With("max", maxText)
	}
	if len(n.Code) > 0 && !slices.Contains(n.Code, a.Code) {
		wrong = wrong.Field("code", "cases.code_missing")
	}
	if n.Days && (a.Days < 1 || a.Days > maxDays) {
		wrong = wrong.Field("days", "cases.bad_days").With("max", maxDays)
	}
	if a.Version < 1 {
		wrong = wrong.Field("version", "cases.version_missing")
	}
	if len(wrong.Fields) == 0 {
		return nil
	}
	return wrong
}

// act does it to the case with the number and returns the case as it is then. Refusals:
// those of check; service.ErrNotFound; ErrStale when the case is not what the actor has
// seen; ErrCorrectedOnce, ErrExtendedOnce, ErrSilence, ErrNotCorrected, ErrNotNow.
func act(tx *service.Tx, cal calendar.Calendar, number string, a Act) (Case, error) {
	if wrong := a.check(); wrong != nil {
		return Case{}, wrong
	}
	c, err := readWhere(tx, `number = ?`, number)
	if err != nil {
		return c, err
	}
	if c.Version != a.Version {
		return c, ErrStale
	}
	m, err := allowed(c, a, cal, tx.Now())
	if err != nil {
		return c, err
	}
	return c, c.move(tx, cal, m, a, "")
}

// allowed returns the line of the table by which the act can happen now.
func allowed(c Case, a Act, cal calendar.Calendar, now time.Time) (Move, error) {
	judge := c.Clocks(cal, now).Judge
	late := judge != nil && now.After(judge.At)
	switch {
	case a.Action == Correct && c.Corrected:
		return Move{}, ErrCorrectedOnce
	case a.Action == Extend && c.ExtensionDays > 0:
		return Move{}, ErrExtendedOnce
	case late && (a.Action == Correct || a.Action == Refuse):
		return Move{}, ErrSilence
	case a.Action == Silence && !late:
		return Move{}, ErrNotNow
	case a.Action == Refuse && a.Code == "not_corrected" && !c.Corrected:
		return Move{}, ErrNotCorrected
	}
	m, ok := find(c.State, a.Action, a.by.who, c.Instant)
	if !ok {
		return m, ErrNotNow
	}
	return m, nil
}

// move makes the move: event, case, stops, audit. It trusts its caller that it may.
func (c *Case) move(tx *service.Tx, cal calendar.Calendar, m Move, a Act, content string) error {
	now := tx.Now()
	judge := c.Clocks(cal, now).Judge
	first := c.Decided == nil && slices.Contains(decided, m.To)
	switch m.Action {
	case Correct:
		c.Corrected = true
	case Resubmit:
		c.Received = now
	case Accept, Silence:
		accepted := now
		if judge != nil && now.After(judge.At) { // Who comes late finds it accepted by law.
			accepted, c.Silent = c.Received, true
		}
		c.Accepted = &accepted
	case Extend:
		c.ExtensionDays = ExtensionDays
	case Grant, Deny:
		c.Decided = &now
	}
	c.State = m.To
	if err := c.moveStops(tx, m, a); err != nil {
		return err
	}
	e := Event{Action: m.Action, From: m.From, To: m.To, Who: m.Who, Account: a.by.Account, Name: a.by.Name,
		Code: a.Code, Text: a.Text, Days: a.Days, Content: content}
	if err := appendEvent(tx, c, e); err != nil {
		return err
	}
	if err := c.update(tx, cal); err != nil {
		return err
	}
	if err := c.count(tx, m, first); err != nil {
		return err
	}
	detail := map[string]string{"from": string(m.From), "to": string(m.To), "item": c.Item}
	if a.Code != "" {
		detail["code"] = a.Code
	}
	return tx.Record(service.Event{What: "cases." + verbOf[m.Action], Subject: c.Number, Who: a.by.Principal, Detail: detail})
}

// count counts an application when its case is made, and a decision when the case is
// granted, denied or, without either, closed for the first time.
func (c *Case) count(tx *service.Tx, m Move, decided bool) error {
	if m.Action == Submit {
		return tx.Count(statistics.Applications, c.Item, 1)
	}
	if decided {
		return tx.Count(statistics.Decisions, c.Item, 1)
	}
	return nil
}

// verbOf is the action as the audit writes it: done.
var verbOf = map[Action]string{Submit: "submitted", Receive: "received", Correct: "correction_requested",
	Resubmit: "resubmitted", Accept: "accepted", Silence: "accepted_by_silence", Refuse: "refused", Begin: "review_begun",
	Stop: "clock_stopped", Resume: "clock_resumed", Pause: "paused", Continue: "continued", Extend: "extended",
	Grant: "granted", Deny: "denied", Close: "closed", Deliver: "delivered", Archive: "archived", Withdraw: "withdrawn",
	Annul: "voided"}

// moveStops begins or ends a time in which the clocks stand.
func (c *Case) moveStops(tx *service.Tx, m Move, a Act) error {
	now := tx.Now()
	enters := slices.Contains(stopping, m.To) && m.From != m.To
	leaves := slices.Contains(stopping, m.From) && m.From != m.To
	switch {
	case enters:
		c.Stops = append(c.Stops, Stopped{From: now, Kind: a.Code, Days: a.Days})
		return tx.Exec(`INSERT INTO cases_stop (case_id, began, kind, days) VALUES (?, ?, ?, ?)`, c.ID, now, a.Code, a.Days)
	case leaves && len(c.Stops) > 0:
		c.Stops[len(c.Stops)-1].To = &now
		return tx.Exec(`UPDATE cases_stop SET ended = ? WHERE case_id = ? AND ended IS NULL`, now, c.ID)
	}
	return nil
}

// update writes what a move changes, with the deadline that follows from it.
func (c *Case) update(tx *service.Tx, cal calendar.Calendar) error {
	due, provisional := c.due(cal, tx.Now())
	err := tx.Exec(`UPDATE cases_case SET state = ?, version = ?, extension = ?, received = ?, accepted = ?, silent = ?,
		corrected = ?, decided = ?, due = ?, provisional = ? WHERE id = ?`, string(c.State), c.Version, c.ExtensionDays,
		c.Received, c.Accepted, c.Silent, c.Corrected, c.Decided, due, provisional, c.ID)
	if err != nil {
		return fmt.Errorf("write case %s: %w", c.Number, err)
	}
	return nil
}

// due is the end of what the department must do next; nil: it is not its turn, or the
// clock stands.
func (c Case) due(cal calendar.Calendar, now time.Time) (*time.Time, bool) {
	d := c.Clocks(cal, now).Next(c.ExtensionDays > 0)
	if d == nil || d.Stands {
		return nil, false
	}
	return &d.At, d.Provisional
}
