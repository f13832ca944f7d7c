package enrol_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tongban/division"
	"tongban/node/enrol"
	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	city   = division.Ref{Level: division.City, Code: "511600"}
	county = division.Ref{Level: division.County, Code: "511602"}
)

func token(t *testing.T, fingerprint string, addresses ...string) enrol.Token {
	t.Helper()
	tok, err := enrol.NewToken(city, county, fingerprint, time.Now().Add(time.Hour), addresses)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestTokensAreReadStrictly(t *testing.T) {
	tok := token(t, strings.Repeat("ab", 32), "box-1.example:7301", "[::1]:7301")
	good := tok.String()
	got, err := enrol.ParseToken(" " + good[:50] + "\n  " + good[50:] + "\n")
	if err != nil || got.String() != good || got.Parent != city || got.Child != county || !got.Expires.Equal(tok.Expires) ||
		string(got.Secret) != string(tok.Secret) || got.ID != tok.ID || len(got.Addresses) != 2 || got.Addresses[0] != "box-1.example:7301" {
		t.Fatalf("got %+v, %v", got, err)
	}
	for name, text := range map[string]string{
		"nothing":                      "",
		"a token of a joining box":     "tb1-" + strings.Repeat("ab", 32) + "-" + strings.Repeat("cd", 16) + "-127.0.0.1:7301",
		"another prefix":               "te2" + good[3:],
		"only the prefix":              "te1-",
		"one character cut off":        good[:len(good)-1],
		"the checksum cut off":         good[:strings.LastIndexByte(good, '-')],
		"half of it":                   good[:len(good)/2],
		"one digit mistyped":           strings.Replace(good, "abab", "abac", 1),
		"another child written in":     strings.Replace(good, "county.511602", "county.511603", 1),
		"another address written in":   strings.Replace(good, "box-1", "box-2", 1),
		"something more at the end":    good + "0",
		"far too much":                 good + strings.Repeat("x", 2000),
		"a checksum of something else": "te1-" + strings.Repeat("-", 8) + "00000000",
	} {
		if tok, err := enrol.ParseToken(text); err == nil {
			t.Errorf("%s: %v was accepted", name, tok)
		} else if len(err.Error()) < 30 || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: not a sentence: %v", name, err)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	tok, err := enrol.NewToken(city, county, strings.Repeat("ab", 32), time.Unix(1790000000, 0), []string{"127.0.0.1:7301"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(tok.String())
	f.Add("te1-")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := enrol.ParseToken(text)
		if err != nil {
			return
		}
		again, err := enrol.ParseToken(tok.String())
		if err != nil || again.String() != tok.String() {
			t.Errorf("%q is read as %v, then as %v (%v)", text, tok, again, err)
		}
	})
}

