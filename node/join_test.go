package node_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tongban/node"
	"tongban/node/config"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/nodetest"
	"tongban/node/trust"
)

// movable is a clock that a test moves.
type movable struct{ by atomic.Int64 }

func (m *movable) now() time.Time       { return time.Now().Add(time.Duration(m.by.Load())) }
func (m *movable) move(d time.Duration) { m.by.Add(int64(d)) }

func joinOptions(t *testing.T, token string, now func() time.Time) node.JoinOptions {
	t.Helper()
	return node.JoinOptions{Token: token, Dir: filepath.Join(t.TempDir(), "box"), Now: now,
		Addresses: node.Addresses{Web: "127.0.0.1:0", Peer: "127.0.0.1:0", Gossip: "127.0.0.1:0", Link: "127.0.0.1:0"}}
}

func TestABoxThatMayNotJoinIsToldWhy(t *testing.T) {
	clock := &movable{}
	c := nodetest.Division(t, 1, nodetest.Clock(clock.now))
	fresh := func() string { return c.Token(0) }
	parse := func(text string) join.Token {
		token, err := join.ParseToken(text)
		must(t, err)
		return token
	}
	for _, s := range []struct {
		name   string
		token  func() string
		node   string
		skew   time.Duration
		reason join.Reason // Or:
		want   string
	}{
		{name: "guessed token", reason: join.Unknown, token: func() string {
			token := parse(fresh())
			token.Secret = strings.Repeat("0", 32)
			return token.String()
		}},
		{name: "another authority", want: "another division", token: func() string {
			token := parse(fresh())
			token.Fingerprint = strings.Repeat("0", 64)
			return token.String()
		}},
		{name: "token cut off", want: "cut off", token: func() string { return fresh()[:70] }},
		{name: "nobody there", want: "no node of the division could be asked", token: func() string {
			token := parse(fresh())
			token.Addresses = []string{"127.0.0.1:1"}
			return token.String()
		}},
		{name: "name of the first node", token: fresh, node: "n1", reason: join.NameTaken},
		{name: "clock two minutes off", token: fresh, skew: 2 * time.Minute, reason: join.Clock},
		{name: "expired token", reason: join.Expired, token: func() string {
			token := fresh()
			clock.move(25 * time.Hour)
			return token
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			o := joinOptions(t, s.token(), func() time.Time { return clock.now().Add(s.skew) })
			if s.node != "" {
				o.Node = "n1"
			}
			_, err := node.Join(t.Context(), o)
			var refusal *join.Refusal
			switch {
			case err == nil:
				t.Fatal("the box joined")
			case s.reason != "" && (!errors.As(err, &refusal) || refusal.Reason != s.reason):
				t.Errorf("got %v, want reason %s", err, s.reason)
			case s.want != "" && !strings.Contains(err.Error(), s.want):
				t.Errorf("%q does not say %q", err, s.want)
			}
			if _, err := os.Stat(filepath.Join(o.Dir, config.FileName)); err == nil {
				t.Error("the box has a configuration: it would start")
			}
		})
	}
	if s, err := c.Status(0); err != nil || len(s.Peers) != 0 {
		t.Errorf("a refused box is listed: %+v, %v", s.Peers, err)
	}
}

func TestWhoHasNoTokenLearnsNothing(t *testing.T) {
	c := nodetest.Division(t, 1)
	token, err := join.ParseToken(c.Token(0))
	must(t, err)
	token.Secret = strings.Repeat("0", 32)
	key, err := trust.NewKey()
	must(t, err)
	good, err := trust.NewRequest(key)
	must(t, err)
	first, err := trust.Load(c.Config(0).Data, trust.Division{Code: c.Code, Level: "county"}, "n1")
	must(t, err)
	recipient := first.Identity.Recipient().String()
	for name, r := range map[string]join.Request{
		"no certificate request": {},
		"no node key":            {CSR: good},
		"the first node's name":  {CSR: good, Node: join.Peer{ID: "n1", Recipient: recipient}},
		"the first node's key":   {CSR: good, Node: join.Peer{ID: "n7", Recipient: recipient}},
	} {
		_, err := join.Ask(t.Context(), token, r, time.Now)
		var refusal *join.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != join.Unknown || refusal.Detail != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATokenIsGoodForOneBoxAndAJoinThatDiedCanBeRepeated(t *testing.T) {
	c := nodetest.Division(t, 1)
	token := c.Token(0)
	o := joinOptions(t, token, nil)
	first, err := node.Join(t.Context(), o)
	must(t, err)
	if first.Node != "n2" || first.Division.Code != c.Code {
		t.Errorf("joined as %+v", first)
	}
	var refusal *join.Refusal
	if _, err := node.Join(t.Context(), joinOptions(t, token, nil)); !errors.As(err, &refusal) || refusal.Reason != join.Used {
		t.Errorf("a used token: %v", err)
	}
	if _, err := node.Join(t.Context(), o); exit.Code(err) != exit.Usage {
		t.Errorf("joining into a node's folder: %v", err)
	}

	// A box whose join died after the division had listed it: what it keeps is its keys.
	died := joinOptions(t, c.Token(0), nil)
	cfg, err := node.Join(t.Context(), died)
	must(t, err)
	keys, err := trust.Load(cfg.Data, trust.Division{Code: c.Code, Level: "county"}, cfg.Node)
	must(t, err)
	must(t, os.RemoveAll(died.Dir))
	must(t, keys.SavePrivate(filepath.Join(died.Dir, "joining")))
	died.Token = c.Token(0)
	again, err := node.Join(t.Context(), died)
	must(t, err)
	if again.Node != cfg.Node {
		t.Errorf("the same box is %s, then %s", cfg.Node, again.Node)
	}
	if _, err := os.Stat(filepath.Join(died.Dir, "joining")); err == nil {
		t.Error("the keys are still in the folder of the join")
	}
	again2, err := trust.Load(again.Data, trust.Division{Code: c.Code, Level: "county"}, again.Node)
	must(t, err)
	if _, err := again2.OpenAuthority(again2.Sealed); err != nil {
		t.Errorf("the authority's key is not sealed to the box: %v", err)
	}
}

// request makes a GET over the node port with the keys of a box.
func request(t *testing.T, keys *trust.Keys, address, path string) (int, error) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, keys.Dialer("n1", trust.ProtocolHTTP, nil, time.Now))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Get("https://n1" + path)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, nil
}

