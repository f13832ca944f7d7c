package sheet_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/node/enrol"
	"tongban/node/enrol/sheet"
	"tongban/portal/portaltest"
)

// page is a sheet for the divisions of 广安, with as many addresses as a token can have.
func page(t *testing.T) sheet.Page {
	city := division.Ref{Level: division.City, Code: "511600"}
	p := sheet.Page{Parent: city, Name: division.FullName(city), Fingerprint: strings.Repeat("a1b2c3d4", 8), Made: time.Unix(1_790_000_000, 0)}
	for i, d := range division.Children(city) {
		addresses := []string{"192.0.2.10:7301"}
		if i == 1 {
			addresses = strings.Split(strings.Repeat("[2001:db8:1234:5678:9abc:def0:1234:5678]:7301,", 8), ",")[:8]
		}
		token, err := enrol.NewToken(city, d.Ref, p.Fingerprint, p.Made.Add(72*time.Hour), addresses)
		if err != nil {
			t.Fatal(err)
		}
		p.Cards = append(p.Cards, sheet.Card{Child: d.Ref, Name: d.FullName(), Token: token.String(), Expires: token.Expires, Replace: i == 2})
	}
	if len(p.Cards) < 6 {
		t.Fatalf("%d divisions below 广安", len(p.Cards))
	}
	return p
}

func TestASheetHasACardForEachDivision(t *testing.T) {
	p := page(t)
	p.Cards[0].Name = "<b>&"
	var out bytes.Buffer
	if err := sheet.Write(&out, p); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, c := range p.Cards {
		if !strings.Contains(text, c.Token) || !strings.Contains(text, string(c.Child.Code)) {
			t.Errorf("no card for %s", c.Child)
		}
	}
	if n := strings.Count(text, "data:image/png;base64,"); n != len(p.Cards) {
		t.Errorf("%d QR codes for %d cards", n, len(p.Cards))
	}
	if !strings.Contains(text, "2026-09-24 22:13") || strings.Contains(text, "<b>&") || strings.Contains(text, "ZgotmplZ") || strings.Count(text, "取代") != 1 {
		t.Error("the time, a name or a picture is written wrong")
	}
}

// TestASheetFitsPaper looks at the sheet in a browser, at the width of A4.
func TestASheetFitsPaper(t *testing.T) {
	portaltest.Require(t)
	var out bytes.Buffer
	if err := sheet.Write(&out, page(t)); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = rw.Write(out.Bytes())
	}))
	defer server.Close()
	b := portaltest.Browser(t, portaltest.A4())
	b.Open(server.URL + "/")
	b.MustBeClean("the sheet")
	for _, look := range []func(func()){func(f func()) { f() }, b.OnPaper} {
		look(func() {
			if out := b.SticksOut(); out != "" {
				t.Errorf("wider than the paper: %s", out)
			}
		})
	}
	b.OnPaper(func() { b.Screenshot("tokens-on-paper") })
	if mm := portaltest.Value[float64](b, `document.querySelector(".card img").getBoundingClientRect().width / 96 * 25.4`); mm < 40 {
		t.Errorf("a QR code is %.0f mm wide", mm)
	}
}
