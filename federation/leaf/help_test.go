package leaf

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tongban/division"
)

// The divisions of these tests: a city, two of its counties, and another city.
var (
	city   = division.Ref{Level: division.City, Code: "511600"}
	guangn = division.Ref{Level: division.County, Code: "511602"}
	qianfg = division.Ref{Level: division.County, Code: "511603"}
	dazhou = division.Ref{Level: division.City, Code: "511700"}
)

// authority is a division's small CA.
type authority struct {
	name  string // DNS name of the division.
	level string
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	chain [][]byte // Its certificate and those above, but the anchor's.
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key *ecdsa.PrivateKey, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<62))
	if template.NotBefore.IsZero() {
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// newAuthority makes an anchor, or a division below parent.
func newAuthority(t testing.TB, ref division.Ref, parent *authority) *authority {
	t.Helper()
	a := &authority{name: string(ref.Code) + ".tongban.internal", level: ref.Level.String(), key: newKey(t)}
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	if parent == nil {
		a.cert = sign(t, template, template, a.key, a.key)
		return a
	}
	a.name = string(ref.Code) + "." + parent.name
	template.PermittedDNSDomainsCritical, template.PermittedDNSDomains = true, []string{a.name}
	a.cert = sign(t, template, parent.cert, a.key, parent.key)
	a.chain = append([][]byte{a.cert.Raw}, parent.chain...)
	return a
}

// node issues a certificate for one node of the division.
func (a *authority) node(t testing.TB, change ...func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{a.name},
		URIs:        []*url.URL{{Scheme: "tongban", Host: a.name, Path: "/" + a.level + "/n1"}},
	}
	for _, c := range change {
		c(template)
	}
	key := newKey(t)
	cert := sign(t, template, a.cert, key, a.key)
	return &tls.Certificate{Certificate: append([][]byte{cert.Raw}, a.chain...), PrivateKey: key, Leaf: cert}
}

// server and client are the two sides of a line, in the names of this division. anchor is
// what the other side must be signed by.
func (a *authority) server(t testing.TB, anchor *authority) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(anchor.cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*a.node(t)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
}

func (a *authority) client(t testing.TB, parent *authority, change ...func(*x509.Certificate)) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(parent.cert)
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*a.node(t, change...)},
		RootCAs: pool, ServerName: parent.name}
}

// refOf reads the division from a certificate.
func refOf(state tls.ConnectionState) (division.Ref, error) {
	if len(state.VerifiedChains) == 0 || len(state.PeerCertificates[0].URIs) != 1 {
		return division.Ref{}, errors.New("the certificate names no division")
	}
	u := state.PeerCertificates[0].URIs[0]
	code, _, _ := strings.Cut(u.Host, ".")
	level, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	return division.ParseRef(level + "/" + code)
}

// grantOf lets in whoever has a certificate.
func grantOf(state tls.ConnectionState) (Grant, error) {
	ref, err := refOf(state)
	return Grant{Child: ref}, err
}

// hub is a parent's node of a test, with its children table.
type hub struct {
	*Server
	ca *authority

	mu     sync.Mutex
	refuse map[division.Ref]bool
	only   map[division.Ref]string
}

// tree makes the authorities of the city and its two counties.
func tree(t testing.TB) (cityCA, a, b *authority) {
	cityCA = newAuthority(t, city, nil)
	return cityCA, newAuthority(t, guangn, cityCA), newAuthority(t, qianfg, cityCA)
}

type handler func(ctx context.Context, from division.Ref, kind string, body []byte) ([]byte, error)

// echo answers with who asked what.
func echo(_ context.Context, from division.Ref, kind string, body []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%s %s %s", from, kind, body), nil
}

// quick is a pace for tests.
var quick = pace{watch: 5 * time.Millisecond, ask: 200 * time.Millisecond, askAgain: 200 * time.Millisecond,
	stall: 500 * time.Millisecond, redial: []redial{{50 * time.Millisecond, 2 * time.Second}, {100 * time.Millisecond, 0}}}

