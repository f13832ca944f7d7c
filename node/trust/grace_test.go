package trust_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"tongban/node/trust"
	"tongban/replication"
)

const day = 24 * time.Hour

// spans makes a forged certificate last from and until so many days from now.
func spans(from, until int) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(time.Duration(from)*day), time.Now().Add(time.Duration(until)*day)
	}
}

// TestACertificateThatEndedOpensALineForNinetyDays is about the handshake alone: what such
// a line may carry is decided by its certificates having Ended.
func TestACertificateThatEndedOpensALineForNinetyDays(t *testing.T) {
	f, impostor := grow(t), grow(t)
	server := trust.LinkServer(own(box(t, f.city.Authority, "n1", time.Now()), f.city.chain), f.city.Certificate, time.Now)
	key := private(t, f.county.Authority)
	wrongUse := func(c *x509.Certificate) {
		spans(-400, -1)(c)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for name, c := range map[string]struct {
		leaf, ca func(*x509.Certificate)
		as       trust.Division // Of the node's certificate; zero: the county.
		by       enrolled       // Signs the authority; zero: the city.
		let, end bool
	}{
		"both are valid":                                         {leaf: spans(-1, 1), ca: spans(-400, 1), let: true},
		"the node's ended yesterday":                             {leaf: spans(-400, -1), ca: spans(-400, 1), let: true, end: true},
		"the node's ended 89 days ago":                           {leaf: spans(-400, -89), ca: spans(-500, 1), let: true, end: true},
		"the node's ended 91 days ago":                           {leaf: spans(-400, -91), ca: spans(-500, 1)},
		"the authority's ended, the node's is younger":           {leaf: spans(-1, 1), ca: spans(-400, -80), let: true, end: true},
		"the authority's ended 91 days ago":                      {leaf: spans(-1, 1), ca: spans(-400, -91)},
		"both ended, at other times":                             {leaf: spans(-400, -2), ca: spans(-500, -80), let: true, end: true},
		"the node's is not yet valid":                            {leaf: spans(1, 2), ca: spans(-400, 3)},
		"the authority's is not yet valid":                       {leaf: spans(-1, 2), ca: spans(1, 3)},
		"the node's is not yet valid, the authority's has ended": {leaf: spans(1, 2), ca: spans(-400, -1)},
		"ended, for use as a server alone":                       {leaf: wrongUse, ca: spans(-400, 1)},
		"ended, of the sibling":                                  {leaf: spans(-400, -1), ca: spans(-400, 1), as: f.sibling.Division},
		"ended, of the parent":                                   {leaf: spans(-400, -1), ca: spans(-400, 1), as: f.city.Division},
		"ended, by another authority of the city's name":         {leaf: spans(-400, -1), ca: spans(-400, -1), by: impostor.city},
		"valid, by another authority of the city's name":         {leaf: spans(-1, 1), ca: spans(-1, 1), by: impostor.city},
		"ended, by the sibling":                                  {leaf: spans(-400, -1), ca: spans(-400, -1), by: f.sibling},
	} {
		t.Run(name, func(t *testing.T) {
			by, as := c.by, c.as
			if by.Authority == nil {
				by = f.city
			}
			if as.Code == "" {
				as = f.county.Division
			}
			ca := by.forgeCA(t, f.county.Division, key, c.ca)
			leaf, leafKey := f.county.forgeNode(t, as, c.leaf)
			client := trust.LinkClient(show(leafKey, leaf, ca), f.city.Certificate, f.city.Division, time.Now)
			state, serverErr, _ := shake(t, server, client)
			if (serverErr == nil) != c.let || serverErr != nil && !errors.Is(serverErr, trust.ErrStranger) {
				t.Fatalf("the parent says %v", serverErr)
			}
			if c.let && trust.Ended(state.PeerCertificates, time.Now()) != c.end {
				t.Errorf("ended: %v, want %v", !c.end, c.end)
			}
		})
	}
}

// TestWhatEndsAboveDoesNotCutTheLineBelow: the province has not reached the nation for so
// long that what the nation signed of it is over.
func TestWhatEndsAboveDoesNotCutTheLineBelow(t *testing.T) {
	nation, root := anchor(t), authority(t, trust.Division{Code: "510000", Level: "province"})
	province := nation.enrol(t, root)
	city := province.child(t, "511600", "city")
	later := time.Now().Add(trust.AuthorityValid + 400*day)
	clock := func() time.Time { return later }
	if !later.After(province.chain[0].NotAfter) || later.After(nation.Certificate.NotAfter) {
		t.Fatal("what the nation signed is not over, or its own certificate is: this tests nothing")
	}
	above, below := box(t, root, "n1", later), box(t, city.Authority, "n1", later)
	must(t, above.Check(later))
	csr, err := city.Request()
	must(t, err)
	renewed, err := province.SignChild(csr, city.Division, later)
	must(t, err)
	server := trust.LinkServer(own(above, province.chain), root.Certificate, clock)
	client := trust.LinkClient(own(below, []*x509.Certificate{renewed}), city.chain[1], province.Division, clock)
	state, serverErr, clientErr := shake(t, server, client)
	if serverErr != nil || clientErr != nil || trust.Ended(state.PeerCertificates, later) {
		t.Errorf("server %v, client %v", serverErr, clientErr)
	}
	if _, err := trust.VerifyChain(append([]*x509.Certificate{renewed}, province.chain...), nation.Certificate, later); err == nil {
		t.Error("across divisions a chain that has ended is good")
	}
	old := box(t, root, "n1", later.Add(-trust.CertificateValid-day))
	server = trust.LinkServer(own(old, province.chain), root.Certificate, clock)
	if _, _, clientErr := shake(t, server, client); !errors.Is(clientErr, trust.ErrStranger) {
		t.Errorf("a parent's node whose certificate has ended is believed: %v", clientErr)
	}
}

// TestBoxesThatWereAllOffForTooLongBelieveEachOther: none of them could have a certificate
// issued without the others.
func TestBoxesThatWereAllOffForTooLongBelieveEachOther(t *testing.T) {
	a := authority(t, county)
	began := time.Now().Add(-trust.CertificateValid)
	n1, n2, stolen := box(t, a, "n1", began), box(t, a, "n2", began), box(t, a, "n2", began)
	n3 := box(t, a, "n3", began.Add(-trust.Grace))
	ledger := func(n replication.NodeID, print string) bool {
		for id, k := range map[replication.NodeID]*trust.Keys{"n1": n1, "n2": n2, "n3": n3} {
			if id == n && print == trust.Fingerprint(k.Certificate) {
				return true
			}
		}
		return false
	}
	for name, c := range map[string]struct {
		from *trust.Keys
		want error
	}{
		"it is in the ledger":                            {n2, nil},
		"it is not: signed with the authority's key":     {stolen, trust.ErrUnknownNode},
		"it is in the ledger, and ended too long ago":    {n3, trust.ErrStranger},
		"another authority's of the same name and ended": {box(t, authority(t, county), "n2", began), trust.ErrStranger},
	} {
		t.Run(name, func(t *testing.T) {
			dialer := c.from.Dialer("n1", trust.ProtocolRaft, ledger, time.Now)
			if c.want != nil {
				dialer.VerifyConnection = nil
			}
			_, serverErr, clientErr := shake(t, n1.Listener(ledger, time.Now), dialer)
			if !errors.Is(serverErr, c.want) || c.want == nil && clientErr != nil {
				t.Errorf("server %v, client %v", serverErr, clientErr)
			}
		})
	}
	// The first that is issued anew is believed by who has not heard of it.
	key, err := trust.NewKey()
	must(t, err)
	cert, err := a.Issue("n2", key.Public(), time.Now())
	must(t, err)
	behind, err := n2.HandOver(key.Public(), time.Now())
	must(t, err)
	must(t, n2.Use(tls.Certificate{Certificate: append([][]byte{cert.Raw}, behind...), PrivateKey: key}, time.Now()))
	if _, serverErr, clientErr := shake(t, n1.Listener(ledger, time.Now), n2.Dialer("n1", trust.ProtocolRaft, ledger, time.Now)); serverErr != nil || clientErr != nil {
		t.Errorf("by a hand-over from a certificate that has ended: server %v, client %v", serverErr, clientErr)
	}
}
