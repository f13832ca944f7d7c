package trust_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"tongban/node/trust"
	"tongban/replication"
)

// enrolled is an enrolled division: its authority as the parent certified it, and the chain
// from that to the anchor.
type enrolled struct {
	*trust.Authority
	chain []*x509.Certificate
}

// anchor is the nation.
func anchor(t *testing.T) enrolled {
	t.Helper()
	a := authority(t, trust.Division{Code: "000000", Level: "national"})
	return enrolled{a, []*x509.Certificate{a.Certificate}}
}

// child enrols a new division below d.
func (d enrolled) child(t *testing.T, code, level string) enrolled {
	t.Helper()
	return d.enrol(t, authority(t, trust.Division{Code: code, Level: level}))
}

func (d enrolled) enrol(t *testing.T, own *trust.Authority) enrolled {
	t.Helper()
	csr, err := own.Request()
	must(t, err)
	ca, err := d.SignChild(csr, d.Division.Child(own.Division.Code, own.Division.Level), time.Now())
	must(t, err)
	chain := append([]*x509.Certificate{ca}, d.chain...)
	as, err := own.As(chain)
	must(t, err)
	return enrolled{as, chain}
}

// tree is a nation and what hangs on it.
type tree struct{ nation, province, city, county, sibling, zhejiang enrolled }

func grow(t *testing.T) tree {
	t.Helper()
	var f tree
	f.nation = anchor(t)
	f.province, f.zhejiang = f.nation.child(t, "510000", "province"), f.nation.child(t, "330000", "province")
	f.city = f.province.child(t, "511600", "city")
	f.county, f.sibling = f.city.child(t, "511602", "county"), f.city.child(t, "511603", "county")
	return f
}

// private takes an authority's key from its sealed form: what a thief has.
func private(t *testing.T, a *trust.Authority) *ecdsa.PrivateKey {
	t.Helper()
	text, err := a.KeyPEM()
	must(t, err)
	block, _ := pem.Decode(text)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return key.(*ecdsa.PrivateKey)
}

// forgeCA has an authority certify another, as no program of ours would.
func (d enrolled) forgeCA(t *testing.T, as trust.Division, key *ecdsa.PrivateKey, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	u := &url.URL{Scheme: "tongban", Host: as.DNS(), Path: "/" + as.Level}
	template := &x509.Certificate{SerialNumber: big.NewInt(9), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject: pkix.Name{CommonName: "tongban " + as.Level + " " + as.Code}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{u}, MaxPathLen: -1}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, d.Certificate, key.Public(), private(t, d.Authority))
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

// forgeNode has an authority issue to a node of another division.
func (d enrolled) forgeNode(t *testing.T, as trust.Division, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := trust.NewKey()
	must(t, err)
	u, err := url.Parse(as.URI("n1"))
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(8), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{as.DNSName("n1")}, URIs: []*url.URL{u}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, d.Certificate, key.Public(), private(t, d.Authority))
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key
}

func TestNamesFollowTheTree(t *testing.T) {
	f := grow(t)
	if got, want := f.county.Division.DNSName("n1"), "n1.511602.511600.510000.000000.tongban.internal"; got != want {
		t.Errorf("the node is called %s, not %s", got, want)
	}
	if got, want := f.county.Division.URI("n1"), "tongban://511602.511600.510000.000000.tongban.internal/county/n1"; got != want {
		t.Errorf("its URI is %s, not %s", got, want)
	}
	list, err := trust.VerifyChain(f.county.chain, f.nation.Certificate, time.Now())
	if err != nil || len(list) != 4 || list[0] != f.county.Division || list[3].DNS() != f.nation.Division.DNS() {
		t.Errorf("the chain is %v, %v", list, err)
	}
	csr, err := f.county.Request()
	must(t, err)
	for name, c := range map[string]trust.Division{
		"another branch":   {Code: "330100", Level: "city", Name: "330100.330000.000000." + trust.Domain},
		"itself":           f.city.Division,
		"its parent":       f.province.Division,
		"a grandchild":     f.county.Division.Child("511602", "county"),
		"an equal level":   f.city.Division.Child("511700", "city"),
		"a township":       f.city.Division.Child("511602", "township"),
		"a level unknown":  f.city.Division.Child("511602", "planet"),
		"a code of no use": f.city.Division.Child("5116", "county"),
	} {
		if _, err := f.city.SignChild(csr, c, time.Now()); err == nil {
			t.Errorf("a city certifies %s as its child", name)
		}
	}
	if _, err := f.sibling.As(f.county.chain); err == nil {
		t.Error("a division takes another's certificate for its own")
	}
}

