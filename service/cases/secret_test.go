package cases

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"tongban/service"
	"tongban/service/servicetest"
)

func track(number, secret string) url.Values {
	return url.Values{"number": {number}, "secret": {secret}}
}

func TestACaseIsTrackedWithNumberAndSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	other1 := w.file(w.promised.Code)
	at := base + "/track/" + c.Number
	// From the division's form to the tenant's, without an address that holds the secret.
	led := w.must("POST /track", servicetest.Citizen(), track(strings.ToLower(c.Number), c.Secret))
	if led.Status != http.StatusTemporaryRedirect || led.Location != base+"/track" {
		t.Fatalf("led to %d %s", led.Status, led.Location)
	}
	entered := w.must("POST "+led.Location, servicetest.Citizen(), track(strings.ReplaceAll(c.Number, "-", " "), " "+strings.ToLower(c.Secret)))
	if entered.Location != at || strings.Contains(entered.Location, c.Secret) || len(entered.Cookies) != 1 {
		t.Fatalf("entered to %s with %v", entered.Location, entered.Cookies)
	}
	cookie := entered.Cookies[0]
	if !cookie.HttpOnly || cookie.Path != base+"/track" || cookie.SameSite != http.SameSiteLaxMode || strings.Contains(cookie.Value, c.Secret) {
		t.Errorf("cookie %v", cookie)
	}
	seen := servicetest.Text(t, w.must("GET "+at, servicetest.Citizen(), nil, cookie))
	for _, want := range []string{c.Number, w.promised.Name, "110***********002X", `"holder":"department"`} {
		if !strings.Contains(seen, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, not := range []string{personID, personName, personTel, c.Secret} {
		if strings.Contains(seen, not) {
			t.Errorf("the page holds %q", not)
		}
	}
	w.refused("cases.ask_secret", "GET "+at, servicetest.Citizen(), nil)
	w.refused("cases.ask_secret", "GET "+base+"/track/"+other1.Number, servicetest.Citizen(), nil, cookie)
	w.must("POST "+base+"/track/leave", servicetest.Citizen(), nil, cookie)
	w.refused("cases.ask_secret", "GET "+at, servicetest.Citizen(), nil, cookie)
	w.Clock.Advance(visitLife + time.Second)
	w.refused("cases.ask_secret", "GET "+at, servicetest.Citizen(), nil, c.cookies...)
}

func TestTheReceiptShowsTheSecretToTheBrowserThatApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	at := "GET " + base + "/track/" + c.Number + "/receipt"
	if seen := servicetest.Text(t, w.must(at, servicetest.Citizen(), nil, c.cookies...)); !strings.Contains(seen, c.Secret) {
		t.Errorf("the receipt lacks the secret: %s", seen)
	}
	if seen := servicetest.Text(t, w.must(at, servicetest.Citizen(), nil, c.cookies[0])); strings.Contains(seen, c.Secret) {
		t.Errorf("the secret is shown without its cookie")
	}
	w.refused("cases.ask_secret", at, servicetest.Citizen(), nil, c.cookies[1])
	if c.cookies[1].MaxAge != int(receiptLife/time.Second) || !strings.HasSuffix(c.cookies[1].Path, "/receipt") {
		t.Errorf("cookie %v", c.cookies[1])
	}
}

func TestAWrongSecretAndAWrongNumberHaveOneAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	n, _ := ParseNumber(c.Number)
	n.Sequence = 4711
	nobody := n.String()
	n.Tenant = 777
	noTenant := n.String()
	var answers []string
	for _, try := range []url.Values{track(c.Number, "WRONGONE"), track(c.Number, ""), track(nobody, c.Secret)} {
		r := w.refused("cases.no_such_case", "POST "+base+"/track", servicetest.Citizen(), try)
		answers = append(answers, r.Page+servicetest.Text(t, r))
	}
	r := w.refused("cases.no_such_case", "POST /track", servicetest.Citizen(), track(noTenant, c.Secret))
	if r.Page != "cases/find" || answers[0] != answers[1] || answers[0] != answers[2] {
		t.Errorf("answers %q, and %s", answers, r.Page)
	}
	w.refused("cases.no_such_case", "POST /t/"+other+"/track", servicetest.Citizen(), track(c.Number, c.Secret))
	w.refused("cases.bad_number", "POST /track", servicetest.Citizen(), track(c.Number[:30]+"?", c.Secret))
	w.refused("cases.bad_number", "POST "+base+"/track", servicetest.Citizen(), track("", ""))
}

