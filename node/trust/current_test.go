package trust_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"tongban/node/trust"
	"tongban/replication"
)

// renew gives the node its next certificate, as the division's leader would.
func renew(t *testing.T, a *trust.Authority, k *trust.Keys, now time.Time) {
	t.Helper()
	key, err := trust.NewKey()
	must(t, err)
	cert, err := a.Issue(k.Node, key.Public(), now)
	must(t, err)
	over, err := k.HandOver(key.Public(), now)
	must(t, err)
	must(t, k.Use(tls.Certificate{Certificate: append([][]byte{cert.Raw}, over...), PrivateKey: key}, now))
}

// only is a ledger of one certificate for each node.
func only(list ...*trust.Keys) trust.Knows {
	known := map[replication.NodeID]string{}
	for _, k := range list {
		known[k.Node] = trust.Fingerprint(k.TLS().Leaf)
	}
	return func(n replication.NodeID, fingerprint string) bool { return known[n] == fingerprint }
}

// A node was off while the others renewed: its ledger has their certificates from before,
// and comes up to date only over the connections that it has to believe first.
func TestANodeThatWasAwayBelievesRenewedCertificates(t *testing.T) {
	a := authority(t, county)
	n1, n3 := box(t, a, "n1", time.Now()), box(t, a, "n3", time.Now())
	old := only(n1, n3)
	renew(t, a, n1, time.Now())
	if trust.Fingerprint(n1.TLS().Leaf) == trust.Fingerprint(n1.Certificate) {
		t.Fatal("nothing was renewed")
	}
	shakes := func() (server, client error) {
		_, s1, c1 := shake(t, n3.Listener(old, time.Now), n1.Dialer("n3", trust.ProtocolRaft, old, time.Now))
		_, s2, c2 := shake(t, n1.Listener(old, time.Now), n3.Dialer("n1", trust.ProtocolHTTP, old, time.Now))
		return errors.Join(s1, c1), errors.Join(s2, c2)
	}
	if s, c := shakes(); s != nil || c != nil {
		t.Errorf("renewed once: as a client %v, as a server %v", s, c)
	}
	renew(t, a, n1, time.Now())
	if s, c := shakes(); s != nil || c != nil {
		t.Errorf("renewed twice: as a client %v, as a server %v", s, c)
	}
	if n := len(n1.TLS().Certificate); n != 6 {
		t.Errorf("it shows %d certificates", n)
	}
	renew(t, a, n1, time.Now())
	if s, c := shakes(); s == nil || c == nil {
		t.Error("the hand-overs have no end")
	}
	if n := len(n1.TLS().Certificate); n != 6 {
		t.Errorf("it shows %d certificates", n)
	}
}

func TestAHandOverIsByTheNodesOwnCertificate(t *testing.T) {
	a := authority(t, county)
	n1, n2, n3 := box(t, a, "n1", time.Now()), box(t, a, "n2", time.Now()), box(t, a, "n3", time.Now())
	ledger := only(n1, n2, n3)
	// The thief has n2's box: its keys and the authority's.
	key, err := trust.NewKey()
	must(t, err)
	cert, err := a.Issue("n1", key.Public(), time.Now())
	must(t, err)
	byN2, err := n2.HandOver(key.Public(), time.Now())
	must(t, err)
	forOther, err := n1.HandOver(n3.Key.Public(), time.Now())
	must(t, err)
	past := time.Now().Add(-trust.CertificateValid - trust.Grace)
	gone := box(t, a, "n1", past)
	byGone, err := gone.HandOver(key.Public(), past)
	must(t, err)
	for name, c := range map[string]struct {
		chain [][]byte
		knows trust.Knows
	}{
		"none":                          {nil, ledger},
		"by another node":               {byN2, ledger},
		"by another node, as n1's":      {[][]byte{byN2[0], n1.Certificate.Raw}, ledger},
		"of another key":                {forOther, ledger},
		"by itself":                     {[][]byte{cert.Raw, cert.Raw}, ledger},
		"by a certificate that is over": {byGone, only(gone, n3)},
		"by half":                       {byN2[:1], ledger},
	} {
		t.Run(name, func(t *testing.T) {
			thief := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolRaft}, Certificates: []tls.Certificate{{
				Certificate: append([][]byte{cert.Raw, a.Certificate.Raw}, c.chain...), PrivateKey: key}}}
			if _, serverErr, _ := shake(t, n3.Listener(c.knows, time.Now), thief); !errors.Is(serverErr, trust.ErrUnknownNode) {
				t.Errorf("the server says %v", serverErr)
			}
		})
	}
}

func TestANodeUsesOnlyItsOwnCertificates(t *testing.T) {
	a := authority(t, county)
	n1, n2 := box(t, a, "n1", time.Now()), box(t, a, "n2", time.Now())
	other := box(t, authority(t, county), "n1", time.Now())
	for name, c := range map[string]tls.Certificate{
		"empty":             {},
		"another node's":    {Certificate: [][]byte{n2.Certificate.Raw}, PrivateKey: n2.Key},
		"another key's":     {Certificate: [][]byte{n1.Certificate.Raw}, PrivateKey: n2.Key},
		"another authority": {Certificate: [][]byte{other.Certificate.Raw}, PrivateKey: other.Key},
		"over":              used(t, a, time.Now().Add(-trust.CertificateValid-time.Hour)),
		"the authority's":   {Certificate: [][]byte{a.Certificate.Raw}, PrivateKey: private(t, a)},
	} {
		if err := n1.Use(c, time.Now()); err == nil {
			t.Errorf("a certificate is used that is %s", name)
		}
	}
	if n1.TLS().Leaf != n1.Certificate {
		t.Error("the node shows another certificate than its own")
	}
}

func used(t *testing.T, a *trust.Authority, now time.Time) tls.Certificate {
	t.Helper()
	key, err := trust.NewKey()
	must(t, err)
	cert, err := a.Issue("n1", key.Public(), now)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func TestARequestIsForOneName(t *testing.T) {
	key, err := trust.NewKey()
	must(t, err)
	name := county.DNSName("n1")
	request := func(change func(*x509.CertificateRequest)) []byte {
		r := &x509.CertificateRequest{DNSNames: []string{name}}
		change(r)
		return csr(t, key, r)
	}
	if _, err := trust.RequestFor(request(func(*x509.CertificateRequest) {}), name); err != nil {
		t.Errorf("the right request is refused: %v", err)
	}
	for what, change := range map[string]func(*x509.CertificateRequest){
		"another node": func(r *x509.CertificateRequest) { r.DNSNames[0] = county.DNSName("n2") },
		"two nodes":    func(r *x509.CertificateRequest) { r.DNSNames = append(r.DNSNames, county.DNSName("n2")) },
		"nobody":       func(r *x509.CertificateRequest) { r.DNSNames = nil },
		"a person":     func(r *x509.CertificateRequest) { r.EmailAddresses = []string{"a@b"} },
		"a subject":    func(r *x509.CertificateRequest) { r.Subject.CommonName = name },
	} {
		if _, err := trust.RequestFor(request(change), name); err == nil {
			t.Errorf("a request for %s is taken", what)
		}
	}
	bad := request(func(*x509.CertificateRequest) {})
	bad[len(bad)-1] ^= 1
	if _, err := trust.RequestFor(bad, name); err == nil {
		t.Error("a request without its proof is taken")
	}
}

func csr(t *testing.T, key *ecdsa.PrivateKey, r *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	must(t, err)
	return der
}