// A city and a county of one code (441900) have one DNS name where both hang on a province.
func TestACityIsNotTheCountyOfItsCode(t *testing.T) {
	f := anchor(t)
	province := f.child(t, "440000", "province")
	city, county := province.child(t, "441900", "city"), province.child(t, "441900", "county")
	if city.Division.DNS() != county.Division.DNS() {
		t.Fatal("the names differ: this test proves nothing")
	}
	leaf, key := city.forgeNode(t, county.Division, nil)
	k := box(t, county.Authority, "n1", time.Now())
	k.Key, k.Certificate = key, leaf
	sealed, err := k.SealLetter(county.chain, mustRef(t, province.Division), []string{k.Identity.Recipient().String()}, []byte("x"))
	must(t, err)
	if _, _, err := k.OpenLetter(sealed, mustRef(t, province.Division), f.Certificate, nil, time.Now()); err == nil {
		t.Error("the city's authority writes as the county")
	}
	_, serverErr, _ := shake(t, trust.LinkServer(own(box(t, province.Authority, "n1", time.Now()), province.chain), province.Certificate, time.Now),
		trust.LinkClient(show(key, leaf, city.chain[0]), province.Certificate, province.Division, time.Now))
	if !errors.Is(serverErr, trust.ErrStranger) {
		t.Errorf("the city's authority connects as the county: %v", serverErr)
	}
}

func own(k *trust.Keys, chain []*x509.Certificate) trust.Own {
	return k.Link(func() ([]*x509.Certificate, error) { return chain, nil })
}

func show(key *ecdsa.PrivateKey, chain ...*x509.Certificate) trust.Own {
	c := &tls.Certificate{PrivateKey: key}
	for _, one := range chain {
		c.Certificate = append(c.Certificate, one.Raw)
	}
	return func() (*tls.Certificate, error) { return c, nil }
}