// openHub opens a parent's node; listen "" is a free port.
func openHub(t testing.TB, ca *authority, listen string, handle handler) *hub {
	t.Helper()
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	h := &hub{ca: ca, refuse: map[division.Ref]bool{}, only: map[division.Ref]string{}}
	s, err := Open(Options{Self: city, Listen: listen, Server: ca.server(t, ca), Handle: handle, Log: quiet(t), pace: quick,
		Authorize: func(state tls.ConnectionState) (Grant, error) {
			ref, err := refOf(state)
			h.mu.Lock()
			defer h.mu.Unlock()
			if err == nil && (h.refuse[ref] || ref != guangn && ref != qianfg) {
				err = fmt.Errorf("%s is no child", ref)
			}
			return Grant{Child: ref, Only: h.only[ref]}, err
		}})
	if err != nil {
		t.Fatal(err)
	}
	h.Server = s
	t.Cleanup(func() { h.Close() })
	return h
}

func (h *hub) setRefused(ref division.Ref, refused bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse[ref] = refused
}

// setOnly limits the lines that a child opens from now on; "": not at all.
func (h *hub) setOnly(ref division.Ref, kind string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.only[ref] = kind
}

// openChild opens a child's node with a line to the parent at the addresses.
func openChild(t testing.TB, self division.Ref, ca, parent *authority, handle handler, addresses ...string) *Server {
	t.Helper()
	s, err := Open(Options{Self: self, Handle: handle, Log: quiet(t), pace: quick})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.SetParent(&Parent{Ref: city, Addresses: addresses, TLS: ca.client(t, parent)})
	return s
}

// quiet keeps what was logged for a test that fails.
func quiet(t testing.TB) *slog.Logger {
	var mu sync.Mutex
	var kept bytes.Buffer
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		if t.Failed() {
			t.Logf("log of one server:\n%s", kept.Bytes())
		}
	})
	return slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return kept.Write(b)
	}), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// await waits until the condition holds; what says in words what never came.
func await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !condition() {
		select {
		case <-limit:
			t.Fatalf("never came: %s", what)
		case <-tick.C:
		}
	}
}

func (h *hub) awaitLine(t testing.TB, child *Server) {
	t.Helper()
	await(t, "a line between "+child.o.Self.String()+" and its parent", func() bool {
		return h.Connected(child.o.Self) && child.Connected(city)
	})
}

// within is a context that ends soon.
func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// ask calls and expects the answer.
func ask(t testing.TB, s *Server, to division.Ref, kind, body, want string) {
	t.Helper()
	got, err := s.Call(within(t, 5*time.Second), to, kind, []byte(body))
	if err != nil || string(got) != want {
		t.Fatalf("call %s of %s: %q, %v; want %q", kind, to, got, err, want)
	}
}

// relay is a TCP relay that can be cut (connections end), frozen (bytes stop, connections
// stay), and that counts.
type relay struct {
	listener net.Listener
	to       func() string
	bytes    atomic.Int64
	count    atomic.Int64 // Connections.
	frozen   atomic.Bool

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]bool
}

func newRelay(t testing.TB, to func() string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, to: to, conns: map[net.Conn]bool{}}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.carry(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.setCut(true)
		work.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.listener.Addr().String() }

func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.cut {
		r.conns[c] = true
	}
	return !r.cut
}

func (r *relay) carry(c net.Conn) {
	r.count.Add(1)
	defer c.Close()
	far, err := net.Dial("tcp", r.to())
	if err != nil {
		return
	}
	defer far.Close()
	if !r.keep(c) || !r.keep(far) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { r.pump(far, c) })
	both.Go(func() { r.pump(c, far) })
	both.Wait()
}

func (r *relay) pump(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !r.frozen.Load() {
			r.bytes.Add(int64(n))
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// setCut ends all connections and refuses new ones, or lets them pass again.
func (r *relay) setCut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
	for c := range r.conns {
		c.Close()
	}
	clear(r.conns)
}
