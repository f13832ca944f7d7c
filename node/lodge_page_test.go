package node_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"tongban/service"
)

// TestPagesOfALodgedCase looks at every page that shows a case which was lodged with
// another division, in each state of its mail, in both languages.
func TestPagesOfALodgedCase(t *testing.T) {
	s := newSite(t)
	var slip struct{ Number, Secret string }
	ref := "county/330106/minzheng/" + s.values["code"]
	s.post("/t/tax/lodge", "officer@tax", map[string]any{"ref": ref, "item_name": hostile, "name": hostile, "id_kind": "resident",
		"id_number": "11010519491231002X", "phone": "13800138000", "note": hostile, "truth": true}, &slip)
	cookies := s.jar
	_, db, _ := s.tree.Database("tax")
	update := func(sql string, args ...any) {
		t.Helper()
		must(t, db.Update(t.Context(), func(tx *service.Tx) error { return tx.Exec(sql, args...) }))
	}
	see := func(path, lang, want string) {
		t.Helper()
		req := httptest.NewRequest("GET", path, nil)
		req.Header.Set("Accept", "text/html")
		req.AddCookie(&http.Cookie{Name: "lang", Value: lang})
		req.AddCookie(&http.Cookie{Name: "session", Value: "tenant-admin+officer@tax"})
		for _, c := range cookies {
			if strings.HasPrefix(path, c.Path) {
				req.AddCookie(c)
			}
		}
		rec := httptest.NewRecorder()
		s.public.ServeHTTP(rec, req)
		body, err := io.ReadAll(rec.Result().Body)
		must(t, err)
		text := string(body)
		if rec.Code != http.StatusOK || !strings.Contains(text, want) {
			t.Errorf("GET %s got %d and lacks %q:\n%s", path, rec.Code, want, text)
		}
		if strings.Contains(text, "cases.lodge") || strings.Contains(text, "federation.m") || strings.Contains(text, "<svg/onload") {
			t.Errorf("GET %s shows a key, or runs a name:\n%s", path, text)
		}
		if strings.Contains(path, "/lodged/") && strings.Contains(text, "—") {
			t.Errorf("GET %s has a time that it does not know:\n%s", path, text)
		}
		checkPage(t, service.Route{Pattern: "GET " + path}, body)
	}
	lodged := "/t/tax/lodged/" + slip.Number
	for _, lang := range []string{"zh-CN", "en"} {
		zh := func(a, b string) string { return map[bool]string{true: a, false: b}[lang == "zh-CN"] }
		see("/t/tax/lodge", lang, zh("事项编号", "Reference of the service"))
		see("/t/tax/lodge?ref="+url.QueryEscape(ref), lang, "浙江省杭州市西湖区")
		see(lodged+"/slip", lang, slip.Secret)
		for _, at := range []struct{ state, reason, where, zh, en string }{
			{"waiting", "", "", "正在发送", "being sent"},
			{"waiting", "unreachable", "county/330106", "线路不通", "No line at the last try"},
			{"waiting", "no_answer", "province/330000", "没有及时答复", "no answer in time"},
			{"refused", "catalog.no_item", "", "没有立案", "No case was opened"},
			{"refused", "federation.mail.no_tenant", "", "没有这个部门", "no such department"},
			{"refused", "a.reason.of.a.newer.program", "", "a.reason.of", "a.reason.of"},
			{"delivered", "", "", "并已立案", "opened a case"},
		} {
			update(`UPDATE service_outbox SET state = ?, reason = ?, at_division = ?, settled = 1, tried = 1`, at.state, at.reason, at.where)
			update(`UPDATE cases_lodged SET case_number = ?`, map[bool]string{true: "330106-001-20260302-ABC-00001-X"}[at.state == "delivered"])
			see(lodged, lang, zh(at.zh, at.en))
			see("/t/tax/lodgings?state="+at.state, lang, slip.Number)
			see("/t/tax/mail?state="+at.state, lang, "minzheng")
		}
		see("/t/tax/mail", lang, zh("没有等待送达的外发件", "Nothing waits"))
		see("/t/tax/lodgings?state=waiting", lang, zh("没有符合条件的办件", "No case"))
	}
	update(`INSERT INTO cases_channel (case_id, number, division, division_name, department) SELECT id, 'n', 'county/330106', ?, 'x' FROM cases_case`, hostile)
	see(fmt.Sprintf("/t/tax/cases/%s", s.values["number"]), "zh-CN", "异地代收：由")
}
