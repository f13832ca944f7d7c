package cases

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"tongban/division/calendar"
	"tongban/replication"
	"tongban/service"
)

func TestVerifyFindsWhatWasTamperedWith(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	for _, a := range []Action{Accept, Begin, Deny} {
		w.do(c.Number, a, nil)
	}
	if r := w.verify(); !r.OK() || r.Events != 4 {
		t.Fatalf("before: %+v", r)
	}
	for name, sql := range map[string]string{
		"a decision turned round":            `UPDATE cases_event SET to_state = 'granted', action = 'grant' WHERE seq = 4`,
		"a text changed":                     `UPDATE cases_event SET text = 'x' WHERE seq = 4`,
		"a time changed":                     `UPDATE cases_event SET at = at + 1 WHERE seq = 2`,
		"an actor changed":                   `UPDATE cases_event SET account = 'x' WHERE seq = 3`,
		"the last event taken away":          `DELETE FROM cases_event WHERE seq = 4`,
		"an event in the middle taken out":   `DELETE FROM cases_event WHERE seq = 2`,
		"all events taken away":              `DELETE FROM cases_event`,
		"the state changed":                  `UPDATE cases_case SET state = 'granted'`,
		"the applicant changed":              `UPDATE cases_case SET id_number = '440524188001010014'`,
		"a material ticked":                  `UPDATE cases_material SET given = 1 - given WHERE seq = 1`,
		"the case taken away":                `DELETE FROM cases_case`,
		"the case and its events taken away": `DELETE FROM cases_case`,
		"the number changed":                 `UPDATE cases_case SET number = '511602'`,
	} {
		err := w.db().Update(t.Context(), func(tx *service.Tx) error {
			r, err := tx.ExecResult(sql)
			if err != nil || r.RowsAffected == 0 {
				t.Errorf("%s: %d rows, %v", name, r.RowsAffected, err)
			}
			if strings.Contains(name, "and its events") {
				if err := tx.Exec(`DELETE FROM cases_event`); err != nil {
					return err
				}
			}
			report, err := Verify(tx)
			if err != nil || report.OK() {
				t.Errorf("%s: %+v, %v", name, report, err)
			}
			return errUndo
		})
		if !errors.Is(err, errUndo) {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

func TestVerifyFindsAnEventThatWasHashedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.file(w.promised.Code)
	w.do(f.Number, Refuse, nil)
	w.Update(w.db(), func(tx *service.Tx) error {
		c, err := ReadCase(tx, f.Number)
		if err != nil {
			return err
		}
		first := c.Events[0]
		first.At = first.At.AddDate(0, 0, 1)
		return tx.Exec(`UPDATE cases_event SET at = ?, hash = ? WHERE case_id = ? AND seq = 1`, first.At, first.sum(f.Number), c.ID)
	})
	if r := w.verify(); len(r.Faults) != 1 {
		t.Errorf("verify: %+v", r)
	}
}

func TestVerifyFindsAMoveThatIsNotInTheTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.file(w.promised.Code)
	w.Update(w.db(), func(tx *service.Tx) error { // Rightly hashed: by somebody with the program's own code.
		c, err := readWhere(tx, `number = ?`, f.Number)
		if err != nil {
			return err
		}
		c.State = Delivered
		if err := appendEvent(tx, &c, Event{Action: Deliver, From: Submitted, To: Delivered, Who: Officer}); err != nil {
			return err
		}
		return c.update(tx, calendar.Default())
	})
	if r := w.verify(); len(r.Faults) != 1 || r.Faults[0].Number != f.Number {
		t.Errorf("verify: %+v", r)
	}
}

func TestReceiptsAreStreamedInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want, got []string
	for range 3 {
		want = append(want, w.file(w.promised.Code).Number)
	}
	w.View(w.db(), func(v *service.View) error {
		return Receipts(v, func(n string) error {
			got = append(got, n)
			return nil
		})
	})
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	stop := errors.New("stop")
	err := w.db().View(t.Context(), replication.Local, func(v *service.View) error {
		return Receipts(v, func(string) error { return stop })
	})
	if !errors.Is(err, stop) {
		t.Errorf("the first error is %v", err)
	}
}
