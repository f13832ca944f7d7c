package demo

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"tongban/service"
	"tongban/service/cases"
)

// application is one form that a citizen sends, however often.
type application struct {
	offer  Offer
	marker string // Unique; part of the applicant's name, so that a doubled case shows.
	form   url.Values
}

// newApplication fills the form of the n-th applicant for an offer. Nobody has these data:
// the birthday is fixed and the number's address code is of no division.
func newApplication(o Offer, marker string, n int) application {
	return application{o, marker, url.Values{
		"name": {"试用人 " + marker}, "id_kind": {cases.Resident}, "id_number": {residentID(n)},
		"phone": {fmt.Sprintf("139%08d", n%100_000_000)}, "truth": {"yes"}, service.KeyField: {rand.Text()},
	}}
}

// residentID returns a well-formed number of a resident identity card with the address
// code 999999, which no division has (GB 11643-1999; check character ISO 7064 MOD 11-2).
func residentID(n int) string {
	weights := [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	body := fmt.Sprintf("999999%s%03d", time.Date(1960, 1, 1+n/1000%10_000, 0, 0, 0, 0, time.UTC).Format("20060102"), n%1000)
	sum := 0
	for i, w := range weights {
		sum += int(body[i]-'0') * w
	}
	return body + string("10X98765432"[sum%11])
}

// Receipt is what an applicant was told: the case is acknowledged.
type Receipt struct {
	Number  string
	Secret  string
	Tenant  string
	Marker  string
	Instant bool // The item is one that is decided at once.
}

// receiptOf reads the answer to an application.
func receiptOf(a application, r reply) (Receipt, error) {
	var told cases.Receipt
	if err := json.Unmarshal(r.body, &told); err != nil {
		return Receipt{}, fmt.Errorf("read the receipt %q: %w", r.body, err)
	}
	if told.Number == "" || told.Secret == "" {
		return Receipt{}, fmt.Errorf("the answer to an application has no number and secret: %q", r.body)
	}
	return Receipt{Number: told.Number, Secret: told.Secret, Tenant: a.offer.Tenant, Marker: a.marker, Instant: told.Instant}, nil
}

// markerOf is the marker in an applicant's name.
func markerOf(name string) string {
	_, marker, _ := strings.Cut(name, " ")
	return marker
}
