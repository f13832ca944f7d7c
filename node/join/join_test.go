package join_test

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

	"tongban/node/exit"
	"tongban/node/join"
	"tongban/node/trust"
	"tongban/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// division is a node port that admits what Admit says.
type division struct {
	address     string
	fingerprint string
}

func start(t *testing.T, now func() time.Time, admit join.Admit) division {
	t.Helper()
	a, err := trust.NewAuthority(trust.Division{Code: "511602", Level: "county"}, time.Now())
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
	nobody := func(replication.NodeID, string) bool { return false }
	l, err := tls.Listen("tcp", "127.0.0.1:0", keys.Listener(nobody, time.Now))
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
			_ = join.Serve(context.Background(), conn, now, admit)
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return division{l.Addr().String(), trust.Fingerprint(a.Certificate)}
}

func token(t *testing.T, d division) join.Token {
	t.Helper()
	tok, err := join.NewToken(d.fingerprint, []string{d.address})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestABoxIsAnswered(t *testing.T) {
	var got join.Request
	d := start(t, time.Now, func(_ context.Context, r join.Request) (join.Answer, error) {
		got = r
		return join.Answer{Code: "511602", Peers: []join.Peer{{ID: "n1"}, r.Node}}, nil
	})
	tok := token(t, d)
	tok.Addresses = append([]string{"127.0.0.1:1"}, tok.Addresses...) // The first address is dead.
	answer, err := join.Ask(t.Context(), tok, join.Request{Node: join.Peer{ID: "n2"}}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.TokenHash()) != string(tok.Hash()) || got.Node.ID != "n2" || len(answer.Peers) != 2 {
		t.Errorf("asked %+v, answered %+v", got, answer)
	}
}

func TestRefusalsAreClearSentences(t *testing.T) {
	for _, reason := range []join.Reason{join.Unknown, join.Used, join.Expired, join.NameTaken, join.Unavailable, join.Internal} {
		d := start(t, time.Now, func(context.Context, join.Request) (join.Answer, error) {
			if reason == join.Internal {
				return join.Answer{}, errors.New("the secret of the house")
			}
			return join.Answer{}, &join.Refusal{Reason: reason}
		})
		_, err := join.Ask(t.Context(), token(t, d), join.Request{}, time.Now)
		var refusal *join.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != reason || len(err.Error()) < 40 {
			t.Errorf("%s: got %v", reason, err)
		}
		if strings.Contains(fmt.Sprint(err), "secret of the house") {
			t.Error("an internal error reached the other box")
		}
	}
}

func TestAWrongClockIsTold(t *testing.T) {
	d := start(t, func() time.Time { return time.Now().Add(10 * time.Minute) }, nil)
	_, err := join.Ask(t.Context(), token(t, d), join.Request{}, time.Now)
	var refusal *join.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != join.Clock {
		t.Errorf("ten minutes of skew: %v", err)
	}
	_, err = join.Ask(t.Context(), token(t, d), join.Request{}, func() time.Time { return time.Now().AddDate(-1, 0, 0) })
	if err == nil || !strings.Contains(err.Error(), "set the clock") {
		t.Errorf("a year of skew: %v", err)
	}
}

func TestNothingIsSentToAnotherAuthority(t *testing.T) {
	asked := false
	d := start(t, time.Now, func(context.Context, join.Request) (join.Answer, error) {
		asked = true
		return join.Answer{}, nil
	})
	tok := token(t, d)
	tok.Fingerprint = strings.Repeat("0", 64)
	_, err := join.Ask(t.Context(), tok, join.Request{}, time.Now)
	if !errors.Is(err, join.ErrOtherAuthority) || exit.Code(err) != exit.Temporary {
		t.Errorf("got %v", err)
	}
	if asked {
		t.Error("the secret was sent to a node of another authority")
	}
}

func TestBrokenRequestsAreRefused(t *testing.T) {
	d := start(t, time.Now, func(context.Context, join.Request) (join.Answer, error) {
		t.Error("a broken request was considered")
		return join.Answer{}, nil
	})
	now, _ := json.Marshal(time.Now())
	for name, c := range map[string]struct {
		send string
		want join.Reason
	}{
		"no JSON":       {"hello\n", join.Malformed},
		"no line end":   {strings.Repeat("x", 300<<10), join.Malformed},
		"other version": {`{"version":9}` + "\n", join.Version},
		"short secret":  {fmt.Sprintf(`{"version":1,"secret":"ab","time":%s}`, now) + "\n", join.Unknown},
		"no clock":      {`{"version":1}` + "\n", join.Clock},
	} {
		conn, err := tls.Dial("tcp", d.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{join.ProtocolName}})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, c.send)
		var got struct{ Refusal *join.Refusal }
		err = json.NewDecoder(conn).Decode(&got)
		_ = conn.Close()
		var reset net.Error
		if errors.As(err, &reset) { // Too much was sent: the node closes with data unread.
			continue
		}
		if err != nil || got.Refusal == nil || got.Refusal.Reason != c.want {
			t.Errorf("%s: got %+v, %v", name, got.Refusal, err)
		}
	}
}

func TestTokensAreReadStrictly(t *testing.T) {
	good := "tb1-" + strings.Repeat("ab", 32) + "-" + strings.Repeat("cd", 16) + "-box-1.example:7301,[::1]:7301"
	tok, err := join.ParseToken(" " + good[:50] + "\n  " + good[50:] + "\n")
	if err != nil || tok.String() != good || len(tok.Addresses) != 2 {
		t.Fatalf("got %v, %v", tok, err)
	}
	for name, text := range map[string]string{
		"empty":         "",
		"other prefix":  "tb2" + good[3:],
		"cut off":       good[:60],
		"no address":    good[:strings.LastIndex(good, "-box")],
		"wrong letter":  strings.Replace(good, "ab", "zz", 1),
		"bad address":   good + ",x",
		"short secret":  strings.Replace(good, "cd-", "-", 1),
		"too long":      good + strings.Repeat("x", 2000),
		"nine boxes":    good + strings.Repeat(",a:1", 8),
		"empty address": good + ",",
	} {
		if tok, err := join.ParseToken(text); err == nil {
			t.Errorf("%s: %v was accepted", name, tok)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add("tb1-" + strings.Repeat("ab", 32) + "-" + strings.Repeat("cd", 16) + "-127.0.0.1:7301")
	f.Fuzz(func(t *testing.T, text string) {
		tok, err := join.ParseToken(text)
		if err != nil {
			return
		}
		again, err := join.ParseToken(tok.String())
		if err != nil || again.String() != tok.String() {
			t.Errorf("%q is read as %v, then as %v (%v)", text, tok, again, err)
		}
	})
}

func TestATokenSaysWhetherOtherBoxesCanUseIt(t *testing.T) {
	for name, c := range map[string]struct {
		addresses []string
		want      bool
	}{
		"loopback of version 4":    {[]string{"127.0.0.1:7301"}, true},
		"loopback of version 6":    {[]string{"[::1]:7301", "localhost:7301"}, true},
		"one address of the world": {[]string{"127.0.0.1:7301", "192.0.2.10:7301"}, false},
		"a name":                   {[]string{"box1.example:7301"}, false},
	} {
		if got := (join.Token{Addresses: c.addresses}).OnlyHere(); got != c.want {
			t.Errorf("%s: OnlyHere is %v, want %v", name, got, c.want)
		}
	}
}
