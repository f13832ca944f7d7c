package cases

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tongban/division/calendar"
	"tongban/service"
	"tongban/service/servicetest"
)

func TestACaseFromApplicationToArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	if _, err := ParseNumber(c.Number); err != nil || len(c.Secret) != secretLength {
		t.Fatalf("receipt %+v", c.Receipt)
	}
	if !regexp.MustCompile(`^511602-001-20260302-[0-9A-Y]{3}-00001-[0-9A-Y]$`).MatchString(c.Number) {
		t.Errorf("number %s", c.Number)
	}
	for _, a := range []Action{Receive, Accept, Begin, Stop} {
		w.do(c.Number, a, nil)
	}
	before := w.read(c.Number).Clocks(calendar.Default(), w.Clock.Now()).Statutory
	w.Clock.Advance(7 * 24 * time.Hour)
	w.do(c.Number, Resume, nil)
	after := w.read(c.Number).Clocks(calendar.Default(), w.Clock.Now()).Statutory
	if before.Left != after.Left || !after.At.After(before.At) {
		t.Errorf("before the special procedure %+v, after a week of it %+v", before, after)
	}
	w.Clock.Advance(24 * time.Hour)
	if later := w.read(c.Number).Clocks(calendar.Default(), w.Clock.Now()).Statutory; after.Stands || later.Left != after.Left-1 || !later.At.Equal(after.At) {
		t.Errorf("after the special procedure %+v, a day later %+v", after, later)
	}
	for _, a := range []Action{Pause, Continue, Extend, Grant} {
		w.do(c.Number, a, nil)
	}
	k := w.read(c.Number).Clocks(calendar.Default(), w.Clock.Now())
	if k.Deliver == nil || !k.Deliver.At.Equal(calendar.Default().AddWorkdays(w.Clock.Now(), DeliverDays)) || k.Statutory != nil {
		t.Errorf("after the decision: %+v", k)
	}
	for _, a := range []Action{Close, Deliver, Archive} {
		w.do(c.Number, a, nil)
	}
	got := w.read(c.Number)
	if got.State != Archived || got.ExtensionDays != ExtensionDays || got.Version != 13 {
		t.Errorf("at the end %s, version %d, extended by %d", got.State, got.Version, got.ExtensionDays)
	}
	if r := w.verify(); !r.OK() || r.Cases != 1 || r.Events != 13 || r.Receipts != 1 {
		t.Errorf("verify: %+v", r)
	}
	events := strings.Join(w.Events(w.db()), "\n")
	for _, what := range []string{"cases.submitted", "cases.accepted", "cases.clock_stopped", "cases.extended", "cases.granted", "cases.archived"} {
		if !strings.Contains(events, what+" "+c.Number) {
			t.Errorf("the audit lacks %s", what)
		}
	}
}

func TestAnInstantItemIsDecidedRightAfterAcceptance(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.instant.Code)
	w.do(c.Number, Accept, nil)
	w.do(c.Number, Grant, url.Values{"text": {"准予登记"}})
	w.do(c.Number, Close, nil)
	if got := w.read(c.Number); got.State != Closed {
		t.Errorf("state %s", got.State)
	}
}