func TestALineIsBetweenParentAndChildAlone(t *testing.T) {
	f := grow(t)
	city := box(t, f.city.Authority, "n2", time.Now())
	county := box(t, f.county.Authority, "n3", time.Now())
	server := trust.LinkServer(own(city, f.city.chain), f.city.Certificate, time.Now)
	client := trust.LinkClient(own(county, f.county.chain), f.county.chain[1], f.city.Division, time.Now)
	state, serverErr, clientErr := shake(t, server, client)
	if serverErr != nil || clientErr != nil {
		t.Fatalf("the child is refused: server %v, client %v", serverErr, clientErr)
	}
	if ref, n, err := trust.PeerDivision(state); err != nil || ref != mustRef(t, f.county.Division) || n != "n3" {
		t.Errorf("it is %s of %s, %v", n, ref, err)
	}
	if ca, err := trust.PeerAuthority(state); err != nil || !ca.Equal(f.county.chain[0]) {
		t.Errorf("its authority is another, %v", err)
	}

	with := func(o trust.Own) *tls.Config {
		c := trust.LinkClient(o, f.city.Certificate, f.city.Division, time.Now)
		c.VerifyConnection = nil
		return c
	}
	stranger := enrolled{authority(t, trust.Division{Code: "511602", Level: "county"}), nil}
	impostor := grow(t)
	wrongUse := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	expired := spans(-400, -91)
	forge := func(by enrolled, as trust.Division, change func(*x509.Certificate), ca *x509.Certificate) trust.Own {
		leaf, key := by.forgeNode(t, as, change)
		return show(key, leaf, ca)
	}
	selfMade, err := trust.NewKey()
	must(t, err)
	for name, o := range map[string]trust.Own{
		"self-made authority of the same names":    own(box(t, impostor.county.Authority, "n1", time.Now()), impostor.county.chain),
		"a division that is not enrolled":          own(box(t, stranger.Authority, "n1", time.Now()), nil),
		"a county of another branch":               own(box(t, f.zhejiang.child(t, "330106", "county").Authority, "n1", time.Now()), f.zhejiang.chain),
		"the city itself":                          own(box(t, f.city.Authority, "n1", time.Now()), f.city.chain),
		"the parent":                               own(box(t, f.province.Authority, "n1", time.Now()), f.province.chain),
		"no authority shown":                       func() (*tls.Certificate, error) { return show(county.Key, county.Certificate)() },
		"the sibling's authority behind it":        show(county.Key, county.Certificate, f.sibling.chain[0]),
		"a county issues for its sibling's node":   forge(f.county, f.sibling.Division, nil, f.county.chain[0]),
		"the same, behind the sibling's authority": forge(f.county, f.sibling.Division, nil, f.sibling.chain[0]),
		"a county issues for its parent's node":    forge(f.county, f.city.Division, nil, f.county.chain[0]),
		"a county certifies its sibling":           forge(enrolled{Authority: f.county.Authority}, f.sibling.Division, nil, f.county.forgeCA(t, f.sibling.Division, selfMade, nil)),
		"server usage alone":                       forge(f.county, f.county.Division, wrongUse, f.county.chain[0]),
		"expired":                                  forge(f.county, f.county.Division, expired, f.county.chain[0]),
		"its authority has expired":                forge(f.county, f.county.Division, nil, f.city.forgeCA(t, f.county.Division, private(t, f.county.Authority), expired)),
		"an authority that is no authority":        forge(f.county, f.county.Division, nil, f.city.forgeCA(t, f.county.Division, private(t, f.county.Authority), func(c *x509.Certificate) { c.IsCA, c.MaxPathLen = false, 0 })),
		"a node's certificate as authority":        show(county.Key, county.Certificate, county.Certificate),
	} {
		t.Run(name, func(t *testing.T) {
			if _, serverErr, _ := shake(t, server, with(o)); !errors.Is(serverErr, trust.ErrStranger) {
				t.Errorf("the parent says %v", serverErr)
			}
		})
	}
	for name, k := range map[string]trust.Own{
		"the grandparent": own(box(t, f.province.Authority, "n1", time.Now()), f.province.chain),
		"a sibling":       own(box(t, f.sibling.Authority, "n1", time.Now()), f.sibling.chain),
		"an impostor":     own(box(t, impostor.city.Authority, "n1", time.Now()), impostor.city.chain),
		"the child":       own(county, f.county.chain),
	} {
		t.Run(name+" answers for the parent", func(t *testing.T) {
			false := trust.LinkServer(k, f.city.Certificate, time.Now)
			if _, _, clientErr := shake(t, false, client); !errors.Is(clientErr, trust.ErrStranger) {
				t.Errorf("the child says %v", clientErr)
			}
		})
	}
}

// When the province is enrolled later, its children have names that are not below its new
// one, until they have been told: the lines stay up meanwhile.
func TestALineSurvivesTheParentsNewName(t *testing.T) {
	own0 := authority(t, trust.Division{Code: "510000", Level: "province"})
	before := enrolled{own0, []*x509.Certificate{own0.Certificate}}
	city := before.child(t, "511600", "city")
	after := anchor(t).enrol(t, own0)
	k, p := box(t, city.Authority, "n1", time.Now()), box(t, after.Authority, "n1", time.Now())
	server := trust.LinkServer(own(p, after.chain), after.Certificate, time.Now)
	client := trust.LinkClient(own(k, city.chain), city.chain[1], before.Division, time.Now)
	if _, serverErr, clientErr := shake(t, server, client); serverErr != nil || clientErr != nil {
		t.Errorf("server %v, client %v", serverErr, clientErr)
	}
	if _, err := trust.VerifyChain(append(city.chain[:1:1], after.chain...), after.chain[1], time.Now()); err == nil {
		t.Error("across the tree the old name is still good")
	}
	// Within the city a certificate of the old name is good, and one of the new.
	renamed := after.enrol(t, mustLoad(t, city.Authority))
	k2 := box(t, renamed.Authority, "n2", time.Now())
	k2.Authority = k.Authority
	if _, serverErr, clientErr := shake(t, k.Listener(everybody, time.Now), k2.Dialer("n1", trust.ProtocolRaft, everybody, time.Now)); serverErr != nil || clientErr != nil {
		t.Errorf("old and new name in one division: server %v, client %v", serverErr, clientErr)
	}
}

