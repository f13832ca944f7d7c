package cases

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"tongban/division/calendar"
	"tongban/service"
	"tongban/service/servicetest"
)

var actions = []Action{Receive, Correct, Resubmit, Accept, Silence, Refuse, Begin, Stop, Resume, Pause, Continue, Extend,
	Grant, Deny, Close, Deliver, Archive, Withdraw, Annul}

// path returns the shortest way along the table from submission to the state.
func path(to State, instant bool) []Move {
	from := map[State][]Move{Submitted: {}}
	for queue := []State{Submitted}; len(queue) > 0; queue = queue[1:] {
		for _, m := range Table() {
			if m.From != queue[0] || m.Who == Program || m.Instant != nil && *m.Instant != instant {
				continue
			}
			if _, seen := from[m.To]; !seen {
				from[m.To] = append(slices.Clone(from[m.From]), m)
				queue = append(queue, m.To)
			}
		}
	}
	if _, ok := from[to]; !ok {
		return nil
	}
	return from[to]
}

func actOf(m Move, version int) Act {
	n := NeedsOf(m.Action)
	a := Act{Action: m.Action, Version: version, by: by{service.Principal{Kind: service.Staff, Account: "a1"}, m.Who}}
	if n.Text {
		a.Text = "文字"
	}
	if len(n.Code) > 0 {
		a.Code = n.Code[0]
	}
	if n.Days {
		a.Days = 5
	}
	return a
}

// at brings a new case into the state.
func (w *world) at(s State, instant bool) (Case, bool) {
	w.tb.Helper()
	way := path(s, instant)
	if way == nil {
		return Case{}, false
	}
	code := w.promised.Code
	if instant {
		code = w.instant.Code
	}
	number := w.file(code).Number
	for _, m := range way {
		w.Update(w.db(), func(tx *service.Tx) error {
			c, err := readWhere(tx, `number = ?`, number)
			if err != nil {
				return err
			}
			_, err = act(tx, calendar.Default(), number, actOf(m, c.Version))
			return err
		})
	}
	c := w.read(number)
	if c.State != s {
		w.tb.Fatalf("the way to %s leads to %s", s, c.State)
	}
	return c, true
}

var errUndo = errors.New("undo")

func TestTheTableAndNothingElseCanHappen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	never := []string{}
	for _, instant := range []bool{false, true} {
		for _, s := range states {
			c, reachable := w.at(s, instant)
			if !reachable {
				never = append(never, fmt.Sprintf("%s %v", s, instant))
				continue
			}
			for _, a := range actions {
				for _, who := range []Who{Applicant, Officer, Head, Program} {
					m, want := find(s, a, who, instant)
					want = want && a != Silence // Its time has not come.
					if !want {
						m = Move{From: s, Action: a, Who: who}
					}
					var got Case
					err := w.db().Update(t.Context(), func(tx *service.Tx) (err error) {
						if got, err = act(tx, calendar.Default(), c.Number, actOf(m, c.Version)); err != nil {
							return err
						}
						return errUndo
					})
					switch {
					case want && (!errors.Is(err, errUndo) || got.State != m.To || got.Version != c.Version+1):
						t.Errorf("%s (instant %v): %s by %s: %v, now %s; want %s", s, instant, a, who, err, got.State, m.To)
					case !want && service.AsError(err).Code != service.Conflict:
						t.Errorf("%s (instant %v): %s by %s is not refused: %v", s, instant, a, who, err)
					}
				}
			}
		}
	}
	// An instant item is not reviewed.
	if want := []string{"review true", "special true", "paused true"}; !slices.Equal(never, want) {
		t.Errorf("never reached: %v, want %v", never, want)
	}
	if r := w.verify(); !r.OK() {
		t.Errorf("verify: %+v", r)
	}
}

func TestEveryForbiddenMoveIsRefusedAtItsRouteAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, s := range states {
		c, _ := w.at(s, false)
		for _, a := range staffActions() {
			if _, ok := find(s, a.action, a.who, false); ok {
				continue
			}
			who := servicetest.Officer(home)
			if a.who == Head {
				who = servicetest.TenantAdmin(home)
			}
			r, err := w.Do(servicetest.Call{Do: "POST " + base + "/cases/" + c.Number + "/" + string(a.action), As: who,
				Body: w.form(c.Number, a.action, nil)})
			if service.AsError(err).Code != service.Conflict || r.Page != "cases/stale" {
				t.Errorf("%s in %s: %v, page %q", a.action, s, err, r.Page)
			}
			if got := w.read(c.Number); got.Version != c.Version || got.State != s {
				t.Fatalf("%s in %s changed the case to %s", a.action, s, got.State)
			}
		}
	}
}

func TestEveryStateIsReachedAndEveryEndIsAnEnd(t *testing.T) {
	for _, s := range states {
		if path(s, false) == nil && s != Submitted {
			t.Errorf("%s is never reached", s)
		}
		leaves := slices.ContainsFunc(Table(), func(m Move) bool { return m.From == s })
		if leaves == s.Final() {
			t.Errorf("%s: final %v, can be left %v", s, s.Final(), leaves)
		}
	}
	for _, m := range Table() {
		if m.From != None && !slices.Contains(states, m.From) || !slices.Contains(states, m.To) {
			t.Errorf("%+v names no state", m)
		}
		if verbOf[m.Action] == "" {
			t.Errorf("%s has no word in the audit", m.Action)
		}
	}
}