func TestWrongApplicationsComeBackWithWhatIsWrong(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	change := func(name, value string) url.Values {
		f := application()
		f.Set(name, value)
		return f
	}
	apply := "POST " + applyURL(w.promised.Code)
	w.Run(t, []servicetest.Scenario{
		{Name: "no name", Call: servicetest.Call{Do: apply, Body: change("name", "  ")}, Want: "invalid", Has: []string{"name:cases.bad_name"}},
		{Name: "a wrong check character", Call: servicetest.Call{Do: apply, Body: change("id_number", "110105194912310021")}, Want: "invalid",
			Has: []string{"id_number:cases.bad_resident"}, HasNot: []string{"name:"}},
		{Name: "a firm with a person's number", Call: servicetest.Call{Do: apply, Body: change("id_kind", Company)}, Want: "invalid", Has: []string{"cases.bad_uscc"}},
		{Name: "a kind of document that does not exist", Call: servicetest.Call{Do: apply, Body: change("id_kind", "dog")}, Want: "invalid", Has: []string{"id_kind:"}},
		{Name: "no confirmation", Call: servicetest.Call{Do: apply, Body: change("truth", "")}, Want: "invalid", Has: []string{"truth:"}},
		{Name: "a note that is too long", Call: servicetest.Call{Do: apply, Body: change("note", strings.Repeat("长", maxText+1))}, Want: "invalid", Has: []string{"note:"}},
		{Name: "a body over its limit", Call: servicetest.Call{Do: apply, Body: change("note", strings.Repeat("a", 2<<20))}, Want: "too_large"},
		{Name: "an unknown item", Call: servicetest.Call{Do: "POST " + applyURL("no-such-item"), Body: application()}, Want: "catalog.no_item"},
		{Name: "an item of another department", Call: servicetest.Call{Do: "POST /t/" + other + "/items/" + url.PathEscape(w.promised.Code) + "/apply", Body: application()}, Want: "catalog.no_item"},
		{Name: "the form of an unknown item", Call: servicetest.Call{Do: "GET " + applyURL("no-such-item")}, Want: "catalog.no_item"},
		{Name: "JSON with a field nobody knows", Call: servicetest.Call{Do: apply, Body: map[string]any{"name": "x", "dog": 1}}, Want: "invalid"},
		{Name: "the form names materials", Call: servicetest.Call{Do: "GET " + applyURL(w.promised.Code)}, Has: []string{"单位成立批准文件"}},
	})
	if n := w.Count(w.db(), `SELECT count(*) FROM cases_case`); n != 0 {
		t.Errorf("%d cases were made", n)
	}
	r := w.refused("invalid", apply, servicetest.Citizen(), change("name", ""))
	if r.Page != "cases/apply" {
		t.Errorf("the form does not come back: page %q", r.Page)
	}
}

func TestMaterialsAreThoseOfTheItemWithWhatTheApplicantHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	form := application()
	form["materials"] = []string{"社会保险登记表", "统一社会信用代码证照", "别的"}
	var receipt Receipt
	servicetest.Decode(t, w.must("POST "+applyURL(w.promised.Code), servicetest.Citizen(), form), &receipt)
	given := map[string]bool{}
	for _, m := range w.read(receipt.Number).Materials {
		given[m.Name] = m.Given
	}
	// The credit code is fetched by the department: nobody gives it.
	want := map[string]bool{"社会保险登记表": true, "统一社会信用代码证照": false, "单位成立批准文件": false}
	if !maps.Equal(given, want) {
		t.Errorf("materials %v, want %v", given, want)
	}
}

func TestAFormPostedAgainGivesTheSameReceipt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	call := servicetest.Call{Do: "POST " + applyURL(w.promised.Code), Body: application(), Key: "the same"}
	var receipts [2]Receipt
	var cookies [2][]*http.Cookie
	for i := range receipts {
		r, err := w.Do(call)
		if err != nil {
			t.Fatal(err)
		}
		servicetest.Decode(t, r, &receipts[i])
		cookies[i] = r.Cookies
	}
	if receipts[0].Number != receipts[1].Number || receipts[0].Secret != receipts[1].Secret || receipts[0].Secret == "" {
		t.Errorf("%+v, then %+v", receipts[0], receipts[1])
	}
	if len(cookies[1]) != 2 || cookies[0][0].Value != cookies[1][0].Value {
		t.Errorf("cookies %v, then %v", cookies[0], cookies[1])
	}
	changed := application()
	changed.Set("name", "李小红")
	call.Body = changed
	if _, err := w.Do(call); servicetest.Reason(err) != "key_reused" {
		t.Errorf("the key with another body: %v", err)
	}
	if n := w.Count(w.db(), `SELECT count(*) FROM cases_case`); n != 1 {
		t.Errorf("%d cases", n)
	}
}

