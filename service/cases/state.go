package cases

import (
	"slices"

	"tongban/service"
)

// State is where a case stands.
type State string

// States. Their messages are "cases.state.<state>".
const (
	None        State = ""           // There is no case yet.
	Submitted   State = "submitted"  // 已提交
	Received    State = "received"   // 收件: looked at, complete enough to be judged (预审通过).
	Correction  State = "correction" // 补正告知: waits for the applicant.
	Resubmitted State = "resubmitted"
	Accepted    State = "accepted" // 受理; an instant item's case is then to be closed (待办结).
	Review      State = "review"   // 审查
	Special     State = "special"  // 特别程序: the clocks stand.
	Paused      State = "paused"   // 暂停: the clocks run on.
	Granted     State = "granted"  // 准予
	Denied      State = "denied"   // 不予
	Closed      State = "closed"   // 办结
	Delivered   State = "delivered"
	Archived    State = "archived"  // End.
	Refused     State = "refused"   // 不予受理. End.
	Withdrawn   State = "withdrawn" // 撤回. End.
	Void        State = "void"      // 作废. End.
)

// States are all of them, in the order in which a case meets them.
var states = []State{Submitted, Received, Correction, Resubmitted, Accepted, Review, Special, Paused,
	Granted, Denied, Closed, Delivered, Archived, Refused, Withdrawn, Void}

// Final reports whether nothing can happen to the case any more.
func (s State) Final() bool { return slices.Contains(finals, s) }

var (
	finals = []State{Archived, Refused, Withdrawn, Void}
	// judging: the department must say within five working days what it does.
	judging = []State{Submitted, Received, Resubmitted}
	// handling: the promise and the statutory clock count, unless stopped.
	handling = []State{Accepted, Review, Special, Paused}
	// decided: the result must be delivered.
	decided = []State{Granted, Denied, Closed}
	// stopping are the only states in which the clocks stand (art. 45).
	stopping = []State{Special}
)

// Action is what can be done to a case.
type Action string

// Actions. Their messages are "cases.do.<action>" and, as events, "cases.event.<action>".
const (
	Submit   Action = "submit"
	Receive  Action = "receive"
	Correct  Action = "correct" // Ask for corrections, once and completely (art. 32).
	Resubmit Action = "resubmit"
	Accept   Action = "accept"
	Silence  Action = "silence" // Five working days passed: accepted (art. 32).
	Refuse   Action = "refuse"
	Begin    Action = "review"
	Stop     Action = "special" // Begin a special procedure (art. 45).
	Resume   Action = "resume"  // End it.
	Pause    Action = "pause"
	Continue Action = "continue"
	Extend   Action = "extend" // Ten more working days, once (art. 42).
	Grant    Action = "grant"
	Deny     Action = "deny"
	Close    Action = "close"
	Deliver  Action = "deliver"
	Archive  Action = "archive"
	Withdraw Action = "withdraw"
	Annul    Action = "void"
)

// Who acts.
type Who string

// Those who act on a case.
const (
	Applicant Who = "applicant"
	Officer   Who = "officer"
	Head      Who = "head"   // Of the department: the tenant's administrator.
	Program   Who = "system" // The worker.
)

// Move is one line of the table. Instant says for which items it holds: nil for all.
type Move struct {
	From    State
	Action  Action
	To      State
	Who     Who
	Instant *bool
}

// Needs is what an action must come with.
type Needs struct {
	Text bool     `json:"text,omitempty"` // Reasons, a notice, a result: what the applicant reads.
	Code []string `json:"code,omitempty"` // One of these.
	Days bool     `json:"days,omitempty"` // How many working days it will take.
}

// needs of the actions; an action that is not here needs nothing. The codes of a refusal
// are the grounds of the Administrative Licensing Law, arts. 32, 78 and 79; those of a
// special procedure are the cases of art. 45.
var needs = map[Action]Needs{
	Correct:  {Text: true},
	Resubmit: {Text: true},
	Refuse:   {Text: true, Code: []string{"not_needed", "not_competent", "not_corrected", "false_material", "barred"}},
	Stop: {Text: true, Days: true,
		Code: []string{"hearing", "tender", "auction", "inspection", "test", "quarantine", "expert"}},
	Pause:   {Text: true},
	Extend:  {Text: true},
	Grant:   {Text: true},
	Deny:    {Text: true},
	Deliver: {Code: []string{"window", "post", "online"}},
	Annul:   {Text: true},
}

// NeedsOf returns what the action must come with.
func NeedsOf(a Action) Needs { return needs[a] }

// table is everything that can happen, and nothing else can.
var table = makeTable()

// Table returns the state machine, line by line.
func Table() []Move { return slices.Clone(table) }

func makeTable() []Move {
	yes, no := true, false
	var out []Move
	add := func(who Who, a Action, to State, only *bool, from ...State) {
		for _, f := range from {
			out = append(out, Move{From: f, Action: a, To: to, Who: who, Instant: only})
		}
	}
	add(Applicant, Submit, Submitted, nil, None)
	add(Officer, Receive, Received, nil, Submitted)
	add(Officer, Correct, Correction, nil, Submitted, Received)
	add(Applicant, Resubmit, Resubmitted, nil, Correction)
	add(Officer, Accept, Accepted, nil, judging...)
	add(Program, Silence, Accepted, nil, judging...)
	add(Officer, Refuse, Refused, nil, judging...)
	add(Officer, Begin, Review, &no, Accepted)
	add(Officer, Stop, Special, nil, Review)
	add(Officer, Resume, Review, nil, Special)
	add(Officer, Pause, Paused, nil, Review)
	add(Officer, Continue, Review, nil, Paused)
	for _, s := range []State{Accepted, Review, Paused} {
		add(Head, Extend, s, nil, s)
	}
	add(Officer, Grant, Granted, &yes, Accepted)
	add(Officer, Deny, Denied, &yes, Accepted)
	add(Officer, Grant, Granted, nil, Review)
	add(Officer, Deny, Denied, nil, Review)
	add(Officer, Close, Closed, nil, Granted, Denied)
	add(Officer, Deliver, Delivered, nil, Closed)
	add(Officer, Archive, Archived, nil, Delivered)
	add(Applicant, Withdraw, Withdrawn, nil, append([]State{Submitted, Received, Correction, Resubmitted}, handling...)...)
	add(Officer, Annul, Void, nil, append([]State{Submitted, Received, Correction, Resubmitted}, handling...)...)
	return out
}

// find returns the line of the table.
func find(from State, a Action, who Who, instant bool) (Move, bool) {
	for _, m := range table {
		if m.From == from && m.Action == a && m.Who == who && (m.Instant == nil || *m.Instant == instant) {
			return m, true
		}
	}
	return Move{}, false
}

// possible reports whether the table has such a line for anybody.
func possible(from State, a Action, to State) bool {
	return slices.ContainsFunc(table, func(m Move) bool { return m.From == from && m.Action == a && m.To == to })
}

// Refusals of moves.
var (
	ErrNotNow        = service.Refuse(service.Conflict, "cases.not_now")
	ErrStale         = service.Refuse(service.Conflict, "cases.stale")
	ErrCorrectedOnce = service.Refuse(service.Conflict, "cases.corrected_once")
	ErrExtendedOnce  = service.Refuse(service.Conflict, "cases.extended_once")
	ErrSilence       = service.Refuse(service.Conflict, "cases.silence_accepted")
	ErrNotCorrected  = service.Refuse(service.Conflict, "cases.not_corrected_first")
)
