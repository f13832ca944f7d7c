package cases

import (
	"strings"
	"testing"
	"time"

	"tongban/division/calendar"
	"tongban/service"
	"tongban/service/servicetest"
)

func TestFiveWorkingDaysOfSilenceAreAcceptance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cal := calendar.Default()
	var silent []filed
	for range batch + 5 { // More than one transaction of the worker.
		silent = append(silent, w.file(w.promised.Code))
	}
	asked, received := w.file(w.promised.Code), w.file(w.promised.Code)
	w.do(asked.Number, Correct, nil)
	w.do(received.Number, Receive, nil) // Receiving is no answer: the clock runs on.
	submitted := w.Clock.Now()
	end := cal.AddWorkdays(submitted, JudgeDays)

	w.Clock.Set(end)
	w.Work("silence", home)
	if c := w.read(silent[0].Number); c.State != Submitted {
		t.Fatalf("in the last moment of the fifth day the case is %s", c.State)
	}
	w.Clock.Set(end.Add(time.Second))
	// From now on nobody can refuse, even before the worker has written it down.
	w.refused("cases.silence_accepted", "POST "+base+"/cases/"+silent[0].Number+"/refuse", servicetest.Officer(home), w.form(silent[0].Number, Refuse, nil))
	w.refused("cases.silence_accepted", "POST "+base+"/cases/"+silent[0].Number+"/correct", servicetest.Officer(home), w.form(silent[0].Number, Correct, nil))
	w.do(silent[1].Number, Accept, nil) // Comes late and finds it accepted.
	old := w.form(silent[0].Number, Accept, nil)
	w.Work("silence", home)
	events := w.Count(w.db(), `SELECT count(*) FROM cases_event`)
	w.Work("silence", home)
	if again := w.Count(w.db(), `SELECT count(*) FROM cases_event`); again != events {
		t.Errorf("a second run made %d more events", again-events)
	}
	for _, f := range append(silent, received) {
		c := w.read(f.Number)
		if c.State != Accepted || !c.Silent || !c.Accepted.Equal(c.Submitted) {
			t.Fatalf("%s is %s, silent %v, accepted %v; submitted %v", f.Number, c.State, c.Silent, c.Accepted, c.Submitted)
		}
		if k := c.Clocks(cal, w.Clock.Now()); !k.Statutory.At.Equal(cal.AddWorkdays(submitted, c.StatutoryDays)) {
			t.Fatalf("the statutory limit ends at %v", k.Statutory.At)
		}
	}
	if c := w.read(silent[0].Number); c.Version != 2 || c.Events[1].Who != Program || c.Events[1].Account != "worker:cases" {
		t.Errorf("the event is %+v", c.Events[1])
	}
	if c := w.read(asked.Number); c.State != Correction {
		t.Errorf("a case that waits for its applicant is %s", c.State)
	}
	w.refused("cases.stale", "POST "+base+"/cases/"+silent[0].Number+"/accept", servicetest.Officer(home), old)
	if events := strings.Join(w.Events(w.db()), "\n"); strings.Count(events, "cases.accepted_by_silence") != batch+5 {
		t.Errorf("the audit has %d acceptances by silence", strings.Count(events, "cases.accepted_by_silence"))
	}
	if seen := servicetest.Text(t, w.must("POST "+base+"/track", servicetest.Citizen(), track(silent[0].Number, silent[0].Secret))); !strings.Contains(seen, `"silent":true`) {
		t.Errorf("the applicant is not told: %s", seen)
	}
	if r := w.verify(); !r.OK() {
		t.Errorf("verify: %+v", r)
	}
}

func TestSilenceAfterACorrectionIsAcceptanceOnTheDayItCame(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	w.do(c.Number, Correct, nil)
	w.Clock.Advance(20 * 24 * time.Hour)
	w.Work("silence", home)
	w.must("POST "+base+"/track", servicetest.Citizen(), track(c.Number, c.Secret))
	r := w.must("POST "+base+"/track", servicetest.Citizen(), track(c.Number, c.Secret))
	w.must("POST "+base+"/track/"+c.Number+"/correction", servicetest.Citizen(), map[string]any{"version": 2, "text": "已补"}, r.Cookies...)
	came := w.Clock.Now()
	w.Work("silence", home)
	if got := w.read(c.Number); got.State != Resubmitted {
		t.Fatalf("right after the correction the case is %s", got.State)
	}
	w.Clock.Advance(14 * 24 * time.Hour)
	w.Work("silence", home)
	if got := w.read(c.Number); got.State != Accepted || !got.Accepted.Equal(got.Received) || got.Received.Sub(came).Abs() > time.Second {
		t.Errorf("%s, accepted %v, came %v", got.State, got.Accepted, came)
	}
}

func TestProvisionalDeadlinesAreCountedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.Clock.Set(day("2026-12-29 10:00"))
	c := w.file(w.promised.Code)
	due := func() (at time.Time, provisional bool) {
		w.View(w.db(), func(v *service.View) error {
			return v.QueryRow(`SELECT due, provisional FROM cases_case WHERE number = ?`, c.Number).Scan(&at, &provisional)
		})
		return at, provisional
	}
	w.Work("silence", home)
	want, provisional := due()
	if !provisional {
		t.Fatalf("a deadline on %v is not provisional", want)
	}
	w.Update(w.db(), func(tx *service.Tx) error { // As a program wrote it that knew another calendar.
		if err := tx.Exec(`UPDATE cases_calendar SET until = until - 1`); err != nil {
			return err
		}
		return tx.Exec(`UPDATE cases_case SET due = ?`, want.AddDate(0, 0, 3))
	})
	w.Work("silence", home)
	if got, _ := due(); !got.Equal(want) {
		t.Errorf("due %v, want %v", got, want)
	}
}
