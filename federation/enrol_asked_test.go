package federation_test

import (
	"errors"
	"testing"

	"tongban/federation"
	"tongban/service"
)

func TestATokenThatAskedByAFileIsKeptForTheReply(t *testing.T) {
	w := world(t)
	ask := func(id, token string) {
		w.Update(w.Division, func(tx *service.Tx) error { return federation.EnterAsked(tx, id, token) })
	}
	read := func(id string) (token string, err error) {
		w.View(w.Division, func(v *service.View) error { token, err = federation.ReadAsked(v, id); return nil })
		return token, err
	}
	ask("first", "one")
	ask("first", "two") // Asked again.
	if token, err := read("first"); err != nil || token != "two" {
		t.Errorf("%q, %v", token, err)
	}
	if _, err := read("none"); !errors.Is(err, federation.ErrTokenUnknown) {
		t.Errorf("a token that did not ask: %v", err)
	}
	w.Clock.Set(w.Clock.Now().AddDate(0, 0, 61))
	ask("second", "three")
	if _, err := read("first"); !errors.Is(err, federation.ErrTokenUnknown) {
		t.Errorf("the secret of a request of two months ago is still there: %v", err)
	}
}