func TestOfficersOfAnotherDepartmentSeeNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	stranger, visitor := servicetest.Officer(other), servicetest.Citizen()
	var table []servicetest.Scenario
	for _, do := range []string{"GET " + base + "/cases", "GET " + base + "/cases/" + c.Number, "GET " + base + "/cases/" + c.Number + "/accept",
		"POST " + base + "/cases/" + c.Number + "/accept"} {
		table = append(table,
			servicetest.Scenario{Name: "another department: " + do, Call: servicetest.Call{Do: do, As: stranger}, Want: "not_found"},
			servicetest.Scenario{Name: "nobody: " + do, Call: servicetest.Call{Do: do, As: visitor}, Want: "not_signed_in"},
			servicetest.Scenario{Name: "an auditor: " + do, Call: servicetest.Call{Do: do, As: servicetest.Auditor(home)}, Want: "forbidden"},
			servicetest.Scenario{Name: "the division's admin: " + do, Call: servicetest.Call{Do: do, As: servicetest.DivisionAdmin()}, Want: "not_found"})
	}
	table = append(table,
		servicetest.Scenario{Name: "the number in their own department", Call: servicetest.Call{Do: "GET /t/" + other + "/cases/" + c.Number, As: stranger}, Want: "not_found"},
		servicetest.Scenario{Name: "no number at all", Call: servicetest.Call{Do: "GET " + base + "/cases/7", As: servicetest.Officer(home)}, Want: "not_found"},
		servicetest.Scenario{Name: "an officer does not extend", Call: servicetest.Call{Do: "POST " + base + "/cases/" + c.Number + "/extend", As: servicetest.Officer(home)}, Want: "forbidden"},
		servicetest.Scenario{Name: "the head does not decide", Call: servicetest.Call{Do: "POST " + base + "/cases/" + c.Number + "/grant", As: servicetest.TenantAdmin(home)}, Want: "forbidden"},
		servicetest.Scenario{Name: "an officer sees the applicant in full", Call: servicetest.Call{Do: "GET " + base + "/cases/" + c.Number, As: servicetest.Officer(home)}, Has: []string{personID, personName, personTel}},
		servicetest.Scenario{Name: "the head sees the applicant masked", Call: servicetest.Call{Do: "GET " + base + "/cases/" + c.Number, As: servicetest.TenantAdmin(home)},
			Has: []string{"110***********002X"}, HasNot: []string{personID, personName, personTel}},
		servicetest.Scenario{Name: "the list is masked", Call: servicetest.Call{Do: "GET " + base + "/cases", As: servicetest.Officer(home)},
			Has: []string{c.Number, "110***********002X"}, HasNot: []string{personID, personName, personTel}})
	w.Run(t, table)
}

func TestPersonalDataIsInNoAuditAndNoSecretIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	w.refused("cases.no_such_case", "POST "+base+"/track", servicetest.Citizen(), url.Values{"number": {c.Number}, "secret": {"WRONGONE"}})
	w.do(c.Number, Correct, nil)
	tables := []string{"audit_event", "service_feed", "service_request", "cases_visit", "cases_guess", "cases_event"}
	for _, table := range append(tables, "cases_case") {
		var text strings.Builder
		w.View(w.db(), func(v *service.View) error {
			rows, err := v.Query(`SELECT * FROM ` + table)
			if err != nil {
				return err
			}
			defer rows.Close()
			dest := make([]any, len(rows.Columns()))
			for rows.Next() {
				for i := range dest {
					dest[i] = new(any)
				}
				if err := rows.Scan(dest...); err != nil {
					return err
				}
				for _, d := range dest {
					if b, ok := (*d.(*any)).([]byte); ok {
						text.Write(b)
					}
					data, _ := json.Marshal(d)
					text.Write(data)
				}
			}
			return rows.Err()
		})
		forbidden := []string{c.Secret, c.cookies[0].Value}
		if table != "cases_case" {
			forbidden = append(forbidden, personName, personID, personTel)
		}
		for _, s := range forbidden {
			if strings.Contains(text.String(), s) {
				t.Errorf("%s holds %q", table, s)
			}
		}
		if table == "cases_case" && !strings.Contains(text.String(), personID) {
			t.Error("the search of this test finds nothing, not even what is there")
		}
	}
}

