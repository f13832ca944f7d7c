package trust_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tongban/node/exit"
	"tongban/node/trust"
	"tongban/replication"
)

var county = trust.Division{Code: "511602", Level: "county"}

// box makes the keys of a node.
func box(t *testing.T, a *trust.Authority, n replication.NodeID, now time.Time) *trust.Keys {
	t.Helper()
	id, err := trust.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue(n, key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	gossip, err := trust.NewGossipKey()
	if err != nil {
		t.Fatal(err)
	}
	return &trust.Keys{Division: a.Division, Node: n, Identity: id, Key: key, Certificate: cert,
		Authority: a.Certificate, Gossip: gossip, Recovery: id.Recipient().String(), Sealed: []byte("x")}
}

func authority(t *testing.T, d trust.Division) *trust.Authority {
	t.Helper()
	a, err := trust.NewAuthority(d, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// shake makes a handshake between a client and n1's node port and returns both errors.
func shake(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") // A pipe has no buffer: both sides may wait to write.
	must(t, err)
	defer l.Close()
	b, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	a, err := l.Accept()
	must(t, err)
	defer a.Close()
	deadline := time.Now().Add(5 * time.Second)
	_ = a.SetDeadline(deadline)
	_ = b.SetDeadline(deadline)
	s, c := tls.Server(a, server), tls.Client(b, client)
	done := make(chan error, 1)
	go func() {
		err := s.Handshake()
		if err != nil {
			_ = a.Close()
		} else {
			_, err = s.Write([]byte("!"))
		}
		done <- err
	}()
	clientErr = c.Handshake()
	if clientErr == nil { // In TLS 1.3 the server's verdict comes with the first read.
		_, clientErr = c.Read(make([]byte, 1))
	}
	_ = b.Close()
	serverErr = <-done
	return s.ConnectionState(), serverErr, clientErr
}

func TestTheNodePortKnowsItsOwn(t *testing.T) {
	a := authority(t, county)
	n1, n2 := box(t, a, "n1", time.Now()), box(t, a, "n2", time.Now())
	everybody := func(replication.NodeID, string) bool { return true }
	for _, protocol := range []string{trust.ProtocolRaft, trust.ProtocolStream, trust.ProtocolHTTP} {
		state, serverErr, clientErr := shake(t, n1.Listener(everybody, time.Now), n2.Dialer("n1", protocol, nil, time.Now))
		if serverErr != nil || clientErr != nil {
			t.Fatalf("%s: server %v, client %v", protocol, serverErr, clientErr)
		}
		if peer, err := n1.Peer(state); err != nil || peer != "n2" || state.NegotiatedProtocol != protocol {
			t.Errorf("%s: peer %q, %v, protocol %q", protocol, peer, err, state.NegotiatedProtocol)
		}
	}
	join := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolJoin}}
	state, serverErr, clientErr := shake(t, n1.Listener(everybody, time.Now), join)
	if serverErr != nil || clientErr != nil || state.NegotiatedProtocol != trust.ProtocolJoin {
		t.Errorf("join: server %v, client %v, protocol %q", serverErr, clientErr, state.NegotiatedProtocol)
	}
	if _, err := n1.Peer(state); !errors.Is(err, trust.ErrNoCertificate) {
		t.Errorf("a joining box has the identity of a node: %v", err)
	}
}

// forged is a certificate signed by the authority's own key (taken from its sealed form),
// with whatever names the attacker wants: what a stolen or buggy authority could issue.
func forged(t *testing.T, a *trust.Authority, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	pemKey, err := a.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair([]byte(pemCert(a.Certificate)), pemKey)
	if err != nil {
		t.Fatal(err)
	}
	uri, _ := url.Parse(a.Division.URI("n2"))
	template := &x509.Certificate{SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{a.Division.DNSName("n2")}, URIs: []*url.URL{uri}}
	change(template)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestTheNodePortRefusesStrangers(t *testing.T) {
	a := authority(t, county)
	n1 := box(t, a, "n1", time.Now())
	other := authority(t, county) // Same division by name, another key.
	neighbour := authority(t, trust.Division{Code: "511603", Level: "county"})
	city := authority(t, trust.Division{Code: "511600", Level: "city"})
	dial := func(k *trust.Keys) *tls.Config {
		c := k.Dialer("n1", trust.ProtocolRaft, nil, time.Now)
		c.VerifyConnection = nil // The attacker does not care who n1 is.
		return c
	}
	with := func(c tls.Certificate) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolRaft}, Certificates: []tls.Certificate{c}}
	}
	uri := func(text string) *url.URL { u, _ := url.Parse(text); return u }
	for name, c := range map[string]struct {
		client *tls.Config
		want   error
	}{
		"no certificate":            {client: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolRaft}}},
		"certificate of another CA": {dial(box(t, other, "n2", time.Now())), trust.ErrStranger},
		"another division's":        {dial(box(t, neighbour, "n2", time.Now())), trust.ErrStranger},
		"another level's":           {dial(box(t, city, "n2", time.Now())), trust.ErrStranger},
		"removed node":              {dial(box(t, a, "n9", time.Now())), trust.ErrUnknownNode},
		"expired":                   {dial(box(t, a, "n2", time.Now().Add(-trust.CertificateValid-trust.Grace-time.Hour))), trust.ErrStranger},
		"not yet valid":             {dial(box(t, a, "n2", time.Now().Add(24*time.Hour))), trust.ErrStranger},
		"no protocol":               {func() *tls.Config { c := dial(box(t, a, "n2", time.Now())); c.NextProtos = nil; return c }(), trust.ErrNoProtocol},
		"foreign protocol": {client: func() *tls.Config {
			c := dial(box(t, a, "n2", time.Now()))
			c.NextProtos = []string{"http/1.1"}
			return c
		}()},
		"join and raft at once": {client: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolJoin, trust.ProtocolRaft}}},
		"TLS 1.2": {client: func() *tls.Config {
			c := dial(box(t, a, "n2", time.Now()))
			c.MinVersion, c.MaxVersion = 0, tls.VersionTLS12
			return c
		}()},
		"name in the subject alone":    {with(forged(t, a, func(c *x509.Certificate) { c.Subject.CommonName = c.DNSNames[0]; c.DNSNames = nil })), trust.ErrStranger},
		"two names":                    {with(forged(t, a, func(c *x509.Certificate) { c.DNSNames = append(c.DNSNames, county.DNSName("n3")) })), trust.ErrStranger},
		"URI and name disagree":        {with(forged(t, a, func(c *x509.Certificate) { c.URIs = []*url.URL{uri(county.URI("n3"))} })), trust.ErrStranger},
		"no URI":                       {with(forged(t, a, func(c *x509.Certificate) { c.URIs = nil })), trust.ErrStranger},
		"name outside the constraints": {with(forged(t, a, func(c *x509.Certificate) { c.DNSNames = []string{"n2.511603." + trust.Domain} })), trust.ErrStranger},
		"server usage alone":           {with(forged(t, a, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] })), trust.ErrStranger},
	} {
		t.Run(name, func(t *testing.T) {
			knows := func(n replication.NodeID, _ string) bool { return n == "n1" || n == "n2" }
			_, serverErr, clientErr := shake(t, n1.Listener(knows, time.Now), c.client)
			if serverErr == nil || clientErr == nil {
				t.Fatalf("the handshake succeeded: server %v, client %v", serverErr, clientErr)
			}
			if c.want != nil && !errors.Is(serverErr, c.want) {
				t.Errorf("server says %v, want %v", serverErr, c.want)
			}
		})
	}
}