func everybody(replication.NodeID, string) bool { return true }

func TestAChainIsWholeAndEachLinkIsBelowTheNext(t *testing.T) {
	f, now := grow(t), time.Now()
	key := private(t, f.county.Authority)
	under := func(d enrolled, ca *x509.Certificate) []*x509.Certificate {
		return append([]*x509.Certificate{ca}, d.chain...)
	}
	other := grow(t)
	past := func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }
	for name, chain := range map[string][]*x509.Certificate{
		"empty":                                       nil,
		"a missing link":                              {f.county.chain[0], f.county.chain[2], f.county.chain[3]},
		"without the anchor":                          f.county.chain[:3],
		"another tree of the same names":              other.county.chain,
		"the parent of another tree":                  append(f.county.chain[:1:1], other.city.chain...),
		"out of order":                                {f.county.chain[0], f.county.chain[2], f.county.chain[1], f.county.chain[3]},
		"a county certifies another":                  under(f.county, f.county.forgeCA(t, f.county.Division.Child("511603", "county"), key, nil))[:5],
		"a province certifies a grandchild":           under(f.province, f.province.forgeCA(t, f.county.Division, key, nil)),
		"a city certifies its province":               under(f.city, f.city.forgeCA(t, f.province.Division, key, nil)),
		"a city certifies another's county":           under(f.city, f.city.forgeCA(t, f.zhejiang.Division.Child("330106", "county"), key, nil)),
		"a city certifies a city":                     under(f.city, f.city.forgeCA(t, f.city.Division.Child("511700", "city"), key, nil)),
		"a link is over":                              under(f.city, f.city.forgeCA(t, f.county.Division, key, past)),
		"an unknown critical extension":               under(f.city, f.city.forgeCA(t, f.county.Division, key, critical)),
		"a link that may not sign":                    under(f.city, f.city.forgeCA(t, f.county.Division, key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign })),
		"an authority with a second name":             under(f.city, f.city.forgeCA(t, f.county.Division, key, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) })),
		"an authority with a name for nodes":          under(f.city, f.city.forgeCA(t, f.county.Division, key, func(c *x509.Certificate) { c.DNSNames = []string{f.county.Division.DNS()} })),
		"an RSA key, which could have a million bits": under(f.city, ofRSA(t, f)),
	} {
		t.Run(name, func(t *testing.T) {
			if list, err := trust.VerifyChain(chain, f.nation.Certificate, now); !errors.Is(err, trust.ErrStranger) {
				t.Errorf("it is taken for %v, %v", list, err)
			}
		})
	}
	if _, err := trust.VerifyChain(under(f.city, f.city.forgeCA(t, f.county.Division, key, nil)), f.nation.Certificate, now); err != nil {
		t.Errorf("the forger's tools make nothing good, so the table proves nothing: %v", err)
	}
}

// ofRSA is the county's authority with a key of another kind, certified by its city.
func ofRSA(t *testing.T, f tree) *x509.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	good := f.county.chain[0]
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: good.NotBefore, NotAfter: good.NotAfter, Subject: good.Subject,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: good.URIs, MaxPathLen: -1}
	der, err := x509.CreateCertificate(rand.Reader, template, f.city.Certificate, key.Public(), private(t, f.city.Authority))
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert
}