func TestTwoOfficersDecideAtOnceAndOneWins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	w.do(c.Number, Accept, nil)
	w.do(c.Number, Begin, nil)
	version := w.form(c.Number, Grant, nil)
	type outcome struct {
		response service.Response
		err      error
	}
	var results [2]outcome
	var wg sync.WaitGroup
	for i, a := range []Action{Grant, Deny} {
		wg.Go(func() {
			r, err := w.Do(servicetest.Call{Do: "POST " + base + "/cases/" + c.Number + "/" + string(a), As: servicetest.Officer(home), Body: version})
			results[i] = outcome{r, err}
		})
	}
	wg.Wait()
	won, lost := results[0], results[1]
	if won.err != nil {
		won, lost = lost, won
	}
	if won.err != nil || servicetest.Reason(lost.err) != "cases.stale" || lost.response.Page != "cases/stale" {
		t.Fatalf("one: %v, the other: %v with page %q", won.err, lost.err, lost.response.Page)
	}
	page := lost.response.Data.(stalePage)
	if len(page.Since) != 1 || page.Typed != "文字 grant" || !page.State.isDecision() {
		t.Errorf("the loser is told %+v, and %q is kept", page.Since, page.Typed)
	}
	if got := w.read(c.Number); got.Version != 4 {
		t.Errorf("version %d", got.Version)
	}
}

func (s State) isDecision() bool { return s == Granted || s == Denied }

func TestAFormThatIsOldOrEmptyIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	officer := servicetest.Officer(home)
	at := base + "/cases/" + c.Number
	w.do(c.Number, Receive, nil)
	w.Run(t, []servicetest.Scenario{
		{Name: "an old form", Call: servicetest.Call{Do: "POST " + at + "/accept", As: officer, Body: url.Values{"version": {"1"}}}, Want: "cases.stale"},
		{Name: "a form of the future", Call: servicetest.Call{Do: "POST " + at + "/accept", As: officer, Body: url.Values{"version": {"9"}}}, Want: "cases.stale"},
		{Name: "no version", Call: servicetest.Call{Do: "POST " + at + "/accept", As: officer, Body: url.Values{}}, Want: "invalid"},
		{Name: "an old link to a form", Call: servicetest.Call{Do: "GET " + at + "/refuse?version=1", As: officer}, Want: "cases.stale"},
		{Name: "a form that is up to date", Call: servicetest.Call{Do: "GET " + at + "/refuse?version=2", As: officer}, Has: []string{`"seen":2`}},
		{Name: "a form of an action that cannot be", Call: servicetest.Call{Do: "GET " + at + "/deliver", As: officer}, Want: "cases.not_now"},
		{Name: "no reason", Call: servicetest.Call{Do: "POST " + at + "/refuse", As: officer, Body: url.Values{"version": {"2"}, "code": {"barred"}}}, Want: "invalid", Has: []string{"text:"}},
		{Name: "a ground that the law lacks", Call: servicetest.Call{Do: "POST " + at + "/refuse", As: officer, Body: url.Values{"version": {"2"}, "code": {"mood"}, "text": {"x"}}}, Want: "invalid", Has: []string{"code:"}},
		{Name: "not corrected, but never asked", Call: servicetest.Call{Do: "POST " + at + "/refuse", As: officer, Body: url.Values{"version": {"2"}, "code": {"not_corrected"}, "text": {"x"}}}, Want: "cases.not_corrected_first"},
		{Name: "as JSON", Call: servicetest.Call{Do: "POST " + at + "/accept", As: officer, Body: map[string]any{"version": 2}}, Has: []string{`"state":"accepted"`}},
	})
}

func TestTheApplicantCorrectsOnceAndTheDepartmentCannotAskAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	at := base + "/track/" + c.Number
	w.do(c.Number, Correct, url.Values{"text": {"请补交户口簿"}})
	seen := servicetest.Text(t, w.must("GET "+at, servicetest.Citizen(), nil, c.cookies...))
	for _, want := range []string{"请补交户口簿", `"holder":"applicant"`} {
		if !strings.Contains(seen, want) {
			t.Errorf("the applicant does not see %q: %s", want, seen)
		}
	}
	r := w.refused("invalid", "POST "+at+"/correction", servicetest.Citizen(), url.Values{"version": {"2"}, "answer": {" "}}, c.cookies...)
	if r.Page != "cases/track" {
		t.Errorf("an empty answer gives page %q", r.Page)
	}
	w.refused("cases.ask_secret", "POST "+at+"/correction", servicetest.Citizen(), url.Values{"version": {"2"}, "answer": {"已补"}})
	w.must("POST "+at+"/correction", servicetest.Citizen(), url.Values{"version": {"2"}, "answer": {"已补交户口簿"}}, c.cookies...)
	w.refused("cases.corrected_once", "POST "+base+"/cases/"+c.Number+"/correct", servicetest.Officer(home), w.form(c.Number, Correct, nil))
	w.do(c.Number, Refuse, url.Values{"code": {"not_corrected"}})
	seen = servicetest.Text(t, w.must("GET "+at, servicetest.Citizen(), nil, c.cookies...))
	if !strings.Contains(seen, `"outcome"`) || strings.Contains(seen, "officer@") {
		t.Errorf("the applicant sees %s", seen)
	}
}

