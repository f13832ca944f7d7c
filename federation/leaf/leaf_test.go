package leaf

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tongban/division"
	"tongban/federation"
	"tongban/service"
)

func TestNeighboursAskEachOther(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", echo)
	child := openChild(t, guangn, aCA, cityCA, echo, h.Addr().String())
	h.awaitLine(t, child)
	ask(t, child, city, "feed", "hello", "county/511602 feed hello")
	ask(t, h.Server, guangn, "mail", "", "city/511600 mail ")
	big := strings.Repeat("x", federation.MaxMessage-100)
	ask(t, child, city, "feed", big, "county/511602 feed "+big)
	ask(t, h.Server, guangn, "feed", big, "city/511600 feed "+big)
}

func TestErrorsCrossTheWire(t *testing.T) {
	refusal := service.Refuse(service.Conflict, "cases.not_submitted").With("state", "closed").Field("name", "cases.missing")
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", func(_ context.Context, _ division.Ref, kind string, _ []byte) ([]byte, error) {
		switch kind {
		case "refuse":
			return nil, refusal.Because(errors.New("the cause is a secret"))
		case "fail":
			return nil, errors.New("the disk is full")
		case "panic":
			panic("on purpose")
		case "large":
			return make([]byte, federation.MaxMessage+1), nil
		}
		return []byte("fine"), nil
	})
	child := openChild(t, guangn, aCA, cityCA, echo, h.Addr().String())
	h.awaitLine(t, child)
	call := func(kind string) error {
		_, err := child.Call(within(t, 5*time.Second), city, kind, nil)
		return err
	}
	err := call("refuse")
	got, ok := errors.AsType[*service.Error](err)
	if !ok || got.Code != service.Conflict || got.Reason != refusal.Reason || got.Params["state"] != "closed" || got.Fields["name"] != "cases.missing" {
		t.Errorf("a refusal arrived as %#v", err)
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the cause of a refusal crossed: %v", err)
	}
	for kind, want := range map[string]string{"fail": "the disk is full", "panic": "the handler of panic broke", "large": "larger than 1 MiB"} {
		err := call(kind)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, federation.ErrUnreachable) {
			t.Errorf("%s: %v; want an error with %q", kind, err, want)
		}
		if _, ok := errors.AsType[*service.Error](err); ok {
			t.Errorf("%s became a refusal: %v", kind, err)
		}
	}
	if _, err := child.Call(within(t, time.Second), city, "feed", make([]byte, federation.MaxMessage+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an oversized request: %v", err)
	}
	for _, kind := range []string{"", "a.b", "*", ">", "a b", strings.Repeat("k", maxKind+1)} {
		if _, err := child.Call(within(t, time.Second), city, kind, nil); err == nil {
			t.Errorf("the kind %q was sent", kind)
		}
	}
	ask(t, child, city, "after", "", "fine")
}

func TestWhoHasNoLineIsUnreachableAtOnce(t *testing.T) {
	cityCA, aCA, _ := tree(t)
	h := openHub(t, cityCA, "", echo)
	alone := openChild(t, guangn, aCA, cityCA, echo, "127.0.0.1:1")
	for _, c := range []struct {
		from *Server
		to   division.Ref
	}{{h.Server, guangn}, {h.Server, dazhou}, {alone, city}, {alone, qianfg}} {
		began := time.Now()
		_, err := c.from.Call(within(t, 10*time.Second), c.to, "feed", nil)
		if !errors.Is(err, federation.ErrUnreachable) || time.Since(began) > time.Second {
			t.Errorf("%s to %s: %v after %s", c.from.o.Self, c.to, err, time.Since(began))
		}
		if c.from.Connected(c.to) {
			t.Errorf("%s says that it has a line to %s", c.from.o.Self, c.to)
		}
	}
}