func TestGuessingIsSlowedDownPerNumberAndLocksNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, d := w.file(w.promised.Code), w.file(w.promised.Code)
	n, _ := ParseNumber(c.Number)
	n.Sequence = 4711
	applicant := servicetest.Call{Do: "POST " + base + "/track", Body: track(c.Number, c.Secret), Source: "198.51.100.4"}
	for _, number := range []string{c.Number, n.String()} { // Whether anybody has it or not.
		for range freeGuesses {
			w.refused("cases.no_such_case", "POST "+base+"/track", servicetest.Citizen(), track(number, "WRONGONE"))
		}
		w.refused("cases.slow_down", "POST "+base+"/track", servicetest.Citizen(), track(number, c.Secret))
	}
	w.must("POST "+base+"/track", servicetest.Citizen(), track(d.Number, d.Secret)) // Another number is not slowed.
	// Somebody who guesses without a pause gets one try a minute at last …
	tried := 0
	for range 600 {
		w.Clock.Advance(time.Second)
		_, err := w.Do(servicetest.Call{Do: "POST " + base + "/track", Body: track(c.Number, "WRONGONE")})
		if servicetest.Reason(err) == "cases.no_such_case" {
			tried++
		}
	}
	if tried < 10 || tried > 17 {
		t.Errorf("%d guesses in ten minutes", tried)
	}
	// … and the applicant, who is elsewhere, gets in at any moment; here, within a minute.
	if _, err := w.Do(applicant); err != nil {
		t.Errorf("the applicant is kept out by what others guess: %v", err)
	}
	w.Clock.Advance(maxGuessWait)
	w.must("POST "+base+"/track", servicetest.Citizen(), track(c.Number, c.Secret))
	w.Clock.Advance(guessWindow + time.Second)
	w.refused("cases.no_such_case", "POST "+base+"/track", servicetest.Citizen(), track(c.Number, "WRONGONE"))
	if n := w.Count(w.db(), `SELECT count(*) FROM cases_guess`); n != 2 {
		t.Errorf("%d rows of guesses are kept, want those of the number and of its source", n)
	}
}

func TestGuessesOfManyNetworksTogetherAreSlowedDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	tried := 0
	for i := range 2 * freeOfAll { // A network for each.
		_, err := w.Do(servicetest.Call{Do: "POST " + base + "/track", Body: track(c.Number, "WRONGONE"), Source: fmt.Sprintf("2001:db8:0:%x::/64", i)})
		if servicetest.Reason(err) == "cases.no_such_case" {
			tried++
		}
	}
	if tried != freeOfAll {
		t.Errorf("%d guesses of as many networks were taken at once, want %d", tried, freeOfAll)
	}
}

func TestLeavingKeepsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	count := func() int {
		return w.Count(w.db(), `SELECT (SELECT count(*) FROM service_request) + (SELECT count(*) FROM audit_event)`)
	}
	n, err := ParseNumber(w.file(w.promised.Code).Number)
	if err != nil {
		t.Fatal(err)
	}
	n.Sequence = 17
	before := count()
	for range 3 {
		w.must("POST "+base+"/track/leave", servicetest.Citizen(), nil)
		w.must("POST "+base+"/track/leave", servicetest.Citizen(), nil, &http.Cookie{Name: visitCookie, Value: "made up"})
		w.refused("cases.ask_secret", "POST "+base+"/track/"+n.String()+"/withdraw", servicetest.Citizen(), url.Values{"version": {"1"}, "why": {"x"}})
	}
	if n := count(); n != before {
		t.Errorf("%d rows were left by calls that changed nothing", n-before)
	}
}

func TestSecretsAreReadAsPeopleType(t *testing.T) {
	for typed, want := range map[string]string{"ab12-cd34": "AB12CD34", " ＡＢ１２ cd34 ": "AB12CD34", "oil00000": "01100000", strings.Repeat("x", 200): ""} {
		if got := normalSecret(typed); got != want {
			t.Errorf("%q is read as %q", typed, got)
		}
	}
	seen := map[string]bool{}
	for range 1000 {
		s := newSecret()
		if normalSecret(s) != s || len(s) != secretLength {
			t.Fatalf("the secret %q is read otherwise", s)
		}
		seen[s] = true
	}
	if len(seen) != 1000 {
		t.Errorf("only %d secrets differ", len(seen))
	}
}

func TestARestoredDatabaseNeverUsesANumberAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := w.file(w.promised.Code)
	w.Update(w.db(), func(tx *service.Tx) error { // What a restore of a backup from before the case does.
		for _, sql := range []string{`DELETE FROM cases_case`, `DELETE FROM cases_event`, `DELETE FROM cases_material`, `DELETE FROM service_sequence WHERE name GLOB 'cases.*'`,
			`INSERT OR REPLACE INTO service_meta (key, value) VALUES ('epoch', '01JD5')`} {
			if err := tx.Exec(sql); err != nil {
				return err
			}
		}
		return nil
	})
	b := w.file(w.promised.Code)
	na, _ := ParseNumber(a.Number)
	nb, _ := ParseNumber(b.Number)
	if na.Epoch == nb.Epoch || nb.Epoch != epochMark("01JD5") || a.Number == b.Number || na.Sequence != nb.Sequence {
		t.Errorf("%s, then %s", a.Number, b.Number)
	}
}
