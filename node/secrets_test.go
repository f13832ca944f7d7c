package node_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"tongban/replication"
	"tongban/service"
	"tongban/service/catalog"
	"tongban/service/catalog/demo"
	"tongban/tenancy"
)

// notebook is a log that a test reads.
type notebook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (n *notebook) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.Write(p)
}

func (n *notebook) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// TestSecretsAndPersonalDataStayInTheirPlace plants texts that occur nowhere else, uses
// the program with them rightly and wrongly, and looks for them in the log, in every
// table, in addresses and in refusals.
func TestSecretsAndPersonalDataStayInTheirPlace(t *testing.T) {
	log := &notebook{}
	w, tree := mountedWith(t, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	s := &site{t: t, public: w.Public(), admin: w.Admin(), tree: tree}
	rows, err := catalog.ParseCSV(bytes.NewReader(demo.CSV(false)))
	must(t, err)
	of := rows[0].Department
	rows = slices.DeleteFunc(rows, func(r catalog.Row) bool { return r.Department != of })
	for i := range rows {
		rows[i].Department = "税务局"
	}
	s.post("/t/tax/items/import", "", map[string]any{"file": "a.csv", "rows": rows}, nil)
	item := s.first(`SELECT code FROM catalog_item ORDER BY code LIMIT 1`)

	const password, person, id, phone, note = "canary-Passw0rd", "欧阳金丝雀", "11010519491231002X", "13987654321", "金丝雀的备注"
	var account struct{ Code string }
	s.post("/accounts", "", map[string]any{"login": "wang.li", "name": "王力", "grants": []service.Grant{{Tenant: "tax", Role: service.RoleOfficer}}}, &account)
	var step struct{ Activation, Secret string }
	s.post("/activate", "nobody", map[string]any{"login": "wang.li", "code": account.Code, "password": password}, &step)
	apply := map[string]any{"name": person, "id_kind": "resident", "id_number": id, "phone": phone, "note": note, "truth": true}
	var receipt struct{ Number, Secret string }
	at := "/t/tax/items/" + url.PathEscape(item) + "/apply"
	s.post(at, "nobody", apply, &receipt)

	refusals := ""
	for _, wrong := range []struct{ path, body string }{
		{"/sign-in", fmt.Sprintf(`{"login":"wang.li","password":%q,"code":"000000"}`, password)},
		{"/sign-in", fmt.Sprintf(`{"login":%q,"password":1}`, password)},
		{"/activate", fmt.Sprintf(`{"login":"wang.li","code":%q,"password":"short"}`, account.Code)},
		{"/activate/code", fmt.Sprintf(`{"activation":%q,"code":"000000"}`, step.Activation)},
		{"/t/tax/track", fmt.Sprintf(`{"number":%q,"secret":%q,"x":1}`, receipt.Number, receipt.Secret)},
		{"/t/tax/track", fmt.Sprintf(`{"number":"511602","secret":%q}`, receipt.Secret)},
		{at, fmt.Sprintf(`{"name":%q,"id_number":%q,"phone":%q,"note":%q}`, person, id, phone, note)},
		{at + "x", fmt.Sprintf(`{"name":%q,"id_kind":"resident","id_number":%q,"phone":%q,"note":%q,"truth":true}`, person, id, phone, note)},
		{"/t/tax/cases/" + receipt.Number + "/accept", fmt.Sprintf(`{"text":%q}`, person)},
	} {
		r := httptest.NewRequest("POST", wrong.path, strings.NewReader(wrong.body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Accept", "application/json")
		rec := httptest.NewRecorder()
		s.public.ServeHTTP(rec, r)
		if rec.Code < 400 || rec.Code >= 500 {
			t.Errorf("POST %s got %d", wrong.path, rec.Code)
		}
		refusals += rec.Body.String() + fmt.Sprint(rec.Header()) + "\n"
	}
	log.Write([]byte("end")) // So that an empty log is not taken for a quiet one.

	places := map[string]string{"the log": log.String(), "a refusal": refusals}
	for _, id := range []string{"", "tax"} {
		for table, text := range tablesOf(t, tree, id) {
			places["table "+table] += text
		}
	}
	mayHold := map[string][]string{ // And nothing else may.
		person: {"table cases_case"}, id: {"table cases_case"}, phone: {"table cases_case"}, note: {"table cases_case"},
		password: nil, account.Code: nil, step.Activation: nil, receipt.Secret: nil,
	}
	if len(places) < 20 || len(receipt.Secret) == 0 || len(account.Code) == 0 || len(step.Activation) == 0 {
		t.Fatalf("the test sees too little: %d places", len(places))
	}
	lookFor(t, places, mayHold)
}

// lookFor reports each text that is in a place that may not hold it, or not in one that
// must.
func lookFor(t *testing.T, places map[string]string, mayHold map[string][]string) {
	t.Helper()
	for canary, allowed := range mayHold {
		for _, must := range allowed {
			if !strings.Contains(places[must], canary) {
				t.Errorf("%s does not hold %q: the test sees too little", must, canary)
			}
		}
		for place, text := range places {
			for _, form := range []string{canary, url.QueryEscape(canary), strings.ReplaceAll(canary, "-", "")} {
				if i := strings.Index(text, form); i >= 0 && !slices.Contains(allowed, place) {
					t.Errorf("%s holds %q: …%s…", place, canary, text[max(0, i-80):min(len(text), i+80)])
					break
				}
			}
		}
	}
}

// tablesOf returns what each table of a database holds, as text.
func tablesOf(t *testing.T, tree *tenancy.Tenancy, tenant string) map[string]string {
	t.Helper()
	db := tree.Division()
	if tenant != "" {
		_, db, _ = tree.Database(tenant)
	}
	out := map[string]string{}
	must(t, db.View(t.Context(), replication.Local, func(v *service.View) error {
		names, err := texts(v, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'replication%' AND sql NOT LIKE '%VIRTUAL%'`)
		if err != nil {
			return err
		}
		for _, name := range strings.Fields(names) {
			if out[name], err = texts(v, `SELECT * FROM "`+name+`"`); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		return nil
	}))
	return out
}

func texts(v *service.View, sql string) (string, error) {
	rows, err := v.Query(sql)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	var b strings.Builder
	for rows.Next() {
		values := make([]any, len(rows.Columns()))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return "", err
		}
		for _, one := range values {
			fmt.Fprintf(&b, "%s ", fmt.Sprint(plainOf(*one.(*any))))
		}
		b.WriteByte('\n')
	}
	return b.String(), rows.Err()
}

// plainOf shows bytes as the text that they may be.
func plainOf(v any) any {
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return v
}
