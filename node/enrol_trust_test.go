package node

import (
	"crypto/x509"
	"testing"
	"time"

	"tongban/division"
	"tongban/node/trust"
)

// TestACertificateIsReplacedOnlyForAReason: each replacement gives all boxes of the child,
// and of its children, new names or new certificates.
func TestACertificateIsReplacedOnlyForAReason(t *testing.T) {
	county := division.Ref{Level: division.County, Code: "511602"}
	founded := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	later := func(years int) time.Time { return founded.AddDate(years, 0, 0) }
	city := func(at time.Time) *trust.Authority {
		a, err := trust.NewAuthority(trust.Of(division.Ref{Level: division.City, Code: "511600"}), at)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	child, err := trust.NewAuthority(trust.Of(county), founded)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := child.Request()
	if err != nil {
		t.Fatal(err)
	}
	sign := func(a *trust.Authority, at time.Time) *x509.Certificate {
		t.Helper()
		cert, err := standing{authority: a}.certify(csr, county, at)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	own := city(founded)
	province, err := trust.NewAuthority(trust.Of(division.Ref{Level: division.Province, Code: "510000"}), founded)
	if err != nil {
		t.Fatal(err)
	}
	request, err := own.Request()
	if err != nil {
		t.Fatal(err)
	}
	signed, err := province.SignChild(request, province.Division.Child("511600", "city"), later(6))
	if err != nil {
		t.Fatal(err)
	}
	enrolled, err := own.As([]*x509.Certificate{signed, province.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		by   *trust.Authority
		have *x509.Certificate
		now  time.Time
		want bool
	}{
		{"it is fresh", own, sign(own, founded), later(1), false},
		{"it is in its second half", own, sign(own, founded), later(6), true},
		{"it has ended", own, sign(own, founded), later(11), true},
		{"the parent is enrolled by now", enrolled, sign(own, founded), later(1), true},
		{"another authority signed it", own, sign(city(founded), founded), later(1), true},
	} {
		if got := (standing{authority: c.by}).replaces(c.have.Raw, sign(c.by, c.now), c.now); got != c.want {
			t.Errorf("%s: replaced %v, want %v", c.name, got, c.want)
		}
	}
	if s := (standing{authority: own}); !s.replaces([]byte("none"), sign(own, founded), founded) {
		t.Error("what cannot be read is kept")
	}
}