// TestOddNamesAreNobodys: each is issued by the county's own authority, below whose name it is,
// or looks as if it were.
func TestOddNamesAreNobodys(t *testing.T) {
	f := grow(t)
	city := box(t, f.city.Authority, "n2", time.Now())
	server := trust.LinkServer(own(city, f.city.chain), f.city.Certificate, time.Now)
	uri := func(text string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			u, err := url.Parse(text)
			must(t, err)
			c.URIs = []*url.URL{u}
		}
	}
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	name := f.county.Division.DNS()
	both := func(host, node string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.DNSNames = []string{node + "." + host}
			uri("tongban://" + host + "/county/" + node)(c)
		}
	}
	for what, change := range map[string]func(*x509.Certificate){
		"capitals":                    dns("N1." + strings.ToUpper(name)),
		"capitals in both":            both(strings.ToUpper(name), "n1"),
		"a trailing dot":              dns("n1." + name + "."),
		"a wildcard":                  dns("*." + name),
		"a wildcard in both":          both(name, "*."+"511602"),
		"an empty label":              dns("n1.." + name),
		"no node":                     both(name, ""),
		"a node with a dot":           both(name, "n1.511602"),
		"a label that is no code":     both("51160a."+name, "n1"),
		"a fifth level":               both("511602."+name, "n1"),
		"an address":                  func(c *x509.Certificate) { c.IPAddresses = []net.IP{{127, 0, 0, 1}} },
		"an email":                    func(c *x509.Certificate) { c.EmailAddresses = []string{"n1@" + name} },
		"a second DNS name":           func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, "n2."+name) },
		"a second URI":                func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) },
		"no DNS name":                 dns(),
		"no URI":                      func(c *x509.Certificate) { c.URIs = nil },
		"another level":               uri("tongban://" + name + "/city/n1"),
		"a port":                      uri("tongban://" + name + ":7303/county/n1"),
		"a user":                      uri("tongban://511600@" + name + "/county/n1"),
		"a query":                     uri("tongban://" + name + "/county/n1?level=city"),
		"a fragment":                  uri("tongban://" + name + "/county/n1#city"),
		"an escape":                   uri("tongban://" + name + "/county/n%31"),
		"another scheme":              uri("https://" + name + "/county/n1"),
		"another node in the URI":     uri("tongban://" + name + "/county/n2"),
		"the nation's name":           both("000000."+trust.Domain, "n1"),
		"the domain itself":           both(trust.Domain, "n1"),
		"an unknown critical demand":  critical,
		"a node that is an authority": func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true },
	} {
		t.Run(what, func(t *testing.T) {
			leaf, key := f.county.forgeNode(t, f.county.Division, change)
			client := trust.LinkClient(show(key, leaf, f.county.chain[0]), f.city.Certificate, f.city.Division, time.Now)
			if _, serverErr, _ := shake(t, server, client); !errors.Is(serverErr, trust.ErrStranger) {
				t.Errorf("the parent lets in a node with %s: %v", what, serverErr)
			}
			k := box(t, f.county.Authority, "n1", time.Now())
			k.Key, k.Certificate = key, leaf
			sealed, err := k.SealLetter(f.county.chain, mustRef(t, f.city.Division), []string{city.Identity.Recipient().String()}, nil)
			if err != nil {
				return // It cannot even be written.
			}
			if _, _, err := city.OpenLetter(sealed, mustRef(t, f.city.Division), f.nation.Certificate, nil, time.Now()); err == nil {
				t.Errorf("a letter of a node with %s is taken", what)
			}
		})
	}
}

func critical(c *x509.Certificate) {
	c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
}

// X.509's own name constraints hold also where only crypto/x509 looks.
func TestConstraintsHoldForOtherProgramsToo(t *testing.T) {
	f := grow(t)
	for name, as := range map[string]trust.Division{"a sibling": f.sibling.Division, "the parent": f.city.Division, "another branch": f.zhejiang.Division} {
		leaf, _ := f.county.forgeNode(t, as, nil)
		o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
		o.Roots.AddCert(f.nation.Certificate)
		for _, c := range f.county.chain[:3] {
			o.Intermediates.AddCert(c)
		}
		var invalid x509.CertificateInvalidError
		if _, err := leaf.Verify(o); !errors.As(err, &invalid) || invalid.Reason != x509.CANotAuthorizedForThisName {
			t.Errorf("a county issues for %s: %v", name, err)
		}
	}
	inner := authority(t, trust.Division{Code: "511602", Level: "county"})
	inner.Certificate = f.county.forgeCA(t, f.county.Division.Child("511602", "county"), private(t, inner), nil)
	leaf, _ := enrolled{Authority: inner}.forgeNode(t, f.county.Division.Child("511602", "county"), nil)
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	o.Roots.AddCert(f.nation.Certificate)
	for _, c := range append(f.county.chain[:3:3], inner.Certificate) {
		o.Intermediates.AddCert(c)
	}
	var invalid x509.CertificateInvalidError
	if _, err := leaf.Verify(o); !errors.As(err, &invalid) || invalid.Reason != x509.TooManyIntermediates {
		t.Errorf("a county certifies authorities: %v", err)
	}
}
