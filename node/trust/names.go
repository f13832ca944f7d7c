package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"tongban/division"
	"tongban/replication"
)

// Domain is the DNS domain below which divisions are named; .internal is reserved for
// private use and is never resolved outside.
const Domain = "tongban.internal"

// uriScheme is that of the URI SANs.
const uriScheme = "tongban"

// maxLabels bounds the codes in a name: a nation, a province, a city and a county.
const maxLabels = 4

// Division names whom an authority speaks for.
type Division struct {
	Code  string // 6 digits.
	Level string // national, province, city, county
	// Name is the DNS name along the enrolled tree, such as
	// "511602.511600.510000.000000.tongban.internal"; empty: Code + "." + Domain, the name
	// of a division without a parent.
	Name string
}

// Of returns the division without a parent.
func Of(r division.Ref) Division {
	return Division{Code: string(r.Code), Level: r.Level.String()}
}

// DNS is the DNS name that all names of the division end with.
func (d Division) DNS() string {
	if d.Name != "" {
		return d.Name
	}
	return d.Code + "." + Domain
}

// Child returns a division that is enrolled below d.
func (d Division) Child(code, level string) Division {
	return Division{Code: code, Level: level, Name: code + "." + d.DNS()}
}

// Ref is the division's identity, without its place in the tree.
func (d Division) Ref() (division.Ref, error) {
	level, err := division.ParseLevel(d.Level)
	if err != nil {
		return division.Ref{}, err
	}
	r := division.Ref{Level: level, Code: division.Code(d.Code)}
	return r, r.Check()
}

// DNSName is the DNS SAN of a node's certificate.
func (d Division) DNSName(n replication.NodeID) string { return string(n) + "." + d.DNS() }

// URI is the URI SAN of a node's certificate.
func (d Division) URI(n replication.NodeID) string { return d.uri().JoinPath(string(n)).String() }

// uri is the URI SAN of the division's authority. It tells apart a city and a county of
// one code (441900), which have the same DNS name where both hang on one province.
func (d Division) uri() *url.URL {
	return &url.URL{Scheme: uriScheme, Host: d.DNS(), Path: "/" + d.Level}
}

// same reports whether both are one division, wherever it hangs.
func (d Division) same(o Division) bool { return d.Code == o.Code && d.Level == o.Level }

// childOf reports whether d is what p.Child would have named.
func (d Division) childOf(p Division) bool {
	return d.DNS() == d.Code+"."+p.DNS() && below(d.Level, p.Level)
}

// below reports whether a division of the level hangs on one of the level of its parent.
func below(level, parent string) bool {
	l, err := division.ParseLevel(level)
	p, err2 := division.ParseLevel(parent)
	return err == nil && err2 == nil && p < l && l <= division.County
}

// parseURI reads a URI SAN: that of an authority (no node) or that of a node.
func parseURI(u *url.URL) (d Division, n replication.NodeID, err error) {
	path := strings.Split(strings.TrimPrefix(u.Path, "/"), "/")
	if u.Scheme != uriScheme || len(path) > 2 {
		return d, "", fmt.Errorf("%s is no name of a division", u)
	}
	codes, ok := strings.CutSuffix(u.Host, "."+Domain)
	labels := strings.Split(codes, ".")
	if !ok || len(labels) > maxLabels || slices.ContainsFunc(labels, func(s string) bool { return !isCode(s) }) {
		return d, "", fmt.Errorf("%s is no name of a division", u)
	}
	d = Division{Code: labels[0], Level: path[0], Name: u.Host}
	if _, err := d.Ref(); err != nil {
		return d, "", err
	}
	want := d.uri()
	if len(path) == 2 {
		n = replication.NodeID(path[1])
		if n == "" || strings.Contains(path[1], ".") {
			return d, "", fmt.Errorf("%s names no node", u)
		}
		want = want.JoinPath(path[1])
	}
	if u.String() != want.String() { // A port, a query, an escape: not ours.
		return d, "", fmt.Errorf("%s is no name of a division", u)
	}
	return d, n, nil
}

func isCode(s string) bool {
	return len(s) == 6 && strings.Trim(s, "0123456789") == ""
}

// nameOf reads whose a node's certificate is from its SANs: exactly one DNS name and one
// URI, which must agree.
func nameOf(cert *x509.Certificate) (Division, replication.NodeID, error) {
	if len(cert.URIs) != 1 || len(cert.DNSNames) != 1 || len(cert.IPAddresses) > 0 || len(cert.EmailAddresses) > 0 {
		return Division{}, "", fmt.Errorf("it has not one DNS name and one URI, but %q and %v", cert.DNSNames, cert.URIs)
	}
	d, n, err := parseURI(cert.URIs[0])
	switch {
	case err != nil:
		return d, "", err
	case n == "":
		return d, "", errors.New("it names no node")
	case cert.DNSNames[0] != d.DNSName(n):
		return d, "", fmt.Errorf("its DNS name is %s, its URI %s", cert.DNSNames[0], cert.URIs[0])
	}
	return d, n, nil
}

// authorityOf reads whose authority a certificate is.
func authorityOf(cert *x509.Certificate) (Division, error) {
	if !cert.IsCA || !cert.BasicConstraintsValid || cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return Division{}, errors.New("it is no authority's certificate")
	}
	// Before anything that it has signed is checked: an RSA key of a million bits takes a minute.
	if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return Division{}, errors.New("an authority has an ECDSA P-256 key")
	}
	if len(cert.URIs) != 1 || len(cert.DNSNames) > 0 {
		return Division{}, fmt.Errorf("an authority has one URI for a name, not %v", cert.URIs)
	}
	d, n, err := parseURI(cert.URIs[0])
	if err == nil && n != "" {
		err = fmt.Errorf("%s is a node, no authority", cert.URIs[0])
	}
	return d, err
}
