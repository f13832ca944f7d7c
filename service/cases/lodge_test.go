package cases

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
	"tongban/service/servicetest"
)

// windowOf is the base of the window's department, another than the one whose item is meant.
const windowOf = "/t/" + other

// lodgeForm is what the window's officer fills in.
func (w *world) lodgeForm(division, tenant, item string) url.Values {
	f := application()
	f.Set("ref", division+"/"+tenant+"/"+item)
	return f
}

// carry brings what waits in the window's outbox to its receiver, as the federation does,
// and the receipt back.
func (w *world) carry() (receipts []service.Receipt) {
	w.tb.Helper()
	at, _ := w.Tenant(home)
	_, window := w.Tenant(other)
	kind := Definition(Options{}).Mail[0]
	var list []service.Outgoing
	w.View(window, func(v *service.View) error {
		rows, err := v.Query(`SELECT ` + service.OutboxColumns + ` FROM service_outbox WHERE state = 'waiting' ORDER BY seq`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			m, err := service.ScanOutgoing(rows)
			if err != nil {
				return err
			}
			m.From = service.Address{Division: division.Ref{Level: division.County, Code: division.Code(w.Site.Code)}, Tenant: other}
			list = append(list, m)
		}
		return rows.Err()
	})
	for _, m := range list {
		r := service.Receipt{State: service.MailDelivered, At: w.Clock.Now()}
		err := w.db().Update(w.tb.Context(), func(tx *service.Tx) (err error) {
			r.Reply, err = kind.Receive(tx, service.Delivery{Site: w.Site, Tenant: at}, m.Mail)
			return err
		})
		if err != nil {
			r = service.Receipt{State: service.MailRefused, Reason: servicetest.Reason(err), At: w.Clock.Now()}
		}
		w.Update(window, func(tx *service.Tx) error {
			if err := tx.Exec(`UPDATE service_outbox SET state = ?, reason = ?, settled = ?, reply = ? WHERE seq = ?`,
				string(r.State), r.Reason, r.At, r.Reply, m.ID.Seq); err != nil {
				return err
			}
			return kind.Settled(tx, m.Mail, r)
		})
		receipts = append(receipts, r)
	}
	return receipts
}

func TestACaseIsLodgedAtAnotherWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	window := servicetest.Officer(other)
	r := w.must("POST "+windowOf+"/lodge", window, w.lodgeForm("county/511602", home, w.promised.Code))
	var slip Slip
	servicetest.Decode(t, r, &slip)
	if !strings.HasPrefix(slip.Number, "511602-002-") || len(slip.Secret) != secretLength || slip.State != service.MailWaiting {
		t.Fatalf("slip %+v", slip)
	}
	if page := w.must("GET "+r.Location, window, nil, r.Cookies...); page.Data.(Slip).Secret != slip.Secret {
		t.Error("the slip's page does not show the secret to the browser that lodged")
	}
	if page := w.must("GET "+r.Location, window, nil); page.Data.(Slip).Secret != "" {
		t.Error("the slip's page shows the secret to any browser")
	}

	credentials := map[string]string{"number": slip.Number, "secret": slip.Secret}
	follow := func() (l Lodged) {
		in := w.must("POST "+windowOf+"/track", servicetest.Citizen(), credentials)
		page := w.must("GET "+in.Location, servicetest.Citizen(), nil, in.Cookies...)
		if text := servicetest.Text(t, page); strings.Contains(text, personName) || strings.Contains(text, personID) {
			t.Errorf("the applicant is not masked: %s", text)
		}
		servicetest.Decode(t, page, &l)
		return l
	}
	if l := follow(); l.State != service.MailWaiting || l.Case != "" || !l.Known || l.Division != w.Site.Full {
		t.Errorf("before the delivery: %+v", l)
	}
	w.refused("cases.ask_secret", "GET "+windowOf+"/lodged/"+slip.Number, servicetest.Citizen(), nil)
	w.refused("cases.no_such_case", "POST "+windowOf+"/track", servicetest.Citizen(), map[string]string{"number": slip.Number, "secret": "00000000"})

	w.carry()
	l := follow()
	if l.State != service.MailDelivered || !strings.HasPrefix(l.Case, "511602-001-") || l.Item != w.promised.Name || l.Settled == nil {
		t.Fatalf("after the delivery: %+v", l)
	}
	c := w.read(l.Case)
	if c.State != Submitted || c.Applicant.Name != personName || c.Channel == nil || c.Channel.Number != slip.Number || c.Channel.Department != "区公安分局" {
		t.Errorf("the owner's case is %+v, channel %+v", c, c.Channel)
	}
	in := w.must("POST "+base+"/track", servicetest.Citizen(), map[string]string{"number": l.Case, "secret": slip.Secret})
	if !strings.HasSuffix(in.Location, l.Case) {
		t.Errorf("the secret of the slip leads to %q", in.Location)
	}
	w.do(l.Case, Accept, nil)
	if rep := w.verify(); !rep.OK() || rep.Cases != 1 {
		t.Errorf("verify the owner: %+v", rep)
	}
	_, db := w.Tenant(other)
	w.View(db, func(v *service.View) error {
		rep, err := Verify(v)
		if !rep.OK() {
			t.Errorf("verify the window: %+v", rep)
		}
		return err
	})
}

func TestTheSecretIsInNoTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var slip Slip
	servicetest.Decode(t, w.must("POST "+windowOf+"/lodge", servicetest.Officer(other), w.lodgeForm("county/511602", home, w.promised.Code)), &slip)
	_, db := w.Tenant(other)
	if n := w.Count(db, `SELECT count(*) FROM service_outbox WHERE instr(payload, ?) > 0`, slip.Secret); n != 0 {
		t.Error("the mail holds the secret")
	}
	if n := w.Count(db, `SELECT count(*) FROM audit_event WHERE instr(detail, ?) > 0`, personName); n != 0 {
		t.Error("the audit holds the applicant's name")
	}
}

func TestTheOwnersRefusalComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	window := servicetest.Officer(other)
	var slip Slip
	servicetest.Decode(t, w.must("POST "+windowOf+"/lodge", window, w.lodgeForm("county/511602", home, "no-such-item")), &slip)
	w.carry()
	l := w.must("GET "+windowOf+"/lodged/"+slip.Number, window, nil).Data.(lodgedView)
	if l.State != service.MailRefused || l.Reason != "catalog.no_item" || l.Case != "" {
		t.Errorf("the lodged case is %+v", l)
	}
	if n := w.Count(w.db(), `SELECT count(*) FROM cases_case`); n != 0 {
		t.Errorf("%d cases were made", n)
	}
}

func TestWhatAWindowSendsIsNotBelieved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := &handlers{}
	at, _ := w.Tenant(home)
	good := lodgement{Number: "330106-001-20260302-000-00001-", Secret: make([]byte, 32), Item: w.promised.Code, Truth: true,
		Person: Person{Name: personName, IDKind: Resident, IDNumber: personID, Phone: personTel}, Division: "浙江省杭州市西湖区", Department: "民政局"}
	good.Number = Number{Division: "330106", Tenant: 1, Day: day("2026-03-02"), Epoch: "000", Sequence: 1}.String()
	for _, c := range []struct {
		name  string
		spoil func(l *lodgement)
		want  string
	}{
		{"nothing wrong", func(*lodgement) {}, ""},
		{"the number of another division", func(l *lodgement) { l.Number = strings.Replace(l.Number, "330106", "330108", 1) }, "cases.lodging_malformed"},
		{"no identity", func(l *lodgement) { l.Person.IDNumber = "1" }, "cases.lodging_malformed"},
		{"no confirmation", func(l *lodgement) { l.Truth = false }, "cases.lodging_malformed"},
		{"a short secret", func(l *lodgement) { l.Secret = l.Secret[:8] }, "cases.lodging_malformed"},
		{"a very long department", func(l *lodgement) { l.Department = strings.Repeat("长", maxName+1) }, "cases.lodging_malformed"},
		{"an unknown item", func(l *lodgement) { l.Item = "x" }, "catalog.no_item"},
	} {
		l := good
		c.spoil(&l)
		payload, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		m := service.Mail{From: service.Address{Division: division.Ref{Level: division.County, Code: "330106"}, Tenant: "minzheng"}, Payload: payload}
		err = w.db().Update(t.Context(), func(tx *service.Tx) error {
			_, err := h.receiveLodged(tx, service.Delivery{Site: w.Site, Tenant: at}, m)
			return err
		})
		if got := servicetest.Reason(err); got != c.want {
			t.Errorf("%s: refused with %q (%v), want %q", c.name, got, err, c.want)
		}
	}
	if n := w.Count(w.db(), `SELECT count(*) FROM cases_case`); n != 1 {
		t.Errorf("%d cases were made", n)
	}
}