// TestACertificateThatTheDivisionDidNotIssueIsRefused gives an attacker all that a stolen
// box has: its keys, and with them the authority's. It signs itself certificates that are
// like the real ones in every field, the serial number too.
func TestACertificateThatTheDivisionDidNotIssueIsRefused(t *testing.T) {
	c := nodetest.Division(t, 1)
	cfg, err := node.Join(t.Context(), joinOptions(t, c.Token(0), nil))
	must(t, err)
	county := trust.Division{Code: c.Code, Level: "county"}
	stolen, err := trust.Load(cfg.Data, county, cfg.Node)
	must(t, err)
	first, err := trust.Load(c.Config(0).Data, county, "n1")
	must(t, err)
	address := c.Config(0).Peer.Listen
	c.Await("the box is known by its own certificate", func() bool {
		_, err := request(t, stolen, address, "/node/applied")
		return err == nil
	})
	authority, err := stolen.OpenAuthority(stolen.Sealed)
	must(t, err)
	text, err := authority.KeyPEM()
	must(t, err)
	block, _ := pem.Decode(text)
	secret, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	for name, like := range map[string]*x509.Certificate{"its own name": stolen.Certificate, "the first node's": first.Certificate} {
		forger := &trust.Keys{Division: stolen.Division, Node: stolen.Node, Authority: stolen.Authority}
		forger.Key, err = trust.NewKey()
		must(t, err)
		der, err := x509.CreateCertificate(rand.Reader, like, authority.Certificate, forger.Key.Public(), secret)
		must(t, err)
		forger.Certificate, err = x509.ParseCertificate(der)
		must(t, err)
		if forger.Certificate.SerialNumber.Cmp(like.SerialNumber) != 0 {
			t.Fatal("the forgery has another serial number")
		}
		if status, err := request(t, forger, address, "/node/applied"); err == nil {
			t.Errorf("with a forged certificate in %s the box got %d", name, status)
		}
	}
}

func TestARemovedNodeIsRefusedAtTheNodePort(t *testing.T) {
	c := nodetest.Division(t, 1)
	cfg, err := node.Join(t.Context(), joinOptions(t, c.Token(0), nil))
	must(t, err)
	keys, err := trust.Load(cfg.Data, trust.Division{Code: c.Code, Level: "county"}, cfg.Node)
	must(t, err)
	address := c.Config(0).Peer.Listen
	c.Await("the new node may speak to the node port", func() bool {
		status, err := request(t, keys, address, "/node/applied")
		return err == nil && status == http.StatusOK
	})
	admin := c.Admin(0)
	defer admin.Close()
	must(t, admin.Post(t.Context(), "/node/remove", node.RemoveRequest{Node: cfg.Node}, nil))
	c.Await("the removed node is refused", func() bool {
		_, err := request(t, keys, address, "/node/applied")
		return err != nil
	})
	if err := admin.Post(t.Context(), "/node/remove", node.RemoveRequest{Node: cfg.Node}, nil); exit.Code(err) != exit.NotFound {
		t.Errorf("removing it again: %v", err)
	}
	if err := admin.Post(t.Context(), "/node/remove", node.RemoveRequest{Node: "n1"}, nil); err == nil || !strings.Contains(err.Error(), "last node") {
		t.Errorf("removing the last node: %v", err)
	}
}