func TestADocumentIsProvedByTheTokensSecret(t *testing.T) {
	secret := []byte("the secret")
	good, err := enrol.Prove(enrol.ForRequest, "id", secret, enrol.Request{Child: county, CSR: []byte("csr")})
	if err != nil {
		t.Fatal(err)
	}
	var r enrol.Request
	if err := good.Open(enrol.ForRequest, secret, &r); err != nil || r.Child != county || string(r.CSR) != "csr" {
		t.Fatalf("got %+v, %v", r, err)
	}
	for name, c := range map[string]struct {
		change  func(d *enrol.Document)
		purpose enrol.Purpose
		secret  string
		want    error
	}{
		"another secret":            {func(*enrol.Document) {}, enrol.ForRequest, "another", enrol.ErrForged},
		"a request as an answer":    {func(*enrol.Document) {}, enrol.ForAnswer, "the secret", enrol.ErrForged},
		"the body of another":       {func(d *enrol.Document) { d.Body = []byte(`{"child":"county/511603"}`) }, enrol.ForRequest, "the secret", enrol.ErrForged},
		"another token":             {func(d *enrol.Document) { d.Token = "other" }, enrol.ForRequest, "the secret", enrol.ErrForged},
		"a proof with a bit turned": {func(d *enrol.Document) { d.Proof[3] ^= 1 }, enrol.ForRequest, "the secret", enrol.ErrForged},
		"no proof":                  {func(d *enrol.Document) { d.Proof = nil }, enrol.ForRequest, "the secret", enrol.ErrForged},
		"an unknown algorithm":      {func(d *enrol.Document) { d.Algorithm = "none" }, enrol.ForRequest, "the secret", enrol.ErrVersion},
		"a later version":           {func(d *enrol.Document) { d.Version++ }, enrol.ForRequest, "the secret", enrol.ErrVersion},
	} {
		d := good
		d.Proof = append([]byte(nil), good.Proof...)
		c.change(&d)
		if err := d.Open(c.purpose, []byte(c.secret), &r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// parent is a node port that considers requests as consider says.
func parent(t *testing.T, consider enrol.Consider) (address, fingerprint string) {
	t.Helper()
	a, err := trust.NewAuthority(trust.Of(city), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Issue("n1", key.Public(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys := &trust.Keys{Division: a.Division, Node: "n1", Key: key, Certificate: cert, Authority: a.Certificate}
	l, err := tls.Listen("tcp", "127.0.0.1:0", keys.Listener(func(replication.NodeID, string) bool { return false }, time.Now))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = enrol.Serve(context.Background(), conn, consider)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String(), trust.Fingerprint(a.Certificate)
}

func TestARequestIsAnswered(t *testing.T) {
	var tok enrol.Token
	address, fingerprint := parent(t, func(_ context.Context, d enrol.Document) (enrol.Document, error) {
		var r enrol.Request
		if err := d.Open(enrol.ForRequest, tok.Secret, &r); err != nil || r.Child != county || d.Token != tok.ID {
			t.Errorf("asked %+v: %v", r, err)
		}
		return enrol.Prove(enrol.ForAnswer, d.Token, tok.Secret, enrol.Answer{Child: county, Parent: city})
	})
	tok = token(t, fingerprint, "127.0.0.1:1", address) // The first address is dead.
	request, err := enrol.Prove(enrol.ForRequest, tok.ID, tok.Secret, enrol.Request{Child: county})
	if err != nil {
		t.Fatal(err)
	}
	got, err := enrol.Ask(t.Context(), tok, request, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	var a enrol.Answer
	if err := got.Open(enrol.ForAnswer, tok.Secret, &a); err != nil || a.Parent != city {
		t.Errorf("answered %+v, %v", a, err)
	}
}

func TestNothingIsSentToAnotherAuthority(t *testing.T) {
	asked := false
	address, _ := parent(t, func(context.Context, enrol.Document) (enrol.Document, error) {
		asked = true
		return enrol.Document{}, nil
	})
	_, err := enrol.Ask(t.Context(), token(t, strings.Repeat("00", 32), address), enrol.Document{}, time.Now)
	if !errors.Is(err, enrol.ErrOtherAuthority) || exit.Code(err) != exit.Temporary {
		t.Errorf("got %v", err)
	}
	if asked {
		t.Error("the request was sent to a node of another authority")
	}
}

func TestAWrongClockIsTold(t *testing.T) {
	address, fingerprint := parent(t, nil)
	_, err := enrol.Ask(t.Context(), token(t, fingerprint, address), enrol.Document{}, func() time.Time { return time.Now().AddDate(-1, 0, 0) })
	if err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("a year of skew: %v", err)
	}
}

func TestRefusalsCrossAndInternalErrorsDoNot(t *testing.T) {
	for _, c := range []struct {
		err  error
		want join.Reason
	}{
		{enrol.Refuse(enrol.TokenUsed), enrol.TokenUsed},
		{fmt.Errorf("carry out: %w", enrol.Refuse(enrol.OtherDivision, "a", "b")), enrol.OtherDivision},
		{errors.New("the secret of the house"), join.Internal},
	} {
		address, fingerprint := parent(t, func(context.Context, enrol.Document) (enrol.Document, error) { return enrol.Document{}, c.err })
		_, err := enrol.Ask(t.Context(), token(t, fingerprint, address), enrol.Document{}, time.Now)
		var refusal *join.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != c.want || len(err.Error()) < 40 {
			t.Errorf("%v: got %v", c.err, err)
		}
		if strings.Contains(fmt.Sprint(err), "secret of the house") {
			t.Error("an internal error reached the other division")
		}
	}
}

func TestBrokenRequestsAreRefused(t *testing.T) {
	address, _ := parent(t, func(context.Context, enrol.Document) (enrol.Document, error) {
		t.Error("a broken request was considered")
		return enrol.Document{}, nil
	})
	for name, send := range map[string]string{
		"no JSON": "hello\n", "another shape": `{"body":7}` + "\n", "no line end": strings.Repeat("x", 300<<10),
	} {
		conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ProtocolEnrol}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, send)
		var got struct{ Refusal *join.Refusal }
		err = json.NewDecoder(conn).Decode(&got)
		_ = conn.Close()
		var reset net.Error
		if errors.As(err, &reset) { // Too much was sent: the node closes with data unread.
			continue
		}
		if err != nil || got.Refusal == nil || got.Refusal.Reason != enrol.Malformed {
			t.Errorf("%s: got %+v, %v", name, got.Refusal, err)
		}
	}
}

func TestATokenSaysWhetherOtherBoxesCanUseIt(t *testing.T) {
	for name, c := range map[string]struct {
		addresses []string
		want      bool
	}{
		"loopback":                 {[]string{"127.0.0.1:7301", "[::1]:7301", "localhost:7301"}, true},
		"one address of the world": {[]string{"127.0.0.1:7301", "192.0.2.10:7301"}, false},
		"a name":                   {[]string{"box1.example:7301"}, false},
	} {
		if got := enrol.OnlyHere(c.addresses); got != c.want {
			t.Errorf("%s: OnlyHere is %v, want %v", name, got, c.want)
		}
	}
}