func TestADialerSpeaksToNobodyElse(t *testing.T) {
	a := authority(t, county)
	n1, n2, n3 := box(t, a, "n1", time.Now()), box(t, a, "n2", time.Now()), box(t, a, "n3", time.Now())
	stranger := box(t, authority(t, county), "n2", time.Now())
	everybody := func(replication.NodeID, string) bool { return true }
	for name, server := range map[string]*trust.Keys{"another node": n3, "another authority": stranger} {
		_, _, clientErr := shake(t, server.Listener(everybody, time.Now), n1.Dialer("n2", trust.ProtocolRaft, nil, time.Now))
		if !errors.Is(clientErr, trust.ErrStranger) {
			t.Errorf("%s answers for n2: %v", name, clientErr)
		}
	}
	if _, _, clientErr := shake(t, n2.Listener(everybody, time.Now), n1.Dialer("n2", trust.ProtocolRaft, nil, time.Now)); clientErr != nil {
		t.Errorf("the right node is refused: %v", clientErr)
	}
	issued := func(_ replication.NodeID, fingerprint string) bool {
		return fingerprint == trust.Fingerprint(n2.Certificate)
	}
	if _, _, clientErr := shake(t, n2.Listener(everybody, time.Now), n1.Dialer("n2", trust.ProtocolRaft, issued, time.Now)); clientErr != nil {
		t.Errorf("the right node is refused by its certificate: %v", clientErr)
	}
	forger := box(t, a, "n2", time.Now()) // The authority's key signed it, the ledger lacks it.
	if _, _, clientErr := shake(t, forger.Listener(everybody, time.Now), n1.Dialer("n2", trust.ProtocolRaft, issued, time.Now)); !errors.Is(clientErr, trust.ErrUnknownNode) {
		t.Errorf("another certificate in the node's name: %v", clientErr)
	}
}