func TestLodging(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	window, ref := servicetest.Officer(other), "county/330106/minzheng/"+w.promised.Code
	change := func(name, value string) url.Values {
		f := application()
		f.Set("ref", ref)
		f.Set(name, value)
		return f
	}
	post := "POST " + windowOf + "/lodge"
	w.Update(w.Division, func(tx *service.Tx) error {
		e := federation.Entry{Ref: division.Ref{Level: division.County, Code: "330106"}, Web: "https://xihu.example/"}
		row, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return tx.Exec(`INSERT INTO federation_directory (ref, parent, name, web, epoch, row, via) VALUES ('county/330106', '', '', ?, 'e', ?, '')`, e.Web, string(row))
	})
	w.Run(t, []servicetest.Scenario{
		{Name: "the form asks for a reference", Call: servicetest.Call{Do: "GET " + windowOf + "/lodge", As: window}, HasNot: []string{`"ref"`}},
		{Name: "the form says whose item it is", Call: servicetest.Call{Do: "GET " + windowOf + "/lodge?ref=" + url.QueryEscape(ref), As: window},
			Has: []string{"浙江省杭州市西湖区", "minzheng", `"known":true`}},
		{Name: "the form warns of a division that is not there yet", Call: servicetest.Call{Do: "GET " + windowOf + "/lodge?ref=county/110101/a/b", As: window},
			Has: []string{`"known":false`}},
		{Name: "no reference", Call: servicetest.Call{Do: "GET " + windowOf + "/lodge?ref=abc", As: window}, Want: "invalid", Has: []string{"cases.bad_reference"}},
		{Name: "a division that is none", Call: servicetest.Call{Do: "GET " + windowOf + "/lodge?ref=county/999999/a/b", As: window}, Want: "invalid", Has: []string{"cases.no_such_division"}},
		{Name: "nothing is lodged with a division that is none", Call: servicetest.Call{Do: post, As: window, Body: change("ref", "county/999999/a/b")}, Want: "invalid", Has: []string{"cases.no_such_division"}},
		{Name: "a level that is none", Call: servicetest.Call{Do: post, As: window, Body: change("ref", "street/330106/a/b")}, Want: "invalid", Has: []string{"cases.bad_reference"}},
		{Name: "a wrong identity number", Call: servicetest.Call{Do: post, As: window, Body: change("id_number", "1")}, Want: "invalid", Has: []string{"id_number:"}},
		{Name: "the head of the department does not work at the window", Call: servicetest.Call{Do: post, As: servicetest.TenantAdmin(other), Body: change("note", "")}, Want: "forbidden"},
		{Name: "nor does a citizen", Call: servicetest.Call{Do: post, Body: change("note", "")}, Want: "not_signed_in"},
		{Name: "nobody has lodged yet", Call: servicetest.Call{Do: "GET " + windowOf + "/lodgings", As: window}, Has: []string{`"total":0`, `"rows":[]`}},
		{Name: "as JSON", Call: servicetest.Call{Do: post, As: window, Body: map[string]any{"ref": ref, "name": personName, "id_kind": Resident,
			"id_number": personID, "phone": personTel, "truth": true, "note": "原件一份"}}, Has: []string{`"secret":"`, `"number":"511602-002-`}},
		{Name: "the list masks the applicant", Call: servicetest.Call{Do: "GET " + windowOf + "/lodgings?state=waiting", As: window},
			Has: []string{`"total":1`, "浙江省杭州市西湖区"}, HasNot: []string{personName, personID}},
		{Name: "an officer finds it by name", Call: servicetest.Call{Do: "GET " + windowOf + "/lodgings?q=" + url.QueryEscape(personName), As: window}, Has: []string{`"total":1`}},
		{Name: "the head does not", Call: servicetest.Call{Do: "GET " + windowOf + "/lodgings?q=" + url.QueryEscape(personName), As: servicetest.TenantAdmin(other)}, Has: []string{`"total":0`}},
		{Name: "another department sees nothing", Call: servicetest.Call{Do: "GET " + base + "/lodgings", As: servicetest.Officer(home)}, Has: []string{`"total":0`}},
		{Name: "a state that is none", Call: servicetest.Call{Do: "GET " + windowOf + "/lodgings?state=x", As: window}, Want: "cases.bad_filter"},
	})
}

// TestAnOwnerThatWasRestoredIsHonest: the mail waits again, and the old number is gone.
func TestAnOwnerThatWasRestoredIsHonest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var slip Slip
	window := servicetest.Officer(other)
	servicetest.Decode(t, w.must("POST "+windowOf+"/lodge", window, w.lodgeForm("county/511602", home, w.promised.Code)), &slip)
	w.carry()
	_, db := w.Tenant(other)
	w.Update(db, func(tx *service.Tx) error {
		return tx.Exec(`UPDATE service_outbox SET state = 'waiting', reason = 'restored', at_division = 'county/511602'`)
	})
	l := w.must("GET "+windowOf+"/lodged/"+slip.Number, window, nil).Data.(lodgedView)
	if l.State != service.MailWaiting || l.Case != "" || l.Reason != "restored" || l.Where != w.Site.Full {
		t.Errorf("the lodged case is %+v", l)
	}
	w.carry()
	again := w.must("GET "+windowOf+"/lodged/"+slip.Number, window, nil).Data.(lodgedView)
	if again.State != service.MailDelivered || again.Case == "" {
		t.Errorf("delivered again it is %+v", again)
	}
}
