package node_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/portal/portaltest"
	"tongban/service"
	"tongban/tenancy"
)

// TestStoryOfACityWithQueues looks at the place in the tree while lines are cut and rows
// and mails are stuck: wide and on a phone, in both languages.
func TestStoryOfACityWithQueues(t *testing.T) {
	if testing.Short() {
		t.Skip("not run: a browser story; run without -short")
	}
	portaltest.Require(t)
	city := service.Site{Code: "511600", Level: "city", Name: "广安市", Full: "四川省广安市"}
	w, tree := mountedAt(t, city, slog.New(slog.DiscardHandler))
	queuesBelow(t, tree)
	public := w.Public()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "session", Value: "division-admin@"})
		public.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	for _, l := range []look{desktop(), phone(portaltest.JSOff()), phoneEnglish()} {
		t.Run(l.name, func(t *testing.T) {
			v := &visitor{Page: portaltest.Browser(t, l.options...), t: t, look: l, story: "queues"}
			if got := v.Open(server.URL + "/federation"); got != 200 {
				t.Fatalf("GET /federation: %d: %s", got, v.Text("body"))
			}
			v.see("tree")
			v.reads(v.either("报给上级的数据行", "Rows to the division above"), "四川省", "四川省广安市岳池县", "税务局",
				v.either("2 件停住", "2 have stopped"), v.either("1 件被退回", "1 was sent back"), "tongban queue redrive",
				v.either("收件箱保留 0 件", "The inboxes keep 0 mails"))
		})
	}
}

// queuesBelow is a city with a parent and two districts, of which one sent rows that could
// not be taken, and a department with mails in every state.
func queuesBelow(t *testing.T, tree *tenancy.Tenancy) {
	t.Helper()
	province := division.Ref{Level: division.Province, Code: "510000"}
	must(t, tree.Division().Update(t.Context(), func(tx *service.Tx) error {
		if err := federation.SetParent(tx, federation.Parent{Ref: province}); err != nil {
			return err
		}
		for _, code := range []division.Code{"511602", "511621"} {
			ref := division.Ref{Level: division.County, Code: code}
			if err := federation.EnterChild(tx, federation.Child{Ref: ref, CA: []byte{1}}); err != nil {
				return err
			}
		}
		for i := range 1234 {
			if err := tx.PublishTo(service.Up, "catalog.offers", fmt.Sprint("|", i), 1, []byte("{}")); err != nil {
				return err
			}
		}
		for i := range 3 {
			if err := tx.Exec(`INSERT INTO federation_row (neighbour, feed, key, version, mark, format, state, reason, payload, at)
				VALUES ('county/511621', 'catalog.offers', ?, ?, 1, 1, 'parked', 'the key names no division', x'01', ?)`,
				fmt.Sprintf("county/510000|%d", i), i, tx.Now().Add(-26*time.Hour)); err != nil {
				return err
			}
		}
		return nil
	}))
	_, db, _ := tree.Database("tax")
	must(t, db.Update(t.Context(), func(tx *service.Tx) error {
		for i := range 5 {
			if _, err := tx.Send("cases.lodge", 1, service.Address{Division: province, Tenant: "tax"}, []byte("{}")); err != nil {
				return err
			}
			for at, state := range map[int][2]string{1: {"waiting", "failed"}, 2: {"waiting", "newer"}, 3: {"refused", "federation.mail.closed"}} {
				if i == at {
					if err := tx.Exec(`UPDATE service_outbox SET state = ?, reason = ?, settled = 1 WHERE seq = ?`, state[0], state[1], i+1); err != nil {
						return err
					}
				}
			}
		}
		return nil
	}))
}