func TestTheApplicantWithdrawsUntilItIsDecided(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	at := "POST " + base + "/track/" + c.Number + "/withdraw"
	w.refused("cases.stale", at, servicetest.Citizen(), url.Values{"version": {"7"}}, c.cookies...)
	w.must(at, servicetest.Citizen(), url.Values{"version": {"1"}}, c.cookies...)
	w.refused("cases.not_now", at, servicetest.Citizen(), url.Values{"version": {"2"}}, c.cookies...)
	d := w.file(w.instant.Code)
	w.do(d.Number, Accept, nil)
	w.do(d.Number, Deny, nil)
	w.refused("cases.not_now", "POST "+base+"/track/"+d.Number+"/withdraw", servicetest.Citizen(), url.Values{"version": {"3"}}, d.cookies...)
	w.refused("cases.ask_secret", "POST "+base+"/track/"+d.Number+"/withdraw", servicetest.Citizen(), url.Values{"version": {"3"}}, c.cookies...)
}

func TestExtendingIsTheHeadsAndHappensOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.file(w.promised.Code)
	w.do(c.Number, Accept, nil)
	w.do(c.Number, Extend, nil)
	w.refused("cases.extended_once", "POST "+base+"/cases/"+c.Number+"/extend", servicetest.TenantAdmin(home), w.form(c.Number, Extend, nil))
}

func TestTheListIsSearchedFilteredAndPaged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.file(w.promised.Code)
	var last filed
	for range perPage {
		last = w.file(w.promised.Code)
	}
	done := w.file(w.instant.Code)
	w.do(done.Number, Annul, nil)
	get := func(query string) (l Listing) {
		servicetest.Decode(t, w.must("GET "+base+"/cases?"+query, servicetest.Officer(home), nil), &l)
		return l
	}
	for query, want := range map[string][2]int{ // Rows, in all.
		"": {perPage, perPage + 1}, "page=2": {1, perPage + 1}, "page=9": {0, perPage + 1}, "view=all": {perPage, perPage + 2},
		"view=done": {1, 1}, "state=void": {1, 1}, "q=" + last.Number: {1, 1}, "q=" + strings.ToLower(last.Number): {1, 1},
		"q=" + url.QueryEscape("王小"): {perPage, perPage + 2}, "q=" + url.QueryEscape(w.instant.Name): {1, 1},
		"q=%25": {0, 0}, "q=" + url.QueryEscape(`"*NEAR('`): {0, 0}, "view=waiting": {0, 0},
	} {
		if l := get(query); len(l.Rows) != want[0] || l.Total != want[1] {
			t.Errorf("%q: %d rows of %d, want %v", query, len(l.Rows), l.Total, want)
		}
	}
	// The head sees the names of people masked, and does not find out what is behind.
	for query, want := range map[string]int{"王小明": 0, "王": 0, "明": 0, w.instant.Name: 1, last.Number: 1} {
		var l Listing
		servicetest.Decode(t, w.must("GET "+base+"/cases?q="+url.QueryEscape(query), servicetest.TenantAdmin(home), nil), &l)
		if l.Total != want {
			t.Errorf("the head finds %d cases by %q, want %d", l.Total, query, want)
		}
	}
	for _, query := range []string{"view=dog", "state=dog", "page=0", "page=x"} {
		w.refused("cases.bad_filter", "GET "+base+"/cases?"+query, servicetest.Officer(home), nil)
	}
	w.Clock.Advance(5 * 24 * time.Hour)
	w.do(first.Number, Accept, nil) // It now has more time than the others.
	if top := get("").Rows[0]; top.Number == first.Number || top.Due.Lamp != "yellow" {
		t.Errorf("the most urgent is %+v", top)
	}
}