func TestKeysSurviveTheDiskAndRefuseToBeOpen(t *testing.T) {
	a := authority(t, county)
	k := box(t, a, "n1", time.Now())
	pemKey, err := a.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if k.Sealed, err = trust.Seal(pemKey, k.Identity.Recipient().String()); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	if err := k.Save(data); err != nil {
		t.Fatal(err)
	}
	got, err := trust.Load(data, county, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Gossip, k.Gossip) || got.Identity.String() != k.Identity.String() || !got.Certificate.Equal(k.Certificate) {
		t.Error("other keys were read than written")
	}
	again, err := got.OpenAuthority(got.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.Issue("n2", k.Key.Public(), time.Now()); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(t *testing.T){
		"another node": func(t *testing.T) {},
		"open to all":  func(t *testing.T) { must(t, os.Chmod(filepath.Join(data, "node.key"), 0o644)) },
		"damaged":      func(t *testing.T) { must(t, os.WriteFile(filepath.Join(data, "tls/node-key.pem"), []byte("x"), 0o600)) },
		"missing":      func(t *testing.T) { must(t, os.Remove(filepath.Join(data, "tls/ca.pem"))) },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, k.Save(data))
			node := replication.NodeID("n1")
			if name == "another node" {
				node = "n2"
			}
			spoil(t)
			if _, err := trust.Load(data, county, node); exit.Code(err) != exit.Config {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSecretsAreForTheirRecipientsAlone(t *testing.T) {
	var ids [3]string
	sealed := []byte(nil)
	a, _ := trust.NewIdentity()
	b, _ := trust.NewIdentity()
	c, _ := trust.NewIdentity()
	ids[0], ids[1] = a.Recipient().String(), b.Recipient().String()
	sealed, err := trust.Seal([]byte("geheim"), ids[0], ids[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []*struct {
		who  string
		ok   bool
		open func() ([]byte, error)
	}{
		{"a", true, func() ([]byte, error) { return trust.Unseal(sealed, a) }},
		{"b", true, func() ([]byte, error) { return trust.Unseal(sealed, b) }},
		{"c", false, func() ([]byte, error) { return trust.Unseal(sealed, c) }},
		{"a, one byte changed", false, func() ([]byte, error) {
			bad := bytes.Clone(sealed)
			bad[len(bad)-1] ^= 1
			return trust.Unseal(bad, a)
		}},
	} {
		got, err := id.open()
		if (err == nil && string(got) == "geheim") != id.ok {
			t.Errorf("%s: %q, %v", id.who, got, err)
		}
	}
	if strings.Contains(string(sealed), "geheim") {
		t.Error("the secret is in the clear")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAHugeKeyIsNotWorkedOn asks for a certificate of an RSA key so long that checking its
// signature takes a processor for many seconds.
func TestAHugeKeyIsNotWorkedOn(t *testing.T) {
	n := new(big.Int).Lsh(big.NewInt(1), 1<<19)
	key, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	type info struct {
		Version    int
		Subject    struct{}
		Key        asn1.RawValue
		Attributes []int `asn1:"tag:0,set"`
	}
	der, err := asn1.Marshal(struct { // RFC 2986, 4.2
		Info      info
		Algorithm pkix.AlgorithmIdentifier
		Signature asn1.BitString
	}{info{Key: asn1.RawValue{FullBytes: key}}, pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}},
		asn1.BitString{Bytes: make([]byte, n.BitLen()/8+1), BitLength: (n.BitLen()/8 + 1) * 8}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificateRequest(der); err != nil {
		t.Fatalf("the request itself is malformed: %v", err)
	}
	start := time.Now()
	if _, err := trust.RequestKey(der); err == nil {
		t.Error("an RSA key was taken")
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("it took %s", took)
	}
}
